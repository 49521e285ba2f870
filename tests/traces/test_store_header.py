"""The header of a trace file: it comes back as it was, and what is none is refused by its key."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from stopping_core.traces.run import Header, Run, Trace
from stopping_core.traces.store import read_trace, write_trace

HEADER = Header("model", "0a", "plain", "0b", 8, holds=frozenset({"logprobs"}))
RUN = Run("one", "What?", ("b",), ("a", " b"), "stop")


@pytest.fixture
def table(tmp_path: Path) -> pa.Table:
    """The table of a good file."""
    write_trace(tmp_path / "good", Trace(HEADER, (RUN,)))
    return pq.read_table(tmp_path / "good")


def with_told(table: pa.Table, path: Path, told: Any) -> Path:
    """Save the table with other metadata."""
    [key] = table.schema.metadata
    pq.write_table(table.replace_schema_metadata({key: json.dumps(told)}), path)
    return path


def told(table: pa.Table) -> Any:
    [value] = table.schema.metadata.values()
    return json.loads(value)


def test_round_trip(tmp_path: Path) -> None:
    """The header comes back with its tags as tuples and its needs as a set."""
    tags = ("<think>", "</think>")
    header = dataclasses.replace(
        HEADER, reasoning_tags=tags, asked_reasoning_tags=tags, probe="\nSo", samples=4
    )
    write_trace(tmp_path / "t", Trace(header, (RUN,)))
    assert header == read_trace(tmp_path / "t").header


def test_defaults(tmp_path: Path, table: pa.Table) -> None:
    """A key that has a default may be missing, and a whole number is a number."""
    content = told(table)
    for name in ("asked_reasoning_tags", "holds", "samples"):
        del content["header"][name]
    content["header"]["temperature"] = 1
    read = read_trace(with_told(table, tmp_path / "t", content)).header
    assert dataclasses.replace(HEADER, holds=frozenset(), temperature=1) == read


@pytest.mark.parametrize(
    ("name", "value", "wanted"),
    [
        ("model", 5, "a text"),
        ("template", None, "a text"),
        ("max_tokens", "x", "a whole number"),
        ("max_tokens", 8.0, "a whole number"),
        ("samples", True, "a whole number"),
        ("temperature", "0", "a number"),
        ("holds", 5, "a list of some of logprobs, .*"),
        ("holds", "logprobs", "a list of some of logprobs, .*"),
        ("holds", ["foo"], "a list of some of logprobs, .*"),
        ("reasoning_tags", 5, "null or a list of two texts"),
        ("reasoning_tags", "ab", "null or a list of two texts"),
        ("reasoning_tags", ["a"], "null or a list of two texts"),
        ("asked_reasoning_tags", ["a", 1], "null or a list of two texts"),
    ],
)
def test_wrong_values(tmp_path: Path, table: pa.Table, name: str, value: Any, wanted: str) -> None:
    """A value of another type is refused with the file, the key and the value."""
    content = told(table)
    content["header"][name] = value
    path = with_told(table, tmp_path / "bad", content)
    with pytest.raises(ValueError, match=f"^{path}: the header's key '{name}' must be {wanted}, g"):
        read_trace(path)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda told: told | {"version": 2}, "the format's version is 2, this reads 1"),
        (lambda told: told | {"version": "1"}, "the format's version is '1', this reads 1"),
        (lambda told: {"version": 1}, "the header cannot be read"),
        (lambda told: [], "the header cannot be read"),
        (lambda told: told | {"header": 5}, "the header cannot be read"),
        (lambda told: told | {"header": told["header"] | {"x": 1}}, "key 'x' is unknown"),
        (lambda told: told | {"header": {"model": "m"}}, "key 'model_fingerprint' is missing"),
    ],
)
def test_no_header(tmp_path: Path, table: pa.Table, change: Any, said: str) -> None:
    """A header of another version, half of one, or one with keys that nobody knows is refused."""
    path = with_told(table, tmp_path / "bad", change(told(table)))
    with pytest.raises(ValueError, match=f"^{path}: .*{said}"):
        read_trace(path)
