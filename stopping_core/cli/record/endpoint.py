"""One call to an OpenAI-compatible endpoint, and all that its stream says of every token."""

from __future__ import annotations

import codecs
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from openai import AsyncOpenAI, BadRequestError

Prompt: TypeAlias = str | list[dict[str, str]]
"""A text as it is, or the messages of a chat."""

_END_MARKS = frozenset(
    {
        "</s>",
        "<eos>",
        "<|end_of_text|>",
        "<|endoftext|>",
        "<|eot_id|>",
        "<|im_end|>",
        "<|end|>",
        "<end_of_turn>",
    }
)
"""How servers spell tokens that end a text, where they spell them at all: llama.cpp gives them no
text and no bytes."""


class Entry(NamedTuple):
    """A token as the endpoint tells it.

    Args:
        spelling: Its bytes; empty for one that ends the text.
        logprob: Nats, NaN where it is not told.
        top: The most likely tokens there, each with its logprob.
    """

    spelling: bytes
    logprob: float
    top: tuple[tuple[bytes, float], ...]


@dataclass(slots=True)
class Reply:
    """A stream as it was taken in, a value a token.

    Args:
        start: When the call was made, by ``time.perf_counter``.
    """

    start: float
    tokens: list[str] = field(default_factory=list)
    entries: list[Entry | None] = field(default_factory=list)
    thinking: list[bool] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    finish_reason: str | None = None
    prompt_tokens: int | None = None
    system_fingerprint: str | None = None

    @property
    def told(self) -> bool:
        """Whether the endpoint told log-probabilities."""
        return any(entry is not None for entry in self.entries)

    def take(self, text: str, entries: Sequence[Entry], thinking: bool = False) -> None:
        """Take a piece of text with its tokens, as far as they were told.

        The text is what counts. Where the tokens do not spell it (a server may keep back a part of
        a character, and with it a token), it stands with the last of them.
        """
        spelt = [entry for entry in entries if entry.spelling]
        pieces = _decoded([entry.spelling for entry in spelt])
        if "".join(pieces) != text:
            pieces = [""] * (len(spelt) - 1) + [text] if text else [""] * len(spelt)
        now = time.perf_counter() - self.start
        for place, piece in enumerate(pieces):
            self.tokens.append(piece)
            self.entries.append(spelt[place] if spelt else None)
            self.thinking.append(thinking)
            self.seconds.append(now)

    def columns(self, top: int, told: bool) -> dict[str, Any]:
        """The values of a run: NaN where a token has none, None where nothing was told.

        Entropy is left out: of the most likely tokens alone it cannot be known.

        Args:
            top: How many of the largest logprobs were asked for.
            told: Whether this endpoint tells log-probabilities.
        """
        logprobs = tops = margin = end = None
        if told:
            logprobs = np.full(len(self.tokens), np.nan, np.float32)
            tops = np.full((len(self.tokens), top), np.nan, np.float32)
            margin, end = logprobs.copy(), logprobs.copy()
            for place, entry in enumerate(self.entries):
                if entry is None:
                    continue
                logprobs[place] = min(entry.logprob, 0.0)
                best = sorted((logprob for _, logprob in entry.top), reverse=True)[:top]
                tops[place, : len(best)] = best
                if len(best) > 1:
                    margin[place] = math.exp(best[0]) - math.exp(best[1])
                ends = [math.exp(logprob) for spelling, logprob in entry.top if not spelling]
                if ends:
                    end[place] = min(sum(ends), 1.0)
        return {
            "tokens": tuple(self.tokens),
            "finish_reason": self.finish_reason or "",
            "logprobs": logprobs,
            "top_logprobs": tops if top else None,
            "margin": margin if top > 1 else None,
            "end_probability": end if top else None,
            "seconds": np.array(self.seconds, np.float32),
            "reasoning": np.array(self.thinking, bool) if any(self.thinking) else None,
        }


