"""What a scripted server says in one call and how it misbehaves: the events, without a socket."""

from __future__ import annotations

import json
import math
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeAlias

MODEL = "scripted"
PROMPT_TOKENS = 10
FIRST_BYTE = -1
"""Where a fault stands that comes before anything is sent, the HTTP status included."""


@dataclass(frozen=True, slots=True)
class Stall:
    """Say nothing for so many seconds, the connection open; for ever by default."""

    seconds: float = math.inf


@dataclass(frozen=True, slots=True)
class Drop:
    """Break the connection in the middle of the stream.

    Args:
        reset: By a TCP reset and not by an orderly close.
        inside_character: After the first byte of the next token's first character that is not
            ASCII; the token is sent up to there and does not count.
    """

    reset: bool = False
    inside_character: bool = False


@dataclass(frozen=True, slots=True)
class Say:
    """Send an event out of turn, and go on.

    Args:
        data: Bytes as they are; or JSON, to which what all chunks hold is added, save where it is
            an ``error``.
    """

    data: Mapping[str, Any] | bytes


Fault: TypeAlias = Stall | Drop | Say


@dataclass(frozen=True, slots=True)
class Script:
    """What the server says in one call.

    Args:
        tokens: The answer, one stream chunk a token.
        finish_reason: Said after the last token; ``length`` where ``max_tokens`` cut it short. None
            leaves it out.
        reasoning: Tokens sent as ``reasoning_content`` before the answer.
        logprobs: One logprob a token, sent where the client asks for them. None sends none.
        tool: Name of a function; the tokens are then the arguments of a call to it.
        per_chunk: Tokens in one stream chunk, >= 1.
        status: HTTP status; other than 200 the call fails with it before the first token.
        headers: Sent with the status, as ``Retry-After`` is.
        drop_after: Break the connection after so many tokens: a ``Drop()`` among the faults.
        faults: What goes wrong, by the number of tokens sent before, reasoning included; or before
            ``FIRST_BYTE``.
        split: Write each token that is not ASCII in two pieces, cut inside a character.
        done: Whether a stream ends with ``[DONE]``.
        deaf: Generate and count to the end, whatever the client does: a server that does not watch
            its connections.
    """

    tokens: Sequence[str] = ()
    finish_reason: str | None = "stop"
    reasoning: Sequence[str] = ()
    logprobs: Sequence[float] | None = None
    tool: str = ""
    per_chunk: int = 1
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    drop_after: int | None = None
    faults: Mapping[int, Fault] = field(default_factory=dict)
    split: bool = False
    done: bool = True
    deaf: bool = False


Scripts: TypeAlias = Sequence[Script | Sequence[str]] | Callable[[Mapping[str, Any]], Script]


def patient(tokens: Sequence[str], heard: int) -> Script:
    """A script that waits a while after some tokens, so that a hang-up comes in time.

    On a slow machine the server would else win a race that the test is not about.

    Args:
        tokens: The answer.
        heard: Tokens by which the client has hung up.
    """
    return Script(tokens, faults={heard: Stall(0.4)})


@dataclass(slots=True)
class ServedCall:
    """What became of one call: its JSON body, the tokens written, how it ended.

    ``port`` is the client's; ``at`` is when it came, seconds of ``time.monotonic``.
    """

    body: dict[str, Any]
    path: str
    headers: dict[str, str]
    port: int
    sent: int = 0
    disconnected: bool = False
    done: threading.Event = field(default_factory=threading.Event)
    at: float = field(default_factory=time.monotonic)

    @property
    def chat(self) -> bool:
        """Whether it came over ``/chat/completions``."""
        return self.path.endswith("/chat/completions")


class Event(NamedTuple):
    """One event of a stream: the pieces in which it is written, and the tokens that it brings."""

    pieces: tuple[bytes, ...]
    tokens: int = 0


def events(call: ServedCall, script: Script) -> Iterator[Event | Stall | Drop]:
    """Yield what a stream sends, and what goes wrong in it, in order.

    Whoever sends it adds the tokens of each event to ``call.sent`` before asking for the next.
    """
    faults = _Faults(script)
    if call.chat:
        yield _event(_chunk(call, {"role": "assistant", "content": ""}))
    for channel, tokens, logprobs in _chunks(call, script):
        delta = _delta(script, channel, "".join(tokens), first=call.sent == 0)
        chunk = _chunk(call, delta, logprobs=_logprobs(call, tokens, logprobs))
        event = _event(chunk, len(tokens), split=script.split)
        yield from faults.due(call, event)
        yield event
    yield from faults.due(call)
    if script.finish_reason is not None:
        yield _event(_chunk(call, {}, finish_reason=_finish(call, script)))
    if (call.body.get("stream_options") or {}).get("include_usage"):
        yield _event({**_chunk(call, {}), "choices": [], "usage": _usage(call)})
    if script.done:
        yield _event(b"[DONE]")


