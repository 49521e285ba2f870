"""Which setting of a policy is taken, by what it does on the runs that are there to choose on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from stopping_core.cli.bench.scores import Point
from stopping_core.costs import LOCAL

_ROUNDING = 1e-9


class Tried(Protocol):
    """What a setting loses, points, and what it saves, percent."""

    @property
    def lost(self) -> float: ...

    @property
    def saving(self) -> float: ...


def keeps(lost: float, level: float) -> bool:
    """Say whether a loss is within a level, both in points, rounding errors apart."""
    return lost <= level + _ROUNDING


def within(points: Sequence[Point | None], level: float, regime: str = LOCAL.name) -> int | None:
    """Take the setting that saves most among those that lose at most ``level``.

    Not to stop is a setting that everybody has, so one that saves nothing is never taken. Of equal
    savings the one that loses less is taken, then the one that the grid names first.

    Args:
        points: What each setting does on the choosing runs; None where it could not be tried.
        level: The most that may be lost, points of all runs.
        regime: Name of the cost regime in which the saving is measured.

    Returns:
        The number of the setting, or None: then the policy had better not stop, or the saving is
        not known.
    """
    fit = [
        (-saving, point.lost, number)
        for number, point in enumerate(points)
        if point is not None and keeps(point.lost, level)
        if (saving := point.savings.get(regime)) is not None and saving > 0
    ]
    return min(fit)[2] if fit else None


def at_saving(
    points: Sequence[Point | None], saving: float
) -> list[tuple[int | None, float]] | None:
    """Mix two settings so that together they save exactly ``saving`` percent.

    The two are neighbours on the policy's front, not to stop being the first setting of it. Each
    run is given to one of them by chance, with a probability that is the setting's share.

    Args:
        points: What each setting does on the choosing runs; None where it could not be tried.
        saving: Percent, > 0.

    Returns:
        The settings, None for not to stop, with their shares, which sum to 1; one where it saves
        just that. None where no setting saves as much.
    """
    number, reached = None, 0.0
    for after in front(points):
        more = point.saving if (point := points[after]) is not None else 0.0
        if more >= saving:
            share = (saving - reached) / (more - reached)
            return [(after, 1.0)] if share >= 1 else [(number, 1 - share), (after, share)]
        number, reached = after, more
    return None


def front(points: Sequence[Tried | None]) -> list[int]:
    """Name the settings to which no other is both cheaper and safer, from safe to cheap."""
    order = sorted(
        (point.lost, -point.saving, number)
        for number, point in enumerate(points)
        if point is not None
    )
    best: list[int] = []
    reached = 0.0
    for _, saving, number in order:
        if -saving > reached:
            reached = -saving
            best.append(number)
    return best
