"""When the answer becomes right, as a discrete-time hazard; one threshold, or one by position."""

from __future__ import annotations

import numpy as np

from benchmarks.formulations.formulation import PRICES, Priced, Scored
from benchmarks.formulations.learners import Learner, Predictor, cross_fitted
from benchmarks.formulations.rows import Counts, Floats, Mask, Rows

_BANDS = (8, 16, 24, 32, 48, 64, 96, 128)  # tokens at which a band of positions ends
_TRIED = 16  # thresholds a band
_SWEEPS = 3


def not_yet(learner: Learner, train: Rows) -> Predictor:
    """Fit the probability that the run will be right and is not yet.

    The hazard of a look is the probability that the answer has become right there, where it was not
    at the look before. It is fitted on runs that are right in full, up to the look at which they
    become so. The probability to be right by now is one minus the product of what the hazards leave
    over; that the run will ever be right is fitted at all looks of all runs.

    References:
        Singer and Willett (1993), It's about time: using discrete-time survival analysis, Journal
        of Educational Statistics 18(2).
    """
    at_risk = train.full[train.run] & ~_was_right(train)
    hazard = learner(train.features[at_risk], train.right[at_risk])
    ever = learner(train.features, train.full[train.run])

    def predict(rows: Rows) -> Floats:
        left: Floats = np.exp(_sums(np.log1p(-np.minimum(hazard(rows.features), 1 - 1e-9)), rows))
        return ever(rows.features) * left

    return predict


class OneThreshold(Scored):
    """Stops where it is unlikely enough that the answer is still to come.

    Args:
        name: As the table has it.
        learner: Fits hazard and chance.
    """

    def __init__(self, name: str, learner: Learner) -> None:
        self.name = name
        self._learner = learner

    def score(self, train: Rows, test: Rows) -> Floats:
        return not_yet(self._learner, train)(test)


class ByPosition(Priced):
    """The same with a threshold for each band of positions.

    For each price of a token the thresholds are those that lose least on the runs that are fitted
    on: lost answers plus price times tokens, one band after the other, in turns. The probabilities
    that they are chosen on are cross-fitted.

    Args:
        name: As the table has it.
        learner: Fits hazard and chance.
    """

    def __init__(self, name: str, learner: Learner) -> None:
        self.name = name
        self._learner = learner

    def stops(self, train: Rows, test: Rows) -> Mask:
        told = cross_fitted(lambda some: not_yet(self._learner, some), train)
        asked = not_yet(self._learner, train)(test)
        bands, asked_bands = (
            np.searchsorted(_BANDS, rows.tokens).astype(np.int64) for rows in (train, test)
        )
        tried = np.unique(np.quantile(told, np.linspace(0, 1, _TRIED)))
        tried = np.concatenate([[-1.0], tried])
        chosen = np.full(len(_BANDS) + 1, -1.0)
        where = np.zeros((len(test), len(PRICES)), dtype=np.bool_)
        for number, price in enumerate(PRICES.tolist()):
            chosen = _improved(train, told, bands, tried, chosen, price)
            where[:, number] = asked <= chosen[asked_bands]
        return where


def _improved(
    rows: Rows, told: Floats, bands: Counts, tried: Floats, chosen: Floats, price: float
) -> Floats:
    """Thresholds that cost less at a price, band by band, from some to begin with."""

    def cost(thresholds: Floats) -> float:
        lost, bill = rows.played(told <= thresholds[bands])
        return float(lost.sum() + price * bill.sum())

    singles = [np.full(len(chosen), one) for one in tried.tolist()]
    best = min([chosen, *singles], key=cost)
    least = cost(best)
    for _ in range(_SWEEPS):
        before = least
        for band in np.unique(bands).tolist():
            for one in tried.tolist():
                other = best.copy()
                other[band] = one
                if (found := cost(other)) < least:
                    best, least = other, found
        if least == before:
            break
    return best


def _was_right(rows: Rows) -> Mask:
    """Whether the answer was right at an earlier look of the run.  # (n,)."""
    seen = np.cumsum(rows.right)
    begins = np.searchsorted(rows.run, np.arange(len(rows.full)))
    before = np.concatenate([[0], seen])[begins][rows.run]
    earlier: Mask = seen - rows.right - before > 0
    return earlier


def _sums(values: Floats, rows: Rows) -> Floats:
    """Sum of the values of a run up to each row.  # (n,)."""
    sums = np.cumsum(values)
    begins = np.searchsorted(rows.run, np.arange(len(rows.full)))
    within: Floats = sums - np.concatenate([[0.0], sums])[begins][rows.run]
    return within
