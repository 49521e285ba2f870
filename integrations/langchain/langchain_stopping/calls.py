"""Calls to the inner model, as the core's session asks for them, and the keywords of such calls."""

from __future__ import annotations

from collections.abc import (
    AsyncGenerator,
    AsyncIterator,
    Generator,
    Iterator,
    Mapping,
    Sequence,
)
from contextlib import AbstractContextManager, asynccontextmanager, closing, nullcontext
from dataclasses import dataclass
from typing import Any, TypeAlias

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import BaseMessage
from langchain_core.outputs import ChatGenerationChunk
from langchain_core.rate_limiters import BaseRateLimiter

from langchain_stopping.client import UsageQuestion, is_refusal, read_timeout
from langchain_stopping.hang_up import ahang_up
from langchain_stopping.messages import count_prompt, to_messages, to_whole_chunk
from langchain_stopping.reply import Reply, with_estimates
from stopping_core import Call, Completion, Step
from stopping_core.providers import LIMITS, Provider
from stopping_core.sampling import greedily, sampling_of

_TOOLS = frozenset({"functions", "tools"})
_STRUCTURED = frozenset(
    {
        "format",
        "grammar",
        "guided_choice",
        "guided_grammar",
        "guided_json",
        "guided_regex",
        "json_schema",
        "output_format",
        "response_format",
        "response_json_schema",
        "response_mime_type",
        "response_schema",
        "structured_outputs",
    }
)
_HOLD_FORMAT = frozenset({"output_config", "text"})
"""Dictionaries that are about structured output where they have a ``format``."""
_DECIDE = _TOOLS | _STRUCTURED | _HOLD_FORMAT | {"n"}
_Chunks: TypeAlias = Iterator[ChatGenerationChunk]
_AsyncChunks: TypeAlias = AsyncIterator[ChatGenerationChunk]


def has_own_form(settings: Mapping[str, Any]) -> bool:
    """Whether a call is bound to tools, to the provider's structured output, or to several answers.

    Their form is the provider's affair: half a tool call is of no use to anybody.
    """
    return offers_tools(settings) or is_structured(settings)


def offers_tools(settings: Mapping[str, Any]) -> bool:
    """Whether the model may answer a call by calling a tool."""
    return any(settings.get(key) for key in _TOOLS)


def is_structured(settings: Mapping[str, Any]) -> bool:
    """Whether a call is bound to the provider's structured output, or to several answers."""
    values = [settings.get(key) for key in _STRUCTURED]
    holders = [settings.get(key) for key in _HOLD_FORMAT]
    values += [holder.get("format") for holder in holders if isinstance(holder, Mapping)]
    return any(map(_is_form, values)) or (settings.get("n") or 1) > 1


def _is_form(value: Any) -> bool:
    kind = value.get("type") if isinstance(value, Mapping) else value
    return bool(value) and kind not in ("text", "text/plain")


