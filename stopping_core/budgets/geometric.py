"""Budgets that grow by a factor."""

from __future__ import annotations

import math
from dataclasses import dataclass
from numbers import Integral

from stopping_core.ledger import Ledger
from stopping_core.types import Request


@dataclass(frozen=True, slots=True)
class GeometricBudget:
    """Grants a small budget first and multiplies it with every call, up to a ceiling.

    Where the kept text is continued, growing costs only the prompts that are read again. Where
    every call restarts, the calls that fall short add up to less than ``growth / (growth - 1)``
    times the answer: doubling generates less than three times its tokens.

    Args:
        first: Output tokens of the first grant, >= 1.
        growth: Factor from one grant to the next, in (1, inf).
        ceiling: Largest grant, tokens, >= ``first``.

    Examples:
        >>> GeometricBudget(first=100)(Request(), Ledger())
        100

    References:
        Bentley and Yao, "An Almost Optimal Algorithm for Unbounded Searching", 1976 (doubling).
    """

    first: int = 128
    growth: float = 2.0
    ceiling: int = 4096

    def __post_init__(self) -> None:
        if not (isinstance(self.first, Integral) and self.first >= 1):
            raise ValueError(f"first must be an integer in [1, inf), got {self.first!r}")
        if not 1 < self.growth < math.inf:
            raise ValueError(f"growth must be in (1, inf), got {self.growth}")
        if not (isinstance(self.ceiling, Integral) and self.ceiling >= self.first):
            raise ValueError(
                f"ceiling must be an integer in [{self.first}, inf), got {self.ceiling!r}"
            )

    def __call__(self, request: Request, ledger: Ledger, /) -> int | None:
        """Grant the last grant times ``growth``, or ``first``."""
        used = max(ledger.granted, ledger.kept)
        if used == 0:
            return self.first
        # A growth close to 1 still grants a token more; one beyond the floats meets the ceiling.
        return int(min(self.ceiling, max(used + 1, used * self.growth)))
