"""Which levels are open to a request: to all, and to each segment by its own losses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Self

from stopping_core.monitoring import Monitor, Observation, Outcome
from stopping_core.monitoring.segments import ALL, OTHER, share_of
from stopping_core.plain_data import listed

_SHARES = {ALL: 1.0, OTHER: 0.2}
_NAMED = 0.8
"""Of delta. A monitor tests all that it is told of with half of its own, so that these add up."""


class Watch:
    """Watches every level in all requests, and in each segment of them by itself.

    What loses too much in a segment, such as ``tenant=acme``, is closed to its requests alone, and
    opened to them again by what its own uncut requests show; the others keep their level. What
    loses too much in all requests is closed to all. A request that gets a safer level because of
    one of its segments is told to that one alone: it is none of those that all requests get.

    A segment has monitors of its own from when it is first seen. Those beyond the first ``most``
    are watched together, as ``other``.

    The guarantee: if a level keeps its risk in the requests that it is used for, all of them and
    those of every segment, the chance that it is closed to anyone is at most delta, for each stay;
    the error rate is shared out as by :class:`~stopping_core.monitoring.Segments`. The chances of
    opening a level that does not keep its risk add up to at most twice delta.

    Args:
        risks: The levels, rising.
        delta: Chance of a wrong alarm, of all levels together, in (0, 1).
        least_share: Of audits, in (0, 1].
        features: Names of the features in which drift is looked for, in all requests.
        most: Segments with monitors of their own, >= 0.

    Raises:
        ValueError: An argument is out of its interval.
    """

    def __init__(
        self,
        risks: Sequence[float],
        *,
        delta: float,
        least_share: float,
        features: Sequence[str] = (),
        most: int = 50,
    ) -> None:
        if most < 0:
            raise ValueError(f"most must be >= 0, got {most}")
        self._risks, self._delta, self._least_share = tuple(risks), delta, least_share
        self._features, self._most = features, most
        self._groups = {name: self._made(share) for name, share in _SHARES.items()}

    def open_risk(self, segment: Mapping[str, str] | None = None) -> float:
        """The largest level that is open to a request of a segment; 0 where nothing is cut.

        Args:
            segment: Values by field; None for what is open to all.
        """
        return min(_open(self._groups[name]) for name in self._names(segment or {}))

    def closed(self, segment: Mapping[str, str]) -> float | None:
        """The least level that a request of a segment could give evidence for, or None."""
        ahead = [
            monitor.retreat.ahead for name in self._names(segment) for monitor in self._groups[name]
        ]
        return min((one for one in ahead if one is not None), default=None)

    @property
    def restricted(self) -> dict[str, float]:
        """The largest level that is open to each segment that lost too much by itself."""
        held = {name: _open(group) for name, group in self._groups.items() if name != ALL}
        return {name: risk for name, risk in held.items() if risk < self._risks[-1]}

    def observe(
        self,
        outcome: Outcome,
        *,
        cut: bool,
        segment: Mapping[str, str],
        features: Mapping[str, float],
        time: float,
    ) -> list[str]:
        """Take one request, and say what changed by it or has drifted, in words.

        Args:
            outcome: What a stop at its level lost.
            cut: Whether stops were made; else it is evidence for a level that is closed to it.
            segment: Values by field.
            features: Numbers by name.
            time: Seconds.
        """
        for field, value in segment.items():
            self._meet(f"{field}={value}")
        open_risk, told = self.open_risk(segment), []
        used = cut or (outcome.level or 0.0) <= open_risk
        narrowed = open_risk < _open(self._groups[ALL])
        for name in self._names(segment):
            before = _open(self._groups[name])
            if narrowed and before > open_risk:  # by another segment of the request
                continue
            for monitor in self._groups[name]:
                inside = used and monitor.level == outcome.level
                if not inside and (cut or monitor.retreat.ahead != outcome.level):
                    continue
                advice = monitor.observe(
                    Observation(
                        level=outcome.level if inside else None,
                        would_stop=outcome.would_stop and inside,
                        audited=outcome.audited and inside,
                        loss=outcome.loss if inside else None,
                        share=outcome.share,
                        shadow=None if inside else outcome,
                        features=features,
                        time=time,
                    )
                )
                if advice.why:
                    why = f"risk above {outcome.level:g}" if advice.alarms else advice.why
                    now = _open(self._groups[name])
                    told.append(
                        f"{why} in {name}: open were levels up to {before:g}, now up to {now:g}"
                    )
                elif advice.drifted:
                    told.append(f"drift in {', '.join(advice.drifted)}")
        return told

    def to_dict(self) -> dict[str, Any]:
        """All that was watched, as JSON has it, by group in the order of coming."""
        return {name: [one.to_dict() for one in group] for name, group in self._groups.items()}

    def resumed(self, data: Any, key: str) -> Self:
        """Take what ``to_dict`` of a watch with these settings gave.

        Raises:
            ValueError: It is of other settings; or names the key that is missing or wrong.
        """
        if not isinstance(data, Mapping) or list(data)[: len(_SHARES)] != list(_SHARES):
            raise ValueError(f"{key} must be an object that begins with {list(_SHARES)}")
        made = type(self)(
            self._risks,
            delta=self._delta,
            least_share=self._least_share,
            features=self._features,
            most=self._most,
        )
        for name in data:
            here = f"{key}.{name}"
            made._meet(name)
            group = [
                Monitor.from_dict(one, f"{here}[{place}]")
                for place, one in enumerate(listed(data[name], here))
            ]
            wanted, got = (
                [_settings(one) for one in monitors]
                for monitors in (made._groups.get(name, []), group)
            )
            if wanted != got:
                raise ValueError(f"{here} must be of the same settings, {wanted}, got {got}")
            made._groups[name] = group
        return made

    def _names(self, segment: Mapping[str, str]) -> list[str]:
        """The groups that a request belongs to."""
        names = dict.fromkeys([ALL])
        for field, value in segment.items():
            name = f"{field}={value}"
            if name in self._groups:
                names[name] = None
            elif self._place > self._most:
                names[OTHER] = None
        return list(names)

    @property
    def _place(self) -> int:
        """Of the segment that comes next, from 1."""
        return len(self._groups) - len(_SHARES) + 1

    def _meet(self, name: str) -> None:
        """Give a segment monitors of its own, where it has none and there is a place left."""
        if name not in self._groups and self._place <= self._most:
            self._groups[name] = self._made(_NAMED * share_of(self._place))

    def _made(self, share: float) -> list[Monitor]:
        features = self._features if share == _SHARES[ALL] else ()
        return [
            Monitor(
                self._risks[: place + 1],
                start=risk,
                delta=share * self._delta / len(self._risks),
                least_share=self._least_share,
                shadow_share=1.0,  # what runs at a closed level runs uncut
                most_segments=0,
                features=features if risk == self._risks[-1] else (),
            )
            for place, risk in enumerate(self._risks)
        ]


def _open(monitors: Sequence[Monitor]) -> float:
    """The largest level that none of them has closed."""
    retreated = [one.level or 0.0 for one in monitors if one.level != one.retreat.start]
    return min(retreated, default=monitors[-1].retreat.start)


def _settings(monitor: Monitor) -> tuple[object, ...]:
    retreat = monitor.retreat
    shares = monitor.least_share, monitor.shadow_share
    return retreat.levels, retreat.start, monitor.delta, *shares
