"""Runs as they come in production: a line each, appended by many processes, read as one."""

from __future__ import annotations

import json
import math
import os
import threading
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np

from stopping_core.metrics import GRADERS
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


@dataclass(frozen=True, slots=True)
class Log:
    """What a log holds.

    Args:
        runs: By header, each oldest first.
        unseen: Requests that were drawn and could not be recorded for a reason that may have to do
            with the answer, by reason.
        damaged: Lines that are none of a log's.
        latest: Time of the last run, or 0.
    """

    runs: Mapping[Header, tuple[Logged, ...]]
    unseen: Mapping[str, int]
    damaged: int
    latest: float

    @property
    def count(self) -> int:
        """Requests that were drawn."""
        return sum(map(len, self.runs.values())) + sum(self.unseen.values())


class RunLog:
    """A folder of files, each a header and a run a line; every thread appends to one of its own.

    What ``append`` has returned from survives a kill of the process, though not a failure of the
    power. Kept of a run are its texts and logprobs. One object serves all threads, and processes
    that fork; nobody waits for another.

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
        self._own = threading.local()

    def append(self, run: Run, time: float) -> None:
        """Append a run.

        Raises:
            OSError: The disk is full, or failed.
        """
        self._append(_line(run, time), time)

    def note(self, reason: str, time: float) -> None:
        """Note that a request was drawn and could not be recorded, and why, in words of ours.

        Raises:
            OSError: The disk is full, or failed.
        """
        self._append(_dumped({"unseen": reason, "time": time}), time)

    def _append(self, line: bytes, time: float) -> None:
        own = self._own.__dict__
        held = own.get("held", 0)
        path: Path | None = own.get("path")
        if path is None or own.get("process") != os.getpid() or held >= _RUNS:
            path, held = self.folder / f"{int(time)}-{uuid4().hex[:12]}.jsonl", 0
            line = _dumped({"header": plain_header(self.header)}) + line
        own.update(path=None)
        try:
            _write(path, line)
        except OSError:
            if not held:
                path.unlink(missing_ok=True)
            raise
        # A file in which a failure has left half a line is not gone on with.
        own.update(path=path, held=held + 1, process=os.getpid())


def read_log(folder: str | Path, since: float, now: float) -> Log:
    """Read what was logged after a time.

    A line that a kill has cut short is left out. Times to come, of a clock that was ahead, are
    taken for now.

    Args:
        folder: Of the log.
        since: Seconds since 1970; what is of that time or older is left out.
        now: Likewise.

    Raises:
        OSError: A file cannot be read.
    """
    runs: dict[Header, dict[str, Logged]] = {}
    unseen: Counter[str] = Counter()
    damaged, latest = 0, 0.0
    for path in sorted(Path(folder).glob("*.jsonl")):
        header: Header | None = None
        for number, line in enumerate(path.read_bytes().split(b"\n")[:-1]):
            try:
                data = json.loads(line)
                if number == 0:
                    header = header_of(path, members(data, ("header",), "line")["header"])
                    continue
                if header is None:
                    break
                if "unseen" in members(data, data, "line"):
                    time = min(now, finite(data["time"], "time"))
                    unseen[str(data["unseen"])] += time > since
                    continue
                one = _logged(data, now)
            except (ValueError, RecursionError, KeyError):
                damaged += 1
                continue
            if one.time > since:
                latest = max(latest, one.time)
                known = runs.setdefault(header, {})
                before = known.get(one.run.question_id)
                if before is None or before.time <= one.time:  # of one id the last one
                    known[one.run.question_id] = one
    ordered = {
        header: tuple(sorted(some.values(), key=lambda one: (one.time, one.run.question_id)))
        for header, some in runs.items()
    }
    return Log(ordered, +unseen, damaged, latest)


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


def _logged(data: Any, now: float) -> Logged:
    key = "run"
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
        if len(told) != len(spelt):
            raise ValueError(f"{key}: logprobs must be {len(spelt)}, got {len(told)}")
    if not any(map(str.strip, gold)) or held["grader"] not in GRADERS:
        raise ValueError(f"{key}: gold and grader must be there")
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
    return Logged(min(now, finite(held["time"], f"{key}: time")), run)


def _text(value: Any, key: str) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{key} must be a text, got {type(value)}")
    return value


def _texts(value: Any, key: str) -> tuple[str, ...]:
    return tuple(_text(one, key) for one in listed(value, key))
