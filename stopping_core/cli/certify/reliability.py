"""Whether the probability of a loss that a model tells is the rate at which losses come."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from stopping_core.certificates import FittedModel
from stopping_core.errors import MissingPackage
from stopping_core.policies.learned import LearnedStopping
from stopping_core.resampling import GroupBootstrap, Interval
from stopping_core.traces.columns import Columns
from stopping_core.traces.graded import Graded
from stopping_core.traces.run import Run

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_LOWEST = 1e-4  # of the picture's axes; LossModel adds as much to a probability
_BLUE, _ORANGE, _GREY = "#0072b2", "#d55e00", "0.55"


@dataclass(frozen=True, slots=True)
class Bin:
    """Places with nearly the same predicted probability.

    Args:
        count: How many places.
        groups: How many groups they are of.
        predicted: Mean of the predicted probabilities.
        observed: Share of the places at which it happened.
        interval: Of ``observed``, over draws of the groups.
    """

    count: int
    groups: int
    predicted: float
    observed: float
    interval: Interval

    @property
    def holds(self) -> bool:
        """Whether the interval holds the predicted probability."""
        return self.interval.low <= self.predicted <= self.interval.high


@dataclass(frozen=True, slots=True)
class Reliability:
    """How predicted probabilities compare with what happened.

    Every place counts the same, so long runs count more. Each interval is for its bin alone: of
    twenty bins of a perfect model one may well miss its own. The intervals are those of
    :class:`~stopping_core.resampling.GroupBootstrap`: in simulations with 15 to 40 groups a bin
    they held the rate in 92% of the bins for the 95% that they promise, and in 87% where one group
    in 40 had an event.

    Args:
        bins: From low to high predictions, about as many places in each.
        places: How many places.
        groups: How many groups they are of.
        predicted: Mean of all predictions.
        observed: Share of all places at which it happened.
        interval: Of that share.
        brier: Mean squared difference of prediction and outcome; lower is better.
        reference: The same for one who always says ``observed``.
        error: Expected calibration error: mean over all places of how far the observed rate of
            their bin is from its mean prediction. Of a perfect model it is above 0, by chance.
        edges: Of the histogram of all predictions, rising; the first cell also holds what is
            below.  # (k + 1,)
        histogram: Places in each of its cells.  # (k,)

    References:
        Brier (1950), Verification of forecasts expressed in terms of probability, Monthly Weather
        Review 78(1). Naeini, Cooper and Hauskrecht (2015), Obtaining well calibrated probabilities
        using Bayesian binning, AAAI (expected calibration error). Nguyen and O'Connor (2015),
        Posterior calibration and exploratory analysis for natural language processing models,
        arXiv:1508.05154 (bins of equal mass).
    """

    bins: tuple[Bin, ...]
    places: int
    groups: int
    predicted: float
    observed: float
    interval: Interval
    brier: float
    reference: float
    error: float
    edges: tuple[float, ...]
    histogram: tuple[int, ...]

    @property
    def missed(self) -> int:
        """How many bins have an interval that does not hold the predicted probability."""
        return sum(not one.holds for one in self.bins)


def reliability(
    probability: ArrayLike,
    outcome: ArrayLike,
    group: Sequence[Hashable],
    *,
    bins: int = 10,
    resamples: int = 2000,
    confidence: float = 0.95,
    seed: int = 0,
) -> Reliability:
    """Compare predicted probabilities with what happened.

    Places with the same prediction are never parted, so there may be fewer bins than asked for, of
    unequal mass.

    Args:
        probability: Predicted at each place, in [0, 1].  # (n,)
        outcome: Whether it happened there.  # (n,)
        group: What each place shares its fate with: its run, or all runs about one passage.  # (n,)
        bins: How many bins, >= 1.
        resamples: Of the bootstrap over groups.
        confidence: Of each interval, in (0, 1).
        seed: Of the bootstrap.

    Raises:
        ValueError: There is no place, or the shapes differ, or a value is out of its interval, or
            all places are of one group.
    """
    told = np.asarray(probability, dtype=np.float64)
    happened = np.asarray(outcome, dtype=np.bool_)
    if told.ndim != 1 or not len(told):
        raise ValueError(f"probability must be (n,) with n >= 1, got {told.shape}")
    if happened.shape != told.shape or len(group) != len(told):
        raise ValueError(
            f"outcome and group must be {told.shape}, got {happened.shape} and ({len(group)},)"
        )
    if not ((told >= 0) & (told <= 1)).all():
        raise ValueError(f"probability must be in [0, 1], got {told[~(abs(told - 0.5) <= 0.5)][0]}")
    if bins < 1:
        raise ValueError(f"bins must be >= 1, got {bins}")
    numbers = {name: number for number, name in enumerate(dict.fromkeys(group))}
    of = np.array([numbers[name] for name in group], dtype=np.int64)

    def interval(where: NDArray[np.bool_]) -> Interval:
        some = of[where]
        if where.any() and (some == some[0]).all() and len(numbers) > 1:
            return Interval(0.0, 1.0)  # one group says nothing of how others differ
        draws = GroupBootstrap(some.tolist(), resamples=resamples, confidence=confidence, seed=seed)
        return draws.share(happened[where])

    number = _deal(told, bins)
    found = tuple(
        Bin(
            int(where.sum()),
            len(np.unique(of[where])),
            float(told[where].mean()),
            float(happened[where].mean()),
            interval(where),
        )
        for where in (number == one for one in range(number.max() + 1))
    )
    rate = float(happened.mean())
    edges = np.geomspace(_LOWEST, 1, 33)
    histogram = np.histogram(np.clip(told, edges[0], edges[-1]), edges)[0]
    return Reliability(
        bins=found,
        places=len(told),
        groups=len(numbers),
        predicted=float(told.mean()),
        observed=rate,
        interval=interval(np.ones(len(told), dtype=np.bool_)),
        brier=float(((told - happened) ** 2).mean()),
        reference=rate * (1 - rate),
        error=sum(one.count * abs(one.predicted - one.observed) for one in found) / len(told),
        edges=tuple(edges.tolist()),
        histogram=tuple(histogram.tolist()),
    )


def reliability_of(
    columns: Columns,
    fitted: FittedModel,
    graded: Graded,
    units: Sequence[Hashable] | None = None,
    *,
    bins: int = 10,
    seed: int = 0,
) -> Reliability:
    """Compare what a fitted model predicts on some runs with what stops there would have lost.

    At each place at which the policy looks: the predicted probability that the full run is right
    and the answer so far is not, and whether that is so. Places behind the one at which a threshold
    would stop count too, and so do those that the completeness check would refuse. Inside reasoning
    only places with a recorded probe count.

    Args:
        columns: The places of runs that the model has not seen. Of a selection, those of all.
        fitted: The model.
        graded: Grades these runs.
        units: What is drawn independently, of each run; its group by default.  # (runs,)
        bins: How many bins, >= 1.
        seed: Of the bootstrap over these.

    Raises:
        ValueError: There is no place to look at, or all runs are of one unit.
    """
    rule = LearnedStopping(0.0, fitted.model, fitted.scope.look_every)
    view = columns.everything.asked(rule.marks())
    looks = rule.looks(view)
    if view.channel == "reasoning":
        looks = looks & view.has_probe
    if not looks.any():
        raise ValueError("columns must hold a place at which the policy looks, got none")
    probed = fitted.model.probed is not None
    features = view.rows_of(fitted.model.evidence(), looks, probed=probed)[looks]
    run = view.run[looks]
    full = graded.full() >= 1
    lost = full[run] & ~graded.right(view.rows[looks])
    names = list(map(_group, view.runs)) if units is None else units
    return reliability(
        fitted.model.probability(features),
        lost,
        [names[number] for number in run.tolist()],
        bins=bins,
        seed=seed,
    )


def draw(found: Reliability, path: Path, title: str = "") -> None:
    """Draw the observed rate of each bin against its prediction, and all predictions below.

    Losses are rare, so the axes are logarithmic, from 0.0001 on; a rate of 0 is drawn at the lower
    end, as a hollow triangle.

    Args:
        found: What is drawn.
        path: The PNG.
        title: What stands above it.

    Raises:
        MissingPackage: matplotlib is not installed.
        OSError: The file cannot be written.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingPackage("matplotlib", "bench") from error
    figure = Figure(figsize=(5.6, 6.6), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(4, 1))
    _draw_bins(above, found)
    _draw_histogram(below, found)
    above.set_title(title, fontsize=10, loc="left", parse_math=False)
    figure.savefig(path, format="png", dpi=140)


