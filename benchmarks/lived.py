"""One month in production, lived through by a pilot over recorded runs.

Requests are drawn from the runs, and what a stop at each level leaves of them is exact, by replay.
What users say and how many requests are under way is made up, and so are the days.
"""

from __future__ import annotations

import random
from collections import Counter, deque
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from stopping_core import Audit, Boundary, Checkpoint, Completion, Request, Usage
from stopping_core.certificates import Certificate
from stopping_core.cli.certify.run import columns_of, one_of_each
from stopping_core.cli.fit.recorded import read_recorded
from stopping_core.completeness import default_check
from stopping_core.results import Attempt, Setting, Verdict
from stopping_core.steering import LevelBandit, Objective, Pacer, Pilot, Satisfaction
from stopping_core.testing import FakeClock
from stopping_core.traces.graded import Graded
from stopping_core.traces.sweep import cut

Counts: TypeAlias = NDArray[np.int64]

AUDIT = 0.25  # of the stops
EXPLORE = 0.25  # of the requests, while a level is closed
_TOKEN_WORTH = 0.25
_HARD = 0.2  # of the prompts, while they drift
_AT_ONCE, _PEAK = 5, 60  # requests under way
_SECONDS = 300.0  # that each of them takes
_SAYS, _COMPLAINS = 0.1, 0.3  # of the requests, how many bring feedback; of the angry tenant
TENANTS = {"calm": 0.6, "particular": 0.2, "angry": 0.2}  # their shares of the requests
_PLEASED = 0.9  # of the answers, where nothing is cut, and for most tenants where it is
_CUT = {"particular": 0.4}  # of the cut ones
_ANGRY = 0.2  # of the cut ones, and of those that lost their answer


@dataclass(frozen=True, slots=True)
class Phase:
    """Some days of the month.

    Args:
        name: What happens.
        days: How many.
        drift: Whether many prompts are such that a cut loses their answer.
        swapped: Whether the model is another one.
        peak: Whether there is much load.
        angry: Whether a tenant wants no cuts.
    """

    name: str
    days: int
    drift: bool = False
    swapped: bool = False
    peak: bool = False
    angry: bool = False


MONTH = (
    Phase("quiet", 6),
    Phase("prompts drift", 3, drift=True),
    Phase("quiet again", 11),
    Phase("another model", 2, swapped=True),
    Phase("load peak", 3, peak=True),
    Phase("angry tenant", 5, angry=True),
)


@dataclass(frozen=True, slots=True, eq=False)
class Known:
    """What each setting leaves of some runs: no cut, and then the certified levels.

    Args:
        lost: Whether the stop loses the answer.  # (settings, runs)
        spent: Tokens that are generated then.  # (settings, runs)
        stops: Whether the run is stopped.  # (settings, runs)
    """

    lost: NDArray[np.bool_]
    spent: Counts
    stops: NDArray[np.bool_]

    @property
    def hard(self) -> Counts:
        """The runs whose answer the largest level loses."""
        return np.flatnonzero(self.lost[-1])

    def expected(self, phase: Phase) -> NDArray[np.float64]:
        """Share of a phase's requests that each setting loses on average.  # (settings,)."""
        hard = _HARD if phase.drift else 0.0
        of_all: NDArray[np.float64] = self.lost.mean(axis=1)
        of_hard: NDArray[np.float64] = self.lost[:, self.hard].mean(axis=1)
        return (1 - hard) * of_all + hard * of_hard


def know(path: Path, certificate: Certificate) -> Known:
    """Replay the runs of a file at every level."""
    recorded = read_recorded([path], None)
    columns = columns_of(one_of_each(recorded.runs, "group", 0), certificate.scope)
    graded = Graded(columns)
    full = graded.full() >= 1
    nothing = np.zeros(len(full), dtype=np.bool_)
    rows = [(nothing, columns.lengths, nothing)]
    for level in certificate.levels:
        cuts = cut(columns, certificate.policy(level.risk), default_check())
        lost, stopped = nothing.copy(), np.flatnonzero(cuts.stopped)
        lost[stopped] = full[stopped] & ~graded.right(cuts.row[stopped])
        rows.append((lost, cuts.generated, cuts.stopped))
    return Known(*(np.array(one) for one in zip(*rows, strict=True)))


