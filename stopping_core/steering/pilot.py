"""Production: which certified level each request gets, and what happens when it loses too much."""

from __future__ import annotations

import logging
import random
import threading
import time
from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NoReturn, Self

from stopping_core.certificates import Certificate
from stopping_core.costs import CostRegime
from stopping_core.faults import unquoted
from stopping_core.monitoring import Outcome
from stopping_core.plain_data import members
from stopping_core.results import Audit, Completion, Setting
from stopping_core.steering.bandit import LevelBandit, name_of
from stopping_core.steering.losses import knows
from stopping_core.steering.pacer import Pacer, Smoothed
from stopping_core.steering.satisfaction import Satisfaction
from stopping_core.steering.savings import Savings
from stopping_core.steering.sighting import Sighting
from stopping_core.steering.tickets import Tickets
from stopping_core.steering.watch import Watch
from stopping_core.stopping import AdaptiveStopping
from stopping_core.types import Request

_log = logging.getLogger(__name__)

_FIELDS = ("user", "tenant", "use_case")
_REMEMBERED = 100_000  # answers that feedback may still come to
_KEPT = 100  # changes that are remembered
_COUNTED = ("ungraded", "unseen", "failed", "unknown")


@dataclass(frozen=True, slots=True)
class _Ended:
    """What is known of a request that has ended, as the monitors will want it."""

    setting: Setting
    segment: Mapping[str, str]
    outcome: Outcome | None
    features: Mapping[str, float]


