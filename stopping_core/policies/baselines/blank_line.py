"""Stop at the first blank line."""

from __future__ import annotations

from typing import ClassVar, Self

from stopping_core.policies.baselines.baseline import Tier
from stopping_core.policies.baselines.ends import Ends
from stopping_core.types import Boundary


class BlankLine(Ends):
    r"""Stops at the end of the first paragraph, or of the first few.

    The stop string ``"\n\n"``: gentler than a newline, and useless against a model that rambles on
    in one paragraph. Blank lines in code and JSON end no paragraph here, unlike those that a stop
    string sees.

    Rule: stop at the ``count``-th blank line. Default: 1. Needs text alone.
    Source: common practice, no paper.

    Args:
        count: Paragraphs to keep, >= 1.
    """

    title: ClassVar[str] = "blank line"
    tier: ClassVar[Tier] = "text"
    kind = Boundary.PARAGRAPH
    reason = "paragraph"

    @classmethod
    def grid(cls) -> tuple[Self, ...]:
        """Return one to twelve paragraphs."""
        return tuple(cls(count) for count in range(1, 13))
