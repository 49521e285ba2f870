"""One policy over the runs of some trace files: what it saves, loses and gains."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from stopping_core.cli.bench.candidates import YOURS, Candidate, find
from stopping_core.cli.bench.scores import Point, add_up
from stopping_core.cli.bench.sweeping import Scorer, channel_of, every_of
from stopping_core.costs import REGIMES
from stopping_core.metrics import GRADERS
from stopping_core.policies import Never, Policy
from stopping_core.traces.columns import Columns
from stopping_core.traces.evidence import MissingEvidence
from stopping_core.traces.run import Trace
from stopping_core.traces.store import read_trace
from stopping_core.traces.sweep import cut, cut_by_engine
from stopping_core.types import Channel

_TITLES = {
    "em": "EM",
    "f1": "F1",
    "contains": "contains a gold answer",
    "first_f1": "F1 of the first sentence",
}
_SAME = {"contains": "contains", "exact_match": "em"}  # the grade that is what a grader calls right
_PRICES = "Prices, of an output token: " + "; ".join(
    f"{name.replace('_', ' ')}: input {one.input:g}, sent again {one.cached:g}"
    for name, one in REGIMES.items()
)


@dataclass(frozen=True, slots=True)
class Settings:
    """What the command line was told; see ``stopping replay --help``."""

    traces: tuple[Path, ...]
    policy: str
    grader: str | None
    channel: Channel | None
    every: int | None
    vectorised: bool


def run(settings: Settings) -> None:
    """Replay one policy over each file, and print what it does.

    Raises:
        ValueError: The policy, the grader or a trace file is not what it should be, or the trace
            does not hold what the policy needs.
        OSError: A file cannot be read.
    """
    console = Console()
    if settings.grader is not None and settings.grader not in GRADERS:
        known = ", ".join(GRADERS)
        raise ValueError(f"grader must be one of {known}, got {settings.grader!r}")
    for path in settings.traces:
        trace = read_trace(path)
        channel = settings.channel or channel_of(trace)
        candidate = find(settings.policy, channel)
        every = every_of(trace) if settings.every is None else settings.every
        point, full = measure(trace, candidate, channel, every, settings)
        graders = {settings.grader or run.grader for run in trace.runs}
        title = f"{path.name}: {trace.header.model}, {trace.header.template}"
        console.print(title, markup=False, highlight=False)
        console.print(_table(point, full, graders))
        said = f"{candidate.labels[0]} over {point.n} runs; {point.stopped:.1f}% stopped"
        console.print(said, markup=False, highlight=False)
        console.print(f"{_PRICES}.\n", markup=False, highlight=False)


def measure(
    trace: Trace, candidate: Candidate, channel: Channel, every: int, settings: Settings
) -> tuple[Point, Point]:
    """Tell what a policy makes of the runs, and what they are in full.

    Raises:
        MissingEvidence: The runs do not hold what the policy needs.
        ValueError: There is no policy, or more than one, or nowhere to ask it.
    """
    policy = candidate.default
    if not isinstance(policy, Policy):
        raise ValueError(
            f"policy must be one that stops a stream, got {settings.policy}: {policy!r}"
        )
    if candidate.tier == YOURS and len(candidate.settings) > 1:
        raise ValueError(
            f"policy must be a single one, got {len(candidate.settings)} in {settings.policy}: "
            "name one of them, or sweep them with `stopping bench --policy`"
        )
    tags = trace.header.reasoning_tags
    columns = Columns(trace.runs, channel=channel, tags=tags, every=every)
    if channel == "reasoning" and not len(columns):
        raise ValueError("channel must be answer where no run holds reasoning, got 'reasoning'")
    if "probes" in policy.needs() and not columns.probes:
        raise MissingEvidence(repr(policy), "probes", "the trace")
    scorer = Scorer(columns, settings.grader)
    full = scorer.scores(cut(columns, Never()))
    play = cut if settings.vectorised else cut_by_engine
    left = scorer.scores(play(columns, policy, candidate.check))
    every_run = np.ones(len(trace.runs), dtype=np.bool_)
    return add_up(left, full, every_run), add_up(full, full, every_run)


def _table(cut: Point, full: Point, graders: Collection[str]) -> Table:
    table = Table(box=SIMPLE_HEAD, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("")
    for name in ("full", "cut"):
        table.add_column(name, justify="right")
    for regime, saving in cut.savings.items():
        shown = "unknown: no prompt lengths" if saving is None else f"{saving:.1f}%"
        table.add_row(f"saved, {regime.replace('_', ' ')}", "", shown)
    table.add_row("lost, points of all runs", "", f"{cut.lost:.2f}")
    table.add_row("gained", "", f"{cut.gained:.2f}")
    said = {_SAME.get(grader) for grader in graders}
    titles = {"right": f"right, by {' and '.join(sorted(graders))}", **_TITLES}
    for name, label in titles.items():
        if said != {name}:
            table.add_row(label, *(f"{one.grades[name]:.1f}%" for one in (full, cut)))
    return table
