"""Trace files: the runs of one model under one template, as one Parquet file.

A row is a run. What all runs have in common stands in the file's own metadata, as JSON with the
version of the format.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from stopping_core.errors import MissingPackage
from stopping_core.metrics import GRADERS
from stopping_core.traces.header import metadata, read_header
from stopping_core.traces.plan import unfinished
from stopping_core.traces.run import Header, Run, Trace
from stopping_core.types import Probe

try:
    import pyarrow as pa
    import pyarrow.parquet as pq
except ModuleNotFoundError as error:
    raise MissingPackage("pyarrow", "traces") from error

_PROBE = pa.struct(
    [
        ("at", pa.int32()),
        ("text", pa.string()),
        ("tokens", pa.int32()),
        ("reread", pa.int32()),
        ("logprobs", pa.list_(pa.float32())),
        ("entropy", pa.float32()),
    ]
)
_MAGIC = b"PAR1"
"""How a Parquet file begins."""

_READINGS = ("logprobs", "entropy", "margin", "end_probability", "seconds")
_TEXTS = ("question_id", "question", "context", "grader", "group", "family", "prompt")
_OPTIONAL = frozenset({"prompt_tokens", "top_logprobs", "reasoning", *_READINGS})
SCHEMA = pa.schema(
    [
        ("question_id", pa.string()),
        ("sample", pa.int32()),
        ("question", pa.string()),
        ("context", pa.string()),
        ("gold", pa.list_(pa.string())),
        ("grader", pa.string()),
        ("group", pa.string()),
        ("family", pa.string()),
        ("prompt", pa.string()),
        ("prompt_tokens", pa.int32()),
        ("finish_reason", pa.string()),
        ("tokens", pa.list_(pa.string())),
        ("logprobs", pa.list_(pa.float32())),
        ("top_logprobs", pa.list_(pa.list_(pa.float32()))),
        ("entropy", pa.list_(pa.float32())),
        ("margin", pa.list_(pa.float32())),
        ("end_probability", pa.list_(pa.float32())),
        ("seconds", pa.list_(pa.float32())),
        ("reasoning", pa.list_(pa.bool_())),
        ("probes", pa.list_(_PROBE)),
    ]
)
"""The columns: those of :class:`~stopping_core.traces.Run`, a list a token where it has arrays."""


def write_trace(path: str | Path, trace: Trace) -> None:
    """Write a trace file, whole or not at all.

    Raises:
        ValueError: There is no run, two runs are the same sample of one question, or a run
            contradicts itself or the header, cannot be right (no gold answer, or a blank one) or
            be graded; the message names the file, the run and the column.
    """
    save_table(path, to_table(path, trace.runs, trace.header))


def read_trace(path: str | Path) -> Trace:
    """Read a trace file.

    Raises:
        ValueError: It is no whole trace file of this version; the message names the file, and the
            column and row where there is one.
        OSError: The file cannot be opened.
    """
    table, header = load_table(path)
    return Trace(header, tuple(from_table(path, table, header)))


def to_table(path: str | Path, runs: Sequence[Run], header: Header) -> pa.Table:
    """Make the table of some runs, checked; ``path`` is where it will go, for errors."""
    _check(path, runs, header)
    columns: dict[str, Any] = {}
    for field in SCHEMA:
        values = [getattr(run, field.name) for run in runs]
        if field.name == "top_logprobs":
            columns[field.name] = _nested(values)
        elif field.name == "probes":
            columns[field.name] = pa.array([_rows(probes) for probes in values], field.type)
        else:
            columns[field.name] = pa.array(values, field.type)
    return with_header(pa.table(columns, SCHEMA), header)


def with_header(table: pa.Table, header: Header) -> pa.Table:
    """Return the table with a header as its metadata."""
    return table.replace_schema_metadata(metadata(header))


def save_table(path: str | Path, table: pa.Table) -> None:
    """Write a table to a file, whole or not at all."""
    replace_file(
        Path(path),
        lambda stream: pq.write_table(table, stream, compression="zstd", write_page_checksum=True),
    )


def replace_file(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Write a file under another name, wait for the disk, and give it its name."""
    aside = path.with_name(f".{path.name}.partial")
    with aside.open("wb") as stream:
        write(stream)
        stream.flush()
        os.fsync(stream.fileno())
    aside.replace(path)
    if os.name != "nt":  # where a folder cannot be opened
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def load_table(path: str | Path) -> tuple[pa.Table, Header]:
    """Read a file's table and header; its columns are checked, what they hold is not.

    Raises:
        ValueError: It is no whole Parquet file with these columns, of this version.
        OSError: The file cannot be opened: where its recording is unfinished, the message says so.
    """
    try:
        with Path(path).open("rb") as stream:
            table = _parquet(path, stream)
    except OSError as error:
        begun = unfinished(Path(path)) if isinstance(error, FileNotFoundError) else ""
        raise type(error)(begun or f"{path}: cannot be read: {error.strerror}") from error
    header = read_header(path, table.schema.metadata or {})
    for field in SCHEMA:
        if field.name not in table.column_names:
            raise ValueError(f"{path}: the column {field.name!r} is missing")
        found = table.schema.field(field.name).type
        if not found.equals(field.type):
            raise ValueError(
                f"{path}: the column {field.name!r} must hold {field.type}, it holds {found}"
            )
    if unknown := sorted(set(table.column_names) - set(SCHEMA.names)):
        raise ValueError(f"{path}: the column {unknown[0]!r} is unknown")
    return table.select(SCHEMA.names), header


