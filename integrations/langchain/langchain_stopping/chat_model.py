"""A chat model around another one, that stops, checks and continues what the other generates."""

from __future__ import annotations

import hashlib
import pickle
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import aclosing, closing
from dataclasses import replace
from typing import Annotated, Any
from uuid import uuid4

from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
from langchain_core.messages import BaseMessage
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from pydantic import (
    Field,
    GetCoreSchemaHandler,
    PrivateAttr,
)
from pydantic_core import core_schema

from langchain_stopping.calls import (
    InnerCalls,
    hard_limit,
    has_own_form,
    is_structured,
    offers_tools,
    sampling_settings,
    settings_of,
)
from langchain_stopping.client import UsageQuestion, provider_of
from langchain_stopping.delegate import DelegatingChatModel
from langchain_stopping.messages import LLM_TYPE, to_chunk, to_request
from langchain_stopping.reply import Reply, UnlessNoText
from langchain_stopping.traces import ateller, teller
from stopping_core import (
    AdaptiveStopping,
    Completion,
    Session,
    arun,
    astream,
    run,
    stream,
)
from stopping_core.policies import Never
from stopping_core.providers import Provider

_FROM_TABLE = ("prefill", "prefill_kwargs", "budget_keyword", "hang_up_ends_bill")


class _AsItIs:
    """Keeps pydantic from looking into a dataclass whose fields are protocols."""

    def __get_pydantic_core_schema__(
        self, source: type, handler: GetCoreSchemaHandler
    ) -> core_schema.CoreSchema:
        return core_schema.is_instance_schema(source)


