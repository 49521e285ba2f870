"""One budget, without a retry."""

from __future__ import annotations

import math
from dataclasses import dataclass

from stopping_core.ledger import Ledger
from stopping_core.types import Request


@dataclass(frozen=True, slots=True)
class FixedBudget:
    """Grants the same number of tokens once, and no more: what ``max_tokens`` always did.

    Args:
        tokens: Output tokens, >= 1.

    Examples:
        >>> FixedBudget(256)(Request(), Ledger())
        256
    """

    tokens: int

    def __post_init__(self) -> None:
        if not 1 <= self.tokens < math.inf:
            raise ValueError(f"tokens must be in [1, inf), got {self.tokens}")

    def __call__(self, request: Request, ledger: Ledger, /) -> int | None:
        """Grant the tokens to the first call."""
        return self.tokens if len(ledger) == 0 else None
