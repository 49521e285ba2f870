"""The picture: what each policy saves against what it loses, a panel a trace file."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from stopping_core.cli.bench.choose import front
from stopping_core.cli.bench.scores import Mask, Point, Scores, add_up
from stopping_core.cli.bench.table import Swept

_COLORS = {
    "text": "#0072b2",
    "logprobs": "#d55e00",
    "probes": "#009e73",
    "samples": "#cc79a7",
    "yours": "#000000",
}
_OTHER = "#7a828a"
_ORACLE = "#6a3d9a"
_SOME = 3  # policies that a picture shows from their first setting on and names, if none leads


@dataclass(frozen=True, slots=True)
class Curve:
    """The settings of one policy that, on the choosing runs, no other beat in saving and in loss.

    Args:
        policy: What it is called.
        tier: The evidence it lives on.
        settings: From safe to cheap.
        chosen: What each does on the choosing runs.
        reported: What each does on the reported runs.
        leads: Whether no policy that holds one of the levels saves more at it, or hardly.
    """

    policy: str
    tier: str
    settings: tuple[str, ...]
    chosen: tuple[Point, ...]
    reported: tuple[Point, ...]
    leads: bool = False

    @property
    def line(self) -> list[int]:
        """The settings that no other of them beats on the reported runs either, in order.

        Only these are connected: a line through all would run backwards wherever the two halves
        disagree. The others are drawn, faint.
        """
        return front(self.reported)


@dataclass(frozen=True, slots=True)
class Panel:
    """One file's part of the picture.

    Args:
        title: What the file is.
        curves: Its policies.
        oracle: Saving and loss of the bound, or None.
    """

    title: str
    curves: tuple[Curve, ...]
    oracle: tuple[float, float] | None = None


def curve(swept: Swept, full: Scores, report: Mask, leaders: Sequence[str]) -> Curve | None:
    """Take the front of a policy; None where it has no setting that saves anything."""
    best = front(swept.points)
    scores = [swept.scores[number] for number in best]
    if not best:
        return None
    return Curve(
        swept.policy,
        swept.tier,
        tuple(swept.settings[number] for number in best),
        tuple(point for number in best if (point := swept.points[number]) is not None),
        tuple(add_up(one, full, report) for one in scores if one is not None),
        leads=swept.policy in leaders,
    )


def color(tier: str) -> str:
    """Give the colour of a tier."""
    return _COLORS.get(tier, _OTHER)


def widest(curves: Sequence[Curve], levels: Sequence[float]) -> float:
    """The largest loss that a picture shows, points.

    Past the levels, and past two lost runs, which of few runs are more than any level. It also
    holds the safest setting of each policy that leads; where none does, of those that lose least.
    """
    firsts = [(one.leads, one.reported[one.line[0]].lost) for one in curves if one.line]
    leading = [lost for leads, lost in firsts if leads]
    others = sorted(lost for _, lost in firsts)[:_SOME]
    runs = max((point.n for one in curves for point in one.reported), default=0)
    two_lost = 220 / runs if runs else 0.0
    safest = [1.1 * lost for lost in leading or others]
    return min(105.0, max(1.6 * max(1.0, *levels), two_lost, *safest))


def named(curves: Sequence[Curve], widest: float) -> list[Curve]:
    """The policies that lead; where none does, those that save most inside the picture."""

    def most(one: Curve) -> float:
        return max((p.saving for p in one.reported if p.lost <= widest), default=0.0)

    leading = [one for one in curves if one.leads]
    some = sorted((one for one in curves if most(one) > 0), key=most, reverse=True)
    return leading or some[:_SOME]


def draw(panels: Sequence[Panel], levels: Sequence[float], path: Path) -> None:
    """Draw all panels into one PNG."""
    across = min(2, len(panels))
    down = -(-len(panels) // across)
    figure = Figure(figsize=(8.4 * across, 5.6 * down + 0.5), layout="constrained")
    every = figure.subplots(down, across, squeeze=False).ravel()
    for axes, panel in zip(every, panels, strict=False):
        _draw(axes, panel, widest(panel.curves, levels), levels)
    for axes in every[len(panels) :]:
        axes.set_axis_off()
    _key(figure, panels)
    figure.savefig(path, dpi=140)


def _draw(axes: Axes, panel: Panel, widest: float, levels: Sequence[float]) -> None:
    for level in levels:
        if level > 0:
            axes.axvline(level, color="0.8", linewidth=0.8, linestyle=":", zorder=0)
    ends = []
    shown = named(panel.curves, widest)
    for one in sorted(panel.curves, key=lambda one: one.leads):
        points = [(p.lost, p.saving) for p in (one.reported[number] for number in one.line)]
        beaten = [p for number, p in enumerate(one.reported) if number not in one.line]
        axes.plot(
            [p.lost for p in beaten],
            [p.saving for p in beaten],
            color=color(one.tier),
            linestyle="none",
            marker="o",
            markersize=3,
            markeredgewidth=0,
            alpha=0.3 if one.leads else 0.12,
            zorder=1,
        )
        axes.plot(
            [x for x, _ in points],
            [y for _, y in points],
            color=color(one.tier),
            linewidth=2.4 if one.leads else 0.9,
            marker="o",
            markersize=5.5 if one.leads else 3,
            alpha=1.0 if one in shown else 0.4,
            zorder=3 if one.leads else 2,
        )
        if one in shown:
            ends.append((_end(points, widest), one))
    inside = (p.saving for one in panel.curves for p in one.reported if p.lost <= widest)
    top = max([40.0, *inside, *(y for (_, y), _ in ends)])
    if panel.oracle is not None:
        saving, lost = panel.oracle
        top = max(top, saving)
        axes.plot(lost, saving, "*", color=_ORACLE, markersize=16, zorder=4, clip_on=False)
        axes.annotate("oracle", (lost, saving), (9, -3), textcoords="offset points", color=_ORACLE)
    top = min(100.0, 1.06 * top)
    axes.set_title(
        "\n".join(textwrap.wrap(panel.title, 70)), fontsize=11, loc="left", parse_math=False
    )
    axes.set_xlim(-0.02 * widest, widest)
    axes.set_ylim(-0.02 * top, top)
    axes.yaxis.set_major_formatter(lambda y, _: f"{y:.0f}%")
    axes.set_ylabel("tokens saved, probes paid")
    axes.set_xlabel("right answers lost, points of all runs")
    axes.spines[["top", "right"]].set_visible(False)
    _label(axes, ends, widest, top)


def _end(points: Sequence[tuple[float, float]], widest: float) -> tuple[float, float]:
    """Where a line leaves the picture, or where it ends inside it."""
    for (x, y), (after, above) in pairwise(points):
        if x <= widest < after:
            return widest, y + (above - y) * (widest - x) / (after - x)
    return points[-1] if points[-1][0] <= widest else (widest, points[0][1])


def _label(
    axes: Axes, ends: list[tuple[tuple[float, float], Curve]], widest: float, top: float
) -> None:
    """Name the leaders beside the picture, as high as their lines end, clear of each other."""
    room = 0.05 * top
    ends = sorted(ends, key=lambda end: end[0][1])
    heights = [end[0][1] for end in ends]
    for i in range(1, len(heights)):
        heights[i] = max(heights[i], heights[i - 1] + room)
    over = max(0.0, heights[-1] - top) if heights else 0.0
    for i in reversed(range(len(heights))):
        heights[i] = min(heights[i], top - room * (len(heights) - 1 - i)) if over else heights[i]
    for height, ((x, y), one) in zip(heights, ends, strict=True):
        axes.annotate(
            textwrap.shorten(one.policy, 28, placeholder=" ..."),
            xy=(x, y),
            xytext=(1.035 * widest, height),
            color=color(one.tier),
            fontsize=9.5,
            fontweight="bold" if one.leads else "normal",
            va="center",
            annotation_clip=False,
            parse_math=False,
            arrowprops={
                "arrowstyle": "-",
                "color": color(one.tier),
                "linewidth": 0.8,
                "linestyle": ":",
                "shrinkA": 1,
                "shrinkB": 3,
                "relpos": (0.0, 0.5),
            },
        )


def _key(figure: Figure, panels: Sequence[Panel]) -> None:
    tiers = dict.fromkeys(one.tier for panel in panels for one in panel.curves)
    lines = [Line2D([], [], color=color(t), linewidth=2.4, label=t) for t in tiers]
    figure.legend(
        handles=lines,
        title="evidence a policy lives on",
        loc="outside lower center",
        ncols=max(1, len(lines)),
        frameon=False,
    )
