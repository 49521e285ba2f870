"""All policies over the runs of one trace file: what becomes a section of the report."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from stopping_core.cli.bench import inspected
from stopping_core.cli.bench.candidates import Candidate, candidates
from stopping_core.cli.bench.ended_votes import sweep_ended
from stopping_core.cli.bench.frontier import curve
from stopping_core.cli.bench.part import Part, divide
from stopping_core.cli.bench.scores import Scores
from stopping_core.cli.bench.section import Section, leaders, ranked
from stopping_core.cli.bench.sweeping import Material, channel_of, ended, every_of, extract, sweep
from stopping_core.cli.bench.table import (
    Swept,
    bound,
    by_default,
    by_level,
    by_saving,
    capture,
)
from stopping_core.cli.bench.votes import Ballot, sweep_votes
from stopping_core.costs import LOCAL, REGIMES
from stopping_core.policies.baselines import SampleRule
from stopping_core.traces.columns import Columns
from stopping_core.traces.oracle import oracle
from stopping_core.traces.run import Run, Trace
from stopping_core.traces.splits import family_of

TARGET = 38.0
"""Percent: the saving at which the literature quotes what the usual rules lose."""


_HELD: Mapping[str, Callable[[Run], bool]] = {
    "logprobs": lambda run: run.logprobs is not None,
    "top logprobs": lambda run: run.top_logprobs is not None,
    "entropy": lambda run: run.entropy is not None,
    "end probability": lambda run: run.end_probability is not None,
    "probes": lambda run: bool(run.probes),
}


@dataclass(frozen=True, slots=True)
class Choices:
    """What the command line was told about the comparison.

    Args:
        levels: The most that may be lost, points of all runs.
        policies: Import paths of the user's policies.
        seed: Of the split and of the bootstrap.
        shown: Single runs that the report holds, a file.
        resamples: Of the bootstrap.
    """

    levels: tuple[float, ...] = (0.0, 1.0, 2.0, 5.0)
    policies: tuple[str, ...] = ()
    seed: int = 0
    shown: int = 40
    resamples: int = 2000


def entrants(trace: Trace, choices: Choices) -> list[Candidate]:
    """Name the policies that compete on a file.

    Raises:
        ValueError: An import path leads to no policy.
    """
    return candidates(channel_of(trace), choices.policies)


def compare_runs(
    file: str,
    trace: Trace,
    entered: Sequence[Candidate],
    choices: Choices,
    done: Callable[[], None],
) -> Section:
    """Cut each run by itself, by every policy; of a file of samples, each sample."""
    header = trace.header
    channel = channel_of(trace)
    columns = Columns(
        trace.runs, channel=channel, tags=header.reasoning_tags, every=every_of(trace)
    )
    part = divide(
        trace.runs, np.array([ended(run) for run in trace.runs]), choices.seed, choices.resamples
    )
    material = Material(columns, part.halves, part.folds)
    best = {name: oracle(columns, regime=regime) for name, regime in REGIMES.items()}
    single = [one for one in entered if header.samples == 1 or not _draws(one)]
    extract(single, material)
    swept = []
    for candidate in single:
        swept.append(sweep(candidate, material))
        done()
    section = _section(
        file,
        "runs",
        f"{header.model}, {header.template}"
        + (", each sample by itself" if header.samples > 1 else ""),
        trace,
        part,
        swept,
        material.full,
        choices,
        bound(best, material.full, part.halves),
    )
    rows = section.rows
    policies = inspected.shown(swept, rows, list(ranked(rows)))
    numbers = inspected.spread(
        _changed(swept, rows, material), np.flatnonzero(part.halves.report).tolist(), choices.shown
    )
    runs = inspected.inspect(numbers, policies, material, best[LOCAL.name])
    return replace(
        section,
        inspected=runs,
        policies=[one.label for one in policies],
        signals=inspected.signals(runs),
    )


def compare_votes(
    file: str,
    trace: Trace,
    entered: Sequence[Candidate],
    choices: Choices,
    done: Callable[[], None],
) -> Section:
    """Draw samples of each question by every rule that does, against the vote over all of them."""
    ballot = Ballot.of(trace.runs, trace.header.reasoning_tags)
    part = divide(ballot.firsts, ballot.ended, choices.seed, choices.resamples)
    full = ballot.full()
    swept = []
    for candidate in entered:
        if _draws(candidate):
            swept.append(sweep_votes(candidate, ballot, full, part.halves.choose))
            done()
    swept += sweep_ended(trace, ballot, part, full)
    title = f"{trace.header.model}, {trace.header.template}, votes of {ballot.recorded} samples"
    return _section(file, "votes", title, trace, part, swept, full, choices, None)


def _draws(candidate: Candidate) -> bool:
    return bool(candidate.settings) and isinstance(candidate.settings[0], SampleRule)


def _section(
    file: str,
    kind: str,
    title: str,
    trace: Trace,
    part: Part,
    swept: Sequence[Swept],
    full: Scores,
    choices: Choices,
    best: dict[str, Any] | None,
) -> Section:
    halves = part.halves
    rows = by_level(swept, full, halves, choices.levels)
    at_saving = by_saving(swept, full, halves, TARGET)
    defaults = by_default(swept, full, halves)
    if best is not None:
        for some in (rows, at_saving, defaults):
            capture(some, best)
    notes = list(part.notes)
    if not full.right.any():
        notes.append("no full run is right: nothing can be lost, and no loss says anything here")
    first = leaders(rows)
    curves = [curve(one, full, halves.report, first) for one in swept]
    facts = _facts(trace, part, full)
    return Section(
        file=file,
        kind=kind,
        title=title,
        about=_about(file, kind, facts),
        rows=[{"file": file, "kind": kind, **row} for row in rows],
        at_saving=[{"file": file, "kind": kind, **row} for row in at_saving],
        defaults=[{"file": file, "kind": kind, **row} for row in defaults],
        oracle=best,
        facts={**facts, "notes": notes},
        curves=tuple(one for one in curves if one is not None),
        notes=tuple(notes),
    )


def _facts(trace: Trace, part: Part, full: Scores) -> dict[str, Any]:
    header, halves = trace.header, part.halves
    runs = part.runs
    return {
        "model": header.model,
        "model_fingerprint": header.model_fingerprint,
        "template": header.template,
        "template_fingerprint": header.template_fingerprint,
        "channel": channel_of(trace),
        "every": every_of(trace),
        "grader": sorted({run.grader for run in runs}),
        "max_tokens": header.max_tokens,
        "temperature": header.temperature,
        "samples": header.samples,
        "holds": [name for name, held in _HELD.items() if all(map(held, trace.runs))],
        "n": len(runs),
        "groups": len({run.group or run.question_id for run in runs}),
        "families": len(set(map(family_of, runs))),
        "capped": _capped(trace),
        "choose": int(halves.choose.sum()),
        "report": int(halves.report.sum()),
        "tokens": int(full.generated.sum()),
        "right": int(full.right.sum()),
    }


def _capped(trace: Trace) -> dict[str, float]:
    """Give the share of the runs that came to the cap, and of the tokens that they have."""
    lengths = np.array([len(run) for run in trace.runs])
    capped = np.array([not ended(run) for run in trace.runs])
    tokens = lengths[capped].sum() / max(1, lengths.sum())
    return {"runs": round(100 * float(capped.mean()), 3), "tokens": round(100 * float(tokens), 3)}


def _about(file: str, kind: str, facts: dict[str, Any]) -> str:
    holds = ", ".join(facts["holds"]) or "text alone"
    what = "runs" if kind == "runs" else "questions"
    acts = f"Policies act on the {facts['channel']}. " if kind == "runs" else ""
    return (
        f"{file}: {facts['n']} {what} in {facts['groups']} groups of {facts['families']} families, "
        f"{facts['tokens']} tokens, "
        f"{facts['right']} right by {' and '.join(facts['grader'])}. Settings are chosen on "
        f"{facts['choose']} {what} and reported on {facts['report']}. {acts}The file holds "
        f"{holds}."
    )


def _changed(
    swept: Sequence[Swept], rows: Sequence[dict[str, Any]], material: Material
) -> list[int]:
    """Number the reported runs whose grade some chosen cut changes."""
    chosen = {(row["policy"], row["setting"]) for row in rows if row["stops"]}
    changed = np.zeros(len(material.columns.runs), dtype=np.bool_)
    for one in swept:
        for setting, cut in zip(one.settings, one.scores, strict=True):
            if cut is not None and (one.policy, setting) in chosen:
                changed |= cut.right != material.full.right
    return np.flatnonzero(changed & material.halves.report).tolist()
