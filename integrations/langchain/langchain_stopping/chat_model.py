"""A chat model around another one, that stops, checks and continues what the other generates."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import aclosing, closing
from typing import Annotated, Any, Self

from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel, LangSmithParams, LanguageModelInput
from langchain_core.language_models.model_profile import ModelProfile
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langchain_core.runnables import Runnable, RunnableBinding
from langchain_core.tools import BaseTool
from pydantic import BaseModel, Field, GetCoreSchemaHandler, model_validator
from pydantic_core import core_schema

from langchain_stopping.calls import InnerCalls, Settings, has_own_form, take_limit
from langchain_stopping.messages import LLM_TYPE, to_chunk, to_request
from langchain_stopping.reply import Reply
from stopping_core import (
    AdaptiveStopping,
    CompletenessCheck,
    Completion,
    Draft,
    Request,
    Session,
    Verdict,
    arun,
    astream,
    run,
    stream,
)
from stopping_core.policies import Never

_HOISTED = (
    "cache",
    "callbacks",
    "custom_get_token_ids",
    "disable_streaming",
    "output_version",
    "rate_limiter",
    "tags",
)


class _AsItIs:
    """Keeps pydantic from looking into a dataclass whose fields are protocols."""

    def __get_pydantic_core_schema__(
        self, source: type, handler: GetCoreSchemaHandler
    ) -> core_schema.CoreSchema:
        return core_schema.is_instance_schema(source)


class AdaptiveChatModel(BaseChatModel):
    """Cuts a chat model off when its answer is done, and continues the answer when it is not.

    It takes the model's place in any chain. ``invoke`` streams from the inner model too, so that
    there is something to cut; it may start an answer over. ``stream`` never takes back what it has
    yielded: an incomplete answer is continued. What was done stands in
    ``response_metadata["stopping"]``, beside the provider's own metadata. Models that can stream
    their usage are asked to, save where ``stream_usage=False`` was said. After a cut the provider
    sends none: ``usage_metadata`` is then None, unless the length of the prompt is known from
    another call, and ``["stopping"]["tokens"]`` holds our own count.

    Left alone, neither cut nor checked, are calls with tools or with the provider's structured
    output, calls for several answers, and everything in mode ``off``. Content blocks that hold
    neither text nor reasoning are lost. A model that does not stream is not cut, only checked.

    The budget replaces the inner model's own limit on tokens; a limit given with the call
    (``invoke(..., max_tokens=500)``) is a hard one, for all calls together. Around a model that was
    made with ``streaming=True``, ``invoke`` calls ``on_llm_new_token`` as the model did, and like
    ``stream`` never starts over.

    Args:
        inner: The model that answers. Its cache, rate limiter, callbacks, tags, metadata, output
            version and profile are used where none are set here.
        stopping: When to cut, what is complete, what to do then.
        prefill: True where the server continues a last assistant message as its own text
            (llama.cpp; vLLM and some providers if told to by ``prefill_kwargs``). Else a user turn
            asks to go on, which costs the question of whether the model obeys.
        prefill_kwargs: Keywords for calls with a prefill.
        budget_keyword: Keyword by which the inner model takes the limit on output tokens. A dot
            goes into a dictionary: ``options.num_predict``.
        resample_kwargs: Keywords for calls whose greedy answer would only fail again.

    Examples:
        >>> from langchain_core.language_models import FakeListChatModel
        >>> inner = FakeListChatModel(responses=['{"city": "Paris"} I hope that this helps!'])
        >>> model = AdaptiveChatModel(inner=inner, stopping=AdaptiveStopping())
        >>> answer = model.invoke("Where is the Louvre? Answer in JSON.")
        >>> answer.content, answer.response_metadata["stopping"]["reason"]
        ('{"city": "Paris"}', 'json')
    """

    inner: BaseChatModel
    stopping: Annotated[AdaptiveStopping, _AsItIs()]
    prefill: bool = False
    prefill_kwargs: dict[str, Any] = Field(default_factory=dict)
    budget_keyword: str = "max_tokens"
    resample_kwargs: dict[str, Any] = Field(default_factory=lambda: {"temperature": 0.7})

    @model_validator(mode="after")
    def _hoist(self) -> Self:
        """Take over the settings that LangChain applies around a model and not inside it."""
        for name in _HOISTED:
            if name not in self.model_fields_set:
                setattr(self, name, getattr(self.inner, name))
        self.metadata = {**(self.inner.metadata or {}), **(self.metadata or {})}
        return self

    # -- what LangChain asks of a model

    @property
    def _llm_type(self) -> str:
        return LLM_TYPE

    @property
    def _identifying_params(self) -> dict[str, Any]:
        return {
            "inner": self.inner.asdict(),
            "stopping": repr(self.stopping),
            "prefill": self.prefill,
        }

    def _get_ls_params(self, stop: list[str] | None = None, **kwargs: Any) -> LangSmithParams:
        return self.inner._get_ls_params(stop=stop, **kwargs)

    def _resolve_model_profile(self) -> ModelProfile | None:
        return self.inner.profile

    def _combine_llm_outputs(self, outputs: list[dict[str, Any] | None], /) -> dict[str, Any]:
        return self.inner._combine_llm_outputs([output for output in outputs if output])

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

    def get_token_ids(self, text: str) -> list[int]:
        """Return the inner model's tokens of a text."""
        own = self.custom_get_token_ids
        return self.inner.get_token_ids(text) if own is None else own(text)

    def get_num_tokens(self, text: str) -> int:
        """Count the inner model's tokens of a text."""
        own = self.custom_get_token_ids
        return self.inner.get_num_tokens(text) if own is None else len(own(text))

    def get_num_tokens_from_messages(
        self, messages: list[BaseMessage], tools: Sequence[Any] | None = None
    ) -> int:
        return self.inner.get_num_tokens_from_messages(messages, tools)

    def bind_tools(
        self,
        tools: Sequence[dict[str, Any] | type | Callable[..., Any] | BaseTool],
        *,
        tool_choice: str | None = None,
        **kwargs: Any,
    ) -> Runnable[LanguageModelInput, AIMessage]:
        """Bind tools as the inner model does. Such calls are neither cut nor checked."""
        if tool_choice is not None:
            kwargs["tool_choice"] = tool_choice
        bound = self.inner.bind_tools(tools, **kwargs)
        if not isinstance(bound, RunnableBinding):
            raise TypeError(f"{type(self.inner).__name__}.bind_tools gives no binding: {bound!r}")
        return self.bind(**bound.kwargs)

    def with_structured_output(
        self, schema: dict[str, Any] | type, *, include_raw: bool = False, **kwargs: Any
    ) -> Runnable[LanguageModelInput, dict[str, Any] | BaseModel]:
        """Give the inner model's structured output, which is neither cut nor checked."""
        return self.inner.with_structured_output(schema, include_raw=include_raw, **kwargs)

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
        return _result(calls, run(self._session(calls, streaming=False), calls.make))

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
        return _result(calls, await arun(self._session(calls, streaming=False), calls.amake))

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
        with closing(stream(session, calls.make)) as emissions:
            for emission in emissions:
                yield to_chunk(emission.text, emission.reasoning)
        yield from calls.reply.last_chunks(session.completion)

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
        async with aclosing(astream(session, calls.amake)) as emissions:
            async for emission in emissions:
                yield to_chunk(emission.text, emission.reasoning)
        for chunk in calls.reply.last_chunks(session.completion):
            yield chunk

    # -- what the core asks for

    def _leaves_alone(self, kwargs: Mapping[str, Any]) -> bool:
        several = (getattr(self.inner, "n", None) or 1) > 1
        return self.stopping.mode == "off" or several or has_own_form(kwargs)

    def _calls(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None,
        kwargs: Mapping[str, Any],
        *,
        async_api: bool,
    ) -> InnerCalls:
        wanted = {"stream": True, **kwargs}
        return InnerCalls(
            inner=self.inner,
            settings=Settings(
                prefill=self.prefill,
                prefill_kwargs=self.prefill_kwargs,
                budget_keyword=self.budget_keyword,
                resample_kwargs=self.resample_kwargs,
                rate_limiter=self.rate_limiter,
            ),
            messages=messages,
            stop=stop,
            kwargs=kwargs,
            streams=not self._streaming_disabled(**kwargs)
            and self.inner._should_stream(async_api=async_api, **wanted),
            reply=Reply(),
        )

    def _session(self, calls: InnerCalls, *, streaming: bool) -> Session:
        stopping = self.stopping.replace(
            completeness=_UnlessToolCall(self.stopping.completeness, calls.reply)
        )
        if not calls.streams and stopping.mode == "active":
            stopping = stopping.replace(policy=Never())  # what is paid for is not thrown away
        limit, _ = take_limit(calls.kwargs, self.budget_keyword)
        request = to_request(calls.messages, max_tokens=limit, profile=self.profile)
        return Session(stopping, request, streaming=streaming, prefill=self.prefill)


class _UnlessToolCall:
    """Takes an answer for complete where the model called a tool, though none was bound here."""

    def __init__(self, check: CompletenessCheck, reply: Reply) -> None:
        self.slow = bool(getattr(check, "slow", False))
        self._check = check
        self._reply = reply

    def __call__(self, request: Request, draft: Draft, /) -> Verdict:
        if self._reply.tool_chunks:
            return Verdict(True, "a tool was called")
        return self._check(request, draft)


def _result(calls: InnerCalls, completion: Completion) -> ChatResult:
    message = calls.reply.message(completion)
    return ChatResult(generations=[ChatGeneration(message=message)])
