"""Models of the needed length that are made up."""

from __future__ import annotations

import math
from collections.abc import Sequence

from stopping_core.budgets import LengthModel
from stopping_core.budgets.lengths import LEVELS
from stopping_core.budgets.request_features import NAMES


def made_lengths(
    tokens: Sequence[float] = (8, 14, 24, 30, 38, 50, 80, 120, 200),
    *,
    levels: Sequence[float] = LEVELS,
    slope: float = 0.0,
    cap: int = 512,
) -> LengthModel:
    """A model with these quantiles for an average request.

    Args:
        tokens: Of each level.
        levels: Their levels.
        slope: What a deviation more of each feature adds to the log of each quantile.
        cap: Of the model.
    """
    width = len(NAMES)
    return LengthModel(
        tuple(levels),
        (1.0,) * width,
        (2.0,) * width,
        ((slope,) * width,) * len(levels),
        tuple(map(math.log, tokens)),
        cap,
    )