def _parquet(path: str | Path, stream: BinaryIO) -> pa.Table:
    first = stream.read(len(_MAGIC))
    if not first:
        raise ValueError(f"{path}: the file is empty")
    if first != _MAGIC:
        raise ValueError(f"{path}: is no trace file, as it is no Parquet file")
    stream.seek(0)
    try:
        return pq.read_table(stream, page_checksum_verification=True)
    except (pa.ArrowException, OSError) as error:
        raise ValueError(f"{path}: is damaged, or cut short: {error}") from error


def from_table(path: str | Path, table: pa.Table, header: Header) -> list[Run]:
    """Make the runs of a table that :func:`load_table` read.

    Raises:
        ValueError: A row is no run; the message names the file, the column and the row.
    """
    columns = {field.name: table[field.name].combine_chunks() for field in SCHEMA}
    for name, column in columns.items():
        _no_nulls(path, name, column)
    read: dict[str, list[Any]] = {
        name: column.to_pylist()
        for name, column in columns.items()
        if name in (*_TEXTS, "sample", "prompt_tokens", "finish_reason")
    }
    for name in ("gold", "tokens"):
        read[name] = [tuple(texts) for texts in columns[name].to_pylist()]
    for name in (*_READINGS, "reasoning"):
        read[name] = _arrays(columns[name])
    read["top_logprobs"] = _matrices(path, columns["top_logprobs"], header.top_logprobs)
    read["probes"] = [
        _probes(f"{path}: row {row}", probes)
        for row, probes in enumerate(columns["probes"].to_pylist())
    ]
    names = list(read)
    runs = [Run(**dict(zip(names, row, strict=True))) for row in zip(*read.values(), strict=True)]
    _check(path, runs, header)
    return runs


def _check(path: str | Path, runs: Sequence[Run], header: Header) -> None:
    """Refuse runs that cannot be: the same going out and coming in."""
    if not runs:
        raise ValueError(f"{path}: holds no run")
    seen: set[tuple[str, int]] = set()
    for row, run in enumerate(runs):
        place = f"{path}: row {row} (question {run.question_id!r}, sample {run.sample})"
        key = (run.question_id, run.sample)
        if key in seen:
            raise ValueError(f"{place}: stands twice in the file")
        seen.add(key)
        if not run.gold:
            raise ValueError(f"{place}: the column 'gold' is empty")
        if not all(answer.strip() for answer in run.gold):
            raise ValueError(f"{place}: the column 'gold' has a blank answer, got {run.gold!r}")
        if run.grader not in GRADERS:
            raise ValueError(
                f"{place}: the column 'grader' must be one of {', '.join(GRADERS)}, got "
                f"{run.grader!r}"
            )
        for name in (*_READINGS, "reasoning", "top_logprobs"):
            column = getattr(run, name)
            if column is not None and len(column) != len(run):
                raise ValueError(
                    f"{place}: the column {name!r} has {len(column)} values for {len(run)} tokens"
                )
        top = run.top_logprobs
        if top is not None and top.shape != (len(run), header.top_logprobs):
            raise ValueError(
                f"{place}: the column 'top_logprobs' must have {header.top_logprobs} values a "
                f"token, as the header says, got the shape {top.shape}"
            )
        for at in run.probes:
            if not 0 <= at <= len(run):
                raise ValueError(
                    f"{place}: the column 'probes' has a probe at {at}, must be in [0, {len(run)}]"
                )


