"""``stopping record`` on two workers against one, in its smallest case."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks.cluster import ONE, TWICE, TWO, Recorded, content, main, rows
from stopping_core.traces.run import Header, Trace
from tests.cli.recording import save_model, save_questions
from tests.traces.made_runs import make_run


def test_what_is_paired_is_compared_turn_by_turn() -> None:
    """Of two turns, in which two workers were twice as fast and as fast as one."""
    one = [Recorded(5, 10, 16, 40), Recorded(5, 8, 14, 40)]
    two = [Recorded(7, 5, 13, 40), Recorded(6, 8, 15, 40)]
    first, second = rows("a model", {ONE: one, TWO: two})
    assert first == "| a model | 1 worker | 9.0 | 4.5 | {0} | 5.0 | 15.0 | {0} |".format(
        "1.00 (1.00 to 1.00)"
    )
    assert "| 6.5 | 6.5 | 1.50 (1.00 to 2.00) | 6.5 | 14.0 | 1.08 (0.93 to 1.23) |" in second


def test_files_are_compared_in_all_but_their_times() -> None:
    """Two runs that differ in a token are told apart."""
    header = Header("m", "0a", "plain", "0b", 90)
    run = make_run(["It", " is."], 1)
    later = replace(run, seconds=np.array([8, 9], np.float32))
    other = replace(run, tokens=("It", " was."))
    first, same, changed = (content(Trace(header, (one,))) for one in (run, later, other))
    np.testing.assert_equal(first, same)
    with pytest.raises(AssertionError):
        np.testing.assert_equal(first, changed)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_smallest_case(tmp_path: Path) -> None:
    """Two runs of both kinds, in each way."""
    pytest.importorskip("ray", reason="no Ray: it is in requirements-dev.txt, and CI has it")
    questions = save_questions(tmp_path / "q.jsonl", 2)
    model, out = save_model(tmp_path / "model"), tmp_path / "table.md"
    call = ["--model", model, "--questions", questions, "--template", "raw", "--out", out]
    call += ["--runs", 2, "--batch", 1, "--max-tokens", 8, "--repetitions", 1]
    main([str(one) for one in call])
    told = [line.split(" | ")[1] for line in out.read_text("utf-8").splitlines() if " | " in line]
    assert told == ["way", ONE, TWO, TWICE, ONE, TWO]
