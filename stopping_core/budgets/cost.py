"""Budgets that fit into a sum of money."""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction

from stopping_core.ledger import Ledger
from stopping_core.protocols import BudgetSchedule
from stopping_core.types import Request

_FEWEST = 8  # tokens that are worth a call
_BYTES_PER_TOKEN = 3  # on the low side, so that an unknown prompt is estimated on the high side


@dataclass(frozen=True, slots=True)
class CostCeiling:
    """Limits another schedule so that a request never costs more than a sum.

    Counted are the tokens billed so far, in and out, and the next call: it reads the prompt and the
    kept text again, at the full price of input tokens, so cached input only makes it cheaper. No
    more is granted where fewer than 8 tokens are affordable, unless the schedule asks for fewer.
    Sums are exact, in decimals as they are written. Where neither the provider nor the request says
    how long a prompt is, a token for every 3 bytes of its text is assumed.

    Args:
        usd: The most that the request may cost, USD, in (0, inf).
        input_price: USD per million input tokens, in [0, inf).
        output_price: USD per million output tokens, in [0, inf).
        inner: The schedule that is limited.

    Examples:
        >>> from stopping_core.budgets import FixedBudget
        >>> budget = CostCeiling(0.001, input_price=1.0, output_price=4.0, inner=FixedBudget(512))
        >>> budget(Request(prompt_tokens=600), Ledger())
        100
    """

    usd: float
    input_price: float
    output_price: float
    inner: BudgetSchedule

    def __post_init__(self) -> None:
        if not 0 < self.usd < math.inf:
            raise ValueError(f"usd must be in (0, inf), got {self.usd}")
        for name in ("input_price", "output_price"):
            price = getattr(self, name)
            if not 0 <= price < math.inf:
                raise ValueError(f"{name} must be in [0, inf), got {price}")
        if not callable(self.inner):
            raise ValueError(f"inner must be callable, got {self.inner!r}")

    def __call__(self, request: Request, ledger: Ledger, /) -> int | None:
        """Limit the inner grant by the money that is left."""
        grant = self.inner(request, ledger)
        if grant is None:
            return None
        left = self._left(request, ledger)
        if left < 0:
            return None
        wanted = grant - ledger.kept
        if self.output_price > 0:
            affordable = math.floor(left / _exact(self.output_price))
            if affordable < min(_FEWEST, wanted):
                return None
            wanted = min(wanted, affordable)
        limited = ledger.kept + wanted
        return limited if limited > ledger.kept else None

    def _left(self, request: Request, ledger: Ledger) -> Fraction:
        """What the output of the next call may cost, in millionths of a dollar."""
        prompt = _prompt_tokens(request, ledger)
        read = prompt + ledger.kept
        kept = 0
        for attempt in ledger.attempts:
            known = attempt.prompt_tokens
            read += prompt + kept if known is None else known
            kept += attempt.generated - attempt.discarded
        spent = read * _exact(self.input_price) + ledger.billed * _exact(self.output_price)
        return _exact(self.usd) * 1_000_000 - spent


def _exact(amount: float) -> Fraction:
    """The amount as it is written: 0.1 is a tenth, not the binary fraction next to it."""
    return Fraction(str(amount))


def _prompt_tokens(request: Request, ledger: Ledger) -> int:
    """Length of the prompt without a prefix: as billed, as the request says, or estimated."""
    first = ledger.attempts[0].prompt_tokens if ledger.attempts else None
    known = first if first is not None else request.prompt_tokens
    if known is not None:
        return known
    size = len(request.prompt.encode("utf-8", "surrogatepass"))
    return math.ceil(size / _BYTES_PER_TOKEN)
