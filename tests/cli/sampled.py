"""Made-up samples of some questions, and what the command line makes of them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from stopping_core.traces.run import Run, Trace
from stopping_core.traces.store import write_trace
from tests.cli.certifiable import CITIES, certifiable, stopping

SAMPLES = 4
MORE = ("--risk", "0.1,0.4")


def sampled(questions: int, seed: int = 1) -> Trace:
    """Samples of one question a group, two in three of them right."""
    rng = np.random.default_rng(seed)
    base = certifiable(2 * questions)
    runs = [_sample(run, number, rng) for run in base.runs[::2] for number in range(SAMPLES)]
    return Trace(replace(base.header, samples=SAMPLES, temperature=0.8, seed=seed), tuple(runs))


def _sample(run: Run, number: int, rng: np.random.Generator) -> Run:
    said = run.gold[0] if rng.random() < 2 / 3 else str(rng.choice(CITIES))
    start = [" Let", " us", " see", "."] * int(rng.integers(0, 2))
    tail = [" That", " is", " all", "."] * int(rng.integers(2, 9))
    tokens = (*start, " It", " flows", " through", f" {said}", ".", *tail)
    return replace(run, sample=number, tokens=tokens)


def certified(folder: Path) -> None:
    """Write a model fitted on greedy runs, samples of other questions, and ``vote.json``."""
    write_trace(folder / "runs.parquet", certifiable(100, seed=7))
    trace = sampled(80)
    others = (replace(r, family=f"x{r.family}", group=f"x{r.group}") for r in trace.runs)
    write_trace(folder / "samples.parquet", replace(trace, runs=tuple(others)))
    code, told = stopping(
        "fit", folder / "runs.parquet", "--out", folder / "model.json", "--share", "1"
    )
    assert 0 == code, told
    code, told = certify_vote(folder, "vote.json", *MORE)
    assert 0 == code, told
    assert "votes of 4. Of the questions one a group, drawn beforehand: 78, 23 to order" in told


def certify_vote(folder: Path, out: str, *more: object) -> tuple[int, str]:
    files = folder / "model.json", folder / "samples.parquet"
    return stopping("certify-vote", *files, "--out", folder / out, *more)