def whole(call: ServedCall, script: Script) -> dict[str, Any]:
    """Return the answer of a call that does not stream."""
    content = {"answer": "", "reasoning": ""}
    for channel, tokens, _ in _chunks(call, script):
        content[channel] += "".join(tokens)
    message: dict[str, Any] = {"role": "assistant", "content": content["answer"]}
    if content["reasoning"]:
        message["reasoning_content"] = content["reasoning"]
    if script.tool:
        delta = _delta(script, "answer", content["answer"], first=True)
        message = {"role": "assistant", "content": None, **delta}
    choice: dict[str, Any] = {"index": 0, "finish_reason": _finish(call, script)}
    choice |= {"message": message} if call.chat else {"text": content["answer"]}
    return {**_chunk(call, {}), "choices": [choice], "usage": _usage(call)}


class _Faults:
    """Hands out a script's faults, each once, when its number of tokens has been sent."""

    def __init__(self, script: Script) -> None:
        faults: dict[int, Fault] = {at: fault for at, fault in script.faults.items() if at >= 0}
        if script.drop_after is not None:
            faults[script.drop_after] = Drop()
        self._left = sorted(faults.items(), key=lambda item: item[0])

    def due(self, call: ServedCall, coming: Event | None = None) -> Iterator[Event | Stall | Drop]:
        while self._left and call.sent >= self._left[0][0]:
            _, fault = self._left.pop(0)
            if isinstance(fault, Say):
                yield _said(call, fault.data)
                continue
            if isinstance(fault, Drop) and fault.inside_character and coming is not None:
                data = b"".join(coming.pieces)
                yield Event((data[: _middle(data)],))
            yield fault


def _said(call: ServedCall, data: Mapping[str, Any] | bytes) -> Event:
    if isinstance(data, bytes) or "error" in data:
        return _event(data)
    return _event({**_chunk(call, {}), **data})


def _event(data: Mapping[str, Any] | bytes, tokens: int = 0, *, split: bool = False) -> Event:
    encoded = data if isinstance(data, bytes) else json.dumps(data, ensure_ascii=False).encode()
    line = b"data: " + encoded + b"\n\n"
    middle = _middle(line) if split else len(line)
    return Event(tuple(piece for piece in (line[:middle], line[middle:]) if piece), tokens)


def _middle(data: bytes) -> int:
    """How many bytes there are up to the first one that begins a longer character, and with it."""
    return next((n + 1 for n, byte in enumerate(data) if byte >= 0x80), len(data))


def _chunks(
    call: ServedCall, script: Script
) -> Iterator[tuple[str, list[str], list[float] | None]]:
    """The script in stream chunks, as far as the budget goes: channel, tokens, logprobs."""
    left = call.body.get("max_completion_tokens") or call.body.get("max_tokens")
    for channel, tokens in (("reasoning", script.reasoning), ("answer", script.tokens)):
        size = script.per_chunk
        for start in range(0, len(tokens), size):
            part = list(tokens[start : start + size])
            if left is not None:
                part = part[:left]
                left -= len(part)
            logprobs = script.logprobs if channel == "answer" else None
            if part:
                yield channel, part, list(logprobs[start : start + size]) if logprobs else None


def _finish(call: ServedCall, script: Script) -> str | None:
    whole = len(script.reasoning) + len(script.tokens)
    return script.finish_reason if call.sent >= whole else "length"


def _delta(script: Script, channel: str, text: str, *, first: bool) -> dict[str, Any]:
    if channel == "reasoning":
        return {"reasoning_content": text}
    if not script.tool:
        return {"content": text}
    named = {"id": "call_1", "type": "function"} if first else {}
    function = {"arguments": text, **({"name": script.tool} if first else {})}
    return {"tool_calls": [{"index": 0, **named, "function": function}]}


def _logprobs(
    call: ServedCall, tokens: Sequence[str], values: Sequence[float] | None
) -> dict[str, Any] | None:
    if values is None or not call.body.get("logprobs"):
        return None
    top = int(call.body.get("top_logprobs") or 0)
    if not call.chat:
        return {"tokens": list(tokens), "token_logprobs": list(values)}
    return {
        "content": [
            {
                "token": token,
                "logprob": value,
                "bytes": list(token.encode()),
                "top_logprobs": [
                    {"token": f"{token}{k}", "logprob": value - k, "bytes": None}
                    for k in range(top)
                ],
            }
            for token, value in zip(tokens, values, strict=True)
        ]
    }


def _chunk(
    call: ServedCall,
    delta: Mapping[str, Any],
    *,
    finish_reason: str | None = None,
    logprobs: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    choice: dict[str, Any] = {"index": 0, "finish_reason": finish_reason, "logprobs": logprobs}
    if not call.chat:
        kind, choice["text"] = "text_completion", delta.get("content", "")
    else:
        kind = "chat.completion.chunk" if call.body.get("stream") else "chat.completion"
        choice["delta"] = dict(delta)
    return {"id": "call-1", "object": kind, "created": 0, "model": MODEL, "choices": [choice]}


def _usage(call: ServedCall) -> dict[str, int]:
    return {
        "prompt_tokens": PROMPT_TOKENS,
        "completion_tokens": call.sent,
        "total_tokens": PROMPT_TOKENS + call.sent,
    }