def _no_nulls(path: str | Path, name: str, column: Any) -> None:
    """Refuse nulls where a run cannot be without a value, or a list without an item."""
    nulls = column.null_count and name not in _OPTIONAL
    if nulls:
        row = column.is_null().to_pylist().index(True)
        raise ValueError(f"{path}: row {row}: the column {name!r} is null")
    if pa.types.is_list(column.type) and name != "probes":
        items = column.flatten()
        items = items.flatten() if pa.types.is_list(items.type) else items
        if items.null_count:
            bad = [None in (row or ()) for row in column.to_pylist()]
            where = f"row {bad.index(True)}" if True in bad else "a row"
            raise ValueError(f"{path}: {where}: the column {name!r} holds a null")


def _nested(matrices: Sequence[Any]) -> Any:
    """A list of lists of numbers a row, null where there is no matrix."""
    there = [np.zeros((0, 0), np.float32) if one is None else one for one in matrices]
    inner = np.concatenate([np.zeros(1, np.int32), *(np.full(len(m), m.shape[1]) for m in there)])
    outer = np.cumsum([0, *map(len, there)])
    numbers = np.concatenate([m.reshape(-1) for m in there]).astype(np.float32)
    rows = pa.ListArray.from_arrays(pa.array(np.cumsum(inner), pa.int32()), pa.array(numbers))
    missing = pa.array([one is None for one in matrices])
    return pa.ListArray.from_arrays(pa.array(outer, pa.int32()), rows, mask=missing)


def _arrays(column: Any) -> list[Any]:
    """The items of each row as an array, None for a null."""
    values = column.values.to_numpy(zero_copy_only=False)
    ends = column.offsets.to_numpy()
    there = column.is_valid().to_numpy(zero_copy_only=False)
    return [
        values[ends[row] : ends[row + 1]].copy() if there[row] else None
        for row in range(len(column))
    ]


def _matrices(path: str | Path, column: Any, width: int) -> list[Any]:
    """The items of each row as a matrix of that width, None for a null."""
    rows = column.values
    widths = np.diff(rows.offsets.to_numpy())
    numbers = rows.values.to_numpy(zero_copy_only=False)
    starts, ends = rows.offsets.to_numpy(), column.offsets.to_numpy()
    there = column.is_valid().to_numpy(zero_copy_only=False)
    matrices: list[Any] = []
    for row in range(len(column)):
        if not there[row]:
            matrices.append(None)
            continue
        first, last = ends[row], ends[row + 1]
        if (widths[first:last] != width).any():
            raise ValueError(
                f"{path}: row {row}: the column 'top_logprobs' must have {width} values a token, "
                f"as the header says"
            )
        part = numbers[starts[first] : starts[last]]
        matrices.append(part.reshape(last - first, width).copy())
    return matrices


def _rows(probes: Mapping[int, Probe]) -> list[dict[str, Any]]:
    return [{"at": at, **asdict(probe)} for at, probe in sorted(probes.items())]


def _probes(place: str, rows: Sequence[dict[str, Any] | None]) -> dict[int, Probe]:
    """Make the probes of a run, each at a place of its own and whole."""
    probes: dict[int, Probe] = {}
    for values in rows:
        if values is None:
            raise ValueError(f"{place}: the column 'probes' holds a null")
        for name, value in values.items():
            if name != "entropy" and (value is None or (name == "logprobs" and None in value)):
                raise ValueError(f"{place}: the column 'probes' has a null in {name!r}: {values}")
        at = values.pop("at")
        if at in probes:
            raise ValueError(f"{place}: the column 'probes' has two probes at {at}")
        probes[at] = Probe(**(values | {"logprobs": tuple(values["logprobs"])}))
    return probes