class AdaptiveChatModel(DelegatingChatModel):
    """Cuts a chat model off when its answer is done, and continues the answer when it is not.

    It takes the model's place in any chain. ``invoke`` streams from the inner model too, so that
    there is something to cut; it may start an answer over. ``stream`` never takes back what it has
    yielded: an incomplete answer is continued. Around a model that was made with
    ``streaming=True``, ``invoke`` calls ``on_llm_new_token`` as the model did, and like ``stream``
    never starts over. A model that does not stream is not cut, only checked.

    What was done stands in ``response_metadata["stopping"]``, beside the provider's own metadata.
    ``usage_metadata`` is the sum over all calls. Models that can stream their usage are asked to,
    save where ``stream_usage=False`` was said. After a cut a provider sends none: the numbers are
    then estimates, and ``["stopping"]["tokens"]["estimated"]`` is True. To tracers an early stop is
    a success, and each further call a retry; only a reader that leaves a stream early ends its run
    with ``GeneratorExit``, as LangChain has it for every model.

    Left alone, neither cut nor checked, are calls with tools (see ``cut_with_tools``) or with the
    provider's structured output, calls for several answers, and everything in mode ``off``, also
    where the inner model itself was set so. A JSON answer in plain text is cut where its value
    closes.

    Content blocks come back as the provider sent them where ``invoke`` got the whole answer from
    one call. A cut or continued answer, and every stream, is plain text, with the reasoning in
    ``additional_kwargs["reasoning_content"]``; blocks of other kinds (images, refusals) follow at
    the end, while citations and the signatures of thinking blocks are lost. An answer with such
    other blocks counts as complete unless it was truncated. Nothing of a cut answer refers to what
    the provider has stored of it (``previous_response_id``).

    The budget replaces the inner model's own limit on tokens; a limit given with the call
    (``invoke(..., max_tokens=500)``) is a hard one, for all calls together. ``stopping.attempts``
    counts our calls, and in each of them the inner model's client may try again by itself: make the
    inner model with ``max_retries=0``, or a call is tried ``attempts * (max_retries + 1)`` times,
    unseen by tracers and by ``max_seconds``. Our own retries keep to ``Retry-After``.

    Where None is said below, the table of providers (``stopping_core.providers``) decides by the
    inner model's class and base URL; :attr:`provider` is what holds in the end.

    Args:
        inner: The model that answers. Its cache, rate limiter, callbacks, tags, metadata, output
            version and profile are used where none are set here. ``configurable_fields`` with
            ``inner`` keeps those of the first one: use ``configurable_alternatives`` with a whole
            ``AdaptiveChatModel`` for each.
        stopping: When to cut, what is complete, what to do then.
        prefill: Whether the server continues a last assistant message as its own text (llama.cpp
            does; vLLM and some providers if told to by ``prefill_kwargs``). Else a user turn asks
            to go on, which costs the question of whether the model obeys. None asks the table.
        prefill_kwargs: Keywords for calls with a prefill. None asks the table.
        budget_keyword: Keyword by which the inner model takes the limit on output tokens. A dot
            goes into a dictionary: ``options.num_predict``. None asks the table.
        hang_up_ends_bill: Whether closing the stream ends the generation and the bill. If not,
            budgets are those of ``stopping.up_front``. None asks the table.
        cut_with_tools: Whether text answers of calls that offer tools are cut and checked as well;
            a tool call itself is never cut and always counts as complete. Off by default because
            models announce a tool call in text first, and a cut there would lose the call. No
            budget is sent with such calls, ``stopping.max_seconds`` does not hold in them, and a
            stream brings the tool call at its end. Where Anthropic thinks before it calls a tool,
            it wants its signed thinking back: leave this off there if agents stream.
        resample_kwargs: Keywords for calls whose greedy answer would only fail again.

    Raises:
        ValueError: ``inner`` is no chat model, or already an ``AdaptiveChatModel``.

    Raises (calls):
        TransportFailed: The provider failed for good in the middle of the answer. Its ``__cause__``
            is the provider's own error, which is raised as it is where nothing was generated yet.
        BudgetExhausted: No complete answer, and ``stopping.on_exhausted="raise"``.

        Both carry what came in ``completion``. ``with_fallbacks`` and ``with_retry`` that name the
        errors they handle must name ``TransportFailed`` beside those of the provider. To try again
        is what the wrapper does: set ``stopping.attempts`` instead of ``with_retry``.

    Examples:
        >>> from langchain_core.language_models import FakeListChatModel
        >>> inner = FakeListChatModel(responses=['{"city": "Paris"} I hope that this helps!'])
        >>> model = AdaptiveChatModel(inner=inner, stopping=AdaptiveStopping())
        >>> answer = model.invoke("Where is the Louvre? Answer in JSON.")
        >>> answer.content, answer.response_metadata["stopping"]["reason"]
        ('{"city": "Paris"}', 'json')
    """

    stopping: Annotated[AdaptiveStopping, _AsItIs()]
    prefill: bool | None = None
    prefill_kwargs: dict[str, Any] | None = None
    budget_keyword: str | None = None
    hang_up_ends_bill: bool | None = None
    cut_with_tools: bool = False
    resample_kwargs: dict[str, Any] = Field(default_factory=lambda: {"temperature": 0.7})
    _own_key: tuple[AdaptiveStopping, str] | None = PrivateAttr(default=None)
    _usage: UsageQuestion = PrivateAttr(default_factory=UsageQuestion)

    # -- what LangChain asks of a model

    @property
    def _llm_type(self) -> str:
        return LLM_TYPE

    @property
    def _identifying_params(self) -> dict[str, Any]:
        return {
            "inner": self.inner.asdict(),
            "stopping": repr(self.stopping),
            "prefill": self.provider.prefill,
        }

    def _get_llm_string(self, stop: list[str] | None = None, **kwargs: Any) -> str:
        """The cache's key: the inner model's, and all that makes our answer another than its."""
        try:
            stopping = pickle.dumps(self.stopping.replace(hooks=(), steer=None))
        except (AttributeError, TypeError, pickle.PicklingError):  # a lambda, a lock
            stopping = self._key_of_stopping().encode()
        ours = repr((self.provider, self.resample_kwargs, self.cut_with_tools))
        mark = hashlib.sha256(stopping + ours.encode()).hexdigest()
        return f"{self.inner._get_llm_string(stop, **kwargs)}---{LLM_TYPE}---{mark}"

    def _key_of_stopping(self) -> str:
        """A key for a stopping that cannot be told from another but by its identity."""
        if self._own_key is None or self._own_key[0] is not self.stopping:
            self._own_key = (self.stopping, uuid4().hex)
        return self._own_key[1]

    def __repr_args__(self) -> Iterator[tuple[str, Any]]:
        yield from super().__repr_args__()
        yield "stopping", self.stopping

    @property
    def provider(self) -> Provider:
        """What the table of providers says of the inner model, and over it what is set here."""
        own = {name: getattr(self, name) for name in _FROM_TABLE}
        known = {name: value for name, value in own.items() if value is not None}
        return replace(provider_of(self.inner), **known)

    def _should_stream(
        self,
        *,
        async_api: bool,
        run_manager: CallbackManagerForLLMRun | AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> bool:
        """Whether LangChain streams on ``invoke``: where it would from the inner model, as well."""
        own = super()._should_stream(async_api=async_api, run_manager=run_manager, **kwargs)
        return own or (
            not self._streaming_disabled(**kwargs)
            and self.inner._should_stream(async_api=async_api, run_manager=run_manager, **kwargs)
        )

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        if self._leaves_alone(kwargs):
            return self.inner._generate(messages, stop=stop, **kwargs)
        calls = self._calls(messages, stop, kwargs, async_api=False)
        session = self._session(calls, streaming=False)
        return _result(calls, run(session, calls.make, on_retry=teller(run_manager)))

    async def _agenerate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        if self._leaves_alone(kwargs):
            return await self.inner._agenerate(messages, stop=stop, **kwargs)
        calls = self._calls(messages, stop, kwargs, async_api=True)
        session = self._session(calls, streaming=False)
        completion = await arun(session, calls.amake, on_retry=ateller(run_manager))
        return _result(calls, completion)

    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> Iterator[ChatGenerationChunk]:
        calls = self._calls(messages, stop, kwargs, async_api=False)
        if self._leaves_alone(kwargs):
            yield from calls.pass_on()
            return
        session = self._session(calls, streaming=True)
        with closing(stream(session, calls.make, on_retry=teller(run_manager))) as emissions:
            for emission in emissions:
                yield to_chunk(emission.text, emission.reasoning)
        yield from calls.reply.last_chunks(calls.told(session.completion))

    async def _astream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[ChatGenerationChunk]:
        calls = self._calls(messages, stop, kwargs, async_api=True)
        if self._leaves_alone(kwargs):
            async with aclosing(calls.apass_on()) as chunks:
                async for chunk in chunks:
                    yield chunk
            return
        session = self._session(calls, streaming=True)
        told = ateller(run_manager)
        async with aclosing(astream(session, calls.amake, on_retry=told)) as emissions:
            async for emission in emissions:
                yield to_chunk(emission.text, emission.reasoning)
        for chunk in calls.reply.last_chunks(calls.told(session.completion)):
            yield chunk

    # -- what the core asks for

    def _leaves_alone(self, kwargs: Mapping[str, Any]) -> bool:
        settings = settings_of(self.inner, kwargs)
        has_form = is_structured(settings) if self.cut_with_tools else has_own_form(settings)
        return self.stopping.mode == "off" or has_form

    def _calls(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None,
        kwargs: Mapping[str, Any],
        *,
        async_api: bool,
    ) -> InnerCalls:
        wanted = {"stream": True, **kwargs}
        settings = settings_of(self.inner, kwargs)
        return InnerCalls(
            inner=self.inner,
            provider=self.provider,
            resample_kwargs=self.resample_kwargs,
            rate_limiter=self.rate_limiter,
            messages=messages,
            stop=stop,
            kwargs=kwargs,
            settings=settings,
            usage=self._usage,
            streams=not self._streaming_disabled(**kwargs)
            and self.inner._should_stream(async_api=async_api, **wanted),
            timeout=self.stopping.stall_seconds if offers_tools(settings) else None,
            reply=Reply(self._ls_model_name(stop, kwargs)),
        )

    def _session(self, calls: InnerCalls, *, streaming: bool) -> Session:
        check = UnlessNoText(self.stopping.completeness, calls.reply)
        stopping = self.stopping.replace(completeness=check)
        if not calls.streams:
            # It is silent until it is whole, and what is paid for is not thrown away.
            stopping = stopping.replace(stall_seconds=None)
            stopping = stopping.replace(policy=Never()) if stopping.mode == "active" else stopping
        if offers_tools(calls.settings):  # a tool call brings no steps, and is not cut
            stopping = stopping.replace(stall_seconds=None, max_seconds=None)
        limit = hard_limit(self.inner, calls.kwargs, calls.provider.budget_keyword)
        request = to_request(
            calls.messages,
            max_tokens=limit,
            profile=self.profile,
            model=calls.kwargs.get("model") or self._ls_model_name(calls.stop, calls.kwargs),
            sampling=sampling_settings(self.inner, calls.stop, calls.kwargs),
            tools=offers_tools(calls.settings),
        )
        return Session(
            stopping,
            request,
            streaming=streaming,
            prefill=calls.provider.prefill,
            hang_up_ends_bill=calls.provider.hang_up_ends_bill or not calls.streams,
        )

    def _ls_model_name(self, stop: list[str] | None, kwargs: Mapping[str, Any]) -> str | None:
        return self._get_ls_params(stop=stop, **kwargs).get("ls_model_name")


def _result(calls: InnerCalls, completion: Completion) -> ChatResult:
    message = calls.reply.message(calls.told(completion))
    return ChatResult(generations=[ChatGeneration(message=message)])
