"""Profiles: how much a use case may lose, and how much its waiting costs.

With a certificate a profile chooses among the levels that were proven. Without one its rules are
set by hand: the savings are what they give, the loss is whatever it is on the user's data.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from stopping_core.budgets import GeometricBudget
from stopping_core.policies import LoopGuard, MinTokens, Policy, Threshold
from stopping_core.protocols import BudgetSchedule
from stopping_core.signals import AnswerPattern, JsonClosed, Paragraphs, Sentences
from stopping_core.types import Boundary

_ENDS = Boundary.SENTENCE | Boundary.LINE | Boundary.PARAGRAPH


@dataclass(frozen=True, slots=True)
class Profile:
    """What a use case asks for.

    Args:
        risk: Largest share of all requests whose answer a certified policy may lose, in (0, 1).
        call_cost: What a further call costs beside its tokens, in output tokens, >= 0: latency.
            Where grants are planned, dear calls make the first grant larger.
        attempts: Calls in all, >= 1.
        first_budget: First grant where none is planned, output tokens.
        by_hand: Makes the policy where there is no certificate.
    """

    risk: float
    call_cost: float
    attempts: int
    first_budget: int
    by_hand: Callable[[], Policy]

    @property
    def budget(self) -> BudgetSchedule:
        """The grants where none are planned."""
        return GeometricBudget(first=self.first_budget)


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


def _first_sentence() -> Policy:
    """The first sentence that says something: latency before everything."""
    first = Threshold(Sentences(), at_least=1, at=_ENDS, reason="sentence") & MinTokens(8)
    return careful() | first


def _first_paragraph() -> Policy:
    """The first paragraph, or three sentences of it."""
    sentences = Threshold(Sentences(), at_least=3, at=_ENDS, reason="sentence")
    paragraph = Threshold(Paragraphs(), at_least=1, at=Boundary.PARAGRAPH, reason="paragraph")
    return careful() | ((sentences | paragraph) & MinTokens(16))


PROFILES: Mapping[str, Profile] = MappingProxyType(
    {
        "balanced": Profile(0.02, 16.0, 3, 128, _first_paragraph),
        "batch": Profile(0.01, 0.0, 3, 512, careful),
        "high_stakes": Profile(0.005, 16.0, 4, 256, careful),
        "realtime_chat": Profile(0.05, 64.0, 2, 96, _first_sentence),
    }
)
"""In ``high_stakes`` by hand nothing is cut but certain waste, and one attempt more completes what
is unfinished. In ``batch`` nobody waits, so a further call costs its tokens alone."""


def profile(name: str) -> Profile:
    """Find a profile.

    Raises:
        ValueError: There is none of that name.
    """
    if name not in PROFILES:
        raise ValueError(f"profile must be one of {sorted(PROFILES)}, got {name!r}")
    return PROFILES[name]
