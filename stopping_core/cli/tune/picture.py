"""The picture: the front on the half that was searched, and what it is worth on the other."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from stopping_core.cli.tune.front import Member
from stopping_core.cli.tune.search import Trial

_TUNED = "#0072b2"
_REPORTED = "#d55e00"
_CLOUD = "0.72"
_LEAST = 5.0  # points of loss that are shown at least
_MOST = 10.0  # and at most, unless the front begins beyond, or the runs are few


def draw(title: str, tried: Sequence[Trial], found: Sequence[Member], path: Path) -> None:
    """Draw one PNG.

    Args:
        title: What was searched.
        tried: All settings.
        found: Those of the front, from safe to cheap.
        path: Where to write it.
    """
    picture(title, tried, found).savefig(path, dpi=140)


def picture(title: str, tried: Sequence[Trial], found: Sequence[Member]) -> Figure:
    """Draw it; the arguments are those of :func:`draw`.

    The settings are joined on the tuned half only. On the reported one they are points: a line
    through the best of them would pick settings by that half.
    """
    figure = Figure(figsize=(8.4, 6.0), layout="constrained")
    axes = figure.subplots()
    most = 1.02 * widest(found)  # a point on the edge is whole
    shown = [one for one in tried if one.lost <= most]
    axes.plot(
        [one.lost for one in shown],
        [one.saving for one in shown],
        linestyle="none",
        marker="o",
        markersize=3.5,
        markeredgewidth=0,
        color=_CLOUD,
        label="all trials, tuned half",
        zorder=1,
    )
    _pairs(axes, found)
    tuned = [(one.trial.lost, one.trial.saving) for one in found]
    _mark(axes, tuned, _TUNED, "front, tuned half: optimistic", "o-")
    points = [one.reported.point for one in found if one.reported is not None]
    reported = [(point.lost, point.saving) for point in points]
    _intervals(axes, found)
    _mark(axes, reported, _REPORTED, "the same settings, reported half", "o")
    inside = [y for x, y in (*tuned, *reported) if x <= most]
    top, bottom = max([20.0, *inside]), min([0.0, *inside])
    axes.set_xlim(-0.02 * most, most)
    axes.set_ylim(bottom - 0.02 * top, min(102.0, 1.06 * top))
    axes.yaxis.set_major_formatter(lambda y, _: f"{y:.0f}%")
    axes.set_ylabel("tokens saved, probes paid")
    axes.set_xlabel(_beyond(tried, most))
    axes.spines[["top", "right"]].set_visible(False)
    wrapped = "\n".join(textwrap.wrap(title, 90))
    axes.set_title(wrapped, fontsize=11, loc="left", parse_math=False)
    figure.legend(loc="outside lower center", ncols=3, frameon=False)
    return figure


def widest(found: Sequence[Member]) -> float:
    """The largest loss that is shown, points: past it nobody wants to stop."""
    lost = [one.trial.lost for one in found]
    lost += [one.reported.point.lost for one in found if one.reported is not None]
    runs = min((one.reported.point.n for one in found if one.reported is not None), default=0)
    least = max(_LEAST, 1.2 * min(lost, default=0.0), 220 / runs if runs else 0.0)
    return min(105.0, max(least, min(_MOST, 1.05 * max(lost, default=0.0))))


def _mark(
    axes: Axes, points: Sequence[tuple[float, float]], color: str, label: str, style: str
) -> None:
    axes.plot(
        [x for x, _ in points],
        [y for _, y in points],
        style,
        color=color,
        linewidth=2.0,
        markersize=5.5,
        label=label,
        zorder=3,
    )


def _pairs(axes: Axes, found: Sequence[Member]) -> None:
    """Join what one setting does on both halves."""
    for one in found:
        if one.reported is not None:
            point = one.reported.point
            axes.plot(
                [one.trial.lost, point.lost],
                [one.trial.saving, point.saving],
                color="0.55",
                linewidth=0.8,
                linestyle=":",
                zorder=2,
            )


def _intervals(axes: Axes, found: Sequence[Member]) -> None:
    """Draw how sure each figure of the reported half is, where that is known."""
    for one in found:
        if one.reported is None or one.reported.intervals is None:
            continue
        point, intervals = one.reported.point, one.reported.intervals
        (x0, x1), (y0, y1) = intervals["lost"], intervals["saving"]
        bar: dict[str, Any] = {"color": _REPORTED, "linewidth": 0.9, "alpha": 0.35, "zorder": 2}
        axes.plot([x0, x1], [point.saving] * 2, **bar)
        axes.plot([point.lost] * 2, [y0, y1], **bar)


def _beyond(tried: Sequence[Trial], most: float) -> str:
    said = "right answers lost, points of all runs"
    beyond = sum(one.lost > most for one in tried)
    return f"{said}\n{beyond} of {len(tried)} trials lose more than is shown" if beyond else said
