"""Stop at the end of the line."""

from __future__ import annotations

from typing import ClassVar, Self

from stopping_core.policies.baselines.baseline import Tier
from stopping_core.policies.baselines.ends import Ends
from stopping_core.types import Boundary


class Newline(Ends):
    r"""Stops at the end of the first line with text on it, or of the first few.

    What few-shot prompts have set for years: ``stop=["\n"]``. Right where an answer is one line,
    and wrong for lists and for models that begin with a heading. A stop string would also fire at a
    newline that comes before any text; that defect is not reproduced. The end of a line shows when
    the next text comes, and the newline itself is not kept.

    Rule: stop at the ``count``-th line end. Default: 1. Needs text alone.
    Source: common practice; as the stop string of few-shot evaluation in Brown et al. (2020),
    "Language Models are Few-Shot Learners", arXiv:2005.14165 (from description).

    Args:
        count: Lines to keep, >= 1.
    """

    title: ClassVar[str] = "newline"
    tier: ClassVar[Tier] = "text"
    kind = Boundary.LINE
    reason = "line"

    @classmethod
    def grid(cls) -> tuple[Self, ...]:
        """Return one to twelve lines."""
        return tuple(cls(count) for count in range(1, 13))
