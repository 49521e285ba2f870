"""Models of the loss that a stop in the reasoning brings, from recorded runs with known answers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np

from stopping_core.errors import MissingPackage
from stopping_core.policies.learned.forest import Forest
from stopping_core.policies.learned.loss_model import LossModel, Tier, evidence_for
from stopping_core.types import Boundary

if TYPE_CHECKING:
    from stopping_core.traces.columns import Columns, Mask, Readings

TREES: Mapping[str, Any] = MappingProxyType(
    {
        "max_iter": 100,
        "max_depth": 3,
        "min_samples_leaf": 40,
        "l2_regularization": 5.0,
        "max_features": 0.4,
        "early_stopping": False,
        "random_state": 0,
    }
)
"""Of ``sklearn.ensemble.HistGradientBoostingClassifier``: small trees, for rare losses."""


def fit_thinking(columns: Columns, right: Mask, full: Mask, tier: Tier = "text") -> LossModel:
    """Fit a model of the loss that ending the thinking brings, at the ends of its lines.

    The same runs give the same model, whatever the number of cores. In the tier ``"probes"`` the
    margin is by how much a probe moves the score, as the root of its mean square: where probes tell
    nothing new, few are bought.

    Args:
        columns: The places of the runs, on the channel ``"reasoning"``.
        right: Whether the answer at each of them would have been right.  # (n,)
        full: Whether the full answer of each run is right.  # (runs,)
        tier: What the model reads.

    Raises:
        MissingPackage: scikit-learn is not installed.
        ValueError: A stop loses an answer at all line ends that were probed, or at none.
    """
    try:
        from sklearn.ensemble import HistGradientBoostingClassifier
        from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]  # no stubs
    except ImportError as error:
        raise MissingPackage("scikit-learn", "fit") from error
    looks = columns.at(Boundary.LINE) & columns.has_probe
    lost = (np.asarray(full, np.bool_)[columns.run] & ~np.asarray(right, np.bool_))[looks]
    if lost.all() or not lost.any():
        raise ValueError(
            "right and full must make a stop lose an answer at some ends of lines and not at "
            f"others, got {lost.sum()} losses at {len(lost)} of them"
        )

    def forest(features: Readings) -> Forest:
        features = features.copy()
        features[:, np.isnan(features).all(axis=0)] = 0.0  # scikit-learn fails where all is missing
        with threadpool_limits(1):  # sums over several threads differ in the last digit
            return Forest.of(HistGradientBoostingClassifier(**TREES).fit(features, lost))

    evidence = evidence_for("reasoning", tier)
    rows, tokens = columns.rows_of(evidence, looks)[looks], columns.tokens[looks]
    model = LossModel(tier, "reasoning", forest(rows))
    if tier != "probes":
        return model
    wider = columns.rows_of(evidence, looks, probed=True)[looks]
    model = replace(model, probed=forest(wider))
    moved = model.score(wider, tokens) - model.score(rows, tokens)
    return replace(model, margin=float(np.sqrt(np.mean(moved**2))))