class Endpoint:
    """Makes the calls; keeps to what the endpoint has refused before.

    Args:
        client: For one event loop.
        model: Its name there.
        top_logprobs: How many of the largest logprobs to ask for.
    """

    def __init__(self, client: AsyncOpenAI, model: str, top_logprobs: int) -> None:
        self._client = client
        self._model = model
        self._top = top_logprobs
        self._budget_keyword = "max_tokens"
        self._usage = True

    async def ask(
        self, prompt: Prompt, max_tokens: int, temperature: float = 0.0, seed: int = 0
    ) -> Reply:
        """Ask once, a chat for messages and a completion for a text.

        Raises:
            OpenAIError: The endpoint refused, or broke off.
            ConnectionError: The stream ended without a word on why the model did.
        """
        while True:
            request: dict[str, Any] = {
                "model": self._model,
                "stream": True,
                self._budget_keyword: max_tokens,
                "temperature": temperature,
            }
            if temperature:
                request["seed"] = seed
            if self._usage:
                request["stream_options"] = {"include_usage": True}
            try:
                return await self._read(prompt, request)
            except BadRequestError as error:
                if self._usage and "stream_options" in str(error):
                    self._usage = False
                elif request.get("max_tokens") and "max_completion_tokens" in str(error):
                    self._budget_keyword = "max_completion_tokens"
                else:
                    raise

    async def _read(self, prompt: Prompt, request: dict[str, Any]) -> Reply:
        reply = Reply(time.perf_counter())
        create: Any  # the client's overloads know no request that is put together
        if isinstance(prompt, str):
            create = self._client.completions.create
            request |= {"prompt": prompt, "logprobs": self._top}
        else:
            create = self._client.chat.completions.create
            tops = {"top_logprobs": self._top} if self._top else {}
            request |= {"messages": prompt, "logprobs": True, **tops}
        stream = await create(**request)
        async with stream:
            async for chunk in stream:
                _take(chunk.model_dump(), reply)
        if reply.finish_reason is None:
            raise ConnectionError("the stream ended without a finish reason")
        return reply


def _take(chunk: dict[str, Any], reply: Reply) -> None:
    """Take a chunk of either protocol, of which nothing need be as OpenAI's types have it."""
    usage = chunk.get("usage") or {}
    if isinstance(count := usage.get("prompt_tokens"), int):
        reply.prompt_tokens = count
    if isinstance(named := chunk.get("system_fingerprint"), str):
        reply.system_fingerprint = named
    for choice in chunk.get("choices") or ():
        said = choice.get("delta") or {}
        entries = list(_entries(choice.get("logprobs") or {}))
        thought = _text(said.get("reasoning_content") or said.get("reasoning"))
        text = _text(choice.get("text") or said.get("content"))
        if thought:
            reply.take(thought, [] if text else entries, thinking=True)
        if text or (entries and not thought):
            reply.take(text, entries)
        if isinstance(reason := choice.get("finish_reason"), str):
            reply.finish_reason = reason


def _entries(logprobs: Mapping[str, Any]) -> Iterator[Entry]:
    """Tokens as a chat tells them, and llama.cpp everywhere; or as completions do."""
    for one in logprobs.get("content") or ():
        top = [(_spelling(other), _number(other)) for other in one.get("top_logprobs") or ()]
        yield Entry(_spelling(one), _number(one), tuple(top))
    tokens = logprobs.get("tokens") or ()
    numbers = logprobs.get("token_logprobs") or [None] * len(tokens)
    tops = logprobs.get("top_logprobs") or [None] * len(tokens)
    for token, number, others in zip(tokens, numbers, tops, strict=False):
        pairs = [
            (_spelling({"token": other}), _number({"logprob": logprob}))
            for other, logprob in (others or {}).items()
        ]
        yield Entry(_spelling({"token": token}), _number({"logprob": number}), tuple(pairs))


def _spelling(told: Mapping[str, Any]) -> bytes:
    """The bytes of a token, none for one that ends the text."""
    text = _text(told.get("token"))
    if text in _END_MARKS:
        return b""
    spelt = told.get("bytes")
    return bytes(spelt) if isinstance(spelt, list) else text.encode()


def _number(told: Mapping[str, Any]) -> float:
    value = told.get("logprob")
    return float(value) if isinstance(value, int | float) else math.nan


def _text(value: Any) -> str:
    """A text that can be stored: JSON may hold halves of characters."""
    return value.encode("utf-8", "replace").decode() if isinstance(value, str) else ""


def _decoded(spellings: Sequence[bytes]) -> list[str]:
    """The text of each token; a character stands with the token that ends it."""
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    return [
        decoder.decode(spelling, final=place == len(spellings) - 1)
        for place, spelling in enumerate(spellings)
    ]
