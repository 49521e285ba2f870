"""Which certified level is in use: an alarm makes it safer, and coming back needs evidence."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from itertools import pairwise
from typing import Any, Self

from stopping_core.monitoring.risk_monitor import RiskMonitor
from stopping_core.plain_data import finite, listed, members, numbers, whole_number


@dataclass(frozen=True, slots=True)
class Change:
    """One change of the level.

    Args:
        time: As it was told, seconds.
        before: Level that was left; None: nothing was cut.
        after: Level that was moved to; None: nothing is cut.
        why: In words.
    """

    time: float
    before: float | None
    after: float | None
    why: str

    @classmethod
    def from_dict(cls, data: Any, key: str) -> Self:
        """Take what ``asdict`` gave, after a way through JSON.

        Raises:
            ValueError: Names the key that is missing, unknown or wrong, and its value.
        """
        held = members(data, [one.name for one in fields(cls)], key)
        if not isinstance(held["why"], str):
            raise ValueError(f"{key}.why must be a text, got {held['why']!r}")
        return cls(
            finite(held["time"], f"{key}.time"),
            _number(held["before"], f"{key}.before"),
            _number(held["after"], f"{key}.after"),
            held["why"],
        )


class Retreat:
    """The level in use, one of those that are certified, or None: nothing is cut.

    ``on_alarm`` moves at once to the next safer level, at worst to None. ``come_back`` moves one
    level towards the one that was begun with, never beyond, and only where ``may_return``. For that
    the losses at the level to be returned to, gathered since the last change, must show with
    confidence 1 - delta that its risk is below it. They are known of runs that went to the end:
    audits, and requests that the level in use does not cut. No more levels come in than at the
    start, so what is not certified is never used.

    The guarantee: where the risk at the level ``ahead`` is at least that level, it is returned to
    with probability at most delta. This is for each stay at a level: who retreats and returns k
    times pays k delta. What voids a :class:`~stopping_core.monitoring.risk_monitor.RiskMonitor`
    voids it. After an alarm no certificate is known to hold, that of the safer level included,
    because requests are no longer as those it was made on. It is the monitor that guards it then.

    It has no clock: times are told. It has state: ``on_alarm``, ``come_back``, and ``evidence``,
    which its owner feeds.

    Args:
        levels: Of risk, certified, in (0, 1), rising: careful to aggressive.
        start: The level that is begun with, one of them.
        delta: Chance of coming back wrongly, in (0, 1).
        most_weight: Bound of the weights of losses, in [1, inf).
        kept: Changes that the history keeps, the last ones, >= 1.

    Raises:
        ValueError: Names the argument that is out of its interval.

    Examples:
        >>> retreat = Retreat([0.01, 0.02], start=0.02)
        >>> retreat.on_alarm("all: risk above 0.02", time=0.0)
        0.01
        >>> for _ in range(300):
        ...     retreat.evidence.update(0)
        >>> retreat.may_return(), retreat.come_back(time=60.0)
        (True, 0.02)
    """

    def __init__(
        self,
        levels: Sequence[float],
        *,
        start: float,
        delta: float = 0.05,
        most_weight: float = 1.0,
        kept: int = 100,
    ) -> None:
        inside = all(0 < level < 1 for level in levels)
        if not levels or not inside or any(high <= low for low, high in pairwise(levels)):
            raise ValueError(f"levels must be in (0, 1) and rise, one or more, got {list(levels)}")
        if start not in levels:
            raise ValueError(f"start must be one of levels, {list(levels)}, got {start}")
        if kept < 1:
            raise ValueError(f"kept must be >= 1, got {kept}")
        self.levels, self.start = tuple(levels), start
        self._ladder = (None, *self.levels[: self.levels.index(start) + 1])
        RiskMonitor(start, delta, most_weight=most_weight)  # raises for the other two
        self.delta, self.most_weight, self.kept = delta, most_weight, kept
        self._place = len(self._ladder) - 1
        self._history: deque[Change] = deque(maxlen=kept)
        self.changes = 0
        self.evidence = self._fresh()

    @property
    def level(self) -> float | None:
        """The level in use; None: nothing is cut."""
        return self._ladder[self._place]

    @property
    def ahead(self) -> float | None:
        """The level that may be returned to; None where there is none."""
        return self._ladder[self._place + 1] if self._place + 1 < len(self._ladder) else None

    @property
    def history(self) -> tuple[Change, ...]:
        """The last changes, oldest first. ``changes`` counts all that there were."""
        return tuple(self._history)

    def on_alarm(self, why: str, time: float) -> float | None:
        """Move to the next safer level, and return it. Where nothing is cut, nothing changes.

        Raises:
            ValueError: ``time`` is not finite.
        """
        self._move(max(0, self._place - 1), why, time)
        return self.level

    def may_return(self) -> bool:
        """Whether the evidence gathered since the last change is enough to come back one level."""
        return self.evidence is not None and self.evidence.alarm

    def come_back(self, time: float, why: str = "") -> float | None:
        """Come back one level, and return it.

        Raises:
            ValueError: There is no evidence for it, or ``time`` is not finite.
        """
        if self.evidence is None or not self.evidence.alarm:
            raise ValueError(f"evidence must have reached 1 / delta, got {self._shown()}")
        known = f"risk below {self.ahead:g} with confidence {1 - self.delta:g}"
        self._move(self._place + 1, why or f"{known}, {self.evidence.n} requests", time)
        return self.level

    def to_dict(self) -> dict[str, Any]:
        """Settings and state as JSON has them."""
        return {
            "levels": list(self.levels),
            "start": self.start,
            "delta": self.delta,
            "most_weight": self.most_weight,
            "kept": self.kept,
            "level": self.level,
            "changes": self.changes,
            "history": [asdict(change) for change in self._history],
            "evidence": None if self.evidence is None else self.evidence.to_dict(),
        }

    @classmethod
    def from_dict(cls, data: Any, key: str = "retreat") -> Self:
        """Take what ``to_dict`` gave, after a way through JSON.

        Raises:
            ValueError: Names the key that is missing, unknown or wrong, and its value.
        """
        names = ("levels", "start", "delta", "most_weight", "kept", "level", "changes", "history")
        held = members(data, (*names, "evidence"), key)
        start, delta, weight = (finite(held[name], f"{key}.{name}") for name in names[1:4])
        kept = whole_number(held["kept"], f"{key}.kept", 1)
        levels = numbers(held["levels"], f"{key}.levels")
        made = cls(levels, start=start, delta=delta, most_weight=weight, kept=kept)
        level = _number(held["level"], f"{key}.level")
        if level not in made._ladder:
            raise ValueError(f"{key}.level must be one of {list(made._ladder)}, got {level}")
        made._place = made._ladder.index(level)
        made.changes = whole_number(held["changes"], f"{key}.changes")
        for place, change in enumerate(listed(held["history"], f"{key}.history")):
            made._history.append(Change.from_dict(change, f"{key}.history[{place}]"))
        made.evidence = made._fresh()
        if (made.evidence is None) != (held["evidence"] is None):
            raise ValueError(f"{key}.evidence must be there where a level is ahead, and only there")
        if made.evidence is not None:
            made.evidence = made.evidence.resumed(held["evidence"], f"{key}.evidence")
        return made

    def _move(self, place: int, why: str, time: float) -> None:
        if not math.isfinite(time):
            raise ValueError(f"time must be finite, got {time}")
        if place == self._place:
            return
        before, self._place = self.level, place
        self._history.append(Change(time, before, self.level, why))
        self.changes += 1
        self.evidence = self._fresh()

    def _fresh(self) -> RiskMonitor | None:
        """A new test of the level ahead."""
        if self.ahead is None:
            return None
        return RiskMonitor(self.ahead, self.delta, direction="below", most_weight=self.most_weight)

    def _shown(self) -> str:
        return "no level ahead" if self.evidence is None else f"{self.evidence.wealth:g}"


def _number(value: Any, key: str) -> float | None:
    return None if value is None else finite(value, key)
