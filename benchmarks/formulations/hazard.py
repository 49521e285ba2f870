"""When the answer becomes right, as a discrete-time hazard; one threshold, or one by position."""

from __future__ import annotations

import numpy as np

from benchmarks.formulations.formulation import PRICES, Priced, Scored
from benchmarks.formulations.learners import Learner, Predictor, cross_fitted
from benchmarks.formulations.rows import Counts, Floats, Mask, Rows

_BANDS = (8, 16, 24, 32, 48, 64, 96, 128)  # tokens at which a band of positions ends
_TRIED = 32  # thresholds a band
_SWEEPS = 8


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
        tried = np.concatenate([[-1.0], tried])  # the first one never stops
        firsts = _firsts(train, told, bands, tried)
        chosen = np.zeros(len(firsts), dtype=np.int64)
        where = np.zeros((len(test), len(PRICES)), dtype=np.bool_)
        for number, price in enumerate(PRICES.tolist()):
            chosen = _improved(train, firsts, chosen, price)
            where[:, number] = asked <= tried[chosen][asked_bands]
        return where


def _firsts(rows: Rows, told: Floats, bands: Counts, tried: Floats) -> Counts:
    """The first row of each run in a band at which a threshold stops it, or n.

    Returns:
        # (bands, thresholds, runs).
    """
    found = np.array(
        [
            [rows.first((bands == band) & (told <= one)) for one in tried.tolist()]
            for band in range(len(_BANDS) + 1)
        ]
    )
    return np.where(found < 0, len(rows), found)


def _improved(rows: Rows, firsts: Counts, chosen: Counts, price: float) -> Counts:
    """Thresholds that cost less at a price, band by band, from some to begin with.

    Args:
        rows: The rows.
        firsts: As above.  # (bands, thresholds, runs)
        chosen: Number of the threshold of each band.  # (bands,)
        price: Of a token, lost answers.

    Returns:
        # (bands,).
    """
    lost, bill = np.append(rows.lost, False), np.append(rows.bill, 0)
    every = np.arange(len(firsts))

    def cost(first: Counts) -> Floats:
        """Of the runs together, each stopped at its row.  # (thresholds, runs) -> (thresholds,)."""
        paid = np.where(first < len(rows), bill[first], rows.lengths)
        total: Floats = lost[first].sum(axis=-1) + price * paid.sum(axis=-1)
        return total

    alike = cost(firsts.min(axis=0))
    least = float(cost(firsts[every, chosen].min(axis=0)))
    if alike.min() < least:
        chosen, least = np.full(len(firsts), alike.argmin()), float(alike.min())
    for _ in range(_SWEEPS):
        before = least
        for band in every.tolist():
            others = firsts[every, chosen][every != band].min(axis=0)
            found = cost(np.minimum(firsts[band], others))
            if found.min() < least:
                chosen = np.where(every == band, found.argmin(), chosen)
                least = float(found.min())
        if least == before:
            break
    return chosen


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
