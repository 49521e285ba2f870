"""Budgets that fit into the time that is left."""

from __future__ import annotations

import math
from dataclasses import dataclass

from stopping_core.ledger import Ledger
from stopping_core.protocols import BudgetSchedule
from stopping_core.types import Request


@dataclass(frozen=True, slots=True)
class DeadlineBudget:
    """Limits another schedule to what can be generated before a deadline.

    The rate is measured over the calls so far, the waiting for their first tokens included, so it
    errs on the short side. Before the first call nothing is measured, and without
    ``tokens_per_second`` that call is not limited: a policy with a deadline ends it.

    Args:
        seconds: The deadline, from the beginning of the request, in (0, inf).
        inner: The schedule that is limited.
        tokens_per_second: Output tokens a second, in (0, inf). None to measure it.
        reserve: Seconds before the deadline that are kept for what comes after, in [0, seconds).

    Examples:
        >>> from stopping_core.budgets import FixedBudget
        >>> budget = DeadlineBudget(2.0, FixedBudget(512), tokens_per_second=50.0)
        >>> budget(Request(), Ledger())
        100
    """

    seconds: float
    inner: BudgetSchedule
    tokens_per_second: float | None = None
    reserve: float = 0.0

    def __post_init__(self) -> None:
        if not 0 < self.seconds < math.inf:
            raise ValueError(f"seconds must be in (0, inf), got {self.seconds}")
        if not callable(self.inner):
            raise ValueError(f"inner must be callable, got {self.inner!r}")
        rate = self.tokens_per_second
        if rate is not None and not 0 < rate < math.inf:
            raise ValueError(f"tokens_per_second must be in (0, inf), got {rate}")
        if not 0 <= self.reserve < self.seconds:
            raise ValueError(f"reserve must be in [0, {self.seconds}), got {self.reserve}")

    def __call__(self, request: Request, ledger: Ledger, /) -> int | None:
        """Limit the inner grant by the time that is left."""
        left = self.seconds - self.reserve - ledger.seconds
        grant = self.inner(request, ledger) if left > 0 else None
        rate = self.tokens_per_second or _measure(ledger)
        if grant is None or rate is None:
            return grant
        room = min(left * rate, float(grant))  # finite, whatever the rate
        limited = min(grant, ledger.kept + math.floor(room))
        return limited if limited > ledger.kept else None


def _measure(ledger: Ledger) -> float | None:
    """Tokens a second over the calls so far, or None where nothing was measured."""
    timed = [a for a in ledger.attempts if a.generated > 0 and a.seconds > 0]
    seconds = math.fsum(a.seconds for a in timed)
    return sum(a.generated for a in timed) / seconds if timed else None
