"""Budgets that begin near what the request is held to need."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from numbers import Integral, Real
from typing import NamedTuple

from stopping_core.budgets.lengths import LengthModel
from stopping_core.budgets.plan import Outlook, Plan, Prices, plan
from stopping_core.budgets.request_features import features_of
from stopping_core.costs import API, CostRegime
from stopping_core.ledger import Ledger
from stopping_core.types import Request

_CHARACTERS_PER_TOKEN = 4


class ExpectedBills(NamedTuple):
    """What a request is expected to cost, in output tokens, further calls at ``call_cost`` each.

    Args:
        continued: Where a text that a grant was too small for is continued.
        restarted: Where it is thrown away and generated again.
    """

    continued: float
    restarted: float


@dataclass(frozen=True, slots=True)
class QuantileBudget:
    """Grants that cost least on average, by what the request is held to need.

    The needed length is taken to be distributed as the quantiles of the model say: the chance
    between two levels lies between their quantiles, and that above the top one at the ceiling. The
    grants are quantiles, chosen by dynamic programming: a small one costs another call where it
    does not do, a large one is billed where the provider goes on after a hang-up. Where the last
    grant was too small, whichever it was, the rest is planned anew from there. The last call is
    granted the ceiling.

    The average is over what the model says: it is worth as much as the model, and a calibrated one
    is to be preferred. It is meant for ``AdaptiveStopping.up_front``, and does as ``budget``.

    Args:
        lengths: Of the needed length.
        ceiling: Largest grant, tokens, >= 1; the cap of ``lengths`` by default.
        prices: Of tokens. A later call reads prompt and kept text at the price ``cached``.
        call_cost: What a further call costs besides, in output tokens, in [0, inf): latency. 16 is
            a third of a second at 50 tokens a second.
        runs_on: Whether what is granted is billed on after a hang-up, or the call does not stream.
            If not, a grant costs nothing that is not needed, and the first is the ceiling.
        natural: Of the length to which the model goes if nothing cuts it, with the same levels as
            ``lengths``: what runs on is billed no further. It is taken to rise with the needed
            length. None where it is not known: all of the grant is taken to be billed.
        restarts: Whether a grant that was too small is generated again from scratch, as where the
            model continues no prefix. The session decides; this says what to plan for.
        attempts: Calls that the session may make, as in ``AdaptiveStopping``, >= 1.

    Raises:
        ValueError: Names the argument that is out of its interval.
    """

    lengths: LengthModel
    ceiling: int | None = None
    prices: CostRegime = API
    call_cost: float = 16.0
    runs_on: bool = True
    natural: LengthModel | None = field(default=None, repr=False)
    restarts: bool = False
    attempts: int = 3

    def __post_init__(self) -> None:
        for name in ("ceiling", "attempts"):
            value = getattr(self, name)
            unset = name == "ceiling" and value is None
            whole = isinstance(value, Integral) and not isinstance(value, bool)
            if not unset and not (whole and int(value) >= 1):
                raise ValueError(f"{name} must be an integer in [1, inf), got {value!r}")
        cost = self.call_cost
        known = isinstance(cost, Real) and not isinstance(cost, bool)
        if not known or not 0 <= cost < math.inf:
            raise ValueError(f"call_cost must be in [0, inf), got {cost!r}")
        if self.natural is not None and self.natural.levels != self.lengths.levels:
            raise ValueError(
                f"natural must have the levels of lengths, {self.lengths.levels}, "
                f"got {self.natural.levels}"
            )

    def __call__(self, request: Request, ledger: Ledger, /) -> int | None:
        """Grant the next quantile that is worth it, at last the ceiling; then no more."""
        ceiling = self._ceiling
        used = max(ledger.granted, ledger.kept)
        if ledger.kept >= ceiling:
            return None
        if used >= ceiling:  # a call that broke off has what is left; else this is no growth
            return ceiling
        calls = max(1, self.attempts - len(ledger))
        prompt = _prompt_tokens(request, ledger)
        return self._plan(request, prompt, used, calls, self.restarts).grant

    def expected_bills(self, request: Request) -> ExpectedBills:
        """Say what a request is expected to cost, and so which way of going on is cheaper."""
        prompt = _prompt_tokens(request, Ledger())
        continued, restarted = (
            self.prices.input * prompt
            + self.prices.output * self._plan(request, prompt, 0, self.attempts, restarts).cost
            for restarts in (False, True)
        )
        return ExpectedBills(continued, restarted)

    @property
    def _ceiling(self) -> int:
        return self.lengths.cap if self.ceiling is None else self.ceiling

    def _plan(self, request: Request, prompt: int, used: int, calls: int, restarts: bool) -> Plan:
        cached = self.prices.cached / self.prices.output
        prices = Prices(cached * prompt + self.call_cost, cached, restarts)
        return plan(self._outlook(request, used), prices, calls)

    def _outlook(self, request: Request, used: int) -> Outlook:
        """The pieces of the distribution that lie above what was granted."""
        grants, chances, ends = list[int](), list[float](), list[float]()
        for low, high, chance, end in self._pieces(request):
            if high <= used:
                continue
            here = chance * _share_above(low, high, used)
            if grants and grants[-1] == high:
                both = chances[-1] + here
                ends[-1] = (ends[-1] * chances[-1] + end * here) / both if both > 0 else end
                chances[-1] = both
            else:
                grants.append(high)
                chances.append(here)
                ends.append(end)
        return Outlook(used, tuple(grants), tuple(chances), tuple(ends))

    def _pieces(self, request: Request) -> list[tuple[int, int, float, float]]:
        """Of each level and of what is above: lower end, upper end, chance, billed at the most."""
        ceiling = self._ceiling
        levels, features = (*self.lengths.levels, 1.0), features_of(request)
        quantiles = self.lengths.quantiles(request, features)
        needed = (*(min(one, ceiling) for one in quantiles), ceiling)
        natural = needed
        if self.natural is not None:
            natural = (*self.natural.quantiles(request, features), max(ceiling, self.natural.cap))
        pieces, low, begun, below = [], 0, 0.0, 0
        for level, high, end in zip(levels, needed, natural, strict=True):
            ends = math.inf
            if not self.runs_on:
                ends = (low + high) / 2
            elif self.natural is not None:
                ends = max((low + high) / 2, (below + end) / 2)
            pieces.append((low, high, level - begun, ends))
            low, begun, below = high, level, end
        return pieces


def _share_above(low: int, high: int, used: int) -> float:
    """What share of a piece lies above what was granted: even in the logarithm."""
    if used <= low or high <= low:
        return 1.0
    return math.log(high / used) / math.log(high / max(1, low)) if used < high else 1.0


def _prompt_tokens(request: Request, ledger: Ledger) -> int:
    """Length of the prompt, tokens: as billed, as the request says, or estimated from its text."""
    billed = ledger.attempts[0].prompt_tokens if ledger.attempts else None
    known = billed if billed is not None else request.prompt_tokens
    if known is not None:
        return known
    size = len(request.prompt) or len(request.question) + len(request.context)
    return size // _CHARACTERS_PER_TOKEN