@dataclass(frozen=True, slots=True)
class Tally:
    """What was lost and spent over some requests.

    Args:
        requests: How many.
        lost: How many lost their answer.
        expected: How many lose it on average.
        spent: Tokens.
        whole: Tokens of the full answers.
    """

    requests: int = 0
    lost: int = 0
    expected: float = 0.0
    spent: int = 0
    whole: int = 0

    def __add__(self, other: Tally) -> Tally:
        return Tally(
            self.requests + other.requests,
            self.lost + other.lost,
            self.expected + other.expected,
            self.spent + other.spent,
            self.whole + other.whole,
        )

    @property
    def loss(self) -> float:
        """Share of the requests that lost their answer."""
        return self.lost / max(1, self.requests)

    @property
    def average(self) -> float:
        """Share of the requests that lose it on average."""
        return self.expected / max(1, self.requests)

    @property
    def saving(self) -> float:
        """Share of the tokens that was saved."""
        return 1 - self.spent / max(1, self.whole)


@dataclass(slots=True)
class Lived:
    """One month, by phase.

    Args:
        pilot: What came of the requests.
        kept: The same without those of the drift before the first retreat.
        delayed: Those.
        tenants: Share of the tokens saved, by tenant.
        fixed: The same requests at each setting throughout.
        closed: Levels that were closed.
        opened: Levels that were opened again.
        delay: Requests from the drift's beginning to the first retreat, None where there was none.
        reopened: Requests from the drift's end until the largest level was open again, likewise.
    """

    pilot: dict[str, Tally] = field(default_factory=dict)
    kept: dict[str, Tally] = field(default_factory=dict)
    delayed: Tally = field(default_factory=Tally)
    tenants: dict[str, dict[str, float]] = field(default_factory=dict)
    fixed: dict[str, list[Tally]] = field(default_factory=dict)
    closed: Counter[str] = field(default_factory=Counter)
    opened: Counter[str] = field(default_factory=Counter)
    delay: int | None = None
    reopened: int | None = None


@dataclass(frozen=True, slots=True)
class _Asked:
    """A request under way."""

    request: Request
    setting: Setting
    phase: Phase
    run: int
    audited: bool


