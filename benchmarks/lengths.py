"""Which model tells needed lengths best: ``python -m benchmarks.lengths RUNS.parquet``.

Pinball loss of the log length, in thousandths, out of fold: each fifth of the families is told by
models that were fitted on the others. The same quantiles for all requests; linear quantile
regression, with the penalty that ``fit_lengths`` chooses and with others; boosted trees.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from stopping_core import AdaptiveStopping
from stopping_core.budgets import fit_lengths
from stopping_core.budgets.lengths import LEVELS
from stopping_core.budgets.request_features import features_of
from stopping_core.cli.fit.recorded import request_of
from stopping_core.policies import Never
from stopping_core.resampling import GroupBootstrap
from stopping_core.traces import Columns, needed_lengths, read_trace
from stopping_core.traces.run import Run
from stopping_core.traces.splits import split
from stopping_core.types import Request

Floats: TypeAlias = NDArray[np.float64]
Fit: TypeAlias = Callable[[Sequence[Request], Floats, Sequence[Request]], Floats]
"""Takes requests, their needed lengths and other requests; the log quantiles of those."""

FOLDS = 5


def linear(penalty: float | None) -> Fit:
    """Linear quantile regression."""

    def fit(known: Sequence[Request], needed: Floats, new: Sequence[Request]) -> Floats:
        model = fit_lengths(known, needed.astype(int).tolist(), penalty=penalty)
        return np.array([model.log_quantiles(features_of(request)) for request in new])

    return fit


def alike(known: Sequence[Request], needed: Floats, new: Sequence[Request]) -> Floats:
    """The same quantiles for all."""
    return np.tile(np.quantile(np.log(needed), LEVELS), (len(new), 1))


def boosted(**settings: Any) -> Fit:
    """Boosted trees, a level each, sorted."""

    def fit(known: Sequence[Request], needed: Floats, new: Sequence[Request]) -> Floats:
        from sklearn.ensemble import HistGradientBoostingRegressor

        features, others = (
            np.array([features_of(request) for request in some]) for some in (known, new)
        )
        seen = ~np.isnan(features).all(axis=0)  # trees take no feature that is never known
        features, others = features[:, seen], others[:, seen]
        told = [
            HistGradientBoostingRegressor(
                loss="quantile", quantile=level, random_state=0, **settings
            )
            .fit(features, np.log(needed))
            .predict(others)
            for level in LEVELS
        ]
        return np.sort(np.array(told).T, axis=1)

    return fit


MODELS: Mapping[str, Fit] = {
    "linear": linear(None),
    "the same for all": alike,
    "linear, penalty 0.01": linear(0.01),
    "linear, penalty 0": linear(0.0),
    "linear, penalty 0.003": linear(0.003),
    "linear, penalty 0.03": linear(0.03),
    "30 small trees": boosted(max_iter=30, max_leaf_nodes=4, min_samples_leaf=20),
    "100 small trees": boosted(
        max_iter=100, max_leaf_nodes=4, min_samples_leaf=20, learning_rate=0.05
    ),
}


def losses(told: Floats, needed: Floats) -> Floats:
    """Pinball loss of each run at each level.  # (runs, levels)."""
    over = np.log(needed)[:, None] - told
    levels = np.array(LEVELS)
    lost: Floats = np.maximum(levels * over, (levels - 1) * over)
    return lost


def out_of_fold(fit: Fit, runs: Sequence[Run], needed: Floats) -> Floats:
    """The losses of all runs.  # (runs, levels)."""
    requests = [request_of(run) for run in runs]
    told = np.full((len(runs), len(LEVELS)), np.nan)
    for part in split(runs, {str(fold): 1 / FOLDS for fold in range(FOLDS)}, 0).values():
        others = np.setdiff1d(np.arange(len(runs)), part)
        known = [requests[number] for number in others]
        told[part] = fit(known, needed[others], [requests[number] for number in part])
    return losses(told, needed)


def main() -> None:
    """Print a table for each file and policy."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", nargs="+", type=Path, help="trace files of natural runs")
    for path in parser.parse_args().runs:
        runs = read_trace(path).runs
        columns = Columns(runs)
        boot = GroupBootstrap([run.group or run.question_id for run in runs])
        for name in ("never", "balanced"):
            policy = (
                Never() if name == "never" else AdaptiveStopping.from_profile("balanced").policy
            )
            needed = needed_lengths(columns, policy).astype(np.float64)
            print(f"\n{path.name}, {name}: {len(runs)} runs\n")
            print(f"| model | {' | '.join(map(str, LEVELS))} | mean | more than the first |")
            print("|---|" + "---|" * (len(LEVELS) + 2))
            first = None
            for title, fit in MODELS.items():
                lost = 1000 * out_of_fold(fit, runs, needed)
                each = lost.mean(axis=1)
                first = each if first is None else first
                more = boot.ratio(each - first, np.ones(len(runs)))
                cells = [f"{value:.1f}" for value in [*lost.mean(axis=0), each.mean()]]
                found = f"{(each - first).mean():+.1f} [{more.low:+.1f}, {more.high:+.1f}]"
                print(f"| {title} | {' | '.join(cells)} | {found} |", flush=True)


if __name__ == "__main__":
    main()
