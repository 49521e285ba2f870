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

from langchain_stopping.messages import to_messages, to_whole_chunk
from langchain_stopping.reply import Reply
from stopping_core import Call, Step

LIMITS = ("max_tokens", "max_completion_tokens", "max_output_tokens", "max_new_tokens")
"""Keywords by which callers limit the output of one call."""

_OWN_FORM = frozenset(
    {
        "format",
        "functions",
        "output_config",
        "output_format",
        "response_format",
        "response_json_schema",
        "response_mime_type",
        "response_schema",
        "tools",
    }
)
_Chunks: TypeAlias = Iterator[ChatGenerationChunk]
_AsyncChunks: TypeAlias = AsyncIterator[ChatGenerationChunk]


def has_own_form(settings: Mapping[str, Any]) -> bool:
    """Whether a call is bound to tools, to the provider's structured output, or to several answers.

    Their form is the provider's affair: half a tool call is of no use to anybody.
    """
    return any(settings.get(key) for key in _OWN_FORM) or (settings.get("n") or 1) > 1


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
class Settings:
    """How the inner model takes a budget, a prefix and a second try; see AdaptiveChatModel."""

    prefill: bool
    prefill_kwargs: Mapping[str, Any]
    budget_keyword: str
    resample_kwargs: Mapping[str, Any]
    rate_limiter: BaseRateLimiter | None


@dataclass(frozen=True, slots=True)
class InnerCalls:
    """Makes the calls of one request, and notes in ``reply`` what is not text.

    The inner model is called below its callbacks: the outer run is the one that is traced. Its rate
    limiter is asked here from the second call on; LangChain asks it before the first.

    Args:
        inner: The model.
        settings: How it takes what the session asks for.
        messages: As the caller gave them.
        stop: Stop sequences.
        kwargs: Keywords of the caller's call.
        streams: Whether the inner model streams. If not, its answer is one step.
        reply: Takes metadata, usage and tool calls.
    """

    inner: BaseChatModel
    settings: Settings
    messages: list[BaseMessage]
    stop: list[str] | None
    kwargs: Mapping[str, Any]
    streams: bool
    reply: Reply

    def make(self, call: Call) -> Generator[Step, None, None]:
        """Make one call; closing the generator hangs up."""
        limiter = self.settings.rate_limiter
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
        limiter = self.settings.rate_limiter
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
        return to_messages(self.messages, call, prefill=self.settings.prefill)

    def _keywords(self, call: Call) -> dict[str, Any]:
        """The caller's keywords, with those of this call over them."""
        kwargs = {key: value for key, value in self.kwargs.items() if key != "stream"}
        if self.streams and _hides_usage(self.inner, kwargs):
            kwargs["stream_usage"] = True
        if call.max_tokens is not None:
            _, kwargs = take_limit(kwargs, self.settings.budget_keyword)
            _put(kwargs, self.settings.budget_keyword, call.max_tokens)
        if call.prefill and self.settings.prefill:
            kwargs |= self.settings.prefill_kwargs
        if call.resample:
            kwargs |= self.settings.resample_kwargs
            seed = kwargs.get("seed", getattr(self.inner, "seed", None))
            if isinstance(seed, int):  # a fixed seed would give the same answer again
                kwargs["seed"] = seed + call.attempt
        return kwargs


def _hides_usage(inner: BaseChatModel, kwargs: Mapping[str, Any]) -> bool:
    """Whether the inner model would stream no usage, only because nobody has asked it to.

    So does a ChatOpenAI with a ``base_url``; called without streaming it reports its usage.
    """
    setting = getattr(inner, "stream_usage", None)
    refused = setting is False and "stream_usage" in inner.model_fields_set
    if "stream_usage" not in type(inner).model_fields or setting or refused:
        return False
    own: Mapping[str, Any] = getattr(inner, "model_kwargs", None) or {}
    if any({"stream_usage", "stream_options"} & set(given) for given in (kwargs, own)):
        return False
    # OpenAI's Responses protocol always reports it, and does not know the keyword.
    responses = getattr(inner, "_use_responses_api", None)
    return responses is None or not responses({**kwargs, **own})


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
