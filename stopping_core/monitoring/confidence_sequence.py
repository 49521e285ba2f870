"""Between which bounds the risk lies, right at every request at once."""

from __future__ import annotations

import math

import numpy as np

from stopping_core.monitoring.betting import Betting, Direction, Floats, weighted_loss

_DIRECTIONS: tuple[Direction, ...] = ("above", "below")


class ConfidenceSequence:
    """Bounds of the risk that hold at all times together, for those who look again and again.

    Every candidate of a grid has two bettors, one who says that the risk is above it and one who
    says that it is below, with delta / 2 each. What a bettor refutes stays refuted. The lower bound
    is the largest candidate up to which all are refuted from below, and the upper bound likewise:
    so the bounds hold for every risk, whether or not it lies on the grid, and the grid costs width
    only. It is finest near 0: the distance of two candidates near r is about 2 sqrt(r) / points.

    The guarantee: if the expected loss of every request is the same whatever came before, the
    chance that it is ever outside of [lower, upper] is at most delta. What voids a
    :class:`~stopping_core.monitoring.risk_monitor.RiskMonitor` voids this too. A risk that changes
    does as well: each bound then speaks of the requests since the start, the lower one of the
    largest and the upper one of the least of their risks. If lower is above upper the risk has
    changed. ``reset`` begins anew.

    It has state: ``update`` and ``reset``. An update is linear in the points.

    Args:
        delta: 1 - confidence, in (0, 1).
        most_weight: Bound of the weights, in [1, inf): 1 over the least share of audits.
        points: Candidates, >= 2.

    Raises:
        ValueError: Names the argument that is out of its interval.

    Examples:
        >>> sequence = ConfidenceSequence()
        >>> for _ in range(500):
        ...     sequence.update(0)
        >>> sequence.lower, sequence.mean, sequence.upper < 0.02
        (0.0, 0.0, True)

    References:
        Waudby-Smith and Ramdas (2024), Estimating Means of Bounded Random Variables by Betting,
        section 4.2 (hedged capital). arXiv:2010.09686.
    """

    def __init__(self, delta: float = 0.05, *, most_weight: float = 1.0, points: int = 300) -> None:
        if not 0 < delta < 1:
            raise ValueError(f"delta must be in (0, 1), got {delta}")
        if not 1 <= most_weight < math.inf:
            raise ValueError(f"most_weight must be in [1, inf), got {most_weight}")
        if points < 2:
            raise ValueError(f"points must be >= 2, got {points}")
        self.delta, self.most_weight, self.points = delta, most_weight, points
        self.candidates: Floats = (np.arange(1, points + 1) / (points + 1)) ** 2  # (points,)
        self._needed = math.log(2 / delta)
        self.reset()

    def reset(self) -> None:
        """Forget everything: new bounds, with a delta of their own."""
        self._above, self._below = (
            Betting(self.candidates, direction=direction, most_weight=self.most_weight, memory=None)
            for direction in _DIRECTIONS
        )
        self._sum = 0.0

    def update(self, loss: float, weight: float = 1.0) -> None:
        """Take the loss of one request.

        Args:
            loss: In [0, 1]; 0 for a request that was not cut, and for one whose loss is not known.
            weight: 1 over the probability with which the loss became known, in [1, most_weight].

        Raises:
            ValueError: An argument is out of its interval. Nothing was taken.
        """
        weighted = weighted_loss(loss, weight, self.most_weight)
        self._above.update(weighted)
        self._below.update(weighted)
        self._sum += weighted

    @property
    def n(self) -> int:
        """Requests so far."""
        return self._above.n

    @property
    def mean(self) -> float:
        """The mean of the weighted losses, which is unbiased; 0 before the first."""
        return self._sum / self.n if self.n else 0.0

    @property
    def lower(self) -> float:
        """Lower bound of the risk, in [0, 1)."""
        refuted = self._above.peak >= self._needed
        count = self.points if refuted.all() else int(refuted.argmin())
        return float(self.candidates[count - 1]) if count else 0.0

    @property
    def upper(self) -> float:
        """Upper bound of the risk, in (0, 1]."""
        refuted = (self._below.peak >= self._needed)[::-1]
        count = self.points if refuted.all() else int(refuted.argmin())
        return float(self.candidates[self.points - count]) if count else 1.0
