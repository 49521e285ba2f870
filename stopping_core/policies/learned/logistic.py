"""A logistic regression as plain numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from stopping_core.errors import MissingPackage
from stopping_core.plain_data import finite, members, numbers

if TYPE_CHECKING:
    Floats = NDArray[np.float64]
    Labels = NDArray[np.bool_]

_NAMES = ("mean", "scale", "weights", "intercept")


@dataclass(frozen=True, slots=True)
class Logistic:
    """A logistic regression on standardised features, as plain numbers.

    A feature that is missing (NaN) counts as average.

    Args:
        mean: Of each feature where it was fitted.  # (d,)
        scale: Standard deviation of each feature there, > 0.  # (d,)
        weights: Of the standardised features.  # (d,)
        intercept: Log odds where all features are average.
    """

    mean: tuple[float, ...]
    scale: tuple[float, ...]
    weights: tuple[float, ...]
    intercept: float
    _arrays: tuple[Floats, Floats, Floats] = field(init=False, repr=False, compare=False)
    _triples: tuple[tuple[float, float, float], ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        columns = self.mean, self.scale, self.weights
        object.__setattr__(self, "_arrays", tuple(np.array(one, np.float64) for one in columns))
        object.__setattr__(self, "_triples", tuple(zip(*columns, strict=True)))

    def __len__(self) -> int:
        """How many features it reads."""
        return len(self.weights)

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self  # nothing in it changes, and every stream copies its policy

    def probability(self, features: Floats) -> Floats:
        """Return the probability of each row, in [0, 1].

        Args:
            features: One row a place.  # (n, d)
        """
        # No matrix product, and rows that lie in order: a row must give the same bits alone and
        # among others.
        mean, scale, weights = self._arrays
        terms = np.ascontiguousarray(features) - mean
        terms /= scale
        terms *= weights
        terms[np.isnan(terms)] = 0.0
        odds = np.minimum(np.maximum(terms.sum(axis=1) + self.intercept, -500.0), 500.0)
        return np.asarray(1 / (1 + np.exp(-odds)))

    def probability_of(self, row: Sequence[float]) -> float:
        """Return the probability of one row, to the bit as among others, and faster.

        Floats do what is the same in numpy. Sum and exponential stay numpy's, which differ in the
        last digit from those of Python.

        Args:
            row: The features of a place, floats.  # (d,)
        """
        terms = [
            term if (term := (value - mean) / scale * weight) == term else 0.0
            for value, (mean, scale, weight) in zip(row, self._triples, strict=True)
        ]
        odds = float(np.add.reduce(np.array(terms))) + self.intercept
        return 1 / (1 + float(np.exp(-min(max(odds, -500.0), 500.0))))

    @classmethod
    def fit(cls, features: Floats, labels: Labels, extra: str, **settings: Any) -> Self:
        """Fit one by scikit-learn.

        Args:
            features: One row a place, NaN where a feature is missing.  # (n, d)
            labels: Of each row; both have to occur.  # (n,)
            extra: What to install where scikit-learn is missing.
            settings: Of ``sklearn.linear_model.LogisticRegression``.

        Raises:
            MissingPackage: scikit-learn is not installed.
        """
        try:
            from sklearn.linear_model import LogisticRegression
        except ImportError as error:
            raise MissingPackage("scikit-learn", extra) from error
        known = ~np.isnan(features)
        count = np.maximum(known.sum(axis=0), 1)
        mean = np.where(known, features, 0).sum(axis=0) / count
        scale = np.sqrt((np.where(known, features - mean, 0) ** 2).sum(axis=0) / count)
        scale[scale == 0] = 1
        standard = np.nan_to_num((features - mean) / scale, nan=0.0)
        fitted = LogisticRegression(**settings).fit(standard, labels)
        return cls(
            tuple(mean.tolist()),
            tuple(scale.tolist()),
            tuple(fitted.coef_[0].tolist()),
            float(fitted.intercept_[0]),
        )

    def to_dict(self) -> dict[str, Any]:
        """The numbers as JSON has them."""
        return {
            "mean": list(self.mean),
            "scale": list(self.scale),
            "weights": list(self.weights),
            "intercept": self.intercept,
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
        held = members(data, _NAMES, key)
        mean, scale, weights = (
            numbers(held[name], f"{key}.{name}") for name in ("mean", "scale", "weights")
        )
        for name, values in (("scale", scale), ("mean", mean)):
            if len(values) != len(weights):
                raise ValueError(
                    f"{key}.{name} must hold as many numbers as {key}.weights, {len(weights)}, "
                    f"got {len(values)}"
                )
        if not all(one > 0 for one in scale):
            raise ValueError(f"{key}.scale must hold numbers > 0, got {min(scale)}")
        return cls(mean, scale, weights, finite(held["intercept"], f"{key}.intercept"))