class Pilot:
    """Chooses among the levels of one certificate, request by request, and watches their losses.

    - **Within the certificate.** Only its levels can be chosen, at most ``risk``, and at most what
      ``caps`` say of the user, the tenant and the use case.
    - **Watched.** A share of the stops is audited. Each level has tests of its own, of all requests
      and of each segment, that hold at all times together. An alarm closes the level at once, that
      of a segment to its requests alone: the next safer one is used, at worst nothing is cut. It
      is opened again when requests that were run at it without a cut have shown that it keeps its
      risk.
    - **Adapted.** Among the open levels a bandit chooses by what users say, by what each saves and
      by what a token is worth, which the pacer raises under load, near a cost ceiling or above a
      latency objective.

    Use it by ``stopping = pilot.attach(AdaptiveStopping.load(path))``. One object serves all
    threads of a process. Several processes each test what they see by themselves: ``delta`` then
    holds for each.

    What voids the promise of the tests: a ``loss`` that does not see what was lost, and requests
    that never end (``report()["given_up"]``). Ids of requests must differ. An audit that fails or
    cannot be graded counts as lost.

    Args:
        certificate: Whose levels are used.
        loss: What a stop has lost, in [0, 1], given the request and both answers: 1 where the full
            one is right and the other is not. Where it can only tell for some requests, it has a
            method ``knows(request)``, which must not depend on the answers: the others are then
            left out. See :mod:`~stopping_core.steering.losses`.
        risk: The largest level to use, or a number above it; None for the largest there is.
        caps: Largest risk by label, such as ``{"use_case=medical": 0.005}``; 0 for no cut.
        audit: Share of the stops that is audited, in (0, 1).
        explore: Share of the requests, while a level is closed, that run at it without a cut, in
            [0, 1).
        delta: Chance of any wrong alarm, in (0, 1).
        bandit: Chooses among the open levels; None makes one.
        pacer: Says what a token is worth; None for one that always says the same. Of its objectives
            ``load`` (requests under way), ``latency`` (mean seconds) and ``cost`` (an hour) are
            kept up to date here.
        prices: For the objective ``cost``.
        segments: Labels that are tested by themselves.
        features: Names of the features in which drift is looked for; needs river, if any.
        on_change: Told of every change of the open levels, in words.
        patience: As of :class:`~stopping_core.steering.tickets.Tickets`.
        clock: Seconds, monotonic.
        draw: From [0, 1), for the exploring.

    Raises:
        ValueError: An argument is out of its interval, or is not certified.

    Attributes:
        history: The last changes, oldest first: when, UTC, and why.
    """

    def __init__(
        self,
        certificate: Certificate,
        loss: Callable[[Request, Audit], float | None],
        *,
        risk: float | None = None,
        caps: Mapping[str, float] | None = None,
        audit: float = 0.1,
        explore: float = 0.05,
        delta: float = 0.05,
        bandit: LevelBandit | None = None,
        pacer: Pacer | None = None,
        prices: CostRegime | None = None,
        segments: tuple[str, ...] = ("tenant", "use_case"),
        features: tuple[str, ...] = (),
        on_change: Callable[[str], None] | None = None,
        patience: float = 600.0,
        clock: Callable[[], float] = time.monotonic,
        draw: Callable[[], float] = random.random,
    ) -> None:
        top = certificate.levels[-1].risk if risk is None else certificate.level(risk).risk
        for name, value, least in (("audit", audit, "("), ("explore", explore, "[")):
            if not 0 <= value < 1 or (least == "(" and value == 0):
                raise ValueError(f"{name} must be in {least}0, 1), got {value}")
        for label, cap in (caps or {}).items():
            if label.partition("=")[0] not in _FIELDS or not 0 <= cap < 1:
                raise ValueError(
                    f"caps must map labels of {_FIELDS}, such as 'tenant=acme', to risks in "
                    f"[0, 1), got {label!r}: {cap}"
                )
        self.certificate = certificate
        self.levels = tuple(level for level in certificate.levels if level.risk <= top)
        self.bandit = bandit if bandit is not None else LevelBandit(Satisfaction())
        self.pacer = pacer if pacer is not None else Pacer()
        self._paced = frozenset(one.name for one in self.pacer.objectives)
        self.history: deque[tuple[datetime, str]] = deque(maxlen=_KEPT)
        self._loss = loss
        self._caps = dict(caps or {})
        self._audit, self._explore = audit, explore
        self._prices = prices
        self._segments = segments
        self._on_change = on_change
        self._clock, self._draw = clock, draw
        self._lock = threading.RLock()
        self._tickets: Tickets[_Ended] = Tickets(patience)
        self._settings: dict[str, Setting] = {}
        self._answered: OrderedDict[str, tuple[str, str, str]] = OrderedDict()
        self._latency, self._cost = Smoothed(), Smoothed(300.0)
        self._counts: Counter[str] = Counter()
        self._watch = Watch(
            [level.risk for level in self.levels],
            delta=delta,
            least_share=audit,
            features=features,
        )

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self  # there is one, however often settings are copied

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Pilot cannot be pickled: it belongs to one process; see to_dict")

    @property
    def open_risk(self) -> float:
        """The largest level that is open to all now; 0 where nothing is cut."""
        return self._watch.open_risk()

    def attach(self, stopping: AdaptiveStopping) -> AdaptiveStopping:
        """Return settings that this pilot steers and watches.

        Requests that the certificate does not hold for, as after a model was swapped, are answered
        in shadow.

        Raises:
            ValueError: The settings have another certificate, or none, or a smaller level than the
                largest that would be chosen.
        """
        held = stopping.certificate
        if held is None or held.fingerprint != self.certificate.fingerprint:
            named = "none" if held is None else held.fingerprint
            raise ValueError(
                f"stopping must have the certificate {self.certificate.fingerprint}, got {named}"
            )
        top = self.levels[-1].risk
        if stopping.risk is not None and stopping.risk < top:
            raise ValueError(
                f"risk must be at most that of the settings, {stopping.risk:g}, got {top:g}: make "
                f"the pilot with risk={stopping.risk:g}, or load the settings with risk={top:g}"
            )
        hooks = (*stopping.hooks, self.take)
        return stopping.replace(steer=self.steer, hooks=hooks, otherwise="shadow")

    def steer(self, request: Request, certificate: Certificate) -> Setting:
        """Choose how a request is treated: a :class:`~stopping_core.protocols.Steer`."""
        labels = {name: str(request.metadata.get(name) or "") for name in _FIELDS}
        with self._lock:
            now = self._clock()
            if "load" in self._paced:
                self._pace("load", float(self._tickets.running), now)
            setting = self._choose(labels)
            name = str(request.metadata.get("request_id"))
            self._tickets.begin(name, now)
            self._settings[name] = setting
            while len(self._settings) > self._tickets.most:
                self._settings.pop(next(iter(self._settings)))
        return setting

    def take(self, request: Request, completion: Completion) -> None:
        """Take what came of a request: a :class:`~stopping_core.protocols.Hook`."""
        known = knows(self._loss, request)
        told: list[str] = []
        loss = self._graded(request, completion.audit) if known else None
        with self._lock:
            now, name = self._clock(), completion.request_id
            setting = self._settings.pop(name, None)
            if setting is None:
                self._counts["unknown"] += 1
                return
            labels = {one: str(request.metadata.get(one) or "") for one in _FIELDS}
            cut = setting.cut and completion.mode == "active"
            level = name_of(setting.risk if cut else None)
            self._answered[name] = level, labels["tenant"], labels["user"]
            if len(self._answered) > _REMEMBERED:
                self._answered.popitem(last=False)
            self._latency.add(completion.seconds, now)
            self._pace("latency", self._latency.mean(now), now)
            if self._prices is not None:
                self._cost.add(self._prices.cost(completion.usage), now)
                self._pace("cost", 3600 * self._cost.rate(now), now)
            segment = self._segment(labels)
            seen = Sighting.of(completion)
            if seen is not None and seen.complete:
                self.bandit.savings.add(
                    name_of(setting.risk),
                    seen.saved,
                    seen.whole,
                    seen.weight,
                    tenant=labels["tenant"],
                )
            outcome = self._outcome(setting, seen, loss) if known else None
            self._counts["ungraded"] += not known
            features = {"generated": float(completion.usage.generated)}
            self._tickets.end(name, _Ended(setting, segment, outcome, features))
            for ended in self._tickets.due(now):
                told += self._observe(ended, now)
        for one in told:  # without the lock: whoever is told may take his time
            self._tell(one)

    def give_feedback(self, request_id: str, value: float) -> bool:
        """Take what a user says of an answer.

        Args:
            request_id: As the completion and the integrations' reports name it.
            value: 1 for good, 0 for bad, in [0, 1].

        Returns:
            Whether the request is known: one of this process, not too long ago.

        Raises:
            ValueError: ``value`` is out of its interval.
        """
        if not 0 <= value <= 1:
            raise ValueError(f"value must be in [0, 1], got {value}")
        with self._lock:
            answered = self._answered.get(request_id)
            if answered is None:
                return False
            level, tenant, user = answered
            self.bandit.satisfaction.add(level, value, tenant=tenant, user=user)
        return True

    def report(self) -> dict[str, Any]:
        """Where it stands: what is open, what a token is worth, what was not seen.

        ``open_risk`` is open to all but the segments that are ``restricted``, to what they are.
        ``ungraded`` requests have no known answer, ``unseen`` ones were outside the certificate,
        broken or not to be audited: both say nothing. Audits that ``failed`` count as lost.
        """
        with self._lock:
            return {
                "open_risk": self.open_risk,
                "restricted": self._watch.restricted,
                "price": self.pacer.price,
                "running": self._tickets.running,
                "given_up": self._tickets.given_up,
                **{name: self._counts[name] for name in _COUNTED},
                "changes": [[when.isoformat(), why] for when, why in self.history],
            }

    def to_dict(self) -> dict[str, Any]:
        """What was learned and watched, as JSON has it; requests under way are not part of it."""
        with self._lock:
            return {
                "certificate": self.certificate.fingerprint,
                "satisfaction": self.bandit.satisfaction.to_dict(),
                "savings": self.bandit.savings.to_dict(),
                "pacer": self.pacer.to_dict(),
                "watch": self._watch.to_dict(),
            }

    def restore(self, data: Mapping[str, Any]) -> None:
        """Go on from what ``to_dict`` gave.

        Raises:
            ValueError: It is of another certificate or of other settings; or names the key that is
                missing, unknown or wrong, and its value.
        """
        names = ("certificate", "satisfaction", "savings", "pacer", "watch")
        held = members(data, names, "pilot")
        if held["certificate"] != self.certificate.fingerprint:
            raise ValueError(
                f"pilot.certificate must be {self.certificate.fingerprint}, got "
                f"{held['certificate']!r}"
            )
        watch = self._watch.resumed(held["watch"], "pilot.watch")
        satisfaction = Satisfaction.from_dict(held["satisfaction"])
        savings = Savings.from_dict(held["savings"], "pilot.savings")
        with self._lock:
            self.pacer.restore(held["pacer"])
            self.bandit.satisfaction, self.bandit.savings = satisfaction, savings
            self._watch = watch

    def _choose(self, labels: Mapping[str, str]) -> Setting:
        segment = self._segment(labels)
        closed, top = self._watch.closed(segment), self._watch.open_risk(segment)
        caps = [self._caps.get(f"{name}={value}", 1.0) for name, value in labels.items()]
        offered = [one for one in self.levels if one.risk <= min(top, *caps)]
        if closed is not None and (top == 0 or self._draw() < self._explore):
            return Setting(closed, cut=False)
        if not offered:
            return Setting(self.levels[0].risk, cut=False)
        chosen = self.bandit.choose(
            [(None, 0.0), *((one.risk, one.saving) for one in offered)],
            price=self.pacer.price,
            tenant=labels["tenant"],
            user=labels["user"],
        )
        if chosen is None:
            return Setting(self.levels[0].risk, cut=False)
        return Setting(chosen, audit=self._audit)

    def _graded(self, request: Request, audit: Audit | None) -> float | None:
        """Grade an audit; None where that fails."""
        if audit is None:
            return None
        try:
            loss = self._loss(request, audit)
            return loss if loss is not None and 0 <= loss <= 1 else None
        except Exception as error:
            _log.error("loss failed: %r: %s", self._loss, unquoted(error))
            return None

    def _outcome(
        self, setting: Setting, seen: Sighting | None, loss: float | None
    ) -> Outcome | None:
        """What a stop at the level loses of a request; None where that says nothing of it."""
        if seen is None:
            self._counts["unseen"] += 1
            return None
        if not seen.stops:
            return Outcome(level=setting.risk, would_stop=False)
        if seen.drawn and loss is None:  # it is not known to be no loss, so it counts as one
            self._counts["failed"] += 1
            loss = 1.0
        return Outcome(
            level=setting.risk,
            would_stop=True,
            audited=seen.drawn,
            loss=loss,
            share=seen.share,
        )

    def _segment(self, labels: Mapping[str, str]) -> dict[str, str]:
        """The labels that are tested by themselves."""
        return {one: labels[one] for one in self._segments if labels.get(one)}

    def _observe(self, ended: _Ended, now: float) -> list[str]:
        """Take a request whose turn it is; return what changed by it, in words."""
        if ended.outcome is None:
            return []
        return self._watch.observe(
            ended.outcome,
            cut=ended.setting.cut,
            segment=ended.segment,
            features=ended.features,
            time=now,
        )

    def _tell(self, told: str) -> None:
        self.history.append((datetime.now(UTC), told))
        _log.warning("%s", told)
        if self._on_change is not None:
            try:
                self._on_change(told)
            except Exception as error:
                _log.error("on_change failed: %r: %s", self._on_change, unquoted(error))

    def _pace(self, name: str, value: float, now: float) -> None:
        if name in self._paced:
            self.pacer.observe(name, value, now)