def _deal(told: NDArray[np.float64], bins: int) -> NDArray[np.int64]:
    """Number the bin of each place, from 0, none left out: equal mass, equal values together."""
    edges = np.quantile(told, np.arange(1, bins) / bins, method="inverted_cdf")
    numbers: NDArray[np.int64] = np.unique(np.searchsorted(edges, told), return_inverse=True)[1]
    return numbers.reshape(-1)


def _group(run: Run) -> tuple[str, str]:
    """What shares a passage, as ``certify`` draws one run of each."""
    return ("group", run.group) if run.group else ("question", run.question_id)


def _draw_bins(axes: Axes, found: Reliability) -> None:
    axes.plot([_LOWEST, 1], [_LOWEST, 1], color=_GREY, linewidth=1, linestyle="--", zorder=1)
    axes.axhline(max(found.observed, _LOWEST), color=_GREY, linewidth=0.8, linestyle=":", zorder=1)
    axes.annotate(
        f"all places: {found.observed:.2%}",
        (_LOWEST * 1.15, max(found.observed, _LOWEST)),
        (0, 3),
        textcoords="offset points",
        color="0.35",
        fontsize=8,
    )
    for one in found.bins:
        at, color = max(one.predicted, _LOWEST), _BLUE if one.holds else _ORANGE
        ends = [max(end, _LOWEST) for end in (one.interval.low, one.interval.high)]
        axes.plot([at, at], ends, color=color, linewidth=1.6, zorder=2)
        axes.plot(
            at,
            max(one.observed, _LOWEST),
            marker="o" if one.observed > _LOWEST else "v",
            markersize=6,
            color=color,
            markerfacecolor=color if one.observed > _LOWEST else "white",
            clip_on=False,
            zorder=3,
        )
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlim(_LOWEST, 1)
    axes.set_ylim(_LOWEST, 1)
    axes.set_ylabel("observed: a stop here would have lost the answer")
    axes.spines[["top", "right"]].set_visible(False)
    missed = f"{found.missed} of {len(found.bins)} bins miss the diagonal (orange)"
    axes.annotate(
        f"{found.places:,} places, {found.groups:,} groups; {missed}\n"
        f"Brier score {found.brier:.4f}, of the rate alone {found.reference:.4f}\n"
        f"expected calibration error {found.error:.4f}",
        (0.02, 0.98),
        xycoords="axes fraction",
        va="top",
        fontsize=8,
    )


def _draw_histogram(axes: Axes, found: Reliability) -> None:
    axes.stairs(found.histogram, found.edges, fill=True, color=_BLUE, alpha=0.5)
    axes.set_xlabel("predicted probability that a stop here loses the answer")
    axes.set_ylabel("places")
    axes.spines[["top", "right"]].set_visible(False)
