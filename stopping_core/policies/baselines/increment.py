"""A budget that grows by a fixed increment."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from typing import ClassVar, Self

from stopping_core.policies.baselines.schedule import Schedule


class Increment(Schedule):
    """Tries a small budget, and ``step`` tokens more from scratch whenever it was truncated.

    Cheaper than doubling where lengths lie close above the first budget; for long outputs its cost
    grows with the square of the length.

    Rule: budgets B, B + step, B + 2 step ... until the finish reason is not ``length``. No
    published default that we know; 64 and 64 are ours. Needs text alone.
    Source: the truncation increment of NVIDIA NeMo's tools (from description).

    Args:
        first: B, tokens, >= 1.
        step: Tokens, >= 1.
    """

    title: ClassVar[str] = "increment with restart"

    def __init__(self, first: int = 64, step: int = 64) -> None:
        if first < 1:
            raise ValueError(f"first must be >= 1, got {first}")
        if step < 1:
            raise ValueError(f"step must be >= 1, got {step}")
        self.first = first
        self.step = step

    @classmethod
    def grid(cls) -> tuple[Self, ...]:
        """Return first budgets and steps for outputs of 20 to 400 tokens."""
        return cls(), *(
            cls(first, step)
            for first in (32, 64, 128, 256)
            for step in (32, 64, 128)
            if (first, step) != (64, 64)
        )

    def budgets(self) -> Iterator[int]:
        return count(self.first, self.step)

    def __repr__(self) -> str:
        return f"Increment({self.first}, {self.step})"