def settings_of(inner: BaseChatModel, kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """Return what decides over the form of a call's answer: the model's own settings, the call's.

    Args:
        inner: The model. Its fields count, its ``model_kwargs``, and the ``extra_body`` of either.
        kwargs: The keywords of the call.
    """
    settings: dict[str, Any] = {}
    for given in _given(inner, kwargs):
        body = given.get("extra_body")
        settings |= body if isinstance(body, Mapping) else {}
        settings |= {name: given[name] for name in _DECIDE & given.keys()}
    return settings


def sampling_settings(
    inner: BaseChatModel, stop: Sequence[str] | None, kwargs: Mapping[str, Any]
) -> dict[str, Any]:
    """Return what decides over the tokens of a call's answer: the model's own settings, the call's.

    Args:
        inner: The model.
        stop: Stop sequences of the call.
        kwargs: Its keywords.
    """
    return sampling_of(*_given(inner, kwargs), {"stop": stop})


def hard_limit(inner: BaseChatModel, kwargs: Mapping[str, Any], keyword: str) -> int | None:
    """Return the limit on output tokens that holds whatever a call's budget says, or None.

    That is the call's own, one in an ``extra_body``, which clients put over the rest, and the
    model's own where the provider is told of no budget.

    Args:
        inner: The model.
        kwargs: The keywords of the call.
        keyword: By which the provider is told of a budget; ``""`` for none.
    """
    fields, more, _ = given = _given(inner, kwargs)
    bodies = [one["extra_body"] for one in given if isinstance(one.get("extra_body"), Mapping)]
    limits = [take_limit(one, keyword or LIMITS[0])[0] for one in (kwargs, *bodies[-1:])]
    if not keyword:
        limits += [take_limit(one)[0] for one in (fields, more)]
    return min((one for one in limits if one is not None), default=None)


def _given(inner: BaseChatModel, kwargs: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Where settings stand, later ones before earlier ones: fields, ``model_kwargs``, keywords."""
    fields = {name: getattr(inner, name) for name in type(inner).model_fields}
    more = fields.get("model_kwargs")
    return [fields, more if isinstance(more, Mapping) else {}, kwargs]


def take_limit(
    settings: Mapping[str, Any], keyword: str = LIMITS[0]
) -> tuple[int | None, dict[str, Any]]:
    """Take the limit on output tokens out of keywords, without changing the caller's own.

    Args:
        settings: The keywords.
        keyword: One more name for the limit, with dots where it stands inside dictionaries.

    Returns:
        The least limit, tokens, and the other keywords. None where there is no limit: providers
        take numbers below 1 for "unlimited".
    """
    found: list[int] = []
    rest = dict(settings)
    for name in {keyword, *LIMITS}:
        value = _pop(rest, name)
        if isinstance(value, int) and not isinstance(value, bool) and value >= 1:
            found.append(value)
    return min(found, default=None), rest


@dataclass(frozen=True, slots=True)
class InnerCalls:
    """Makes the calls of one request, and notes in ``reply`` what is not text.

    The inner model is called below its callbacks: the outer run is the one that is traced. Its rate
    limiter is asked here from the second call on; LangChain asks it before the first.

    Args:
        inner: The model.
        provider: How it takes what the session asks for.
        resample_kwargs: Keywords for calls whose greedy answer would only fail again.
        rate_limiter: Asked before every call but the first.
        messages: As the caller gave them.
        stop: Stop sequences.
        kwargs: Keywords of the caller's call.
        settings: What decides over the form of the answer, see :func:`settings_of`.
        usage: Remembers whether the server may be asked for its usage.
        streams: Whether the inner model streams. If not, its answer is one step.
        timeout: Read time-out where the session sets none, seconds, or None.
        reply: Takes metadata, usage and tool calls.
    """

    inner: BaseChatModel
    provider: Provider
    resample_kwargs: Mapping[str, Any]
    rate_limiter: BaseRateLimiter | None
    messages: list[BaseMessage]
    stop: list[str] | None
    kwargs: Mapping[str, Any]
    settings: Mapping[str, Any]
    usage: UsageQuestion
    streams: bool
    timeout: float | None
    reply: Reply

    def told(self, completion: Completion) -> Completion:
        """Return what came of the request, with estimates where the provider told nothing."""
        return with_estimates(
            completion,
            lambda: count_prompt(self.messages, self.settings),
            budgeted=not offers_tools(self.settings),
        )

    def make(self, call: Call) -> Generator[Step, None, None]:
        """Make one call; closing the generator hangs up."""
        limiter = self.rate_limiter
        if limiter is not None and call.attempt > 1:
            limiter.acquire(blocking=True)
        self.reply.begin(call)
        messages, kwargs = self._sent(call), self._keywords(call)
        if self.streams:
            with closing(self._stream(messages, kwargs)) as chunks:
                for chunk in chunks:
                    yield from self.reply.take(chunk)
        else:
            result = self.inner._generate(messages, stop=self.stop, **kwargs)
            yield from self.reply.take_result(result, call)
        yield from self.reply.end()

    async def amake(self, call: Call) -> AsyncGenerator[Step, None]:
        """Make one call, for async drivers."""
        limiter = self.rate_limiter
        if limiter is not None and call.attempt > 1:
            await limiter.aacquire(blocking=True)
        self.reply.begin(call)
        messages, kwargs = self._sent(call), self._keywords(call)
        if self.streams:
            async with _aheld(self._astream(messages, kwargs)) as chunks:
                async for chunk in chunks:
                    for step in self.reply.take(chunk):
                        yield step
        else:
            result = await self.inner._agenerate(messages, stop=self.stop, **kwargs)
            for step in self.reply.take_result(result, call):
                yield step
        for step in self.reply.end():
            yield step

    def _stream(
        self, messages: list[BaseMessage], kwargs: dict[str, Any]
    ) -> Generator[ChatGenerationChunk, None, None]:
        """Stream a call; once more without the question for usage, where the server refuses."""
        for extra in self._questions(kwargs):
            begun = False
            try:
                stream = self.inner._stream(messages, stop=self.stop, **kwargs, **extra)
                with _held(stream) as chunks:
                    for chunk in chunks:
                        begun = True
                        yield chunk
            except Exception as error:
                if begun or not extra or not is_refusal(error):
                    raise
                self.usage.refused_by = self.inner
            else:
                return

    async def _astream(
        self, messages: list[BaseMessage], kwargs: dict[str, Any]
    ) -> AsyncGenerator[ChatGenerationChunk, None]:
        """Stream a call as ``_stream`` does, for async drivers."""
        for extra in self._questions(kwargs):
            begun = False
            try:
                stream = self.inner._astream(messages, stop=self.stop, **kwargs, **extra)
                async with _aheld(stream) as chunks:
                    async for chunk in chunks:
                        begun = True
                        yield chunk
            except Exception as error:
                if begun or not extra or not is_refusal(error):
                    raise
                self.usage.refused_by = self.inner
            else:
                return

    def _questions(self, kwargs: Mapping[str, Any]) -> list[dict[str, Any]]:
        """What to add to a call, and then to the same call if the server refuses it."""
        asks = self.usage.is_asked(self.inner, kwargs)
        return [{"stream_usage": True}, {}] if asks else [{}]

    def pass_on(self) -> Generator[ChatGenerationChunk, None, None]:
        """Stream the caller's own call as it is."""
        if self.streams:
            stream = self.inner._stream(self.messages, stop=self.stop, **self.kwargs)
            with _held(stream) as chunks:
                yield from chunks
        else:
            result = self.inner._generate(self.messages, stop=self.stop, **self.kwargs)
            yield to_whole_chunk(result)

    async def apass_on(self) -> AsyncGenerator[ChatGenerationChunk, None]:
        """Stream the caller's own call as it is, for async callers."""
        if self.streams:
            stream = self.inner._astream(self.messages, stop=self.stop, **self.kwargs)
            async with _aheld(stream) as chunks:
                async for chunk in chunks:
                    yield chunk
        else:
            result = await self.inner._agenerate(self.messages, stop=self.stop, **self.kwargs)
            yield to_whole_chunk(result)

    def _sent(self, call: Call) -> list[BaseMessage]:
        return to_messages(self.messages, call, prefill=self.provider.prefill)

    def _keywords(self, call: Call) -> dict[str, Any]:
        """The caller's keywords, with those of this call over them."""
        provider = self.provider
        kwargs = {key: value for key, value in self.kwargs.items() if key != "stream"}
        # Nobody could continue a tool call that a budget of ours has broken off.
        budget = None if offers_tools(self.settings) else call.max_tokens
        if budget is not None and provider.budget_keyword:
            _, kwargs = take_limit(kwargs, provider.budget_keyword)
            _put(kwargs, provider.budget_keyword, budget)
        timeout = self.timeout if call.timeout is None else call.timeout
        if timeout is not None and provider.timeout_keyword is not None:
            keyword = provider.timeout_keyword
            kwargs[keyword] = read_timeout(self.inner, kwargs, keyword, timeout)
        if call.prefill and provider.prefill:
            kwargs |= provider.prefill_kwargs
        if call.resample:
            kwargs |= self.resample_kwargs
            seed = kwargs.get("seed", getattr(self.inner, "seed", None))
            if isinstance(seed, int):  # a fixed seed would give the same answer again
                kwargs["seed"] = seed + call.attempt
        if call.greedy:
            kwargs |= greedily(*_given(self.inner, kwargs))
        return kwargs


def _pop(kwargs: dict[str, Any], keyword: str) -> Any:
    """Remove a keyword, inside dictionaries where it has dots; return what it held, or None."""
    name, _, rest = keyword.partition(".")
    if not rest:
        return kwargs.pop(name, None)
    if not isinstance(kwargs.get(name), Mapping):
        return None
    kwargs[name] = inner = dict(kwargs[name])
    return _pop(inner, rest)


def _put(kwargs: dict[str, Any], keyword: str, value: int) -> None:
    """Set a keyword, inside dictionaries where it has dots, without changing the caller's own."""
    name, _, rest = keyword.partition(".")
    if not rest:
        kwargs[name] = value
        return
    inner = dict(kwargs.get(name) or {})
    _put(inner, rest, value)
    kwargs[name] = inner


def _held(chunks: _Chunks) -> AbstractContextManager[_Chunks]:
    """Close a stream at the end, where it can be closed: not every provider's is a generator."""
    return closing(chunks) if isinstance(chunks, Generator) else nullcontext(chunks)


@asynccontextmanager
async def _aheld(chunks: _AsyncChunks) -> AsyncIterator[_AsyncChunks]:
    try:
        yield chunks
    finally:
        if isinstance(chunks, AsyncGenerator):
            await ahang_up(chunks)
