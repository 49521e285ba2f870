"""Hand-set configurations for the common use cases, for as long as there is no calibration.

None of them is certified: the savings are what the rules give, the loss is whatever it is on the
user's data. They differ in what they take for the end of an answer.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from stopping_core.budgets import GeometricBudget
from stopping_core.policies import LoopGuard, MinTokens, Policy, Threshold
from stopping_core.signals import AnswerPattern, JsonClosed, Paragraphs, Sentences
from stopping_core.types import Boundary

_ENDS = Boundary.SENTENCE | Boundary.LINE | Boundary.PARAGRAPH


def careful() -> Policy:
    """Cut only what is certainly waste: after a JSON answer, a final answer, or inside a loop.

    An answer that begins as a JSON object ends with it, so JSON Lines need another policy; so do
    answers that repeat a sentence three times on purpose. A final answer has to be followed by a
    blank line: more about it may stand in the same paragraph.
    """
    return (
        Threshold(JsonClosed(), at_least=1, at=Boundary.JSON | Boundary.FENCE, reason="json")
        | Threshold(AnswerPattern(), at_least=1, at=Boundary.PARAGRAPH, reason="final answer")
        | LoopGuard()
    )


def _realtime_chat() -> dict[str, Any]:
    """The first sentence that says something: latency before everything."""
    first = Threshold(Sentences(), at_least=1, at=_ENDS, reason="sentence") & MinTokens(8)
    return {"policy": careful() | first, "budget": GeometricBudget(first=96), "attempts": 2}


def _balanced() -> dict[str, Any]:
    """The first paragraph, or three sentences of it."""
    sentences = Threshold(Sentences(), at_least=3, at=_ENDS, reason="sentence")
    paragraph = Threshold(Paragraphs(), at_least=1, at=Boundary.PARAGRAPH, reason="paragraph")
    return {"policy": careful() | ((sentences | paragraph) & MinTokens(16))}


def _high_stakes() -> dict[str, Any]:
    """Nothing but certain waste, and one more attempt to complete what is unfinished."""
    return {"budget": GeometricBudget(first=256), "attempts": 4}


def _batch() -> dict[str, Any]:
    """Nobody waits: certain waste only, and a first budget that seldom needs a second call."""
    return {"budget": GeometricBudget(first=512)}


PROFILES: Mapping[str, Callable[[], dict[str, Any]]] = {
    "balanced": _balanced,
    "batch": _batch,
    "high_stakes": _high_stakes,
    "realtime_chat": _realtime_chat,
}
