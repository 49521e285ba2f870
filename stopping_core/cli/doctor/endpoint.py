"""An endpoint under examination: asked with a bound in time, timed, and believed nothing."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

import httpx
from openai import APIError, APIStatusError, AsyncOpenAI, AsyncStream, OpenAIError
from openai.resources.chat.completions import AsyncCompletions

Messages = Sequence[Mapping[str, str]]

_SPARE = 32
_STALLS = 2
_SHOWN = 160
_UNMASKED = ("", "none")
"""Stand-ins for a key where none is needed: words that may appear in any text."""


class Unreachable(ConnectionError):
    """There is nothing to measure: the endpoint is down, refuses the key or knows no such model."""


class Stalled(Exception):
    """The endpoint stalled so often that nothing more is asked of it."""


@dataclass(slots=True)
class Reply:
    """What came of one call; filled in while it arrives, so that nothing is lost if it breaks off.

    Args:
        text: The answer, without reasoning.
        events: Events of the stream, whatever they brought; 0 where it is none.
        chunks: Chunks that brought text or reasoning.
        counted: Tokens by our count: log-probabilities where they came, else chunks.
        usage: Tokens by the provider's count, or None.
        finish_reason: As the provider said it, or None.
        top_logprobs: Alternatives given for one token, at most. None without log-probabilities.
        first: Seconds from the call to the first chunk with text, or None.
        last: Seconds from the call to the last chunk with text.
        cut: Seconds from the decision to hang up until the caller had control again. None where
            the answer ended before.
        error: Why the call failed, ready to be shown. Empty if it did not.
        status: HTTP status of the failure. None where there was none.
        stalled: Whether the call ran into its time limit.
    """

    text: str = ""
    events: int = 0
    chunks: int = 0
    counted: int = 0
    usage: int | None = None
    finish_reason: str | None = None
    top_logprobs: int | None = None
    first: float | None = None
    last: float = 0.0
    cut: float | None = None
    error: str = ""
    status: int | None = None
    stalled: bool = False

    @property
    def tokens(self) -> int:
        """Tokens of the answer, reasoning included: the provider's count, or else ours."""
        return self.counted if self.usage is None else self.usage

    @property
    def silent(self) -> bool:
        """Whether it ended without a failure and without a word."""
        return not self.error and not self.chunks

    @property
    def answered(self) -> bool:
        """Whether anything of an answer came, were it only its end."""
        return bool(not self.error and (self.events or self.chunks or self.finish_reason))


