"""What is told of the synthetic testbed's recorded runs."""

from __future__ import annotations

import itertools
import json
import random
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.testbed.measure import figures, lines, main, tell
from benchmarks.testbed.problems import Problem, problems
from benchmarks.testbed.solutions import CLOSE, OPEN, Solution, ending, solve
from benchmarks.testbed.tokenizer import make_tokenizer
from stopping_core.policies import Threshold
from stopping_core.policies.baselines.stop_string import Seen
from stopping_core.testing import words
from stopping_core.traces.columns import Columns
from stopping_core.traces.graded import Graded
from stopping_core.traces.run import Header, Run, Trace
from stopping_core.traces.store import write_trace
from stopping_core.traces.sweep import cut
from stopping_core.types import Boundary, Probe

TOKENIZER = make_tokenizer()
FIRST_RESULT = Threshold(Seen("So the answer is", "That makes"), at_least=1, at=Boundary.PARAGRAPH)
"""As a live policy would stop at the first result."""

SAME = "This time it is {}, the same again.\n\n"


def split(text: str) -> list[str]:
    """The texts of its tokens, as the testbed's model writes them."""
    return [str(TOKENIZER.decode([one])) for one in TOKENIZER.encode(text)]


def recorded(problem: Problem, solution: Solution) -> Run:
    """A worked solution as a run, probed after each piece."""
    tokens: list[str] = []
    probes = {}
    for piece in solution.pieces:
        tokens += split(piece.text)
        probes[len(tokens)] = Probe(f"The answer is {piece.belief}.", 6, 20 + len(tokens) + 3)
    return Run(
        question_id=f"{problem.family}-{problem.key}",
        question=problem.question,
        gold=(str(problem.answer),),
        tokens=(*tokens, *split(ending(solution.answer))),
        finish_reason="stop",
        grader="last_number",
        group=problem.key,
        prompt_tokens=20,
        probes=probes,
    )


def solved(number: int) -> list[tuple[Problem, Solution]]:
    """Problems of all families, with slips in some of their solutions."""
    rng = random.Random(11)
    return [
        (p, solve(p, rng, slip_rate=0.1)) for p in itertools.islice(problems(11, "train"), number)
    ]


def made(name: str, thoughts: str, answer: str, *, probed: str = "") -> Run:
    """A run whose right answer is 7: a token a word, and one probe, after the first result."""
    first = words(f"{OPEN}\n3 + 4 = 7.\n\nThat makes {probed or answer}.\n\n")
    tokens = [*first, *words(f"{thoughts}{CLOSE}\n\n{answer}")]
    return Run(
        question_id=f"sum-1-{name}",
        question="What is 3 + 4?",
        gold=("7",),
        tokens=tuple(tokens),
        finish_reason="stop",
        grader="last_number",
        group=name,
        prompt_tokens=10,
        probes={len(first): Probe(probed or answer, 1, 10 + len(first) + 2)},
    )


RUNS = (
    made("sure", "", "7"),
    made("checked", SAME.format(7), "7"),
    made("repaired", "This time it is 7, but before it was 8.\n\n", "7", probed="8"),
    made("spoiled", SAME.format(8), "8", probed="7"),
    made("wrong", SAME.format(9) + SAME.format(9), "9", probed="8"),
)


def test_results_are_read_as_they_were_worked_out() -> None:
    """Of worked solutions every pass is found, and each result that differed from all before."""
    for problem, solution in solved(300):
        told = tell(recorded(problem, solution))
        differing = sum("but before it was" in piece.text for piece in solution.pieces)
        assert (solution.passes, differing, 0) == (told.results, told.differing, told.unnoticed)
        assert (solution.answer == problem.answer, problem.family) == (told.right, told.family)


def test_a_stop_at_the_first_result_is_that_of_the_replay() -> None:
    """Answers and bills are those of a policy that stops at the end of the first result's line."""
    runs = [recorded(*pair) for pair in solved(60)]
    columns = Columns(runs, channel="reasoning")
    cuts = cut(columns, FIRST_RESULT)
    told = [tell(run) for run in runs]
    assert cuts.stopped.all()
    assert cuts.generated.tolist() == [one.stopped_tokens for one in told]
    assert Graded(columns).right(cuts.row).tolist() == [one.stopped_right for one in told]


def test_figures_tell_repaired_from_spoiled() -> None:
    """The first result is compared with the answer, and a stop there loses what was repaired."""
    found = figures(RUNS)
    assert {0: 1, 1: 3, 2: 1} == found["rechecks"]
    assert (0.6, 0.2, 0.2) == (found["right"], found["repaired"], found["spoiled"])
    stopped = found["first_result"]
    assert (0.2, 0.2, 0.0) == (stopped["lost"], stopped["gained"], stopped["net"])
    assert stopped["interval"][0] < 0 < stopped["interval"][1]


def test_new_results_that_are_called_the_same_are_counted() -> None:
    """Three re-checks gave what had not come before, and two of them said that it was the same."""
    found = figures(RUNS)
    assert (3, 2) == (found["differing"], found["unnoticed"])


def test_figures_tell_length_by_difficulty() -> None:
    """Runs are told apart by kind and level, and the saving counts closing words and answer."""
    found = figures([*RUNS[:2], replace(RUNS[4], question_id="legs-4-long")])
    assert {"runs": 1, "right": 0.0, "tokens": float(len(RUNS[4]))} == found["families"]["legs-4"]
    assert ["legs-4", "sum-1"] == list(found["families"])
    (place,) = RUNS[0].probes
    lengths = [len(RUNS[number]) for number in (0, 1, 4)]
    assert round(1 - 3 * (place + 2 + 1) / sum(lengths), 4) == found["first_result"]["saving"]


def test_a_run_without_result_or_end_is_wrong_and_not_stopped() -> None:
    """A run that hits its cap while it thinks costs all of it, with or without a stop."""
    run = replace(RUNS[0], tokens=(OPEN, "\n", "3", " +", " 4"), probes={})
    told = tell(run)
    assert (False, None, 0) == (told.right, told.first, told.results)
    assert (False, 5) == (told.stopped_right, told.stopped_tokens)


def test_a_trace_without_the_probe_is_refused() -> None:
    """The message names the question and the token, and how to record it."""
    (place,) = RUNS[1].probes
    with pytest.raises(ValueError, match=rf"'sum-1-checked': no probe at token {place}, .*--probe"):
        tell(replace(RUNS[1], probes={}))


def test_the_command_reads_a_file_and_writes_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Lines for people, or JSON; a file that is not there is an error in a line."""
    path = tmp_path / "testbed.parquet"
    write_trace(path, Trace(Header("made-up", "0a", "testbed", "0b", 90), RUNS))
    printed = []
    for arguments in ([path], [path, "--json"]):
        monkeypatch.setattr("sys.argv", ["measure", *map(str, arguments)])
        main()
        printed.append(capsys.readouterr().out)
    assert lines(figures(RUNS)) == printed[0].splitlines()
    assert json.loads(json.dumps(figures(RUNS))) == json.loads(printed[1])
    assert [path] == list(tmp_path.iterdir())
    monkeypatch.setattr("sys.argv", ["measure", str(tmp_path / "none")])
    with pytest.raises(SystemExit, match="2"):
        main()
    assert "No such file" in capsys.readouterr().err.splitlines()[-1]
