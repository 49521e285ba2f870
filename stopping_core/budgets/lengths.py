"""How many output tokens a request needs: quantiles, told before its first token."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from itertools import pairwise
from operator import mul
from typing import Any, Self, TypeAlias

from stopping_core.budgets.request_features import NAMES, features_of
from stopping_core.plain_data import finite, listed, members, numbers, whole_number
from stopping_core.types import Request

Rows: TypeAlias = tuple[tuple[float, ...], ...]

LEVELS = (0.1, 0.25, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99)
"""Of the quantiles that are fitted. The lower ones are there for first grants, which are to be
small where another call costs little."""

_FAR = 3.0  # standard deviations: a feature further off counts as this far


@dataclass(frozen=True, slots=True)
class LengthModel:
    """Quantiles of the needed length of a request, as plain numbers.

    Needed is the length at which a session would be done: the policy's stop, or the model's own
    end. The logarithm of each quantile is linear in the standardised features of the request. A
    feature that is missing counts as average, and one that lies further than 3 standard deviations
    from it as 3, so that a request unlike all that was fitted on gets no wild grant. Quantiles that
    cross are sorted, which brings none of them further from the truth.

    Until :func:`~stopping_core.budgets.calibrate` has added offsets, a level is what the fit says
    and no promise.

    Args:
        levels: Rising, in (0, 1).  # (levels,)
        mean: Of each feature where it was fitted.  # (d,)
        scale: Standard deviation of each feature there, > 0.  # (d,)
        weights: Of the standardised features, a row a level.  # (levels, d)
        intercepts: Log tokens where all features are average.  # (levels,)
        cap: Largest length that could be seen, tokens, >= 1: that of the recording. No quantile is
            above it.
        offsets: Conformal, in log tokens; None in it where the level has no finite one, and is the
            cap. None before calibration.  # (levels,)
        runs: Independent runs that it was calibrated on; 0 before.

    Raises:
        ValueError: Names what does not go together.

    References:
        Chernozhukov, Fernández-Val and Galichon (2010), Quantile and Probability Curves Without
        Crossing. Koenker and Bassett (1978), Regression Quantiles.
    """

    levels: tuple[float, ...]
    mean: tuple[float, ...]
    scale: tuple[float, ...]
    weights: Rows
    intercepts: tuple[float, ...]
    cap: int
    offsets: tuple[float | None, ...] | None = None
    runs: int = 0

    def __post_init__(self) -> None:
        levels, width = self.levels, len(NAMES)
        rising = all(low < high for low, high in pairwise((0.0, *levels, 1.0)))
        if not levels or not rising:
            raise ValueError(f"levels must rise inside (0, 1), one or more, got {levels}")
        for name, wanted in (("mean", width), ("scale", width), ("intercepts", len(levels))):
            if len(getattr(self, name)) != wanted:
                got = len(getattr(self, name))
                raise ValueError(f"{name} must hold {wanted} numbers, got {got}")
        if [len(row) for row in self.weights] != [width] * len(levels):
            shape = [len(row) for row in self.weights]
            raise ValueError(f"weights must be {len(levels)} rows of {width}, got rows of {shape}")
        if not all(one > 0 for one in self.scale):
            raise ValueError(f"scale must hold numbers > 0, got {min(self.scale)}")
        if self.cap < 1:
            raise ValueError(f"cap must be >= 1, got {self.cap}")
        if self.runs < 0 or (self.runs > 0) != (self.offsets is not None):
            raise ValueError(f"runs must be > 0 with offsets, 0 without, got {self.runs}")
        if self.offsets is not None and len(self.offsets) != len(levels):
            raise ValueError(f"offsets must hold {len(levels)} numbers, got {len(self.offsets)}")

    @property
    def calibrated(self) -> bool:
        """Whether its levels are a promise."""
        return self.offsets is not None

    def log_quantiles(self, features: Sequence[float]) -> tuple[float, ...]:
        """Return the fitted quantiles of the log length, sorted; without offsets.  # (levels,).

        Args:
            features: Of the request, by
                :func:`~stopping_core.budgets.request_features.features_of`.  # (d,)
        """
        standard = [
            0.0 if math.isnan(value) else min(max((value - mean) / scale, -_FAR), _FAR)
            for value, mean, scale in zip(features, self.mean, self.scale, strict=True)
        ]
        return tuple(
            sorted(
                intercept + sum(map(mul, row, standard))
                for row, intercept in zip(self.weights, self.intercepts, strict=True)
            )
        )

    def quantiles(
        self, request: Request, features: Sequence[float] | None = None
    ) -> tuple[int, ...]:
        """Return a length for each level, tokens: whole, in [1, cap], never falling.  # (levels,).

        With offsets, each is at least what its own level asks for, so that what is promised of a
        level holds however the offsets lie to each other.

        Args:
            request: What is known before the first token.
            features: Its features, where they are known already.
        """
        logs = self.log_quantiles(features_of(request) if features is None else features)
        offsets = self.offsets or (0.0,) * len(logs)
        grants, last = [], 1
        for log, offset in zip(logs, offsets, strict=True):
            last = max(last, self.cap if offset is None else self._tokens(log + offset))
            grants.append(last)
        return tuple(grants)

    def _tokens(self, log: float) -> int:
        """Whole tokens, the rounding of the logarithm forgiven."""
        if log >= math.log(self.cap):
            return self.cap
        return min(self.cap, max(1, math.ceil(math.exp(log) - 1e-6)))

    def to_dict(self) -> dict[str, Any]:
        """The model as JSON has it; ``from_dict`` gives the same bits back."""
        return {
            "features": list(NAMES),
            "levels": list(self.levels),
            "mean": list(self.mean),
            "scale": list(self.scale),
            "weights": [list(row) for row in self.weights],
            "intercepts": list(self.intercepts),
            "cap": self.cap,
            "offsets": None if self.offsets is None else list(self.offsets),
            "runs": self.runs,
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any], key: str = "lengths") -> Self:
        """Take what ``to_dict`` gave.

        Args:
            data: The numbers.
            key: Where they stand, for errors.

        Raises:
            ValueError: Names the key that is missing, unknown or wrong, and its value.
        """
        held = members(data, ["features", *(one.name for one in fields(cls))], key)
        if held["features"] != list(NAMES):
            raise ValueError(f"{key}.features must be those of this version, {list(NAMES)}")
        levels, mean, scale, intercepts = (
            numbers(held[name], f"{key}.{name}")
            for name in ("levels", "mean", "scale", "intercepts")
        )
        weights = tuple(
            numbers(row, f"{key}.weights[{place}]")
            for place, row in enumerate(listed(held["weights"], f"{key}.weights"))
        )
        offsets = None
        if held["offsets"] is not None:
            offsets = tuple(
                None if one is None else finite(one, f"{key}.offsets[{place}]")
                for place, one in enumerate(listed(held["offsets"], f"{key}.offsets"))
            )
        cap = whole_number(held["cap"], f"{key}.cap", 1)
        runs = whole_number(held["runs"], f"{key}.runs")
        try:
            return cls(levels, mean, scale, weights, intercepts, cap, offsets, runs)
        except ValueError as error:
            raise ValueError(f"{key}.{error}") from error
