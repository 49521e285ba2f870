"""Trace files: what goes in comes out, and what is no trace is refused by name and place."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stopping_core.traces.run import Header, Run, Trace
from stopping_core.traces.store import read_trace, write_trace
from stopping_core.types import Probe

HEADER = Header("model", "0a", "plain", "0b", 8, top_logprobs=2, holds=frozenset({"logprobs"}))
TEXTS = st.text(st.characters(codec="utf-8"), max_size=6)
GOLD = TEXTS.filter(str.strip)
FLOATS = st.floats(width=32, allow_nan=False)


def run(name: str = "one", tokens: tuple[str, ...] = ("a", " b"), **more: Any) -> Run:
    return Run(name, "What?", ("b",), tokens, "stop", **more)


def assert_equal(expected: Run, actual: Run) -> None:
    """Compare two runs value by value; NaN equals NaN."""
    for field in dataclasses.fields(Run):
        one, other = getattr(expected, field.name), getattr(actual, field.name)
        if isinstance(one, np.ndarray):
            assert (one.dtype, one.shape) == (other.dtype, other.shape)
            np.testing.assert_array_equal(one, other)
        else:
            assert one == other, field.name


@st.composite
def runs(draw: st.DrawFn) -> list[Run]:
    """Runs of different questions, each with or without each of its readings."""
    made = []
    for number in range(draw(st.integers(1, 3))):
        tokens = tuple(draw(st.lists(TEXTS, max_size=4)))
        n = len(tokens)
        reading = st.none() | st.lists(FLOATS | st.just(np.nan), min_size=n, max_size=n).map(
            lambda values: np.array(values, np.float32)
        )
        probe = st.builds(
            Probe,
            TEXTS,
            st.integers(0, 20),
            st.integers(0, 500),
            st.lists(FLOATS, max_size=3).map(tuple),
            st.none() | FLOATS,
        )
        rows = st.lists(st.tuples(FLOATS, FLOATS), min_size=n, max_size=n)
        made.append(
            Run(
                question_id=f"{draw(TEXTS)}{number}",
                question=draw(TEXTS),
                gold=tuple(draw(st.lists(GOLD, min_size=1, max_size=2))),
                tokens=tokens,
                finish_reason=draw(TEXTS),
                sample=draw(st.integers(0, 9)),
                context=draw(TEXTS),
                prompt_tokens=draw(st.none() | st.integers(0, 9)),
                logprobs=draw(reading),
                top_logprobs=draw(
                    st.none() | rows.map(lambda one: np.array(one, np.float32).reshape(-1, 2))
                ),
                entropy=draw(reading),
                end_probability=draw(reading),
                seconds=draw(reading),
                reasoning=draw(
                    st.none() | st.lists(st.booleans(), min_size=n, max_size=n).map(np.array)
                )
                if n
                else None,
                probes=draw(st.dictionaries(st.integers(0, n), probe, max_size=3)),
            )
        )
    return made


@given(runs())
@settings(max_examples=60)
def test_round_trip(tmp_path_factory: pytest.TempPathFactory, made: list[Run]) -> None:
    """Every run comes back as it was, bit by bit."""
    path = tmp_path_factory.mktemp("trace") / "t.parquet"
    write_trace(path, Trace(HEADER, tuple(made)))
    read = read_trace(path)
    assert read.header == HEADER
    assert len(read.runs) == len(made)
    for expected, actual in zip(made, read.runs, strict=True):
        assert_equal(expected, actual)


def test_nothing_emitted(tmp_path: Path) -> None:
    """A model that emits nothing makes a run of no tokens, and its readings stay recorded."""
    none = np.zeros(0, np.float32)
    silent = run(tokens=(), logprobs=none, top_logprobs=np.zeros((0, 2), np.float32))
    write_trace(tmp_path / "t", Trace(HEADER, (silent,)))
    assert_equal(silent, read_trace(tmp_path / "t").runs[0])


BAD_RUNS = {
    "no gold": ((dataclasses.replace(run(), gold=()),), r"row 0 \(question 'one'.*'gold' is empty"),
    "double": ((run(), run()), r"row 1 \(question 'one', sample 0\).*twice"),
    "short": ((run(logprobs=np.zeros(1, np.float32)),), "'logprobs' has 1 values for 2 tokens"),
    "top": ((run(top_logprobs=np.zeros((2, 3), np.float32)),), "'top_logprobs' must have 2 values"),
    "probe": (
        (run(probes={3: Probe("x", 1, 1)}),),
        r"'probes' has a probe at 3, must be in \[0, 2",
    ),
    "blank gold": ((dataclasses.replace(run(), gold=("b", "")),), r"'gold' has .*\('b', ''\)"),
    "grader": ((dataclasses.replace(run(), grader="mine"),), "'grader' must be .*, got 'mine'"),
    "none": ((), "holds no run"),
}


@pytest.mark.parametrize("name", BAD_RUNS)
def test_writing_is_refused(tmp_path: Path, name: str) -> None:
    """What could not be read is not written, and nothing is left of the attempt."""
    bad, said = BAD_RUNS[name]
    with pytest.raises(ValueError, match=said):
        write_trace(tmp_path / "t.parquet", Trace(HEADER, bad))
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def table(tmp_path: Path) -> pa.Table:
    """The table of a good file of two runs."""
    more: dict[str, Any] = {
        "logprobs": np.zeros(2, np.float32),
        "top_logprobs": np.zeros((2, 2), np.float32),
    }
    write_trace(tmp_path / "good", Trace(HEADER, (run("one", **more), run("two", **more))))
    return pq.read_table(tmp_path / "good")


def changed(table: pa.Table, name: str, values: list[Any], type: Any = None) -> pa.Table:
    at = table.column_names.index(name)
    return table.set_column(at, name, pa.array(values, type or table.schema.field(name).type))


def probes(**values: Any) -> list[Any]:
    """The probes of two runs, the second one's with these values."""
    good = {"at": 1, "text": "b", "tokens": 1, "reread": 9, "logprobs": [-1.0], "entropy": None}
    return [[good], [good | values]]


