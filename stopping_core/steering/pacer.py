"""What a token is worth now: more under load, near a cost ceiling, above a latency objective."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from stopping_core.plain_data import finite, members

_LEAST = 1e-9


@dataclass(frozen=True, slots=True)
class Objective:
    """Something that must not be exceeded on average.

    Args:
        name: ``"load"`` for requests under way, ``"cost"`` for USD an hour, ``"latency"`` for
            seconds a request, or one's own.
        most: The limit, in its own unit, > 0.
        rate: How fast the price follows, > 0: the step of the logarithm a second, for a value that
            is twice the limit.

    Raises:
        ValueError: An argument is out of its interval.
    """

    name: str
    most: float
    rate: float = 0.05

    def __post_init__(self) -> None:
        for name in ("most", "rate"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value > 0):
                raise ValueError(f"{name} must be > 0, got {value}")


class Pacer:
    """The price of a token, as the multiplier that holds some objectives on average.

    Each objective has a multiplier of its own, between 1 and ``dearest``. It rises while what is
    observed is above the limit and falls back while it is below, in proportion to how far, so that
    in the long run the limit is just kept where tokens can keep it at all. The price is their
    product, at most ``dearest``. What it changes is which certified level is preferred, and never
    which may be used: beyond the most aggressive of these a price moves nothing.

    Time comes in with each observation, so that nothing here has a clock.

    Args:
        objectives: Their names differ.
        dearest: The largest price, > 1.

    Raises:
        ValueError: An argument is out of its interval, or two objectives have one name.

    References:
        Balseiro and Gur (2019), Learning in Repeated Auctions with Budgets: adaptive pacing, here
        with multiplicative steps.
    """

    def __init__(self, *objectives: Objective, dearest: float = 100.0) -> None:
        if not (math.isfinite(dearest) and dearest > 1):
            raise ValueError(f"dearest must be > 1, got {dearest}")
        names = [one.name for one in objectives]
        if len(set(names)) < len(names):
            raise ValueError(f"objectives must have names that differ, got {names}")
        self.objectives = objectives
        self.dearest = dearest
        self._log = dict.fromkeys(names, 0.0)
        self._last: dict[str, float] = {}

    @property
    def price(self) -> float:
        """What a token is worth now, against what it is worth when there is time: >= 1."""
        return min(self.dearest, math.exp(sum(self._log.values())))

    def observe(self, name: str, value: float, now: float) -> None:
        """Take what an objective is at.

        Args:
            name: Of the objective.
            value: In its own unit, >= 0.
            now: Seconds, of a clock that does not go back. The first observation sets the time
                only; a gap counts for a minute at most.

        Raises:
            ValueError: There is no such objective, or the value is no number >= 0.
        """
        if name not in self._log:
            raise ValueError(f"name must be one of {list(self._log)}, got {name!r}")
        if not (math.isfinite(value) and value >= 0):
            raise ValueError(f"value must be >= 0, got {value}")
        before = self._last.get(name)
        self._last[name] = now
        if before is None:
            return
        objective = next(one for one in self.objectives if one.name == name)
        seconds = min(60.0, max(0.0, now - before))
        excess = min(1.0, value / objective.most - 1.0)
        ceiling = math.log(self.dearest)
        moved = self._log[name] + objective.rate * seconds * excess
        self._log[name] = min(ceiling, max(0.0, moved))

    def to_dict(self) -> dict[str, Any]:
        """Where it is, as JSON has it; the objectives are settings and not part of it."""
        return {"log": dict(self._log)}

    def restore(self, data: Mapping[str, Any]) -> Self:
        """Go on from what ``to_dict`` gave; objectives that it does not know begin anew.

        Raises:
            ValueError: Names the key that is missing, unknown or wrong, and its value.
        """
        held = members(data, ("log",), "pacer")
        for name, value in held["log"].items():
            if name in self._log:
                number = finite(value, f"pacer.log.{name}")
                self._log[name] = min(math.log(self.dearest), max(0.0, number))
        return self


class Smoothed:
    """An exponential mean over time, for what comes request by request.

    Args:
        seconds: After which an observation counts for 1/e, > 0.
    """

    def __init__(self, seconds: float = 30.0) -> None:
        if not (math.isfinite(seconds) and seconds > 0):
            raise ValueError(f"seconds must be > 0, got {seconds}")
        self._seconds = seconds
        self._sum = self._weight = 0.0
        self._at: float | None = None

    def add(self, value: float, now: float) -> None:
        """Take an observation."""
        self._fade(now)
        self._sum += value
        self._weight += 1.0

    def mean(self, now: float) -> float:
        """The mean of what was observed lately; 0 where nothing was."""
        self._fade(now)
        return self._sum / self._weight if self._weight > _LEAST else 0.0

    def rate(self, now: float) -> float:
        """What was observed a second, lately."""
        self._fade(now)
        return self._sum / self._seconds

    def _fade(self, now: float) -> None:
        if self._at is not None:
            factor = math.exp(-max(0.0, now - self._at) / self._seconds)
            self._sum *= factor
            self._weight *= factor
        self._at = now