@dataclass(slots=True)
class Endpoint:
    """A model behind an OpenAI-compatible API, and what is known of it so far.

    Args:
        base_url: As OpenAI's client takes it.
        model: The model's name there.
        api_key: Sent with every call, shown nowhere.
        timeout: Seconds that one call may take, > 0.
        streams: Whether calls ask for a stream.
        budget_keyword: Keyword by which the limit on tokens is sent.
        sampling: Keywords of every call.
        token_seconds: Seconds a token, once measured.
        chunk_tokens: Tokens a chunk, once measured.
        headroom: Tokens to be added to a budget, for a model that thinks in silence before it
            answers.

    Raises:
        ValueError: An argument is not what it should be.
    """

    base_url: str
    model: str
    api_key: str = field(repr=False)
    timeout: float
    streams: bool = True
    budget_keyword: str = "max_tokens"
    sampling: Mapping[str, Any] = field(default_factory=lambda: {"temperature": 0})
    token_seconds: float = 0.05
    chunk_tokens: int = 1
    headroom: int = 0
    _client: AsyncOpenAI = field(init=False, repr=False)
    _completions: AsyncCompletions = field(init=False, repr=False)
    _pages: httpx.AsyncClient = field(init=False, repr=False)
    _stalls: int = field(init=False, default=0)

    def __post_init__(self) -> None:
        self.api_key = self.api_key.strip()
        if not (self.api_key.isascii() and self.api_key.isprintable()):
            raise ValueError("--api-key must be printable ASCII; the key given is not")
        parts = urlsplit(self.base_url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"--base-url must be http(s)://HOST..., got {self.base_url}")
        if parts.username or parts.password or parts.query:
            raise ValueError("--base-url must hold no user name, password or query: use --api-key")
        if self.timeout <= 0:
            raise ValueError(f"--timeout must be > 0, got {self.timeout}")

    @property
    def has_key(self) -> bool:
        """Whether a key was given that is one."""
        return self.api_key not in _UNMASKED

    async def __aenter__(self) -> Self:
        key = self.api_key or "none"
        self._client = AsyncOpenAI(
            base_url=self.base_url, api_key=key, timeout=self.timeout, max_retries=0
        )
        self._completions = self._client.chat.completions  # its imports count in no time limit
        self._pages = httpx.AsyncClient(headers={"Authorization": f"Bearer {key}"}, timeout=5.0)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._client.close()
        await self._pages.aclose()

    async def ask(
        self, messages: Messages, budget: int, *, cut_after: int | None = None, **keywords: Any
    ) -> Reply:
        """Ask once, and say what came. A failure is part of the reply, and so is a stall.

        Args:
            messages: The prompt.
            budget: Limit on output tokens. A server that runs past it is hung up on.
            cut_after: Hang up after so many tokens.
            keywords: More keywords of the call.

        Raises:
            Stalled: Two calls have stalled before.
        """
        if self._stalls >= _STALLS:
            raise Stalled
        reply = Reply()
        request: dict[str, Any] = {
            "model": self.model,
            "messages": list(messages),
            self.budget_keyword: budget,
            **self.sampling,
            **keywords,
        }
        if self.streams:
            request["stream"] = True
        try:
            async with asyncio.timeout(self.timeout):
                await self._read(request, reply, cut_after or 2 * budget + _SPARE)
        except TimeoutError:
            reply.stalled = True
            reply.error = f"nothing more within {self.timeout:g} s"
            self._stalls += 1
        except APIStatusError as error:
            reply.status = error.status_code
            reply.error = f"{error.status_code}: {self.shown(_message(error))}"
        except (OpenAIError, httpx.HTTPError, ValueError) as error:
            reply.error = self.shown(f"{type(error).__name__}: {error}")
        return reply

    async def page(self, path: str) -> str | None:
        """Read a page beside the API, at its address or a level above. None where there is none."""
        root = self.base_url.rstrip("/")
        for address in dict.fromkeys((root.removesuffix("/v1"), root)):
            try:
                async with asyncio.timeout(self.timeout):
                    answer = await self._pages.get(f"{address}{path}")
            except (TimeoutError, httpx.HTTPError):
                continue
            if answer.status_code == httpx.codes.OK:
                return answer.text
        return None

    async def models(self) -> list[str]:
        """Names of the models that the endpoint lists; empty where it lists none."""
        try:
            async with asyncio.timeout(self.timeout):
                listed = await self._client.models.list()
        except (TimeoutError, OpenAIError, httpx.HTTPError, ValueError):
            return []
        return [str(entry.id) for entry in listed.data or () if getattr(entry, "id", None)]

    def shown(self, text: str) -> str:
        r"""Make foreign text fit to be shown: one short line, no control characters, no key.

        Examples:
            >>> Endpoint("http://x", "m", "sk-1234", timeout=1).shown("bad key sk-1234\n")
            'bad key ***'
        """
        if self.has_key:
            text = text.replace(self.api_key, "***")
        plain = "".join(c if c.isprintable() else " " for c in text)
        plain = " ".join(plain.split())
        return plain if len(plain) <= _SHOWN else f"{plain[:_SHOWN]} ..."

    async def _read(self, request: Mapping[str, Any], reply: Reply, cut_after: int) -> None:
        start = time.perf_counter()
        answer: Any = await self._completions.create(**request)
        if not isinstance(answer, AsyncStream):
            _take(answer, reply, time.perf_counter() - start)
            return
        async with answer:
            async for chunk in answer:
                reply.events += 1
                _take(chunk, reply, time.perf_counter() - start)
                if reply.counted >= cut_after:
                    decided = time.perf_counter()
                    await answer.close()
                    reply.cut = time.perf_counter() - decided
                    return


def _take(chunk: Any, reply: Reply, seconds: float) -> None:
    """Add a chunk, or a whole answer, of which nothing need be as OpenAI's types have it."""
    used = getattr(getattr(chunk, "usage", None), "completion_tokens", None)
    if isinstance(used, int):
        reply.usage = used
    for choice in getattr(chunk, "choices", None) or ():
        said = getattr(choice, "delta", None) or getattr(choice, "message", None)
        answer, *thoughts = (
            text if isinstance(text := getattr(said, name, None), str) else ""
            for name in ("content", "reasoning_content", "reasoning")
        )
        reply.text += answer
        reason = getattr(choice, "finish_reason", None)
        if isinstance(reason, str):
            reply.finish_reason = reason
        entries = getattr(getattr(choice, "logprobs", None), "content", None) or ()
        if entries:
            tops = (len(getattr(entry, "top_logprobs", None) or ()) for entry in entries)
            reply.top_logprobs = max(reply.top_logprobs or 0, *tops)
        if answer or any(thoughts):
            reply.chunks += 1
            reply.first = seconds if reply.first is None else reply.first
            reply.last = seconds
        reply.counted += len(entries) or int(bool(answer or any(thoughts)))


def _message(error: APIError) -> str:
    """What the server itself says of a failure, where it says anything."""
    body = error.body
    for name in ("message", "detail", "error"):
        if isinstance(body, Mapping) and isinstance(body.get(name), str):
            return str(body[name])
    return error.message
