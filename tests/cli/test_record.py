"""``stopping record`` on a local model: what it writes, and what it refuses."""

from __future__ import annotations

from pathlib import Path

import pytest

from stopping_core.cli.record.choose import choose
from stopping_core.cli.record.places import places
from stopping_core.cli.record.task import Task
from stopping_core.questions import Question
from stopping_core.templates import Template
from stopping_core.traces.store import read_trace
from stopping_core.types import Probe
from tests.cli.asking import record
from tests.cli.recording import save_model, save_questions


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_model(tmp_path_factory.mktemp("model"))


@pytest.fixture
def small(folder: Path, tmp_path: Path) -> list[str | Path]:
    """The arguments of a short recording, all but the template."""
    asked = save_questions(tmp_path / "q.jsonl", 4)
    out = tmp_path / "t.parquet"
    return [asked, "--out", out, "--model", folder, "--max-tokens", "6", "--threads", "1"]


def test_recorded(small: list[str | Path], folder: Path, tmp_path: Path) -> None:
    """A trace tells the question, the prompt, the template, the model and its settings."""
    status, said = record(*small, "--template", "raw")
    assert (status, "4 runs, 4 of them new" in said) == (0, True)
    trace = read_trace(tmp_path / "t.parquet")
    one = trace.runs[1]
    assert (one.question_id, one.gold, one.group, one.family) == ("q1", ("1",), "g0", "f0")
    assert one.prompt == "Context: Passage 0.\nQuestion: What is 1 and so on?\nAnswer:"
    assert one.prompt_tokens == len(one.prompt)
    assert (trace.header.template, trace.header.max_tokens) == ("raw", 6)
    assert trace.header.model == folder.name
    assert trace.header.holds == {"logprobs", "top_logprobs", "end_probability"}


def test_mixing_is_refused(small: list[str | Path], tmp_path: Path) -> None:
    """Another model or another template on the same file ends with 1 and a line that says which."""
    assert record(*small, "--template", "raw")[0] == 0
    before = (tmp_path / "t.parquet").read_bytes()
    own = tmp_path / "own.toml"
    own.write_text('chat = false\nuser = "{question}"\n')
    status, said = record(*small, "--template", own)
    assert (status, "was recorded with template_fingerprint=" in said) == (1, True)
    assert "(raw), asked for is" in said
    assert "(own)" in said
    other = save_model(tmp_path / "other", seed=8)
    status, said = record(*small, "--template", "raw", "--model", other)
    assert (status, "was recorded with model_fingerprint=" in said) == (1, True)
    assert (tmp_path / "t.parquet").read_bytes() == before


def test_bad_input(small: list[str | Path], tmp_path: Path) -> None:
    """What is wrong with a call is told in a line, and ends with 1."""
    damaged = tmp_path / "damaged.parquet"
    damaged.write_bytes(b"PAR1 cut short")
    golden = tmp_path / "gold.jsonl"
    golden.write_text('{"question": "What?", "gold": []}\n')
    raw = ["--template", "raw"]
    for arguments, expected in (
        (["--template", "none"], "template must be one of"),
        (["--template", "plain"], "tokenizer must have a chat_template"),
        ([*raw, "--samples", "2"], "--samples must be 1 where --temperature is 0"),
        ([*raw, "--reasoning", "<think>"], "--reasoning must be two tags"),
        ([*raw, "--offset", "4"], "--offset must be below 4"),
        (
            [*raw, "--max-tokens", "600"],
            "question 'q0': 48 tokens of prompt and 600 of answer go beyond",
        ),
        ([*raw, "--model", tmp_path / "none"], "name_or_path must exist"),
        ([*raw, "--out", damaged], f"{damaged}: is damaged, or cut short"),
        ([*raw, "--top-logprobs", "999"], "top_logprobs must be in [0, 258]"),
    ):
        status, said = record(*small, *arguments)
        assert (status, f"stopping record: {expected}" in said) == (1, True), said
    status, said = record(golden, *small[1:], *raw)
    assert (status, f"stopping record: {golden}: " in said) == (1, True), said
    assert not list(tmp_path.glob("*.parts"))
    assert not (tmp_path / "t.parquet").exists()


def test_without_top_logprobs(small: list[str | Path], tmp_path: Path) -> None:
    """None of the largest logprobs asked for, none recorded, and the header says so."""
    assert record(*small, "--template", "raw", "--top-logprobs", "0")[0] == 0
    trace = read_trace(tmp_path / "t.parquet")
    assert trace.header.holds == {"logprobs", "end_probability"}
    assert {run.top_logprobs is None for run in trace.runs} == {True}


def test_spread() -> None:
    """A part of the questions comes from all families and groups, and grows by more of them."""
    questions = [
        Question(f"{family}{group}{number}", "What?", ("a",), group=family + group, family=family)
        for family in "ab"
        for group in "xy"
        for number in range(3)
    ]
    chosen = [one.id for one in choose(questions, 5, 0, spread=True)]
    assert chosen == ["ax0", "bx0", "ay0", "by0", "ax1"]
    assert [one.id for one in choose(questions, 8, 0, spread=True)][:5] == chosen
    assert [one.id for one in choose(questions, 2, 3, spread=True)] == ["by0", "ax1"]
    assert choose(questions, 2, 1, spread=False) == questions[1:3]
    assert choose(questions, None, 0, spread=True) == questions


def test_places() -> None:
    """Reasoning is probed between its tags, wherever the tokens cut them, and nothing else."""
    tags = ("<think>", "</think>")
    assert places([], 4) == (0,)
    assert places(list("abcdef"), 4) == (0, 4, 6)
    assert places(["a\n", "b\n", "c"], 100) == (0, 1, 2, 3)
    assert places(["<th", "ink>1", "2\n", "3</", "think>", "4\n"], 1, tags) == (2, 3)
    assert places(["<think>", "1", "2"], 1, tags) == (1, 2, 3)
    assert places(["4", "<think>", "</think>"], 1, tags) == ()
    assert places(["<thi"], 1, tags) == ()


def test_a_probe_inside_reasoning_holds_the_whole_answer() -> None:
    """The words after the closing tag begin the answer; elsewhere the words that ask are not it."""
    template = Template("mine", "{question}", chat=False, probe="</think>\n\nThe answer is")
    task = Task({}, template, 8, 1, 0.0, 0, 0, None, 1, 4)
    probe = Probe(" 42.", tokens=3, reread=9)
    assert task.said(["<think>", "a"], probe).text == "The answer is 42."
    assert task.said(["It is"], probe).text == " 42."
