"""Which grants cost least on average, where the needed length is known as a distribution."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate


@dataclass(frozen=True, slots=True)
class Outlook:
    """Grants to choose from, and what is known of an answer that they are for.

    Piece k of the distribution are the answers that grant k is enough for and grant k - 1 is not.

    Args:
        base: Tokens that were granted so far, and are known not to be enough; 0 for none.
        grants: Rising, > ``base``, at least one; the last is the ceiling, and ends it.  # (m,)
        chances: Of each piece, >= 0, not all 0.  # (m,)
        ends: Tokens that an answer of each piece is billed at the most: where the model ends by
            itself, or where a hang-up ends the bill.  # (m,)
    """

    base: int
    grants: tuple[int, ...]
    chances: tuple[float, ...]
    ends: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Prices:
    """What a further call costs, in output tokens.

    Args:
        again: Whatever it holds: latency, and the prompt that is read again.
        kept: Of each token that was granted before: it is read again where the text is continued.
        restarts: Whether it is generated again instead.
    """

    again: float
    kept: float
    restarts: bool


@dataclass(frozen=True, slots=True)
class Plan:
    """The grants of least expected cost.

    Args:
        cost: What is still to come on average, the price of the first prompt left out, in output
            tokens.
        grant: Of the next call, tokens.
    """

    cost: float
    grant: int


def plan(outlook: Outlook, prices: Prices, calls: int) -> Plan:
    """Choose the next grant, by dynamic programming over those that may follow it.

    A call that is too small is billed its grant. One that is enough is billed up to the end of its
    piece or its grant, whichever is less. The last call that may be made is granted the ceiling.

    Args:
        outlook: The grants to choose from.
        prices: Of a further call.
        calls: How many calls may still be made, >= 1.
    """
    costs, chances, last = _costs(outlook, prices), outlook.chances, len(outlook.grants) - 1
    above = _above(chances)
    # later[i]: expected cost after grant i, not divided by its chance; of no call, none
    best = [(costs[i][last], last) for i in range(last + 1)]
    for _ in range(min(calls, last + 1) - 1):
        later = [best[j + 1][0] if j < last else 0.0 for j in range(last + 1)]
        best = [
            min(
                # of equal cost the larger grant: fewer calls
                ((costs[i][j] + later[j], j) for j in range(last, i - 1, -1)),
                key=lambda one: one[0],
            )
            for i in range(last + 1)
        ]
    cost, chosen = best[0]
    return Plan(cost / above[0], outlook.grants[chosen])


def _above(chances: Sequence[float]) -> list[float]:
    """The chance that grant i - 1 is not enough: of piece i and all above.  # (m + 1,)."""
    return [*list(accumulate(reversed(chances)))[::-1], 0.0]


def _costs(outlook: Outlook, prices: Prices) -> list[list[float]]:
    """Cost of a call with grant j after i - 1 was not enough, times its chance.  # (m, m)."""
    grants, chances, ends = outlook.grants, outlook.chances, outlook.ends
    above, count = _above(chances), len(grants)
    first = outlook.base == 0
    # billed[j][k]: pieces below k, under grant j
    billed = [
        [0.0, *accumulate(p * min(grant, end) for p, end in zip(chances, ends, strict=True))]
        for grant in grants
    ]
    table = []
    for i in range(count):
        before = outlook.base if i == 0 else grants[i - 1]
        opening = 0.0 if i == 0 and first else prices.again
        standing = 0.0 if prices.restarts else before
        reading = 0.0 if prices.restarts else prices.kept * before
        row = [math.inf] * i
        for j in range(i, count):
            enough = billed[j][j + 1] - billed[j][i]
            short = above[j + 1] * grants[j]
            row.append(above[i] * (opening + reading - standing) + enough + short)
        table.append(row)
    return table
