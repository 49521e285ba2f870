"""Stop at the first sentence."""

from __future__ import annotations

from typing import ClassVar, Self

from stopping_core.policies.baselines.baseline import Tier
from stopping_core.policies.baselines.ends import Ends
from stopping_core.types import Boundary


class FirstSentence(Ends):
    """Stops at the end of the first sentence, or of the first few.

    Everybody's rule for short answers: the fact is said, the rest explains it. It loses every
    answer that begins with a preamble ("Let us look at the passage."). What ends a sentence is
    said in :mod:`stopping_core.sentence_ends`; users mostly have ``". "`` as a stop string, which
    also cuts at ``Dr.`` and ``e.g.``, and that defect is not reproduced.

    Rule: stop at the ``count``-th sentence end. Default: 1. Needs text alone.
    Source: common practice, no paper.

    Args:
        count: Sentences to keep, >= 1.
    """

    title: ClassVar[str] = "first sentence"
    tier: ClassVar[Tier] = "text"
    kind = Boundary.SENTENCE
    reason = "sentence"

    @classmethod
    def grid(cls) -> tuple[Self, ...]:
        """Return one to twelve sentences."""
        return tuple(cls(count) for count in range(1, 13))
