"""A month in production, over recorded runs: ``python -m benchmarks.month PLAIN Q4_0``.

A policy is fitted and certified on runs of one file. A pilot then serves requests that are drawn
from runs of articles that it has not seen, through a month with four events: prompts of which many
lose their answer where they are cut, a model that is swapped for another of its quantisations, a
peak of load, and a tenant that wants no cuts. What a stop at each level leaves of each run is
exact, by replay; users' feedback and the load are made up. The month is repeated with other draws.
"""

from __future__ import annotations

import argparse
import logging
import random
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean, median
from typing import Any

import numpy as np

from benchmarks.transfer import certified
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

_PLACE = Checkpoint(1, 1, 0.0, Boundary.SENTENCE)
_HARD = 0.2  # of the prompts, while they drift
_AT_ONCE, _PEAK = 5, 60  # requests under way
_SAYS = 0.1  # of the requests, how many bring feedback


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
    Phase("quiet", 8),
    Phase("prompts drift", 6, drift=True),
    Phase("quiet again", 6),
    Phase("another model", 3, swapped=True),
    Phase("load peak", 3, peak=True),
    Phase("angry tenant", 4, angry=True),
)


@dataclass(frozen=True, slots=True, eq=False)
class Known:
    """What stops leave of some runs, at each level.

    Args:
        stops: Whether each run is cut.  # (levels, runs)
        lost: Whether that loses its answer.  # (levels, runs)
        spent: Tokens that are generated then.  # (levels, runs)
        whole: Tokens of the full runs.  # (runs,)
    """

    stops: np.ndarray[Any, np.dtype[np.bool_]]
    lost: np.ndarray[Any, np.dtype[np.bool_]]
    spent: np.ndarray[Any, np.dtype[np.int64]]
    whole: np.ndarray[Any, np.dtype[np.int64]]


def know(path: Path, certificate: Certificate) -> Known:
    """Replay the runs of a file at every level."""
    recorded = read_recorded([path], None)
    columns = columns_of(one_of_each(recorded.runs, "group", 0), certificate.scope)
    graded = Graded(columns)
    full = graded.full() >= 1
    rows = []
    for level in certificate.levels:
        cuts = cut(columns, certificate.policy(level.risk), default_check())
        lost = np.zeros(len(full), dtype=np.bool_)
        stopped = np.flatnonzero(cuts.stopped)
        lost[stopped] = full[stopped] & ~graded.right(cuts.row[stopped])
        rows.append((cuts.stopped, lost, cuts.generated))
    stops, lost_at, spent = (np.array(one) for one in zip(*rows, strict=True))
    return Known(stops, lost_at, spent, columns.lengths)


@dataclass(slots=True)
class Tally:
    """What was lost and spent in a phase."""

    requests: int = 0
    lost: int = 0
    spent: int = 0
    whole: int = 0

    @property
    def loss(self) -> float:
        """Share of the requests that lost their answer."""
        return self.lost / max(1, self.requests)

    @property
    def saving(self) -> float:
        """Share of the tokens that was saved."""
        return 1 - self.spent / max(1, self.whole)