BAD_TABLES: dict[str, tuple[Callable[[pa.Table], pa.Table], str]] = {
    "missing": (lambda t: t.drop_columns(["gold"]), "the column 'gold' is missing"),
    "unknown": (lambda t: t.append_column("x", pa.array([1, 2])), "the column 'x' is unknown"),
    "type": (
        lambda t: changed(t, "sample", ["0", "1"], pa.string()),
        "the column 'sample' must hold int32, it holds string",
    ),
    "null": (
        lambda t: changed(t, "question", ["q", None]),
        "row 1: the column 'question' is null",
    ),
    "null token": (
        lambda t: changed(t, "tokens", [["a", "b"], ["a", None]]),
        "row 1: the column 'tokens' holds a null",
    ),
    "no gold": (lambda t: changed(t, "gold", [["b"], []]), "row 1 .*'gold' is empty"),
    "lengths": (
        lambda t: changed(t, "logprobs", [[0.0, 0.0], [0.0]]),
        "row 1 .*'logprobs' has 1 values for 2 tokens",
    ),
    "width": (
        lambda t: changed(t, "top_logprobs", [[[0.0, 0.0]] * 2, [[0.0, 0.0], [0.0]]]),
        "row 1: the column 'top_logprobs' must have 2 values a token",
    ),
    "double": (lambda t: changed(t, "question_id", ["one", "one"]), "row 1 .*twice"),
    "blank gold": (
        lambda t: changed(t, "gold", [["b"], ["\n"]]),
        r"row 1 .*'gold' has a blank answer, got \('.n',\)",
    ),
    "grader": (
        lambda t: changed(t, "grader", ["contains", "mine"]),
        "row 1 .*'grader' must be one of contains, .*, got 'mine'",
    ),
    "null probe": (
        lambda t: changed(t, "probes", [[], [None]]),
        "row 1: the column 'probes' holds a null",
    ),
    **{
        f"null {name} of a probe": (
            partial(changed, name="probes", values=probes(**{name: None})),
            f"row 1: the column 'probes' has a null in '{name}'",
        )
        for name in ("at", "text", "tokens", "reread", "logprobs")
    },
    "null logprob": (
        lambda t: changed(t, "probes", probes(logprobs=[None])),
        "row 1: the column 'probes' has a null in 'logprobs'",
    ),
    "place of a probe": (
        lambda t: changed(t, "probes", probes(at=3)),
        r"row 1 .*'probes' has a probe at 3, must be in \[0, 2\]",
    ),
    "two probes": (
        lambda t: changed(t, "probes", [[], [probe for [probe] in probes(text="c")]]),
        "row 1: the column 'probes' has two probes at 1",
    ),
    "rows": (lambda t: t.slice(0, 0), "holds no run"),
    "no header": (lambda t: t.replace_schema_metadata(), "not a trace file"),
}


@pytest.mark.parametrize("name", BAD_TABLES)
def test_bad_tables(tmp_path: Path, table: pa.Table, name: str) -> None:
    """A table that is no trace is refused with the file, the column and the row."""
    change, said = BAD_TABLES[name]
    path = tmp_path / "bad.parquet"
    pq.write_table(change(table), path)
    with pytest.raises(ValueError, match=f"^{path}: .*{said}|^{path}: {said}"):
        read_trace(path)


def test_damaged_files(tmp_path: Path, table: pa.Table) -> None:
    """A file cut short anywhere, one that is not Parquet and an empty one are refused by name."""
    whole = (tmp_path / "good").read_bytes()
    path = tmp_path / "bad"
    for size in range(4, len(whole), 97):
        path.write_bytes(whole[:size])
        with pytest.raises(ValueError, match=f"^{path}: is damaged, or cut short: "):
            read_trace(path)
    for text in ("question,answer\n", "P"):
        path.write_text(text)
        with pytest.raises(ValueError, match=f"^{path}: is no trace file, as it is no Parquet"):
            read_trace(path)
    path.write_bytes(b"")
    with pytest.raises(ValueError, match=f"^{path}: the file is empty"):
        read_trace(path)
    with pytest.raises(FileNotFoundError, match=f"^{tmp_path / 'none'}: cannot be read: No such"):
        read_trace(tmp_path / "none")
    with pytest.raises(OSError, match=f"^{tmp_path}: cannot be read: "):
        read_trace(tmp_path)


def test_flipped_bits(tmp_path: Path, table: pa.Table) -> None:
    """A bit that rotted in any column is noticed, and not read as other data."""
    whole = (tmp_path / "good").read_bytes()
    path = tmp_path / "bad"
    group = pq.read_metadata(tmp_path / "good").row_group(0)
    for number in range(group.num_columns):
        column = group.column(number)
        start = column.dictionary_page_offset or column.data_page_offset
        rotten = bytearray(whole)
        rotten[start + column.total_compressed_size - 1] ^= 1
        path.write_bytes(rotten)
        with pytest.raises(ValueError, match=f"^{path}: is damaged, or cut short: "):
            read_trace(path)
