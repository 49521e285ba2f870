"""Ends of the reasoning, certified and then run live: ``python -m benchmarks.testbed.live``.

For each tier of evidence a policy is fitted and certified on recorded runs of the synthetic
testbed. It then ends the reasoning of the testbed's model itself, on problems of which it has seen
nothing. The table says what that saved and lost, and whether each live answer is the one that a
replay of the recorded run says. Recorded tokens are those of the full runs; to a live run its
probes are added.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import torch
from typer.testing import CliRunner

from stopping_core import AdaptiveStopping
from stopping_core.certificates import Certificate
from stopping_core.cli.app import app
from stopping_core.metrics import GRADERS
from stopping_core.policies.learned.loss_model import Tier
from stopping_core.traces.replay import replay
from stopping_core.traces.run import Run, Trace
from stopping_core.traces.splits import split
from stopping_core.traces.store import read_trace, write_trace
from stopping_core.traces.stream import answer_of
from transformers_stopping import generate, load

_LEVELS = (0.005, 0.01, 0.02, 0.05)
_KEPT = 0.3  # of the problems: run live, and neither fitted nor certified on
_TAGS = ("<think>", "</think>")


@dataclass(frozen=True, slots=True)
class Row:
    """What a tier does live, at one certified level.

    Args:
        tier: What the policy reads.
        certified: The saving at each level, or None where it was refused.
        risk: The level that was run live.
        runs: How many problems.
        lost: How many right answers of full runs were lost.
        gained: How many wrong ones became right.
        saved: Share of the tokens, probes paid.
        same: How many answers are those of the replay.
    """

    tier: str
    certified: tuple[float | None, ...]
    risk: float
    runs: int
    lost: int
    gained: int
    saved: float
    same: int


def measure(trace: Trace, tier: str, kept: Sequence[Run], known: Path, model: str) -> Row:
    """Fit, certify, and run the kept problems live at the level of the profile ``balanced``.

    Args:
        trace: The runs to fit and certify on.
        tier: What the policy reads.
        kept: Recorded runs of other problems.
        known: A folder for the files.
        model: Folder of the testbed's model.

    Raises:
        SystemExit: A command failed; what it said.
    """
    runs, fitted, out = (known / f"{tier}{end}" for end in (".parquet", "-model.json", ".json"))
    write_trace(runs, trace)
    levels = ",".join(map(str, _LEVELS))
    for command in (
        ["fit", str(runs), "--out", str(fitted), "--tier", tier],
        ["certify", str(fitted), str(runs), "--out", str(out), "--risk", levels],
    ):
        done = CliRunner().invoke(app, command)
        print(done.output)
        if done.exit_code:
            raise SystemExit(done.exit_code)
    found = {level.risk: level.saving for level in Certificate.load(out).levels}
    stopping = AdaptiveStopping.load(out)
    torch.set_num_threads(1)
    weights, tokenizer = load(model, progress=False)
    lost = gained = same = spent = 0
    for run in kept:
        done_live = generate(
            weights, tokenizer, run.prompt, stopping, max_new_tokens=trace.header.max_tokens
        )
        grade = GRADERS[run.grader]
        full, live = (
            grade(text, run.gold) >= 1 for text in (answer_of(run, _TAGS), done_live.text)
        )
        told = replay(run, stopping.reasoning, channel="reasoning", tags=_TAGS)
        lost += full and not live
        gained += live and not full
        same += told.text.strip() == done_live.text.strip()
        spent += done_live.usage.generated + done_live.usage.probed
    return Row(
        tier,
        tuple(found.get(risk) for risk in _LEVELS),
        Certificate.load(out).level(0.02).risk,
        len(kept),
        lost,
        gained,
        1 - spent / sum(map(len, kept)),
        same,
    )


def table(rows: Sequence[Row]) -> str:
    """Write the rows as Markdown."""
    heads = [f"certified {100 * risk:g}%" for risk in _LEVELS]
    live = ["live at", "problems", "lost", "gained", "saved", "as replayed"]
    lines = [f"| tier | {' | '.join((*heads, *live))} |", "|---" * (len(heads) + 7) + "|"]
    for row in rows:
        saved = ["refused" if one is None else f"{100 * one:.1f}%" for one in row.certified]
        figures = (
            f"{100 * row.risk:g}%",
            str(row.runs),
            f"{row.lost} ({100 * row.lost / row.runs:.1f}%)",
            str(row.gained),
            f"{100 * row.saved:.1f}%",
            f"{row.same} of {row.runs}",
        )
        lines.append(f"| {' | '.join((row.tier, *saved, *figures))} |")
    return "\n".join(lines)


def main() -> None:
    """Measure all tiers."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("trace", type=Path, help="recorded runs of the testbed, with probes")
    parser.add_argument("--model", default="build/synthetic-testbed", help="its model")
    parser.add_argument("--most", type=int, default=200, help="problems to run live")
    parser.add_argument("--out", type=Path, required=True, help="the table, Markdown")
    asked = parser.parse_args()
    trace = read_trace(asked.trace)
    parts = split(trace.runs, {"certified": 1 - _KEPT, "kept": _KEPT}, seed=1)
    chosen = Trace(trace.header, tuple(trace.runs[n] for n in parts["certified"]))
    kept = [trace.runs[n] for n in parts["kept"]][: asked.most]
    with tempfile.TemporaryDirectory() as folder:
        rows = [measure(chosen, tier, kept, Path(folder), asked.model) for tier in get_args(Tier)]
    asked.out.write_text(table(rows) + "\n", "utf-8")
    print(table(rows))


if __name__ == "__main__":
    main()
