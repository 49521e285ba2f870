"""Doubling with restart."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import ClassVar, Self

from stopping_core.policies.baselines.schedule import Schedule


class Doubling(Schedule):
    """Tries a small budget, and twice as much from scratch whenever the answer was truncated.

    What structured-output libraries and agent memories do when JSON comes back cut. It needs no
    guess of the length and no prefill. What it grants stays below 4 times the output that is needed
    and what it generates below 3 times, unless the first budget is too large already; the prompt is
    read again each time.

    Rule: budgets B, B * factor, B * factor^2 ... until the finish reason is not ``length``. No
    published default: B = 64 and doubling are from description. Needs text alone. Source: retries
    of instructor and MemOS (from description). Some libraries retry with the same budget, which a
    greedy model fails for ever; that defect is not reproduced.

    Args:
        first: B, tokens, >= 1.
        factor: > 1.
    """

    title: ClassVar[str] = "doubling with restart"

    def __init__(self, first: int = 64, factor: float = 2.0) -> None:
        if first < 1:
            raise ValueError(f"first must be >= 1, got {first}")
        if not 1.0 < factor < math.inf:
            raise ValueError(f"factor must be in (1, inf), got {factor}")
        self.first = first
        self.factor = factor

    @classmethod
    def grid(cls) -> tuple[Self, ...]:
        """Return first budgets for outputs of 20 to 400 tokens, doubled and quadrupled."""
        firsts = (64, 16, 32, 128, 256)
        return tuple(cls(first, factor) for factor in (2.0, 1.5, 4.0) for first in firsts)

    def budgets(self) -> Iterator[int]:
        budget = self.first
        while True:
            yield budget
            budget = max(budget + 1, round(budget * self.factor))

    def __repr__(self) -> str:
        return f"Doubling({self.first}, {self.factor})"
