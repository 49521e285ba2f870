"""Boosted trees as plain numbers."""

from __future__ import annotations

import copy
import json
import re
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.ensemble import HistGradientBoostingClassifier

from stopping_core.policies.learned.forest import Forest

Floats = NDArray[np.float64]


def draw(rows: int, width: int, seed: int) -> Floats:
    """Numbers, a quarter of them missing; a column that is one number or missing."""
    rng = np.random.default_rng(seed)
    features: Floats = rng.normal(size=(rows, width))
    features[rng.random(features.shape) < 0.25] = np.nan
    features[:, 0] = np.where(rng.random(rows) < 0.5, 1.0, np.nan)
    return features


def grow(width: int = 6, **settings: Any) -> HistGradientBoostingClassifier:
    """A classifier of rows some of whose numbers and gaps tell the class."""
    features = draw(1500, width, 0)
    odds = np.nan_to_num(features[:, 1:]).sum(axis=1) + np.isnan(features[:, 0])
    labels = odds + np.random.default_rng(1).normal(size=1500) > 0.5
    trees = HistGradientBoostingClassifier(random_state=0, early_stopping=False, **settings)
    return trees.fit(features, labels)


SMALL = Forest(
    width=2,
    trees=2,
    feature=(0, 3, 1, 1, 0, 0),  # the roots, then the nodes below the first and the second
    threshold=(0.0, 5.0, 1.0, 2.0, 0.0, 0.0),
    leaf=(-1.0, 1.0, -2.0, 2.0, 0.25, 0.25, 0.5, 0.5),
    baseline=0.125,
)


@pytest.mark.parametrize(
    "settings",
    [
        {"max_depth": 3, "max_iter": 100},
        {"max_depth": 1, "max_iter": 20},
        {"max_depth": 8, "max_leaf_nodes": 9, "max_iter": 10},
        {"max_depth": 4, "max_iter": 1, "max_features": 0.4},
        {"max_iter": 3, "min_samples_leaf": 800},  # too few rows to split at all
    ],
)
def test_it_says_what_scikit_learn_says(settings: dict[str, Any]) -> None:
    """On rows that it has not seen, numbers and gaps in all columns; and on those that it has."""
    trees = grow(**settings)
    features = np.concatenate([draw(700, 6, 0), np.where(draw(700, 6, 2) > 1, np.nan, 0.5)])
    expected = trees.predict_proba(features)[:, 1]
    np.testing.assert_allclose(expected, Forest.of(trees).probability(features), rtol=0, atol=1e-12)


def test_a_row_gives_the_same_bits_alone_and_among_others() -> None:
    """Also where its numbers do not lie side by side."""
    forest, features = Forest.of(grow(max_depth=3)), draw(600, 6, 3)
    together = forest.probability(np.asfortranarray(features))
    alone = [float(forest.probability(row[None])[0]) for row in features]
    assert alone == together.tolist()
    assert [] == forest.probability(features[:0]).tolist()


@pytest.mark.parametrize(
    ("row", "odds"),
    [
        ((0.0, 1.0), -1.0 + 0.25),  # at a threshold is not above it
        ((0.0, 5.0), 1.0 + 0.25),
        ((0.0, 5.1), 1.0 + 0.5),
        ((0.0, np.nan), -1.0 + 0.5),  # above where a node looks at 3, below where one looks at 1
        ((0.1, 2.0), -2.0 + 0.25),
        ((0.1, 3.0), 2.0 + 0.25),
        ((np.nan, 3.0), 1.0 + 0.25),
    ],
)
def test_a_row_goes_down_every_tree(row: tuple[float, float], odds: float) -> None:
    """Right where it is above the threshold, missing numbers as the node says."""
    expected = 1 / (1 + np.exp(-(odds + 0.125)))
    assert pytest.approx(expected, rel=1e-15) == SMALL.probability(np.array([row]))[0]


def test_json_gives_the_same_forest_back() -> None:
    """To the last bit; a stream's copy of it is itself."""
    forest = Forest.of(grow(max_depth=3))
    assert forest == Forest.from_dict(json.loads(json.dumps(forest.to_dict(), allow_nan=False)))
    assert forest is copy.deepcopy(forest)
    assert len(forest) == 6


def test_rows_of_another_width_are_refused() -> None:
    """The error names their shape."""
    with pytest.raises(ValueError, match=re.escape("features must be (n, 2), got (1, 3)")):
        SMALL.probability(np.zeros((1, 3)))


def test_trees_that_are_too_deep_are_refused() -> None:
    """Complete trees double with each level."""
    with pytest.raises(ValueError, match="max_depth must be <= 8, got trees of a depth of"):
        Forest.of(grow(max_depth=None, max_leaf_nodes=200, min_samples_leaf=1, max_iter=3))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"width": 0}, "key.width must be an integer in [1, 2147483648], got 0"),
        ({"width": True}, "key.width must be an integer in [1, 2147483648], got True"),
        ({"trees": 2.0}, "key.trees must be an integer in [1, 2147483648], got 2.0"),
        ({"trees": 3}, "key.leaf must hold 3 * 2**depth numbers, for a depth from 1 to 8, got 8"),
        ({"trees": 8}, "key.leaf must hold 8 * 2**depth numbers, for a depth from 1 to 8, got 8"),
        ({"feature": "0"}, "key.feature must be a list of integers, got '0'"),
        ({"feature": [0, 4]}, "key.feature[1] must be an integer in [0, 3], got 4"),
        ({"feature": [-1]}, "key.feature[0] must be an integer in [0, 3], got -1"),
        ({"feature": [0.5]}, "key.feature[0] must be an integer in [0, 3], got 0.5"),
        ({"feature": [0]}, "key.feature must hold 6 numbers, one a node, got 1"),
        ({"threshold": [0.0]}, "key.threshold must hold 6 numbers, one a node, got 1"),
        ({"threshold": [None]}, "key.threshold[0] must be a finite number, got None"),
        ({"leaf": [float("nan")] * 8}, "key.leaf[0] must be a finite number, got nan"),
        ({"baseline": float("inf")}, "key.baseline must be a finite number, got inf"),
        ({"depth": 2}, "key.depth is not known, got 2"),
    ],
)
def test_wrong_numbers_are_named(changes: dict[str, Any], message: str) -> None:
    """The error says where they stand, what they are and what they may be."""
    with pytest.raises(ValueError, match=re.escape(message)):
        Forest.from_dict({**SMALL.to_dict(), **changes}, "key")


def test_a_missing_number_is_named() -> None:
    """Nothing has a default."""
    held = {name: value for name, value in SMALL.to_dict().items() if name != "leaf"}
    with pytest.raises(ValueError, match=re.escape("scorer.leaf is missing")):
        Forest.from_dict(held)
