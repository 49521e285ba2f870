"""What settings of a formulation save and lose, and how sure the difference of two is."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.formulations.rows import Counts, Floats, Mask
from stopping_core.resampling import Interval

LEVELS = (0.5, 1.0, 2.0, 4.0)
"""Right answers that may be lost, points of all runs."""

RESAMPLES = 1000
CONFIDENCE = 0.95


@dataclass(frozen=True, slots=True, eq=False)
class Played:
    """What became of each run at each setting.

    Args:
        lost: Whether it was lost.  # (runs, settings)
        bill: Its output tokens.  # (runs, settings)
    """

    lost: Mask
    bill: Counts


def savings(lost: Floats, saved: Floats) -> Floats:
    """Interpolate the saving at the levels, on the front of some settings.

    A front holds the settings that no other beats in both; not to stop is one that everybody has.
    Between two neighbours a run is given to one of them by chance. Past the last setting its saving
    stays.

    Args:
        lost: Of each setting, points of the runs.  # (settings,)
        saved: Of each, percent of the tokens.  # (settings,)

    Returns:
        # (levels,).
    """
    order = np.lexsort((-saved, lost))
    lost, saved = np.append(0.0, lost[order]), np.append(0.0, saved[order])
    reached = np.maximum.accumulate(saved)
    on_front = np.append(True, reached[1:] > reached[:-1])
    at, height = lost[on_front], saved[on_front]
    free = int(np.searchsorted(at, 0.0, side="right")) - 1  # the best of those that lose nothing
    found: Floats = np.interp(LEVELS, at[free:], height[free:])
    return found


class Comparison:
    """Figures of several formulations on the same runs, and on the same draws of them.

    In each draw the front is made anew and interpolated anew, so that the interval holds the choice
    of the setting as well.

    Args:
        lengths: Output tokens of each full run.  # (runs,)
        units: What is drawn with replacement, of each run.
        seed: Of the draws.
    """

    def __init__(self, lengths: Counts, units: Sequence[Hashable], seed: int) -> None:
        numbers = {unit: number for number, unit in enumerate(dict.fromkeys(units))}
        of = np.array([numbers[unit] for unit in units])
        self._member = np.zeros((len(numbers), len(of)))
        self._member[of, np.arange(len(of))] = 1.0
        even = np.full(len(numbers), 1 / len(numbers))
        drawn = np.random.default_rng(seed).multinomial(len(numbers), even, size=RESAMPLES)
        self._drawn = np.vstack([np.ones(len(numbers)), drawn])  # the runs themselves come first
        self._runs = self._drawn @ self._member.sum(axis=1)
        self._tokens = self._drawn @ (self._member @ lengths)

    def figures(self, played: Played) -> Floats:
        """The savings at the levels, of the runs themselves and of each draw.

        Returns:
            Percent of the tokens.  # (1 + draws, levels)
        """
        lost = self._drawn @ (self._member @ played.lost.astype(np.float64))
        bill = self._drawn @ (self._member @ played.bill.astype(np.float64))
        points = 100 * lost / self._runs[:, None]
        percent = 100 * (1 - bill / self._tokens[:, None])
        return np.array([savings(*both) for both in zip(points, percent, strict=True)])

    def best(self, bill: Counts, full: Mask) -> Floats:
        """What nobody can beat at the levels: of the dearest runs the answer is given up.

        Args:
            bill: Of each run, at the cheapest place at which nothing is lost.  # (runs,)
            full: Whether there is something to lose.  # (runs,)

        Returns:
            Percent of the tokens.  # (levels,)
        """
        dearest = np.sort(bill[full])[::-1]
        given_up = np.append(0.0, np.cumsum(dearest))
        points = 100 * np.arange(len(given_up)) / len(bill)
        saved = 100 * (1 - (bill.sum() - given_up) / self._tokens[0])
        found: Floats = np.interp(LEVELS, points, saved)
        return found


def interval(draws: Floats) -> Interval:
    """The percentile interval of a figure over its draws.  # (draws,)."""
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(draws, [tail, 1 - tail])
    return Interval(float(low), float(high))


def differences(figures: Mapping[str, Floats], reference: str) -> dict[str, list[Interval]]:
    """How much more than the reference each saves: at each level, and in the mean of them.

    Args:
        figures: Of each formulation.  # (1 + draws, levels) each
        reference: The name of one of them.
    """
    found = {}
    for name, one in figures.items():
        more = one - figures[reference]
        everything = np.column_stack([more, more.mean(axis=1)])[1:]
        found[name] = [interval(column) for column in everything.T]
    return found