@dataclass(slots=True)
class Lived:
    """One month.

    Args:
        phases: By name.
        fixed: The same requests at the largest level throughout, likewise.
        false_alarm: Whether a level was closed before anything had happened.
        delay: Requests from the drift's beginning to the first retreat, None where there was none.
        before: What was lost and spent in the drift before that retreat.
        after: And after it.
        calm: In the last phase, of the tenants that are not angry.
        angry: Of the angry one.
    """

    phases: dict[str, Tally] = field(default_factory=lambda: defaultdict(Tally))
    fixed: dict[str, Tally] = field(default_factory=lambda: defaultdict(Tally))
    false_alarm: bool = False
    delay: int | None = None
    before: Tally = field(default_factory=Tally)
    after: Tally = field(default_factory=Tally)
    calm: Tally = field(default_factory=Tally)
    angry: Tally = field(default_factory=Tally)


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
        self._known = {False: plain, True: swapped}
        self._hard = np.flatnonzero(plain.lost[-1])
        self._a_day = a_day
        self._rng = np.random.default_rng(seed)
        self._clock = FakeClock()
        self._risks = [level.risk for level in certificate.levels]
        self._certificate = certificate
        self._number = 0
        self.pilot = Pilot(
            certificate,
            lambda request, audit: float(audit.full),
            audit=0.25,
            explore=0.1,
            bandit=LevelBandit(Satisfaction(), token_worth=0.5, seed=seed),
            pacer=Pacer(Objective("load", 20.0, rate=0.02)),
            segments=(),
            clock=self._clock,
            draw=random.Random(seed).random,
        )

    def live(self) -> Lived:
        """Go through the month."""
        lived = Lived()
        for phase in MONTH:
            at_once = _PEAK if phase.peak else _AT_ONCE
            asked = 0
            for _ in range(phase.days * self._a_day // at_once):
                opened = self.pilot.open_risk
                begun = [self._begin(phase) for _ in range(at_once)]
                for one in begun:
                    self._end(phase, lived, *one)
                asked += at_once
                self._clock.advance(86400 / self._a_day * at_once)
                closed = self.pilot.open_risk < opened
                lived.false_alarm |= closed and phase is MONTH[0]
                if closed and phase.drift and lived.delay is None:
                    lived.delay = asked
        return lived

    def _begin(self, phase: Phase) -> tuple[Request, Setting, int]:
        known, rng = self._known[phase.swapped], self._rng
        if phase.drift and rng.random() < _HARD:
            run = int(rng.choice(self._hard))
        else:
            run = int(rng.integers(len(known.whole)))
        self._number += 1
        tenant = "angry" if rng.random() < 0.2 else "calm"
        request = Request(metadata={"request_id": str(self._number), "tenant": tenant})
        return request, self.pilot.steer(request, self._certificate), run

    def _end(
        self, phase: Phase, lived: Lived, request: Request, setting: Setting, run: int
    ) -> None:
        known, rng = self._known[phase.swapped], self._rng
        level = self._risks.index(setting.risk)
        stops, cuts = bool(known.stops[level, run]), setting.cut and not phase.swapped
        audited = stops and (not cuts or rng.random() < setting.audit)
        lost = bool(known.lost[level, run])
        whole = int(known.whole[run])
        spent = int(known.spent[level, run]) if cuts and stops and not audited else whole
        angry = request.metadata["tenant"] == "angry"
        tallies = [lived.phases[phase.name]]
        if phase.drift:
            tallies.append(lived.before if lived.delay is None else lived.after)
        if phase.angry:
            tallies.append(lived.angry if angry else lived.calm)
        for tally in tallies:
            _count(tally, lost and cuts, spent, whole)
        top = not phase.swapped
        at_top = int(known.spent[-1, run]) if top else whole
        _count(lived.fixed[phase.name], top and bool(known.lost[-1, run]), at_top, whole)
        made = cuts and stops
        self.pilot.take(
            request,
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
                would_stop=_PLACE if stops and not cuts else None,
                audit=Audit(_PLACE, "answer", "", str(float(lost)), "stop") if audited else None,
                audit_share=setting.audit if cuts else 1.0,
                uncertified="another model" if phase.swapped else "",
                request_id=request.metadata["request_id"],
            ),
        )
        if rng.random() < _SAYS:
            pleased = 0.2 if phase.angry and angry and made else 0.9
            self.pilot.give_feedback(request.metadata["request_id"], float(rng.random() < pleased))


def _count(tally: Tally, lost: bool, spent: int, whole: int) -> None:
    tally.requests += 1
    tally.lost += lost
    tally.spent += spent
    tally.whole += whole


def table(months: Sequence[Lived], risk: float) -> str:
    """Write what came of the months as Markdown."""
    lines = [
        f"{len(months)} months. Largest certified level: {100 * risk:g}%.",
        "",
        "| days | lost, pilot | saved | lost, fixed level | saved |",
        "|---|---|---|---|---|",
    ]
    for phase in MONTH:
        cells = [phase.name]
        for kept in (
            [one.phases[phase.name] for one in months],
            [one.fixed[phase.name] for one in months],
        ):
            cells += [
                f"{100 * fmean(one.loss for one in kept):.1f}%",
                f"{100 * fmean(one.saving for one in kept):.1f}%",
            ]
        lines.append(f"| {' | '.join(cells)} |")
    delays = [one.delay for one in months if one.delay is not None]
    found = [one for one in months if one.delay is not None]
    lines += [
        "",
        f"- False alarms in the first days: {sum(one.false_alarm for one in months)} of "
        f"{len(months)} months.",
        f"- The drift was met by a retreat in {len(delays)} of them, after {median(delays):.0f} "
        f"requests (median; nine of ten within {np.quantile(delays, 0.9):.0f}). Lost before it "
        f"{100 * fmean(one.before.loss for one in found):.1f}%, after it "
        f"{100 * fmean(one.after.loss for one in found):.1f}%."
        if delays
        else "- The drift was never met by a retreat.",
        f"- In the last days the angry tenant's answers were cut to a saving of "
        f"{100 * fmean(one.angry.saving for one in months):.1f}%, those of the others to "
        f"{100 * fmean(one.calm.saving for one in months):.1f}%.",
    ]
    return "\n".join(lines)


def main() -> None:
    """Certify, and live through some months."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("plain", type=Path, help="recorded runs: certified, and served")
    parser.add_argument("swapped", type=Path, help="recorded runs of the other model")
    parser.add_argument("--months", type=int, default=500)
    parser.add_argument("--a-day", type=int, default=600, help="requests")
    parser.add_argument("--out", type=Path, required=True, help="the table, Markdown")
    asked = parser.parse_args()
    logging.getLogger("stopping_core.steering.pilot").setLevel(logging.ERROR)
    folder = asked.out.parent
    certificate, kept = certified(asked.plain, folder)
    plain, swapped = (know(path, certificate) for path in (kept, asked.swapped))
    months = [
        Month(certificate, plain, swapped, asked.a_day, seed).live() for seed in range(asked.months)
    ]
    told = table(months, certificate.levels[-1].risk)
    asked.out.write_text(told + "\n", "utf-8")
    print(told)


if __name__ == "__main__":
    main()
