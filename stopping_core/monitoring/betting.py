"""The bets of the monitors, many at once: what a bettor has who doubts a mean.

A bettor begins with a wealth of 1 and bets on every loss, before it is seen, that the mean is not
what the hypothesis says. If the hypothesis is true no bet gains on average, and the chance that the
wealth ever reaches 1 / delta is at most delta (Ville's inequality).
"""

from __future__ import annotations

from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats: TypeAlias = NDArray[np.float64]

Direction: TypeAlias = Literal["above", "below"]

IDLE = 0.5
"""Share of the wealth that is not bet at first, and towards which it is put back."""

PUT_BACK = 0.1
"""How much is put back within one memory, as a share of what is away from :data:`IDLE`."""

CAP = {"above": 0.5, "below": 0.9}
"""Largest share of its stake that a bettor can lose by one request."""

GUESS = {"above": 2.0, "below": 0.5}
"""The mean that is bet on before anything was seen, times the level."""

FAITH = {"above": 1.0, "below": 3.0}
"""What that guess counts for, in losses expected at the level."""


def weighted_loss(loss: float, weight: float, most_weight: float) -> float:
    """Return a loss times its weight.

    Raises:
        ValueError: ``loss`` is not in [0, 1], or ``weight`` not in [1, most_weight].
    """
    if not 0 <= loss <= 1:
        raise ValueError(f"loss must be in [0, 1], got {loss}")
    if not 1 <= weight <= most_weight:
        raise ValueError(f"weight must be in [1, {most_weight:g}], got {weight}")
    return loss * weight


class Betting:
    """Wealth of bettors against many hypotheses, or on many streams, at once.

    Each bets against "the mean is at most alpha" (``above``) or "is at least alpha" (``below``).
    Let y be the weighted loss over the largest one that there can be, m the same of alpha, and b
    the bet. A stake grows by ``1 + b (y - m)``, or by ``1 - b (y - m)`` for ``below``. The bet is
    that of Kelly for a loss that is either 0 or q, at the mean that was estimated before:
    ``b = |mean - m| / (m (q - m))`` where the estimate lies on the side that is bet on, else 0.
    Here q is the mean square over the mean, or 1 for ``below``, where to take losses for small is
    dear. It is never more than a share :data:`CAP` of what would cost the whole stake, so wealth
    stays positive.

    Two things make it see a risk that rises late. The estimate forgets: it is the mean over about
    ``memory`` losses expected at alpha. And part of the wealth stays idle, from which a stake that
    was lost is filled up again, at a small rate. Bets are made before a loss is seen, so neither
    touches the guarantee. Where the risk went from half of alpha to twice alpha when 500 losses
    would have been expected at alpha, the median delay was that of 16 more; a bettor who remembers
    everything had not seen it after 160 more, in 200 streams of 200 (alpha 0.02, delta 0.05).

    Args:
        alpha: The hypotheses, in (0, 1).  # (k,)
        direction: What is bet on: that the mean is above or below.
        most_weight: Bound of the weights, >= 1, the same for all.
        memory: Losses expected at alpha, > 0; None: everything is remembered, and nothing is put
            back, which is best where the risk cannot change.

    References:
        Waudby-Smith and Ramdas (2024), Estimating Means of Bounded Random Variables by Betting,
        sections 4 and 5 and appendix B (GRAPA). arXiv:2010.09686. Herbster and Warmuth (1998),
        Tracking the Best Expert, section 5 (what is put back). Machine Learning 32.
    """

    def __init__(
        self,
        alpha: ArrayLike,
        *,
        direction: Direction = "above",
        most_weight: float = 1.0,
        memory: float | None = 5.0,
    ) -> None:
        level: Floats = np.atleast_1d(np.asarray(alpha, dtype=np.float64)) / most_weight
        self._level, self._most_weight = level, most_weight
        self._sign = 1.0 if direction == "above" else -1.0
        self._loses: Floats = level if direction == "above" else 1 - level
        self._cap: Floats = CAP[direction] / self._loses
        self._faith: Floats = FAITH[direction] / level
        self._gain: Floats = np.zeros_like(level) if memory is None else level / memory
        self._rate: Floats = np.minimum(1.0, PUT_BACK * self._gain)
        self._mean: Floats = np.minimum(GUESS[direction] * level, (1 + level) / 2)
        self._square: Floats = self._mean.copy()
        self._stake: Floats = np.full_like(level, 1 - IDLE)
        self.n = 0
        self.log_wealth: Floats = np.zeros_like(level)
        self.peak: Floats = np.zeros_like(level)
        """The largest ``log_wealth`` so far, nats.  # (k,)"""

    def update(self, weighted: ArrayLike) -> None:
        """Take one loss times its weight, in [0, most_weight]; or one for each bettor.  # (k,)."""
        y: Floats = np.asarray(weighted, dtype=np.float64) / self._most_weight
        level, sign = self._level, self._sign
        away: Floats = np.maximum(sign * (self._mean - level), 0.0)
        if sign > 0:
            size = np.maximum(self._square / np.maximum(self._mean, level) - level, away)
            size = np.maximum(size, 1e-300)  # where nothing is bet it is divided by nothing
        else:
            size = 1 - level
        bet = np.minimum(away / (level * size), self._cap)
        stake = self._stake * (1 + sign * bet * (y - level))
        whole = 1 - self._stake + stake
        self.log_wealth = self.log_wealth + np.log(whole)
        self.peak = np.maximum(self.peak, self.log_wealth)
        stake = stake / whole
        self._stake = stake + self._rate * (1 - IDLE - stake)
        self.n += 1
        gain = np.maximum(1 / (self._faith + self.n), self._gain)
        self._mean = self._mean + gain * (y - self._mean)
        self._square = self._square + gain * (y * y - self._square)
