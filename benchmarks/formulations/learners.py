"""The learners that the formulations share, and predictions on runs that were not fitted on."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import numpy as np

from benchmarks.formulations.rows import Floats, Mask, Rows
from stopping_core.policies.learned.fitting import (
    _EXPONENT,  # the kept rule's own, so that what is compared is no copy of it
    _LATEST,
    _SETTINGS,
    _STRENGTH,
)
from stopping_core.policies.learned.fitting_thinking import TREES
from stopping_core.policies.learned.logistic import Logistic

FLOOR = 1e-4
"""Of a probability under the logarithm, as in the library's score."""

Learner: TypeAlias = Callable[[Floats, Mask], Callable[[Floats], Floats]]
"""Fits features to labels; gives what turns features into probabilities."""

Predictor: TypeAlias = Callable[[Rows], Floats]
"""Turns rows into one number each.  # (n,)"""


def logistic(
    features: Floats, labels: Mask, strength: float = _STRENGTH
) -> Callable[[Floats], Floats]:
    """Fit the library's logistic regression.

    Args:
        features: # (n, d).
        labels: # (n,).
        strength: Inverse, of the penalty; that of the library's rule for answers by default.
    """
    if labels.all() or not labels.any():
        return _always(labels)
    return Logistic.fit(features, labels, "fit", C=strength, **_SETTINGS).probability


def freer(features: Floats, labels: Mask) -> Callable[[Floats], Floats]:
    """Fit a logistic regression with a weak penalty: hazards have few places to learn from."""
    return logistic(features, labels, 1.0)


def boosted(features: Floats, labels: Mask) -> Callable[[Floats], Floats]:
    """Fit gradient-boosted trees, with the settings of the library's rule for reasoning."""
    from sklearn.ensemble import HistGradientBoostingClassifier
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]  # no stubs

    if labels.all() or not labels.any():
        return _always(labels)
    trees = HistGradientBoostingClassifier(**TREES)
    with threadpool_limits(1):
        trees.fit(_known(features), labels)

    def probability(asked: Floats) -> Floats:
        with threadpool_limits(1):
            told: Floats = trees.predict_proba(_known(asked))[:, 1]
        return told

    return probability


def loss(learner: Learner, train: Rows) -> Predictor:
    """Fit the probability that a stop loses the answer, on places that are not too late.

    Later places are as the last of these, and long runs would outweigh.
    """
    early = train.tokens <= _LATEST
    fitted = learner(train.features[early], train.lost[early])
    return lambda rows: fitted(rows.features)


def scored(probability: Floats, rows: Rows) -> Floats:
    """Put the tokens spent against a probability, as the library's score does.  # (n,)."""
    spent = _EXPONENT * np.log(np.maximum(rows.tokens, 1))
    score: Floats = np.log(probability + FLOOR) - spent
    return score


def cross_fitted(fit: Callable[[Rows], Predictor], train: Rows) -> Floats:
    """What is told of each part of the runs by what was fitted on the others.  # (n,)."""
    told = np.zeros(len(train))
    for part in train.parts():
        others = train.of(~part) if not part.all() else train
        told[part[train.run]] = fit(others)(train.of(part))
    return told


def _always(labels: Mask) -> Callable[[Floats], Floats]:
    share = float(labels.mean()) if len(labels) else 0.0
    return lambda asked: np.full(len(asked), share)


def _known(features: Floats) -> Floats:
    """Fill columns of which nothing is known: scikit-learn fails there."""
    filled = features.copy()
    filled[:, np.isnan(filled).all(axis=0)] = 0.0
    return filled
