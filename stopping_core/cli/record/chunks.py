"""A stream's chunks, of either protocol, read into a reply.

Nothing need be as OpenAI's types have it. What is missing or null is taken as not told, and a
logprob that cannot be one as well; anything else that is of the wrong kind fails the call.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from reprlib import repr as short
from typing import Any

from stopping_core.cli.record.reply import Entry, Reply

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

_MOST = 2**31 - 1
"""Tokens: what a trace can hold."""

_ROUNDING = 1e-3
"""Nats: how far above 0 the logprob of a certain token may be told."""


def take(chunk: Any, reply: Reply) -> None:
    """Take a chunk.

    Raises:
        ValueError: A part of it is of the wrong kind; the message names it.
    """
    told = an_object(chunk, "a chunk")
    usage = _part(told, "usage")
    for name in ("prompt_tokens", "completion_tokens"):
        if (count := usage.get(name)) is not None:
            setattr(reply, name, _count(count, name))
    reply.system_fingerprint = _text(told, "system_fingerprint") or reply.system_fingerprint
    reply.model = _text(told, "model") or reply.model
    for one in items(told, "choices"):
        choice = an_object(one, "a choice")
        said = _part(choice, "delta")
        entries = list(_entries(_part(choice, "logprobs")))
        thought = _text(said, "reasoning_content") or _text(said, "reasoning")
        text = _text(choice, "text") or _text(said, "content")
        if thought:
            reply.take(thought, [] if text else entries, thinking=True)
        if text or (entries and not thought):
            reply.take(text, entries)
        reply.finish_reason = _text(choice, "finish_reason") or reply.finish_reason


def _entries(logprobs: Mapping[str, Any]) -> Iterator[Entry]:
    """Tokens as a chat tells them, and llama.cpp everywhere; or as completions do."""
    for one in items(logprobs, "content"):
        token = an_object(one, "a token")
        others = [an_object(other, "a likely token") for other in items(token, "top_logprobs")]
        top = [(_spelling(other), logprob(other.get("logprob"))) for other in others]
        yield _entry(token, token.get("logprob"), top)
    tokens = items(logprobs, "tokens")
    columns = []
    for name in ("token_logprobs", "top_logprobs"):
        column = items(logprobs, name) or [None] * len(tokens)
        if len(column) != len(tokens):
            raise ValueError(
                f"{name} must be as many as the tokens, {len(tokens)}: {short(column)}"
            )
        columns.append(column)
    for text, number, likely in zip(tokens, *columns, strict=True):
        pairs = {} if likely is None else an_object(likely, "top_logprobs")
        top = [(_spelling({"token": other}), logprob(value)) for other, value in pairs.items()]
        yield _entry({"token": text}, number, top)


def _entry(token: Mapping[str, Any], number: Any, top: list[tuple[bytes, float]]) -> Entry:
    known = tuple((spelling, value) for spelling, value in top if not math.isnan(value))
    return Entry(_spelling(token), logprob(number), known)


def _spelling(told: Mapping[str, Any]) -> bytes:
    """The bytes of a token, none for one that ends the text."""
    text = _text(told, "token")
    if text in _END_MARKS:
        return b""
    if told.get("bytes") is None:
        return text.encode()
    spelt = items(told, "bytes")
    if not all(isinstance(byte, int) and 0 <= byte < 256 for byte in spelt):
        raise ValueError(f"bytes must be in [0, 255], got {short(spelt)}")
    return bytes(spelt)


def logprob(value: Any) -> float:
    """A log-probability, nats; NaN for what cannot be one."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return math.nan
    return min(float(value), 0.0) if -1e30 < value <= _ROUNDING else math.nan  # as a float32


def _count(value: Any, name: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= _MOST:
        raise ValueError(f"{name} must be an integer in [0, {_MOST}], got {short(value)}")
    return value


def an_object(value: Any, name: str) -> Mapping[str, Any]:
    """Return a JSON object, or say by its name that it is none."""
    if not isinstance(value, Mapping):
        raise ValueError(f"{name} must be an object, got {short(value)}")
    return value


def items(holder: Mapping[str, Any], name: str) -> list[Any]:
    """A list that an object holds, empty where it holds none."""
    value = holder.get(name)
    if not isinstance(value, list | None):
        raise ValueError(f"{name} must be a list, got {short(value)}")
    return value or []


def _part(holder: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = holder.get(name)
    return {} if value is None else an_object(value, name)


def _text(holder: Mapping[str, Any], name: str) -> str:
    """A text that can be stored: JSON may hold halves of characters."""
    value = holder.get(name)
    if not isinstance(value, str | None):
        raise ValueError(f"{name} must be a text, got {short(value)}")
    return (value or "").encode("utf-8", "replace").decode()
