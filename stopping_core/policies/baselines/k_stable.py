"""k-stable answers, as in interwhen."""

from __future__ import annotations

from typing import ClassVar, Self

from stopping_core.policies.baselines.stable_answer import StableAnswer
from stopping_core.types import Boundary


class KStable(StableAnswer):
    """Stops when ``k`` answers in a row are equal, asked for at the end of every line.

    Rule: stop when the same normalised answer has come ``k`` times in a row. Default: ``k = 3``.
    Needs probes.

    From description: where to ask, and what is equal. The authors fork the inference from time to
    time to see the solution so far; their monitors for multiple choice and the game of 24 read it
    off the reasoning itself, by patterns that free answers do not have. Here the model is asked at
    each line. Answers are compared after normalisation, numbers as numbers; an empty one breaks the
    row.

    Args:
        k: Answers in a row that have to agree, >= 2.
        at: Where to ask: boundaries of this kind, or every so many tokens.

    References:
        Bhat et al. (2026), interwhen: A Generalizable Framework for Verifiable Reasoning with
        Test-time Monitors, its monitors for stable answers. arXiv:2602.11202.
    """

    title: ClassVar[str] = "k-stable (interwhen)"
    reason = "k stable"

    def __init__(self, k: int = 3, at: Boundary | int = Boundary.LINE) -> None:
        super().__init__(k, at)

    @classmethod
    def grid(cls) -> tuple[Self, ...]:
        """Return 3 answers in a row, then 2 to 8; at lines, paragraphs, every few tokens."""
        places = (Boundary.LINE, Boundary.PARAGRAPH, 16, 32)
        return tuple(cls(k, at) for at in places for k in (3, 2, 4, 5, 8))
