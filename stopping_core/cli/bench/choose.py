"""Which setting of a policy is taken, by what it does on the runs that are there to choose on."""

from __future__ import annotations

from collections.abc import Sequence

from stopping_core.cli.bench.scores import Point


def within(points: Sequence[Point | None], level: float) -> int | None:
    """Take the setting that saves most among those that lose at most ``level``.

    Not to stop is a setting that everybody has, so one that saves nothing is never taken. Of equal
    savings the one that loses less is taken, then the one that the grid names first.

    Args:
        points: What each setting does on the choosing runs; None where it could not be tried.
        level: The most that may be lost, points of all runs.

    Returns:
        The number of the setting, or None: then the policy had better not stop.
    """
    fit = [
        (-point.saving, point.lost, number)
        for number, point in enumerate(points)
        if point is not None and point.lost <= level + 1e-9 and point.saving > 0
    ]
    return min(fit)[2] if fit else None


def at_saving(points: Sequence[Point | None], saving: float) -> int | None:
    """Take the setting whose saving is the nearest to ``saving``, percent, from above.

    Returns:
        The number of the setting, of equals the one that loses less; or None where none saves
        that much.
    """
    enough = [
        (point.saving, point.lost, number)
        for number, point in enumerate(points)
        if point is not None and point.saving >= saving - 1e-9
    ]
    return min(enough)[2] if enough else None


def front(points: Sequence[Point | None]) -> list[int]:
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
