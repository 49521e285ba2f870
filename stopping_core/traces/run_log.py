"""Runs as they come in production: a line each, appended by many processes, read as one."""

from __future__ import annotations

import json
import math
import os
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np

from stopping_core.plain_data import finite, listed, members, whole_number
from stopping_core.traces.header import header_of, plain_header
from stopping_core.traces.run import Header, Run

_TEXTS = ("question_id", "question", "context", "grader", "group", "family", "prompt")
_NAMES = (*_TEXTS, "time", "gold", "tokens", "finish_reason", "prompt_tokens", "logprobs")
_RUNS = 1000  # of one file
_DIGITS = 5


@dataclass(frozen=True, slots=True)
class Logged:
    """A run of a log.

    Args:
        time: When it ended, seconds since 1970.
        run: The run.
    """

    time: float
    run: Run


class RunLog:
    """A folder of files, each a header and a run a line; every process appends to one of its own.

    What ``append`` has returned from survives a kill of the process, though not a failure of the
    power. Kept of a run are its texts and logprobs. One object serves all threads, and processes
    that fork.

    Args:
        folder: Made where it does not exist, for the owner alone to read.
        header: What all runs have in common.

    Raises:
        OSError: The folder cannot be made.
    """

    def __init__(self, folder: str | Path, header: Header) -> None:
        self.folder = Path(folder)
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.header = header
        self._lock = threading.Lock()
        self._path: Path | None = None
        self._process = self._held = 0

    def append(self, run: Run, time: float) -> None:
        """Append a run.

        Raises:
            OSError: The disk is full, or failed.
        """
        line = _line(run, time)
        with self._lock:
            if self._path is None or self._process != os.getpid() or self._held >= _RUNS:
                self._process, self._held = os.getpid(), 0
                self._path = self.folder / f"{int(time)}-{uuid4().hex[:12]}.jsonl"
                line = _dumped({"header": plain_header(self.header)}) + line
            path, self._path = self._path, None
            _write(path, line)
            self._path = path  # one that a failure has left half a line in is not gone on with
            self._held += 1


def read_log(folder: str | Path, most: int) -> tuple[Header, tuple[Logged, ...]] | None:
    """Read the latest runs of a log.

    Of files whose headers differ, as where a setting was changed, those count that are as the
    latest one. A line that a kill has cut short is left out.

    Args:
        folder: Of the log.
        most: Runs to read, >= 1.

    Returns:
        Header and runs, oldest first; None where there is no run.

    Raises:
        ValueError: A line is damaged; the message names the file and the line.
        OSError: A file cannot be read.
    """
    header: Header | None = None
    runs: list[Logged] = []
    for path in sorted(Path(folder).glob("*.jsonl"), key=_began, reverse=True):
        lines = _lines(path)
        first = next(lines, None)
        if first is None:
            continue
        found = header_of(path, members(first[1], ("header",), f"{path}: line 1")["header"])
        header = found if header is None else header
        if found == header:
            runs += [_logged(one, f"{path}: line {number}") for number, one in lines]
    if header is None or not runs:
        return None
    runs.sort(key=lambda one: (one.time, one.run.question_id))
    known = {one.run.question_id: one for one in runs}  # of one id the last one
    return header, tuple(sorted(known.values(), key=lambda one: one.time))[-most:]


def forget(folder: str | Path, before: float) -> None:
    """Remove the files of a log whose runs are all older than a time, seconds since 1970."""
    for path in Path(folder).glob("*.jsonl"):
        if path.stat().st_mtime < before:
            path.unlink(missing_ok=True)


def _write(path: Path, line: bytes) -> None:
    opened = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    with os.fdopen(opened, "ab", buffering=0) as file:
        written = file.write(line)
    if written != len(line):
        raise OSError(f"{path}: only {written} of {len(line)} bytes could be written")


def _began(path: Path) -> tuple[int, str]:
    """When a file was begun, as its name says."""
    told = path.name.partition("-")[0]
    return (int(told) if told.isdigit() else 0), path.name


def _line(run: Run, time: float) -> bytes:
    logprobs = None if run.logprobs is None else [_number(one) for one in run.logprobs.tolist()]
    texts = {name: getattr(run, name) for name in _TEXTS}
    return _dumped(
        {
            **texts,
            "time": time,
            "gold": list(run.gold),
            "tokens": list(run.tokens),
            "finish_reason": run.finish_reason,
            "prompt_tokens": run.prompt_tokens,
            "logprobs": logprobs,
        }
    )


def _number(value: float) -> float | None:
    return round(value, _DIGITS) if math.isfinite(value) else None


def _dumped(content: dict[str, Any]) -> bytes:
    text = json.dumps(content, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return text.encode("utf-8", "replace") + b"\n"


def _lines(path: Path) -> Iterator[tuple[int, Any]]:
    """The whole lines of a file."""
    content = path.read_bytes()
    for number, line in enumerate(content.split(b"\n")[:-1], 1):
        try:
            yield number, json.loads(line)
        except (ValueError, RecursionError) as error:
            raise ValueError(f"{path}: line {number}: not a JSON text: {error}") from error


def _logged(data: Any, key: str) -> Logged:
    held = members(data, _NAMES, key)
    for name in (*_TEXTS, "finish_reason"):
        _text(held[name], f"{key}: {name}")
    gold, spelt = (_texts(held[name], f"{key}: {name}") for name in ("gold", "tokens"))
    logprobs = held["logprobs"]
    if logprobs is not None:
        told = listed(logprobs, f"{key}: logprobs")
        logprobs = np.array(
            [math.nan if one is None else finite(one, f"{key}: logprobs") for one in told],
            np.float32,
        )
    tokens = held["prompt_tokens"]
    texts: dict[str, Any] = {name: held[name] for name in _TEXTS}
    run = Run(
        **texts,
        gold=gold,
        tokens=spelt,
        finish_reason=held["finish_reason"],
        prompt_tokens=None if tokens is None else whole_number(tokens, f"{key}: prompt_tokens"),
        logprobs=logprobs,
    )
    return Logged(finite(held["time"], f"{key}: time"), run)


def _text(value: Any, key: str) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{key} must be a text, got {type(value)}")
    return value


def _texts(value: Any, key: str) -> tuple[str, ...]:
    return tuple(_text(one, key) for one in listed(value, key))
