"""Watches the losses of a certified policy in use, and says which level may be used."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

from stopping_core.monitoring.drift import DriftDetectors
from stopping_core.monitoring.observation import Observation, Outcome
from stopping_core.monitoring.retreat import Retreat
from stopping_core.monitoring.segments import ALL, Segments
from stopping_core.plain_data import finite, listed, members, whole_number


@dataclass(frozen=True, slots=True)
class Advice:
    """What to do from the next request on.

    Args:
        level: The certified level to use; None: cut nothing.
        alarms: Segments whose alarm this request raised.
        drifted: Features that drifted now: a warning, and no proof of loss.
        why: Why the level changed by this request; ``""`` where it did not.
    """

    level: float | None
    alarms: tuple[str, ...] = ()
    drifted: tuple[str, ...] = ()
    why: str = ""


class Monitor:
    """Ties the tests of the risk, the detectors of drift and the retreat together.

    It is told of every request, cut or not, and never calls a clock, a disk or a model. The risk of
    the level in use is tested in all requests and in each segment. An alarm moves to the next safer
    certified level at once, and the tests begin anew there. Losses at the level that was left,
    told as ``shadow``, are the evidence to come back to it.

    The guarantee, for each stay at a level: if its risk is at most the level in every segment (or,
    without ``segments_retreat``, in all requests together), the chance of a retreat is at most
    delta. What was not safe is returned to with probability at most delta.

    It is void where losses are biased, as
    :class:`~stopping_core.monitoring.risk_monitor.RiskMonitor` says. The commonest way: requests
    are told as they end, so those that are cut come first, as 0, and the audits come late and
    together. Tell them in the order in which they began, and hold back what comes after a request
    whose loss is still open.

    A request whose level is no longer in use says nothing about the one that is: it is not tested,
    and ``passed_over`` counts it. Detectors of drift begin anew after a restart; all else is kept
    by ``to_dict``.

    It has state: ``observe``.

    Args:
        levels: Of risk, certified, in (0, 1), rising: careful to aggressive.
        start: The level that is begun with, one of them; none more aggressive is ever advised.
        delta: Chance of a wrong alarm, and of coming back wrongly, for each stay, in (0, 1).
        least_share: Least share of audits, in (0, 1]. A larger one finds losses sooner.
        shadow_share: Likewise of the shadow losses that are the evidence for coming back; 1 where
            they are of requests that ran uncut.
        most_segments: Segments with a test of their own, >= 0.
        segments_retreat: Whether the alarm of a segment moves to a safer level for all requests.
            Else it is only told. A segment can be above the level while all requests are not.
        features: Names of the features in which drift is looked for; needs river, if any.
        drift_delta: Sensitivity to drift, of all features together, in (0, 1).

    Raises:
        ValueError: Names the argument that is out of its interval.
        MissingPackage: river is not installed, and there are features.

    Examples:
        >>> monitor = Monitor([0.01, 0.02], start=0.02, least_share=0.5)
        >>> lost = Observation(level=0.02, would_stop=True, audited=True, loss=1.0, share=0.5)
        >>> [monitor.observe(lost).level for _ in range(4)]
        [0.02, 0.02, 0.02, 0.01]
    """

    def __init__(
        self,
        levels: Sequence[float],
        *,
        start: float,
        delta: float = 0.05,
        least_share: float = 0.1,
        shadow_share: float = 0.1,
        most_segments: int = 50,
        segments_retreat: bool = True,
        features: Sequence[str] = (),
        drift_delta: float = 0.002,
    ) -> None:
        for name, share in (("least_share", least_share), ("shadow_share", shadow_share)):
            if not 0 < share <= 1:
                raise ValueError(f"{name} must be in (0, 1], got {share}")
        if most_segments < 0:
            raise ValueError(f"most_segments must be >= 0, got {most_segments}")
        self.delta, self.least_share, self.shadow_share = delta, least_share, shadow_share
        self.most_segments, self.segments_retreat = most_segments, segments_retreat
        self.retreat = Retreat(levels, start=start, delta=delta, most_weight=1 / shadow_share)
        self.drift = DriftDetectors(features, drift_delta)
        self.segments = self._tests()
        self.n = 0
        self.passed_over = 0

    @property
    def level(self) -> float | None:
        """The level in use; None: nothing is cut."""
        return self.retreat.level

    def observe(self, observation: Observation) -> Advice:
        """Take one request, and say what to do from the next one on.

        Raises:
            ValueError: An audit was drawn with less than the least share, or a field of the segment
                holds a ``=``. Nothing was taken.
        """
        shadow = observation.shadow
        for outcome, least in ((observation, self.least_share), (shadow, self.shadow_share)):
            if outcome is not None and outcome.would_stop and outcome.share < least:
                raise ValueError(f"share must be in [{least:g}, 1], got {outcome.share:g}")
        alarms: tuple[str, ...] = ()
        if observation.level != self.level:
            self.passed_over += 1
        elif self.segments is not None:
            alarms = self.segments.update(observation.segment, *observation.weighted)
        self.n += 1
        if shadow is not None:
            self._gather(shadow)
        why = self._decide(alarms, observation.time)
        return Advice(self.level, alarms, self.drift.update(observation.features), why)

    def to_dict(self) -> dict[str, Any]:
        """Settings and state as JSON has them, without the windows of the detectors of drift."""
        return {
            "delta": self.delta,
            "least_share": self.least_share,
            "shadow_share": self.shadow_share,
            "most_segments": self.most_segments,
            "segments_retreat": self.segments_retreat,
            "features": list(self.drift.names),
            "drift_delta": self.drift.delta,
            "n": self.n,
            "passed_over": self.passed_over,
            "retreat": self.retreat.to_dict(),
            "segments": None if self.segments is None else self.segments.to_dict(),
        }

    @classmethod
    def from_dict(cls, data: Any, key: str = "monitor") -> Self:
        """Take what ``to_dict`` gave, after a way through JSON.

        Raises:
            ValueError: Names the key that is missing, unknown or wrong, and its value.
            MissingPackage: river is not installed, and there are features.
        """
        names = ("delta", "least_share", "shadow_share", "drift_delta", "most_segments",
                 "segments_retreat", "features", "n", "passed_over", "retreat",
                 "segments")  # fmt: skip
        held = members(data, names, key)
        delta, least_share, shadow_share, drift_delta = (
            finite(held[one], f"{key}.{one}") for one in names[:4]
        )
        if not isinstance(held["segments_retreat"], bool):
            raise ValueError(
                f"{key}.segments_retreat must be true or false, got {held['segments_retreat']!r}"
            )
        retreat = Retreat.from_dict(held["retreat"], f"{key}.retreat")
        made = cls(
            retreat.levels,
            start=retreat.start,
            delta=delta,
            least_share=least_share,
            shadow_share=shadow_share,
            most_segments=whole_number(held["most_segments"], f"{key}.most_segments"),
            segments_retreat=held["segments_retreat"],
            features=listed(held["features"], f"{key}.features"),
            drift_delta=drift_delta,
        )
        for name in ("delta", "most_weight"):
            wanted, got = getattr(made.retreat, name), getattr(retreat, name)
            if wanted != got:
                raise ValueError(f"{key}.retreat.{name} must be {wanted}, got {got}")
        made.retreat = retreat
        made.n = whole_number(held["n"], f"{key}.n")
        made.passed_over = whole_number(held["passed_over"], f"{key}.passed_over")
        made.segments = None
        if held["segments"] is not None:
            made.segments = Segments.from_dict(held["segments"], f"{key}.segments")
        tested = None if made.segments is None else made.segments.alpha
        if tested != retreat.level:
            raise ValueError(f"{key}.segments.alpha must be {retreat.level}, got {tested}")
        return made

    def _gather(self, shadow: Outcome) -> None:
        """Take evidence for coming back, where it is about the level ahead."""
        evidence = self.retreat.evidence
        if evidence is not None and shadow.level == self.retreat.ahead:
            evidence.update(*shadow.weighted)
        else:
            self.passed_over += 1

    def _decide(self, alarms: tuple[str, ...], time: float) -> str:
        """Change the level where there is reason to, and say why."""
        before = self.level
        if alarms and (self.segments_retreat or ALL in alarms):
            self.retreat.on_alarm(f"risk above {before:g} in {', '.join(alarms)}", time)
        elif self.retreat.may_return():
            self.retreat.come_back(time)
        if self.level == before:
            return ""
        self.segments = self._tests()
        return self.retreat.history[-1].why

    def _tests(self) -> Segments | None:
        """New tests for the level in use; where nothing is cut there is nothing to test."""
        if self.level is None:
            return None
        return Segments(
            self.level,
            self.delta,
            most_weight=1 / self.least_share,
            most=self.most_segments,
        )
