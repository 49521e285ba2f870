"""Calls to the inner model, as the core's session asks for them, and the keywords of such calls."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Generator, Iterator, Mapping
from contextlib import (
    AbstractAsyncContextManager,
    AbstractContextManager,
    aclosing,
    closing,
    nullcontext,
)
from dataclasses import dataclass
from typing import Any, TypeAlias

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import BaseMessage
from langchain_core.outputs import ChatGenerationChunk
from langchain_core.rate_limiters import BaseRateLimiter

from langchain_stopping.client import hides_usage, read_timeout
from langchain_stopping.messages import count_prompt, to_messages, to_whole_chunk
from langchain_stopping.reply import Reply, with_estimates
from stopping_core import Call, Completion, Step
from stopping_core.providers import LIMITS, Provider

_TOOLS = frozenset({"functions", "tools"})
_STRUCTURED = frozenset(
    {
        "format",
        "output_config",
        "output_format",
        "response_format",
        "response_json_schema",
        "response_mime_type",
        "response_schema",
    }
)
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
    return any(settings.get(key) for key in _STRUCTURED) or (settings.get("n") or 1) > 1


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
    streams: bool
    timeout: float | None
    reply: Reply

    def told(self, completion: Completion) -> Completion:
        """Return what came of the request, with estimates where the provider told nothing."""
        return with_estimates(
            completion,
            lambda: count_prompt(self.messages, self.kwargs),
            budgeted=not offers_tools(self.kwargs),
        )

    def make(self, call: Call) -> Generator[Step, None, None]:
        """Make one call; closing the generator hangs up."""
        limiter = self.rate_limiter
        if limiter is not None and call.attempt > 1:
            limiter.acquire(blocking=True)
        self.reply.begin(call)
        messages, kwargs = self._sent(call), self._keywords(call)
        if self.streams:
            with _held(self.inner._stream(messages, stop=self.stop, **kwargs)) as chunks:
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
            stream = self.inner._astream(messages, stop=self.stop, **kwargs)
            async with _aheld(stream) as chunks:
                async for chunk in chunks:
                    for step in self.reply.take(chunk):
                        yield step
        else:
            result = await self.inner._agenerate(messages, stop=self.stop, **kwargs)
            for step in self.reply.take_result(result, call):
                yield step
        for step in self.reply.end():
            yield step

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
        if self.streams and hides_usage(self.inner, kwargs):
            kwargs["stream_usage"] = True
        # Nobody could continue a tool call that a budget of ours has broken off.
        budget = None if offers_tools(kwargs) else call.max_tokens
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


def _aheld(chunks: _AsyncChunks) -> AbstractAsyncContextManager[_AsyncChunks]:
    return aclosing(chunks) if isinstance(chunks, AsyncGenerator) else nullcontext(chunks)
