"""The fixed budget."""

from __future__ import annotations

from typing import ClassVar, Self

from stopping_core.policies.baselines.baseline import Tier
from stopping_core.policies.limits import MaxTokens


class FixedBudget(MaxTokens):
    """Stops at ``tokens``, finished or not: ``max_tokens``, what everybody sets today.

    The rule that every other one has to beat. It cannot tell an easy prompt from a hard one, so it
    pays too much for the first and cuts the second.

    Rule: stop at token N. No published default; 64 stands in the middle of the usual ones. Needs
    text alone. Source: the ``max_tokens`` of every API; as "budget forcing" in Muennighoff et al.
    (2025), "s1: Simple test-time scaling", section 3, arXiv:2501.19393, there on the thinking part.

    Args:
        tokens: Output tokens, >= 1.
    """

    title: ClassVar[str] = "fixed budget"
    tier: ClassVar[Tier] = "text"

    def __init__(self, tokens: int = 64) -> None:
        super().__init__(tokens)

    @classmethod
    def grid(cls) -> tuple[Self, ...]:
        """Return every second budget up to 64, every fourth to 128, every eighth to 384."""
        budgets = (*range(2, 64, 2), *range(68, 128, 4), *range(128, 385, 8))
        return cls(), *(cls(tokens) for tokens in budgets)

    def __repr__(self) -> str:
        return f"FixedBudget({self.tokens})"
