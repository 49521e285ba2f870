"""The table of faults, and a server that misbehaves in its first call and then serves the rest."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from email.utils import formatdate
from typing import Any

from stopping_core import AdaptiveStopping
from stopping_core.budgets import GeometricBudget
from stopping_core.policies import Never
from stopping_core.testing import words
from tests.support.sse_server import FIRST_BYTE, CountingServer, Drop, Fault, Say, Script, Stall

QUESTION = "Where is it?"
TEXT = "Zürich liegt am schönen Zürichsee in der Schweiz."
TOKENS = words(TEXT)
BROKEN = 3
"""Tokens before a fault in mid-stream; the next one holds a character of two bytes."""
PARTIAL = "".join(TOKENS[:BROKEN])
BOUND = 8.0
"""Seconds that no request may take, whatever the server does, on a busy machine."""

STOPPING = AdaptiveStopping(
    policy=Never(), budget=GeometricBudget(first=64), backoff=(0.0, 0.0), stall_seconds=0.6
)
PATIENT = STOPPING.replace(stall_seconds=BOUND)
"""For what must not be taken for a stall, on a busy machine."""


def _after(fault: Fault) -> Script:
    return Script(TOKENS, faults={BROKEN: fault})


def _error(message: str, kind: str, code: int | str) -> Say:
    return Say({"error": {"message": message, "type": kind, "param": None, "code": code}})


_END = {"index": 0, "delta": {}, "text": "", "finish_reason": "stop"}
_SOON = {"retry-after-ms": "50"}

HARMLESS = {
    "a short pause": _after(Stall(0.1)),
    "half a character in each write": Script(TOKENS, split=True),
    "an event without choices": _after(Say({"choices": []})),
    "the finish reason twice": Script(TOKENS, faults={len(TOKENS): Say({"choices": [_END]})}),
    "a finish reason but no [DONE]": Script(TOKENS, done=False),
}
"""What the first call gives all of the answer in spite of."""

BROKEN_OFF = {
    "silence after some tokens": _after(Stall()),
    "a closed connection": _after(Drop()),
    "a reset connection": _after(Drop(reset=True)),
    "a connection closed inside a character": _after(Drop(inside_character=True)),
    "an overload told in the stream": _after(_error("overloaded", "overloaded_error", 529)),
    "a server error told in the stream": _after(_error("failed", "server_error", "server_error")),
    "half a JSON event": _after(Say(b'{"id": "call-1", "choices": [{"del')),
}
"""What leaves the beginning of an answer, and an error that may pass."""

UNFINISHED = {
    "no finish reason": Script(TOKENS[:BROKEN], finish_reason=None),
    "neither finish reason nor [DONE]": Script(TOKENS[:BROKEN], finish_reason=None, done=False),
}
"""What leaves the beginning of an answer, and no error."""

ASKED_TO_GO_ON = ("silence after some tokens", "a reset connection", "no finish reason")
"""What is tried without prefill as well: to the continuation all that broke off is the same."""

EMPTY = {
    "silence before the first byte": Script(TOKENS, faults={FIRST_BYTE: Stall()}),
    "silence before the first token": Script(TOKENS, faults={0: Stall()}),
    "length with nothing said": Script(finish_reason="length"),
    "reasoning and no answer": Script(reasoning=["Hm", ", ", "well"], finish_reason="length"),
    "too many requests": Script(status=429, headers=_SOON),
    "a server error": Script(status=500, headers=_SOON),
}
"""What leaves nothing of an answer."""

FATAL = {
    "an error that will not pass": _after(
        _error("too long", "invalid_request_error", "context_length_exceeded")
    ),
}
"""What another call would only meet again."""


def in_seconds() -> str:
    """One form of Retry-After."""
    return "1"


def until_a_date() -> str:
    """The other: whole seconds, so that it is between one and two of them from now."""
    return formatdate(time.time() + 2, usegmt=True)


class ThenRight:
    """Scripts: the given ones in their order, then the rest of the answer.

    The rest begins where the request says that the answer stands, so that text which was lost or is
    asked for twice shows in the result.

    Args:
        first: What the server does before it serves well.
    """

    def __init__(self, *first: Script) -> None:
        self._first = list(first)

    def __call__(self, body: Mapping[str, Any]) -> Script:
        return self._first.pop(0) if self._first else Script(rest(body))


def rest(body: Mapping[str, Any]) -> list[str]:
    """The tokens that are still to be said, as far as the request knows of the others."""
    if "prompt" in body:
        said = body["prompt"].partition(QUESTION)[2]
    else:
        turns = [turn["content"] for turn in body["messages"] if turn["role"] == "assistant"]
        said = turns[-1].rpartition("</think>")[2].lstrip() if turns else ""
    return words(TEXT[len(said) :]) if TEXT.startswith(said) else [f"not my words: {said}"]


@contextmanager
def misbehaving(*first: Script) -> Iterator[CountingServer]:
    """Serve; in the end, hold the client to its time and to having closed its connections."""
    began = time.monotonic()
    with CountingServer(ThenRight(*first), delay=0.001, keep_alive=False) as server:
        yield server
        assert time.monotonic() - began < BOUND
        assert 0 == server.still_open()
