"""One test of the risk for every segment of the requests, and one error rate for all of them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Self

from stopping_core.monitoring.risk_monitor import RiskMonitor
from stopping_core.plain_data import finite, listed, members, whole_number

ALL = "all"
OTHER = "other"

_SHARES = {ALL: 0.5, OTHER: 0.1}
"""Of delta. What is left goes to the named segments."""


def share_of(place: int) -> float:
    """Return the part of an error rate for the one that came at this place, the first at 1.

    It is 6 / (pi place)^2: over all places, without end, the parts add up to 1.
    """
    return 6 / (math.pi * place) ** 2


class Segments:
    """Monitors of all requests, and of each segment: a tenant, a use case, a model.

    A segment is a field with its value, ``tenant=acme``. It gets a monitor when it is first seen,
    and a part of delta by the order of coming: half of delta is for all requests together, a tenth
    for ``other``, and the rest is shared out so that it never runs out. What comes after the first
    ``most`` has no monitor of its own and is pooled in ``other``; ``pooled`` counts it. A request
    counts once in every segment that it belongs to, and at most once in ``other``.

    The guarantee: if the risk is at most alpha in every segment, the chance of any alarm, ever, is
    at most delta. It is void where a segment is named after the answer or the loss, and where that
    voids a :class:`~stopping_core.monitoring.risk_monitor.RiskMonitor`.

    A certificate speaks of all requests together. A segment that is harder than the others can be
    above alpha while the whole is not; its alarm is then right, and the certificate is, too.

    It has state: ``update`` and ``reset``.

    Args:
        alpha: Risk level, in (0, 1).
        delta: Chance of any alarm that is wrong, in (0, 1).
        most_weight: Bound of the weights, in [1, inf).
        most: Segments with a monitor of their own, >= 0. Fields of few values are meant; a field
            that numbers requests takes all the places.

    Raises:
        ValueError: Names the argument that is out of its interval.

    Examples:
        >>> segments = Segments(alpha=0.02)
        >>> alarms = [segments.update({"tenant": "acme"}, loss=1) for _ in range(5)]
        >>> alarms
        [(), (), (), ('all',), ('tenant=acme',)]
    """

    def __init__(
        self, alpha: float, delta: float = 0.05, *, most_weight: float = 1.0, most: int = 50
    ) -> None:
        if most < 0:
            raise ValueError(f"most must be >= 0, got {most}")
        self.alpha, self.delta, self.most_weight, self.most = alpha, delta, most_weight, most
        self.reset()

    def reset(self) -> None:
        """Forget everything: a new test, with a delta of its own."""
        self._monitors = {name: self._made(share) for name, share in _SHARES.items()}
        self.pooled = 0

    def update(
        self, segment: Mapping[str, str], loss: float, weight: float = 1.0
    ) -> tuple[str, ...]:
        """Take the loss of one request.

        Args:
            segment: Values by field, none of which holds a ``=``. Empty: it counts in ``all``.
            loss: In [0, 1], as for a monitor.
            weight: In [1, most_weight].

        Returns:
            The segments that raised an alarm by this request and had none before.

        Raises:
            ValueError: An argument is out of its interval. Nothing was taken.
        """
        names = [_name(field, value) for field, value in segment.items()]
        every = self._monitors[ALL]
        before = every.alarm
        every.update(loss, weight)  # raises before anything else is touched
        raised = [ALL] if every.alarm and not before else []
        elsewhere = False
        for name in names:
            monitor = self._monitor(name)
            if monitor is None:
                elsewhere = True
            elif _raises(monitor, loss, weight):
                raised.append(name)
        if elsewhere:
            self.pooled += 1
            if _raises(self._monitors[OTHER], loss, weight):
                raised.append(OTHER)
        return tuple(raised)

    @property
    def monitors(self) -> Mapping[str, RiskMonitor]:
        """By segment, in the order of coming; ``all`` and ``other`` are there from the start."""
        return MappingProxyType(self._monitors)

    @property
    def alarms(self) -> tuple[str, ...]:
        """The segments whose alarm was ever raised."""
        return tuple(name for name, monitor in self._monitors.items() if monitor.alarm)

    def to_dict(self) -> dict[str, Any]:
        """Settings and state as JSON has them."""
        monitors = {name: monitor.to_dict() for name, monitor in self._monitors.items()}
        return {
            "alpha": self.alpha,
            "delta": self.delta,
            "most_weight": self.most_weight,
            "most": self.most,
            "pooled": self.pooled,
            "monitors": [[name, monitor] for name, monitor in monitors.items()],
        }

    @classmethod
    def from_dict(cls, data: Any, key: str = "segments") -> Self:
        """Take what ``to_dict`` gave, after a way through JSON.

        Raises:
            ValueError: Names the key that is missing, unknown or wrong, and its value.
        """
        names = ("alpha", "delta", "most_weight", "most", "pooled", "monitors")
        held = members(data, names, key)
        alpha, delta, most_weight = (finite(held[name], f"{key}.{name}") for name in names[:3])
        made = cls(
            alpha,
            delta,
            most_weight=most_weight,
            most=whole_number(held["most"], f"{key}.most"),
        )
        made.pooled = whole_number(held["pooled"], f"{key}.pooled")
        told = listed(held["monitors"], f"{key}.monitors")
        for place, entry in enumerate(told):
            here = f"{key}.monitors[{place}]"
            if not isinstance(entry, list | tuple) or len(entry) != 2:
                raise ValueError(f"{here} must be a name and a monitor")
            name = entry[0]
            known = list(_SHARES)[place : place + 1] or [name]
            if name not in known or not isinstance(name, str):
                raise ValueError(f"{here}[0] must be {known[0]!r}, got {name!r}")
            new = place >= len(_SHARES)
            if new and (name in made._monitors or made._monitor(name) is None):
                raise ValueError(f"{here}[0] must be one of {made.most}, each once")
            made._monitors[name] = made._monitors[name].resumed(entry[1], f"{here}[1]")
        if len(told) < len(_SHARES):
            raise ValueError(f"{key}.monitors must begin with {list(_SHARES)}")
        return made

    def _monitor(self, name: str) -> RiskMonitor | None:
        """The monitor of a segment, made where there is a place left; None where there is none."""
        place = len(self._monitors) - len(_SHARES) + 1
        if name not in self._monitors and place <= self.most:
            left = 1 - sum(_SHARES.values())
            self._monitors[name] = self._made(left * share_of(place))
        return self._monitors.get(name)

    def _made(self, share: float) -> RiskMonitor:
        return RiskMonitor(self.alpha, self.delta * share, most_weight=self.most_weight)


def _raises(monitor: RiskMonitor, loss: float, weight: float) -> bool:
    """Feed a monitor, and tell whether its alarm is new."""
    before = monitor.alarm
    monitor.update(loss, weight)
    return monitor.alarm and not before


def _name(field: str, value: str) -> str:
    if "=" in field:
        raise ValueError(f"segment must name fields without '=', got {field!r}")
    return f"{field}={value}"
