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
    costs, last = _costs(outlook, prices), len(outlook.grants) - 1
    # best[i]: expected cost after grant i - 1 was not enough, times the chance of that
    best = [(row[last], last) for row in costs]
    for _ in range(min(calls, last + 1) - 1):
        later = [cost for cost, _ in best[1:]]
        later.append(0.0)
        best = [_least(row, later, i) for i, row in enumerate(costs)]
    cost, chosen = best[0]
    return Plan(cost / math.fsum(outlook.chances), outlook.grants[chosen])


def _least(row: Sequence[float], later: Sequence[float], first: int) -> tuple[float, int]:
    """The cheapest grant of a row, and its cost; of equal ones the largest: fewer calls."""
    least, chosen = math.inf, len(row) - 1
    for j in range(len(row) - 1, first - 1, -1):
        cost = row[j] + later[j]
        if cost < least:
            least, chosen = cost, j
    return least, chosen


def _costs(outlook: Outlook, prices: Prices) -> list[list[float]]:
    """Cost of a call with grant j after i - 1 was not enough, times the chance of that.  # (m, m).

    What stands on the left of the diagonal means nothing.
    """
    grants, chances, ends = outlook.grants, outlook.chances, outlook.ends
    above = [*accumulate(reversed(chances))][::-1]  # that grant i - 1 is not enough
    above.append(0.0)
    # billed[j][k]: under grant j, all pieces before k
    billed = [
        [0.0, *accumulate([p * min(grant, end) for p, end in zip(chances, ends, strict=True)])]
        for grant in grants
    ]
    # whole[j]: up to grant j all that it is enough for, beyond it the grant itself
    whole = [row[j + 1] + above[j + 1] * grants[j] for j, row in enumerate(billed)]
    table = []
    for i in range(len(grants)):
        before = outlook.base if i == 0 else grants[i - 1]
        opening = prices.again if before else 0.0
        if not prices.restarts:
            opening += (prices.kept - 1) * before
        opening *= above[i]
        table.append([opening + whole[j] - billed[j][i] for j in range(len(grants))])
    return table
