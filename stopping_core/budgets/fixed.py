"""One budget, without a retry."""

from __future__ import annotations

from dataclasses import dataclass
from numbers import Integral

from stopping_core.ledger import Ledger
from stopping_core.types import Request


@dataclass(frozen=True, slots=True)
class FixedBudget:
    """Grants the same number of tokens to every call: what ``max_tokens`` always did.

    An answer that it was too small for is not tried again; one that broke off for another reason
    has what is left of it.

    Args:
        tokens: Output tokens, >= 1.

    Examples:
        >>> FixedBudget(256)(Request(), Ledger())
        256
    """

    tokens: int

    def __post_init__(self) -> None:
        if not (isinstance(self.tokens, Integral) and self.tokens >= 1):
            raise ValueError(f"tokens must be an integer in [1, inf), got {self.tokens!r}")

    def __call__(self, request: Request, ledger: Ledger, /) -> int | None:
        """Grant the tokens."""
        return self.tokens
