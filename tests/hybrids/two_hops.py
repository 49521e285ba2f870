"""A question whose answer takes two retrievals, and a server that knows what it was shown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from stopping_core.testing import words
from tests.support.sse_server import Script

QUESTION = "Where was the director of Alpha born?"
ANSWER = "Ada Byron was born there. The answer is Riga."
MOST = 6
SETTLED = 3
"""Rounds until nothing moves: the director, the town, and the town again."""

_PASSAGES = {"Alpha": "Alpha was directed by Ada Byron.", "Byron": "Byron was born in Riga."}


def retrieve(query: str) -> list[str]:
    """Find the passages about what a query names."""
    return [passage for name, passage in _PASSAGES.items() if name in query]


def prompt(passages: Sequence[str]) -> str:
    """Ask the question over passages."""
    return "\n".join([*passages, QUESTION])


def reply(body: Mapping[str, Any]) -> Script:
    """Say as much as the passages of a call say."""
    shown = str(body["messages"])
    hop = "The director is Ada Byron, whose birthplace is not told."
    return Script(words(ANSWER if "Riga" in shown else hop))
