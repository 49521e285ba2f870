"""Gradient-boosted trees as plain numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self, TypeAlias

import numpy as np
from numpy.typing import NDArray

from stopping_core.plain_data import finite, members, numbers

Floats: TypeAlias = NDArray[np.float64]

_DEEPEST = 8  # splits on the way to a leaf; a level more doubles the numbers of a tree
_BLOCK = 256  # rows at once, so that what is compared stays in the cache
_LARGEST = float(np.finfo(np.float64).max)


@dataclass(frozen=True, slots=True)
class Forest:
    """Boosted trees that vote on the log odds, as plain numbers.

    Every tree is a complete binary tree: where one ended early, both sides of what is put below
    end alike. The nodes lie level by level, and tree by tree within a level, so that node i of a
    level has its children at 2i and 2i + 1 of the next: no index of a child is stored, and none can
    be wrong. A row goes to 2i + 1 where its feature is above the node's threshold.

    A missing feature (NaN) goes the way that the node says: feature j of a node is column j, with
    less than any number where it is missing, and feature ``width + j`` the same column, with more.

    Args:
        width: Features of a row, d.
        trees: How many trees, t.
        feature: What each node looks at, in [0, 2d).  # (t * (2**depth - 1),)
        threshold: Of each node, finite.  # (t * (2**depth - 1),)
        leaf: What each leaf adds to the log odds, tree by tree.  # (t * 2**depth,)
        baseline: Log odds before any tree.
    """

    width: int
    trees: int
    feature: tuple[int, ...] = field(repr=False)
    threshold: tuple[float, ...] = field(repr=False)
    leaf: tuple[float, ...] = field(repr=False)
    baseline: float
    _arrays: tuple[NDArray[np.intp], Floats, Floats] = field(init=False, repr=False, compare=False)
    _begins: NDArray[np.intp] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        arrays = np.array(self.feature, np.intp), np.array(self.threshold), np.array(self.leaf)
        object.__setattr__(self, "_arrays", arrays)
        object.__setattr__(self, "_begins", 2 * np.arange(self.trees))

    def __len__(self) -> int:
        """How many features it reads."""
        return self.width

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self  # nothing in it changes, and every stream copies its policy

    def probability(self, features: Floats) -> Floats:
        """Return the probability of each row, in [0, 1]: the same bits alone and among others.

        Args:
            features: One row a place, NaN where a feature is missing.  # (n, d)

        Raises:
            ValueError: The rows have another number of features.
        """
        if features.ndim != 2 or features.shape[1] != self.width:
            raise ValueError(f"features must be (n, {self.width}), got {features.shape}")
        if len(features) <= _BLOCK:
            return self._probability(features)
        blocks = range(0, len(features), _BLOCK)
        return np.concatenate([self._probability(features[i : i + _BLOCK]) for i in blocks])

    def probability_of(self, row: Sequence[float]) -> float:
        """Return the probability of one row, to the bit as among others.

        Args:
            row: The features of a place.  # (d,)
        """
        feature, threshold, leaf = self._arrays
        known = np.array(row)
        both = np.concatenate((np.fmax(known, -np.inf), np.fmin(known, np.inf)))
        above = both.take(feature) > threshold  # at every node of every tree
        at = above[: self.trees] + self._begins
        level = self.trees
        while level < len(feature):
            at = 2 * at + above.take(at + level)
            level = 2 * level + self.trees
        odds = min(max(leaf.take(at).sum() + self.baseline, -500.0), 500.0)
        return float(1 / (1 + np.exp(-odds)))

    def _probability(self, features: Floats) -> Floats:
        feature, threshold, leaf = self._arrays
        both = np.concatenate((np.fmax(features, -np.inf), np.fmin(features, np.inf)), axis=1)
        above = both.take(feature, axis=1) > threshold  # at every node of every tree
        flat = above.ravel()
        row = np.arange(0, flat.size, len(feature))[:, None]
        at = 2 * np.arange(self.trees) + above[:, : self.trees]
        level = self.trees  # where the nodes of the next one begin
        while level < len(feature):
            at = 2 * at + flat.take(at + (row + level))
            level = 2 * level + self.trees
        odds = leaf.take(at).sum(axis=1) + self.baseline
        return np.asarray(1 / (1 + np.exp(-np.minimum(np.maximum(odds, -500.0), 500.0))))

    @classmethod
    def of(cls, fitted: Any) -> Self:
        """Take the trees of a classifier of two classes without categories.

        Args:
            fitted: A ``sklearn.ensemble.HistGradientBoostingClassifier``.

        Raises:
            ValueError: A tree is too deep.
        """
        trees = [predictor.nodes for (predictor,) in fitted._predictors]
        nodes = np.concatenate(trees)
        depth = max(1, int(nodes["depth"].max()))
        if depth > _DEEPEST:
            raise ValueError(f"max_depth must be <= {_DEEPEST}, got trees of a depth of {depth}")
        width = int(fitted.n_features_in_)
        begins = np.cumsum([0, *map(len, trees)])
        first = np.repeat(begins[:-1], np.diff(begins))
        ends, itself = nodes["is_leaf"] == 1, np.arange(len(nodes))
        children = np.stack(
            [np.where(ends, itself, first + nodes[side]) for side in ("left", "right")], axis=1
        )
        above = nodes["missing_go_to_left"] == 0
        feature = np.where(ends, 0, nodes["feature_idx"] + width * above)
        # A split of the missing from all others has no finite threshold.
        threshold = np.where(ends, 0.0, np.minimum(nodes["num_threshold"], _LARGEST))
        levels = [begins[:-1]]
        for _ in range(depth):
            levels.append(children[levels[-1]].ravel())
        inner = np.concatenate(levels[:-1])
        return cls(
            width,
            len(trees),
            tuple(feature[inner].tolist()),
            tuple(threshold[inner].tolist()),
            tuple(nodes["value"][levels[-1]].tolist()),
            float(fitted._baseline_prediction[0, 0]),
        )

    def to_dict(self) -> dict[str, Any]:
        """The numbers as JSON has them."""
        return {
            "width": self.width,
            "trees": self.trees,
            "feature": list(self.feature),
            "threshold": list(self.threshold),
            "leaf": list(self.leaf),
            "baseline": self.baseline,
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any], key: str = "scorer") -> Self:
        """Take what ``to_dict`` gave.

        Args:
            data: The numbers.
            key: Where they stand, for errors.

        Raises:
            ValueError: Names the key that is missing, unknown or wrong, and its value.
        """
        names = ("width", "trees", "feature", "threshold", "leaf", "baseline")
        held = members(data, names, key)
        width, trees = (_integer(held[name], f"{key}.{name}", 1) for name in ("width", "trees"))
        threshold, leaf = (numbers(held[name], f"{key}.{name}") for name in ("threshold", "leaf"))
        sizes = [trees * 2**depth for depth in range(1, _DEEPEST + 1)]
        if len(leaf) not in sizes:
            raise ValueError(
                f"{key}.leaf must hold {trees} * 2**depth numbers, for a depth from 1 to "
                f"{_DEEPEST}, got {len(leaf)}"
            )
        if not isinstance(held["feature"], list):
            raise ValueError(f"{key}.feature must be a list of integers, got {held['feature']!r}")
        feature = tuple(
            _integer(one, f"{key}.feature[{place}]", 0, 2 * width - 1)
            for place, one in enumerate(held["feature"])
        )
        for name, values in (("feature", feature), ("threshold", threshold)):
            if len(values) != len(leaf) - trees:
                raise ValueError(
                    f"{key}.{name} must hold {len(leaf) - trees} numbers, one a node, "
                    f"got {len(values)}"
                )
        baseline = finite(held["baseline"], f"{key}.baseline")
        return cls(width, trees, feature, threshold, leaf, baseline)


def _integer(value: Any, key: str, least: int, most: int = 2**31) -> int:
    """Return an integer in [least, most]."""
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise ValueError(f"{key} must be an integer in [{least}, {most}], got {value!r}")
    return value
