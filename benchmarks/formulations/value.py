"""Optimal stopping: stop where that costs no more than going on is expected to."""

from __future__ import annotations

import numpy as np

from benchmarks.formulations.formulation import PRICES, Priced
from benchmarks.formulations.learners import FLOOR, Learner, cross_fitted, loss
from benchmarks.formulations.rows import Floats, Mask, Rows

_ROUNDS = 6
_KNOTS = (0.2, 0.4, 0.6, 0.8)  # quantiles at which a feature's line may bend
_RIDGE = 1e-3  # of the rows


class Value(Priced):
    """A fitted value function.

    For a price of a token, going on from a place costs what the policy makes of the rest of the
    run: a lost answer or none, and the price of the further tokens. It is regressed on what is
    known there, for the policy that stops where the probability of a loss is at most this value;
    with the new values comes a new policy, and so on, from the policy that never stops. As one may
    always go on to the end, a value counts for no more than the price of the tokens until there,
    which is regressed likewise: without this bound a policy that loses answers makes going on look
    dear, and so loses more. The costs are those that came, as Longstaff and Schwartz take them, and
    no values of values. The probability of a loss is cross-fitted on the runs that are fitted on.

    The regression is linear in the features, lines that bend at four quantiles of each, and
    products of two.

    Args:
        name: As the table has it.
        learner: Fits the probability of a loss.

    References:
        Tsitsiklis and Van Roy (2001), Regression methods for pricing complex American-style
        options, IEEE Transactions on Neural Networks 12(4). Longstaff and Schwartz (2001), Valuing
        American options by simulation, Review of Financial Studies 14(1).
    """

    def __init__(self, name: str, learner: Learner) -> None:
        self.name = name
        self._learner = learner

    def stops(self, train: Rows, test: Rows) -> Mask:
        risk = cross_fitted(lambda some: loss(self._learner, some), train)
        asked = loss(self._learner, train)(test)
        basis = _Basis(_known(train, risk))
        inside, outside = basis.of(_known(train, risk)), basis.of(_known(test, asked))
        gram = inside.T @ inside + _RIDGE * len(train) * np.eye(inside.shape[1])
        solve = np.linalg.solve(gram, inside.T)  # (k, n)
        where = np.zeros((len(test), len(PRICES)), dtype=np.bool_)
        left = solve @ (train.lengths[train.run] - train.bill).astype(np.float64)
        for number, price in enumerate(PRICES.tolist()):
            to_end, weights = price * (inside @ left), price * left
            for _ in range(_ROUNDS):
                stop = risk <= np.minimum(inside @ weights, to_end)
                weights = solve @ _costs(train, stop, price)
            where[:, number] = asked <= np.minimum(outside @ weights, price * (outside @ left))
        return where


def _costs(rows: Rows, stop: Mask, price: float) -> Floats:
    """What going on from each row costs under a policy: further tokens, and perhaps the answer.

    Args:
        rows: The rows.
        stop: Where the policy stops.  # (n,)
        price: Of a token, lost answers.

    Returns:
        # (n,).
    """
    n = len(rows)
    at = np.where(stop & rows.passes, np.arange(n), n)
    after = np.minimum.accumulate(np.append(at, n)[::-1])[::-1][1:]  # the next stop of any run
    inside = after < n
    inside[inside] = rows.run[after[inside]] == rows.run[inside]
    later = np.where(inside, after, 0)
    bill = np.where(inside, rows.bill[later], rows.lengths[rows.run])
    return (rows.lost[later] & inside) + price * (bill - rows.bill)


def _known(rows: Rows, risk: Floats) -> Floats:
    """The features, and the log odds of a loss.  # (n, d + 1)."""
    odds = np.log(risk + FLOOR) - np.log1p(FLOOR - risk)
    return np.column_stack([rows.features, odds])


class _Basis:
    """Functions of the features that a value is linear in.

    Args:
        known: The features of the rows that are fitted on.  # (n, d)
    """

    def __init__(self, known: Floats) -> None:
        self._middle = _middle(known)
        filled = self._filled(known)
        self._mean, self._scale = filled.mean(axis=0), filled.std(axis=0)
        self._scale[self._scale == 0] = 1.0
        self._knots = np.quantile(self._standard(known), _KNOTS, axis=0)  # (4, d)

    def of(self, known: Floats) -> Floats:
        """The functions at some rows.  # (n, k)."""
        standard = self._standard(known)
        bent = [np.maximum(standard - knot, 0.0) for knot in self._knots]
        pairs = np.triu_indices(standard.shape[1])
        products = standard[:, pairs[0]] * standard[:, pairs[1]]
        return np.column_stack([np.ones(len(known)), standard, *bent, products])

    def _filled(self, known: Floats) -> Floats:
        return np.where(np.isnan(known), self._middle, known)

    def _standard(self, known: Floats) -> Floats:
        standard: Floats = np.clip((self._filled(known) - self._mean) / self._scale, -5, 5)
        return standard


def _middle(known: Floats) -> Floats:
    """The mean of what is known of each feature, 0 where nothing is.  # (d,)."""
    there = ~np.isnan(known)
    middle: Floats = np.where(there, known, 0.0).sum(axis=0) / np.maximum(there.sum(axis=0), 1)
    return middle
