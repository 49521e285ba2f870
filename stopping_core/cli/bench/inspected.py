"""Single runs as the report shows them: tokens, cuts, probes and the oracle's place."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from stopping_core.cli.bench.scores import GradeBook
from stopping_core.cli.bench.sweeping import Material
from stopping_core.cli.bench.table import Swept
from stopping_core.policies import Policy
from stopping_core.protocols import CompletenessCheck
from stopping_core.traces.columns import Columns
from stopping_core.traces.oracle import Oracle
from stopping_core.traces.replay import Outcome, replay
from stopping_core.traces.run import Floats, Run

_SIGNALS = {
    "logprob": "logprobs",
    "entropy": "entropy",
    "margin": "margin",
    "end": "end_probability",
}


@dataclass(frozen=True, slots=True)
class Shown:
    """A policy at one setting, whose cuts the report shows."""

    label: str
    rule: Policy
    check: CompletenessCheck | None


def shown(
    swept: Sequence[Swept], rows: Sequence[dict[str, Any]], order: Sequence[str]
) -> list[Shown]:
    """Name the settings that were chosen, each once, with the levels that it was chosen for."""
    by_title = {one.policy: one for one in swept}
    levels: dict[tuple[str, str], list[str]] = {}
    for row in rows:
        if row["stops"]:
            levels.setdefault((row["policy"], row["setting"]), []).append(f"{row['level']:g}")
    chosen = sorted(levels, key=lambda key: order.index(key[0]))
    return [
        Shown(f"{title}, lost <= {', '.join(levels[title, setting])}: {setting}", rule, one.check)
        for title, setting in chosen
        if isinstance(rule := (one := by_title[title]).rules[one.settings.index(setting)], Policy)
    ]


def spread(changed: Sequence[int], reported: Sequence[int], limit: int) -> list[int]:
    """Take runs evenly over those that are reported, a quarter of them runs that a cut changed."""
    first = _evenly(changed, limit // 4)
    rest = [number for number in reported if number not in set(first)]
    return sorted([*first, *_evenly(rest, limit - len(first))])


def _evenly(numbers: Sequence[int], limit: int) -> list[int]:
    if len(numbers) <= limit:
        return list(numbers)
    return [numbers[i * len(numbers) // limit] for i in range(limit)]


def inspect(
    numbers: Sequence[int], policies: Sequence[Shown], material: Material, oracle: Oracle
) -> list[dict[str, Any]]:
    """Write some runs out for the report, with the cut of each policy."""
    columns, book = material.columns, material.scorer.book
    found = []
    for number in numbers:
        run = columns.runs[number]
        name = run.question_id if run.sample == 0 else f"{run.question_id} / {run.sample}"
        found.append(
            {
                "id": name,
                "question": run.question,
                "gold": list(run.gold),
                "finish": run.finish_reason,
                "right": bool(material.full.right[number]),
                "tokens": list(run.tokens),
                **{signal: _values(getattr(run, name)) for signal, name in _SIGNALS.items()},
                "oracle": int(oracle.tokens[number]),
                "probes": _probes(number, run, book),
                "cuts": [_cut(one, number, columns, book) for one in policies],
            }
        )
    return found


def signals(runs: Sequence[dict[str, Any]]) -> list[str]:
    """Name the readings that some of the runs hold."""
    return [signal for signal in _SIGNALS if any(run[signal] is not None for run in runs)]


def _cut(one: Shown, number: int, columns: Columns, book: GradeBook) -> dict[str, Any]:
    outcome = replay(
        columns.runs[number],
        one.rule,
        channel=columns.channel,
        tags=columns.tags,
        every=columns.every,
        check=one.check,
    )
    text, row = outcome.text, _row(outcome, number, columns)
    open_end = columns.full_open_end(number) if row is None else columns.open_end(row)
    return {
        "stopped": outcome.stopped,
        "at": len(columns.runs[number]) if row is None else int(columns.place[row]),
        "tokens": outcome.usage.generated,
        "probed": outcome.usage.probed,
        "reason": outcome.reason,
        "right": book.grade(number, text, open_end=open_end).right >= 1,
        "answer": text if columns.channel == "reasoning" else None,
    }


def _row(outcome: Outcome, number: int, columns: Columns) -> int | None:
    """The row at which it stopped, or the first of several at that place."""
    here = outcome.checkpoint
    if here is None:
        return None
    rows = columns.of_run(number)
    reached = (columns.offset[rows] >= here.offset) & (columns.tokens[rows] >= here.tokens)
    return int(rows.start + np.argmax(reached))


def _probes(number: int, run: Run, book: GradeBook) -> list[dict[str, Any]]:
    return [
        {"at": at, "text": probe.text, "right": book.grade(number, probe.text).right >= 1}
        for at, probe in sorted(run.probes.items())
    ]


def _values(column: Floats | None) -> list[float | None] | None:
    if column is None:
        return None
    return [round(value, 3) if np.isfinite(value) else None for value in column.tolist()]