class Month:
    """Lives through the phases.

    Args:
        certificate: Of the pilot.
        plain: What stops leave of its own model's runs.
        swapped: Of the other model's.
        a_day: Requests.
        seed: Of all draws.
    """

    def __init__(
        self, certificate: Certificate, plain: Known, swapped: Known, a_day: int, seed: int
    ) -> None:
        self._certificate, self._a_day = certificate, a_day
        self._known = {False: plain, True: swapped}
        self._places = {level.risk: place for place, level in enumerate(certificate.levels, 1)}
        self._rng, self._draw = np.random.default_rng(seed), random.Random(seed).random
        self._clock = FakeClock()
        self._running: deque[_Asked] = deque()
        self._number = self._since = self._drifted = 0
        self._phase = MONTH[0]
        self._lived = Lived()
        self._pilot = Pilot(
            certificate,
            lambda request, audit: float(audit.full),
            audit=AUDIT,
            explore=EXPLORE,
            bandit=LevelBandit(Satisfaction(memory=0.99), _TOKEN_WORTH, seed),
            pacer=Pacer(Objective("load", 20.0, rate=0.02)),
            segments=(),
            on_change=self._changed,
            clock=self._clock,
            draw=self._draw,
        )
        self._open = self._pilot.open_risk

    def live(self) -> Lived:
        """Go through the month."""
        for phase in MONTH:
            self._pass(phase)
        return self._lived

    def _pass(self, phase: Phase) -> None:
        known, count = self._known[phase.swapped], phase.days * self._a_day
        runs = self._rng.integers(known.lost.shape[1], size=count)
        if phase.drift:
            drawn = self._rng.random(count) < _HARD
            runs[drawn] = self._rng.choice(known.hard, size=drawn.sum())
        tenants = self._rng.choice(len(TENANTS), size=count, p=list(TENANTS.values()))
        names, chosen, audited = list(TENANTS), [], []
        self._phase, self._since = phase, 0
        at_once = _PEAK if phase.peak else _AT_ONCE
        for run, tenant in zip(runs.tolist(), tenants.tolist(), strict=True):
            self._clock.advance(_SECONDS / at_once)
            asked = self._begin(run, names[tenant])
            self._since += 1
            chosen.append(self._places[asked.setting.risk] if _cuts(asked) else 0)
            audited.append(asked.audited)
            self._running.append(asked)
            while len(self._running) > at_once:
                self._end(self._running.popleft())
        self._count(runs, tenants, np.array(chosen), np.array(audited))
        if phase.drift:
            self._drifted = self._number

    def _begin(self, run: int, tenant: str) -> _Asked:
        self._number += 1
        request = Request(metadata={"request_id": str(self._number), "tenant": tenant})
        setting = self._pilot.steer(request, self._certificate)
        return _Asked(request, setting, self._phase, run, self._draw() < setting.audit)

    def _end(self, asked: _Asked) -> None:
        known, place = self._known[asked.phase.swapped], self._places[asked.setting.risk]
        cuts, stops = _cuts(asked), bool(known.stops[place, asked.run])
        lost, at = bool(known.lost[place, asked.run]), int(known.spent[place, asked.run])
        noted, made = stops and (not cuts or asked.audited), stops and cuts
        whole = int(known.spent[0, asked.run])
        spent = at if made and not noted else whole
        stop = Checkpoint(at, at, 0.0, Boundary.SENTENCE)
        name = str(asked.request.metadata["request_id"])
        self._pilot.take(
            asked.request,
            Completion(
                text="",
                reasoning="",
                complete=True,
                verdict=Verdict(True),
                finish_reason="cut" if made else "stop",
                reason="learned" if made else "",
                usage=Usage(generated=spent),
                attempts=(
                    Attempt("first", whole, spent, 0, None, 1.0, "stop", "learned" if made else ""),
                ),
                seconds=1.0,
                mode="active" if cuts else "shadow",
                would_stop=stop if stops and not cuts else None,
                audit=Audit(stop, "answer", "", str(float(lost)), "stop") if noted else None,
                audit_share=asked.setting.audit if cuts else 1.0,
                uncertified="another model" if asked.phase.swapped else "",
                request_id=name,
            ),
        )
        if self._draw() < (_COMPLAINS if _is_angry(asked) else _SAYS):
            pleased = _pleased(asked, made, lost)
            self._pilot.give_feedback(name, float(self._draw() < pleased))

    def _count(self, runs: Counts, tenants: Counts, chosen: Counts, audited: Counts) -> None:
        """Add up what came of the requests of a phase."""
        phase, lived = self._phase, self._lived
        known = self._known[phase.swapped]
        expected, whole = known.expected(phase), known.spent[0, runs]
        lost = known.lost[chosen, runs]
        spent = np.where(audited, whole, known.spent[chosen, runs])

        def over(which: NDArray[np.bool_]) -> Tally:
            return Tally(
                int(which.sum()),
                int(lost[which].sum()),
                float(expected[chosen[which]].sum()),
                int(spent[which].sum()),
                int(whole[which].sum()),
            )

        every = np.ones(len(runs), dtype=np.bool_)
        lived.pilot[phase.name] = lived.kept[phase.name] = over(every)
        if phase.drift and lived.delay is not None:
            after = np.arange(len(runs)) >= lived.delay
            lived.kept[phase.name], lived.delayed = over(after), over(~after)
        lived.tenants[phase.name] = {
            name: over(tenants == place).saving for place, name in enumerate(TENANTS)
        }
        settings = [0] * len(expected) if phase.swapped else range(len(expected))
        lived.fixed[phase.name] = [
            Tally(
                len(runs),
                int(known.lost[one, runs].sum()),
                float(expected[one] * len(runs)),
                int(known.spent[one, runs].sum()),
                int(whole.sum()),
            )
            for one in settings
        ]

    def _changed(self, why: str) -> None:
        before, self._open = self._open, self._pilot.open_risk
        phase, lived = self._phase, self._lived
        if self._open < before:
            lived.closed[phase.name] += 1
            if phase.drift and lived.delay is None:
                lived.delay = self._since
        elif self._open > before:
            lived.opened[phase.name] += 1
            if self._open == max(self._places) and lived.reopened is None and not phase.drift:
                lived.reopened = self._number - self._drifted


def _cuts(asked: _Asked) -> bool:
    return asked.setting.cut and not asked.phase.swapped


def _is_angry(asked: _Asked) -> bool:
    return asked.phase.angry and asked.request.metadata["tenant"] == "angry"


def _pleased(asked: _Asked, made: bool, lost: bool) -> float:
    """Chance that the user is content."""
    if not made:
        return _PLEASED
    if lost or _is_angry(asked):
        return _ANGRY
    return _CUT.get(str(asked.request.metadata["tenant"]), _PLEASED)
