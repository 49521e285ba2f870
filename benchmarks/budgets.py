"""Learned budgets against doubling: ``python -m benchmarks.budgets RUNS.parquet``.

For a provider that goes on and bills after a hang-up. What a policy needs of each run is the same
under all schedules, and so are answers and losses: only the bills differ. The families of the runs
are dealt out to three parts: models are fitted on the first, offsets are calibrated on one run of
each passage of the second, doubling gets the setting that is best on both, and all bills are of the
third. A bill is given over that of an oracle, which asks once, for exactly what is needed.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks.billing import Bill, Need, exact, play
from stopping_core import AdaptiveStopping
from stopping_core.budgets import (
    FixedBudget,
    GeometricBudget,
    LengthModel,
    QuantileBudget,
    calibrate,
    fit_lengths,
)
from stopping_core.cli.fit.path import Fitting
from stopping_core.cli.fit.recorded import request_of
from stopping_core.completeness import default_check
from stopping_core.costs import REGIMES, CostRegime
from stopping_core.policies import Never, Policy
from stopping_core.policies.baselines import Doubling
from stopping_core.policies.learned import LearnedStopping
from stopping_core.protocols import BudgetSchedule
from stopping_core.resampling import GroupBootstrap, Interval
from stopping_core.traces import Columns, cut, needed_lengths, read_trace
from stopping_core.traces.graded import Graded
from stopping_core.traces.run import Run
from stopping_core.traces.splits import split
from stopping_core.types import Request

SHARES = {"fit": 0.4, "conformal": 0.3, "report": 0.3}
FOLDS = 4
MOST_LOST = 0.02
"""Share of the runs that the learned rule may lose, on runs that it was not fitted on."""

POLICIES = ("never", "balanced", "learned")


@dataclass(frozen=True, slots=True)
class Settings:
    """What is the same for all schedules: the cap of the runs, and what a further call costs."""

    cap: int
    call_cost: float
    attempts: int


@dataclass(frozen=True, slots=True)
class Way:
    """A schedule, and how it goes on where a grant was too small."""

    name: str
    schedule: BudgetSchedule
    restarts: bool = False


@dataclass(frozen=True, slots=True)
class Models:
    """Calibrated models of the needed and the natural length; and such as know no request."""

    lengths: LengthModel
    natural: LengthModel
    alike: LengthModel
    natural_alike: LengthModel


def bills(way: Way, needs: Sequence[Need], settings: Settings) -> list[Bill]:
    """Bill all runs."""
    return [play(way.schedule, need, ceiling=settings.cap, restarts=way.restarts) for need in needs]


def ours(models: Models, regime: CostRegime, settings: Settings) -> Iterator[Way]:
    """Learned budgets, both ways of going on; and without what they know, part by part."""
    make = partial(
        QuantileBudget,
        ceiling=settings.cap,
        prices=regime,
        call_cost=settings.call_cost,
        attempts=settings.attempts,
    )
    natural = models.natural
    yield Way("learned, continued", make(models.lengths, natural=natural))
    yield Way("learned, restarted", make(models.lengths, natural=natural, restarts=True), True)
    yield Way("learned, natural end unknown", make(models.lengths))
    yield Way("the same quantiles for all", make(models.alike, natural=models.natural_alike))


def others(choosing: Sequence[Need], regime: CostRegime, settings: Settings) -> Iterator[Way]:
    """Doubling as it comes and at its best, continued and restarted; and one big budget."""
    for restarts in (False, True):
        how = "restarted" if restarts else "continued"
        grid = [
            Way(
                f"{how}: {one.first}, times {one.factor:g}",
                GeometricBudget(min(one.first, settings.cap), one.factor, settings.cap),
                restarts,
            )
            for one in Doubling.grid()
        ]
        costs = [
            sum(bill.cost(regime, settings.call_cost) for bill in bills(way, choosing, settings))
            for way in grid
        ]
        best = grid[int(np.argmin(costs))]
        yield Way(f"doubling, {grid[0].name}", grid[0].schedule, restarts)
        yield Way(f"best doubling, {best.name}", best.schedule, restarts)
    yield Way(f"one budget: {settings.cap}", FixedBudget(settings.cap))


def learned_rule(columns: Columns) -> LearnedStopping:
    """The learned rule, at the threshold that saves most and loses no more than it may.

    What a threshold loses is told by rules that were fitted on the other folds.
    """
    fitting, graded = Fitting(columns, LearnedStopping(-4.0)), Graded(columns)
    numbers = np.arange(len(columns.runs))
    parts = split(columns.runs, {str(fold): 1 / FOLDS for fold in range(FOLDS)}, 0)
    thresholds = [rule.threshold for rule in LearnedStopping.grid()]
    lost = np.zeros(len(thresholds))
    for part in parts.values():
        fold = np.isin(numbers, part)
        model = fitting.fit(~fold).model
        for place, threshold in enumerate(thresholds):
            cuts = cut(columns, LearnedStopping(threshold, model), default_check())
            stopped = np.flatnonzero(cuts.stopped & fold & fitting.full)
            lost[place] += (~graded.right(cuts.row[stopped])).sum()
    kept = np.flatnonzero(lost <= MOST_LOST * len(numbers))
    chosen = thresholds[int(kept[-1])] if len(kept) else thresholds[0]
    return LearnedStopping(chosen, fitting.fit().model)


def policy_named(name: str, fit_on: Columns) -> Policy:
    """Make a policy; a learned one from the runs that are there to fit on."""
    if name == "never":
        return Never()
    return learned_rule(fit_on) if name == "learned" else AdaptiveStopping.from_profile(name).policy


def needs_of(columns: Columns, requests: Sequence[Request], needed: Sequence[int]) -> list[Need]:
    """What the bills of runs depend on: all of it is billed, the requests alone are known."""
    runs = zip(columns.runs, requests, needed, columns.lengths.tolist(), strict=True)
    return [
        Need(request, tokens, natural, run.prompt_tokens or 0)
        for run, request, tokens, natural in runs
    ]


def report(runs: Sequence[Run], name: str, settings: Settings) -> Iterator[str]:
    """Yield the lines of the report for one policy over some runs."""
    parts = split(runs, SHARES, 0)
    columns = {part: Columns(runs[number] for number in at) for part, at in parts.items()}
    policy = policy_named(name, columns["fit"])
    requests = {part: [request_of(run) for run in held.runs] for part, held in columns.items()}
    needed = {part: needed_lengths(held, policy) for part, held in columns.items()}
    ends = {part: needed_lengths(held, Never()) for part, held in columns.items()}
    groups = {part: [_group(run) for run in held.runs] for part, held in columns.items()}
    unknown = {part: [Request()] * len(asked) for part, asked in requests.items()}
    models = Models(
        *(
            calibrate(
                fit_lengths(
                    asked["fit"], known["fit"].tolist(), settings.cap, groups=groups["fit"]
                ),
                asked["conformal"],
                known["conformal"].tolist(),
                groups["conformal"],
            )
            for asked in (requests, unknown)
            for known in (needed, ends)
        )
    )
    needs = {
        part: needs_of(held, requests[part], needed[part].tolist())
        for part, held in columns.items()
    }
    told = needed["report"]
    yield f"## Policy: {name}"
    yield ""
    yield (
        f"{policy!r}. {', '.join(f'{len(at)} runs to {part}' for part, at in parts.items())}, in "
        f"{len(set(groups['report']))} passages. Needed: {np.median(told):.0f} tokens (median), "
        f"{np.quantile(told, 0.95):.0f} (0.95); natural end "
        f"{np.median(ends['report']):.0f} and {np.quantile(ends['report'], 0.95):.0f}."
    )
    yield ""
    boot = GroupBootstrap(groups["report"])
    yield from _coverage(models.lengths, requests["report"], told.tolist(), boot)
    choosing = needs["fit"] + needs["conformal"]
    for regime in REGIMES.values():
        ways = [
            *ours(models, regime, settings),
            *others(choosing, regime, settings),
        ]
        yield from _bills(ways, needs["report"], regime, settings, boot)


def _coverage(
    lengths: LengthModel, requests: Sequence[Request], needed: Sequence[int], boot: GroupBootstrap
) -> Iterator[str]:
    rows = np.array([lengths.quantiles(request) for request in requests])  # (runs, levels)
    yield f"Calibrated on {lengths.runs} passages, one run each."
    yield ""
    yield "| level | covered | median grant |"
    yield "|---|---|---|"
    for place, level in enumerate(lengths.levels):
        held = np.array(needed) <= rows[:, place]
        covered = _figure(float(held.mean()), boot.share(held))
        yield f"| {level:g} | {covered} | {np.median(rows[:, place]):.0f} |"
    yield ""


def _bills(
    ways: Sequence[Way],
    needs: Sequence[Need],
    regime: CostRegime,
    settings: Settings,
    boot: GroupBootstrap,
) -> Iterator[str]:
    oracle = np.array([exact(need).cost(regime) for need in needs])
    yield f"### {regime.name}"
    yield ""
    yield (
        "| schedule | bill over the oracle's | less that of learned, continued | calls a request | "
        f"bill with {settings.call_cost:g} a further call |"
    )
    yield "|---|---|---|---|---|"
    first = None
    for way in ways:
        made = bills(way, needs, settings)
        cost = np.array([bill.cost(regime) for bill in made])
        waited = np.array([bill.cost(regime, settings.call_cost) for bill in made])
        first = cost if first is None else first
        more = (cost - first).sum() / oracle.sum()
        columns = (
            way.name,
            _figure(cost.sum() / oracle.sum(), boot.ratio(cost, oracle)),
            _figure(more, boot.ratio(cost - first, oracle), sign="+"),
            f"{np.mean([bill.calls for bill in made]):.2f}",
            _figure(waited.sum() / oracle.sum(), boot.ratio(waited, oracle)),
        )
        yield f"| {' | '.join(columns)} |"
    yield ""


def _figure(value: float, interval: Interval, sign: str = "") -> str:
    return f"{value:{sign}.3f} [{interval.low:{sign}.3f}, {interval.high:{sign}.3f}]"


def _group(run: Run) -> str:
    return run.group or run.question_id


def main() -> None:
    """Print the report, and write it where asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", nargs="+", type=Path, help="trace files of natural runs")
    parser.add_argument("--policy", choices=POLICIES, action="append", help="all by default")
    parser.add_argument("--call-cost", type=float, default=16.0, help="output tokens")
    parser.add_argument("--attempts", type=int, default=3, help="calls of a learned budget")
    parser.add_argument("--out", type=Path, help="Markdown file")
    asked = parser.parse_args()
    lines: list[str] = []
    for path in asked.runs:
        trace = read_trace(path)
        settings = Settings(trace.header.max_tokens, asked.call_cost, asked.attempts)
        lines += [f"# {path.name}", "", f"{trace.header.model}, {len(trace.runs)} runs.", ""]
        for name in asked.policy or POLICIES:
            lines += report(trace.runs, name, settings)
    text = "\n".join(lines)
    print(text)
    if asked.out is not None:
        asked.out.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
