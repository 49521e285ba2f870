"""The comparison of votes: how a setting is chosen, and what the tables say of small recordings."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks import votes
from stopping_core.cli.bench.scores import NAMES, Scores
from stopping_core.cli.fit.recorded import passage_hash
from stopping_core.traces.store import write_trace
from tests.cli.certifiable import certifiable
from tests.cli.sampled import sampled


def scores(right: list[int], tokens: list[int]) -> Scores:
    count = len(right)
    nothing = np.zeros(count)
    grades = {name: np.array(right, dtype=np.float64) for name in NAMES}
    spent = np.array(tokens, dtype=np.float64)
    return Scores(nothing, spent, nothing, nothing, nothing > 0, grades)


def test_the_cheapest_setting_is_taken_that_loses_no_more() -> None:
    """On the choosing questions alone, whatever it gains; else the one that loses least."""
    full = scores([1, 1, 0, 1], [90, 90, 90, 90])
    choose = np.array([True, True, True, False])
    bold = votes.Way("bold", "1", scores([1, 0, 1, 1], [10, 10, 10, 10]))
    good = votes.Way("good", "2", scores([1, 1, 0, 0], [30, 30, 30, 99]))
    late = votes.Way("late", "3", scores([1, 1, 1, 1], [50, 50, 50, 1]))
    assert good is votes.chosen([bold, late, good], full, choose, 0.0)
    assert bold is votes.chosen([bold, late, good], full, choose, 0.34)
    worse = votes.Way("worse", "4", scores([0, 0, 0, 0], [1, 1, 1, 1]))
    assert bold is votes.chosen([worse, bold], full, choose, 0.0)


def test_the_tables_are_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each way has a row; the full vote takes all of its tokens, and ours fewer."""
    greedy, samples, out = (tmp_path / name for name in ("g.parquet", "s.parquet", "votes.md"))
    known = certifiable(100, seed=7)
    write_trace(greedy, known)
    trace, passages = sampled(80), set(map(passage_hash, known.runs))
    bare = [
        replace(run, group=f"x{run.group}", family=f"x{run.family}", top_logprobs=None)
        for run in trace.runs
        if passage_hash(run) not in passages
    ]
    write_trace(samples, replace(trace, runs=tuple(bare)))
    command = ["votes", str(samples), str(greedy), "--tiers", "text", "--risk", "0.4"]
    monkeypatch.setattr(sys, "argv", [*command, "--out", str(out)])
    votes.main()
    lines = out.read_text("utf-8").splitlines()
    start = lines.index("Lost on the choosing part: at most 2%.")
    table = lines[start : lines.index("Lost on the choosing part: at most 5%.")]
    rows = {cells[1].strip(): cells for line in table if len(cells := line.split("|")) == 9}
    ways = ["vote of N", "ESC", "Adaptive-Consistency", "decided vote (ours)"]
    ways += [
        f"{name}, text"
        for name in ("all samples, ended (ours)", "decided vote, samples ended (ours)")
    ]
    assert ways == list(rows)[2:]
    ours = rows["decided vote, samples ended (ours), text"]
    assert "100.0 [100.0, 100.0]" == ours[7].strip()
    assert float(ours[4].split()[0]) < float(rows["decided vote (ours)"][4].split()[0])
    assert any(line.startswith("| 40% |") for line in lines)
    assert capsys.readouterr().out.endswith("\n".join(lines) + "\n\n")
    monkeypatch.setattr(sys, "argv", ["votes", str(greedy), str(greedy)])
    with pytest.raises(SystemExit):
        votes.main()
    assert "greedy must be runs of other questions" in capsys.readouterr().err
