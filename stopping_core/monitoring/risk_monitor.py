"""An alarm that may be watched at every request: the risk is above its level, or is below it."""

from __future__ import annotations

import math
from typing import Any, Self

from stopping_core.monitoring.betting import (
    CAP,
    FAITH,
    GUESS,
    IDLE,
    PUT_BACK,
    Direction,
    weighted_loss,
)
from stopping_core.plain_data import finite, members, whole_number

_SETTINGS = ("alpha", "delta", "direction", "most_weight", "memory")
_STATE = ("n", "log_wealth", "peak", "stake", "mean", "square")


class RiskMonitor:
    """Tests "the risk is at most alpha" on every request, with one error rate for ever.

    With ``direction="below"`` it tests "the risk is at least alpha", and its alarm is good news:
    evidence that the risk is below the level. How it bets is said at
    :class:`~stopping_core.monitoring.betting.Betting`. An update takes the same time and memory
    however many there were.

    The guarantee: if, whatever came before, the expected loss of the next request is at most alpha
    (at least, for ``below``), the chance that ``alarm`` ever becomes true is at most delta. Losses
    may be graded and dependent, and one may stop watching whenever one likes. A risk exactly at
    alpha counts as at most and as at least.

    It is void where what is fed is not an unbiased loss: where the share of audits depends on what
    the loss will be, where requests without a known loss are left out rather than fed as 0, where
    known zeros are fed before audits that began earlier, or where the level was chosen on the same
    losses. An alarm says that the risk was above alpha at some time, not when, nor that it still
    is.

    It has state: ``update`` and ``reset``.

    Args:
        alpha: Risk level, in (0, 1).
        delta: Chance of an alarm that is wrong, in (0, 1).
        direction: ``"above"`` or ``"below"`` the level.
        most_weight: Bound of the weights, in [1, inf): 1 over the least share of audits. A bound
            that is larger than need be makes alarms later, not wrong.
        memory: Over how much the risk is estimated that the bets rely on, in losses expected at
            alpha, > 0. None: over everything, for a risk that cannot change.

    Raises:
        ValueError: Names the argument that is out of its interval.

    Examples:
        >>> monitor = RiskMonitor(alpha=0.02)
        >>> for loss in [0, 0, 0, 1] * 10:
        ...     monitor.update(loss)
        >>> monitor.alarm, monitor.n
        (True, 40)
        >>> back = RiskMonitor(alpha=0.02, direction="below")
        >>> for _ in range(300):
        ...     back.update(0)
        >>> back.alarm
        True

    References:
        Waudby-Smith and Ramdas (2024), Estimating Means of Bounded Random Variables by Betting,
        theorem 3 and appendix B. arXiv:2010.09686. Ville (1939), Étude critique de la notion de
        collectif.
    """

    def __init__(
        self,
        alpha: float,
        delta: float = 0.05,
        *,
        direction: Direction = "above",
        most_weight: float = 1.0,
        memory: float | None = 5.0,
    ) -> None:
        for name, value in (("alpha", alpha), ("delta", delta)):
            if not 0 < value < 1:
                raise ValueError(f"{name} must be in (0, 1), got {value}")
        if direction not in CAP:
            raise ValueError(f"direction must be 'above' or 'below', got {direction!r}")
        if not 1 <= most_weight < math.inf:
            raise ValueError(f"most_weight must be in [1, inf), got {most_weight}")
        if memory is not None and not 0 < memory < math.inf:
            raise ValueError(f"memory must be in (0, inf) or None, got {memory}")
        self.alpha, self.delta, self.direction = alpha, delta, direction
        self.most_weight, self.memory = most_weight, memory
        level = alpha / most_weight
        self._level, self._above = level, direction == "above"
        self._cap = CAP[direction] / (level if self._above else 1 - level)
        self._faith = FAITH[direction] / level
        self._gain = 0.0 if memory is None else level / memory
        self._rate = min(1.0, PUT_BACK * self._gain)
        self._needed = -math.log(delta)
        self.reset()

    def reset(self) -> None:
        """Forget everything: a new test, with a delta of its own."""
        self.n = 0
        self.log_wealth = 0.0
        self._peak = 0.0
        self._stake = 1 - IDLE
        self._mean = min(GUESS[self.direction] * self._level, (1 + self._level) / 2)
        self._square = self._mean

    def update(self, loss: float, weight: float = 1.0) -> None:
        """Take the loss of one request.

        Args:
            loss: In [0, 1]; 0 for a request that was not cut, and for one whose loss is not known.
            weight: 1 over the probability with which the loss became known, in [1, most_weight].

        Raises:
            ValueError: An argument is out of its interval. Nothing was taken.
        """
        y = weighted_loss(loss, weight, self.most_weight) / self.most_weight
        level, mean = self._level, self._mean
        bet = 0.0
        if self._above and mean > level:
            away = mean - level
            bet = min(away / (level * max(self._square / mean - level, away)), self._cap)
        elif not self._above and mean < level:
            bet = -min((level - mean) / (level * (1 - level)), self._cap)
        stake = self._stake * (1 + bet * (y - level))
        whole = 1 - self._stake + stake
        self.log_wealth += math.log(whole)
        self._peak = max(self._peak, self.log_wealth)
        stake /= whole
        self._stake = stake + self._rate * (1 - IDLE - stake)
        self.n += 1
        gain = max(1 / (self._faith + self.n), self._gain)
        self._mean = mean + gain * (y - mean)
        self._square += gain * (y * y - self._square)

    @property
    def wealth(self) -> float:
        """What the bettor has, who began with 1; inf where no float holds it."""
        return math.exp(self.log_wealth) if self.log_wealth < 709 else math.inf

    @property
    def alarm(self) -> bool:
        """Whether the wealth ever reached 1 / delta. It stays so until ``reset``."""
        return self._peak >= self._needed

    @property
    def p_value(self) -> float:
        """Of the hypothesis, and right at any time: 1 over the largest wealth so far."""
        return math.exp(-self._peak)

    def to_dict(self) -> dict[str, Any]:
        """Settings and state as JSON has them."""
        settings = {name: getattr(self, name) for name in _SETTINGS}
        state = {
            "n": self.n,
            "log_wealth": self.log_wealth,
            "peak": self._peak,
            "stake": self._stake,
            "mean": self._mean,
            "square": self._square,
        }
        return settings | state

    @classmethod
    def from_dict(cls, data: Any, key: str = "monitor") -> Self:
        """Take what ``to_dict`` gave, after a way through JSON.

        Raises:
            ValueError: Names the key that is missing, unknown or wrong, and its value.
        """
        held = members(data, (*_SETTINGS, *_STATE), key)
        memory = None if held["memory"] is None else finite(held["memory"], f"{key}.memory")
        numbers = {
            name: finite(held[name], f"{key}.{name}")
            for name in (*_SETTINGS, *_STATE)
            if name not in ("direction", "memory", "n")
        }
        monitor = cls(
            numbers["alpha"],
            numbers["delta"],
            direction=held["direction"],
            most_weight=numbers["most_weight"],
            memory=memory,
        )
        for name in ("stake", "mean", "square"):
            if not 0 <= numbers[name] <= 1:
                raise ValueError(f"{key}.{name} must be in [0, 1], got {numbers[name]}")
        if numbers["peak"] < max(0.0, numbers["log_wealth"]):
            raise ValueError(f"{key}.peak must be at least 0 and log_wealth, got {numbers['peak']}")
        monitor.n = whole_number(held["n"], f"{key}.n")
        monitor.log_wealth, monitor._peak = numbers["log_wealth"], numbers["peak"]
        monitor._stake, monitor._mean = numbers["stake"], numbers["mean"]
        monitor._square = numbers["square"]
        return monitor

    def resumed(self, data: Any, key: str) -> RiskMonitor:
        """Take what ``to_dict`` of a monitor with these settings gave.

        Raises:
            ValueError: As ``from_dict``, or a setting is another one.
        """
        monitor = RiskMonitor.from_dict(data, key)
        for name in _SETTINGS:
            wanted, got = getattr(self, name), getattr(monitor, name)
            if wanted != got:
                raise ValueError(f"{key}.{name} must be {wanted!r}, got {got!r}")
        return monitor
