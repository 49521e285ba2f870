"""Length models, from requests whose needed length is known."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, SupportsIndex

from stopping_core.budgets.lengths import LEVELS, LengthModel
from stopping_core.budgets.request_features import features_of
from stopping_core.errors import MissingPackage
from stopping_core.types import Request

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

_PENALTY = 0.01
FEWEST_RUNS = 10
"""That lengths are fitted to."""


def fit_lengths(
    requests: Sequence[Request],
    needed: Sequence[SupportsIndex],
    cap: int | None = None,
    levels: Sequence[float] = LEVELS,
    penalty: float = _PENALTY,
) -> LengthModel:
    """Fit quantiles of the needed length to features of the requests.

    Each level is a linear quantile regression of the log length, with an L1 penalty on the
    standardised features: those that tell nothing get a weight of 0. A run that came to its cap
    counts as one that needs the cap; that is right for all quantiles below it.

    Args:
        requests: Of the runs, at least 10.
        needed: Tokens that each needed, as
            :func:`~stopping_core.traces.needed.needed_lengths` gives them.  # (n,)
        cap: Largest length that could be seen, tokens: that of the recording. The largest that was
            seen by default.
        levels: Of the quantiles, rising, in (0, 1).
        penalty: Of the sum of the absolute weights, >= 0, in log tokens.

    Returns:
        The model, not calibrated.

    Raises:
        MissingPackage: scikit-learn is not installed.
        ValueError: An argument is out of its interval, or the lengths differ.
    """
    if len(requests) != len(needed) or len(requests) < FEWEST_RUNS:
        raise ValueError(
            f"requests and needed must be of one length, >= {FEWEST_RUNS}, "
            f"got {len(requests)} and {len(needed)}"
        )
    if not penalty >= 0:
        raise ValueError(f"penalty must be >= 0, got {penalty}")
    try:
        import numpy as np
        from sklearn.linear_model import QuantileRegressor
    except ImportError as error:
        raise MissingPackage("scikit-learn", "fit") from error
    tokens = np.maximum(np.array([int(one) for one in needed]), 1)
    most = int(tokens.max()) if cap is None else cap
    features = np.array([features_of(request) for request in requests])
    mean, scale, standard = _standardised(features)
    target = np.log(np.minimum(tokens, most))
    weights, intercepts = [], []
    for level in levels:
        fitted = QuantileRegressor(quantile=level, alpha=penalty, solver="highs")
        fitted.fit(standard, target)
        weights.append(tuple(fitted.coef_.tolist()))
        intercepts.append(float(fitted.intercept_))
    return LengthModel(
        tuple(levels),
        tuple(mean.tolist()),
        tuple(scale.tolist()),
        tuple(weights),
        tuple(intercepts),
        most,
    )


def _standardised(features: Floats) -> tuple[Floats, Floats, Floats]:
    """Mean and deviation of each feature, and the features in them; what is missing is average."""
    import numpy as np

    known = ~np.isnan(features)
    count = np.maximum(known.sum(axis=0), 1)
    mean = np.where(known, features, 0).sum(axis=0) / count
    scale = np.sqrt((np.where(known, features - mean, 0) ** 2).sum(axis=0) / count)
    scale[scale < 1e-9] = 1
    return mean, scale, np.clip(np.nan_to_num((features - mean) / scale, nan=0.0), -3, 3)
