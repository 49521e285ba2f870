"""Logs of runs: what is appended is read, by whom and however a process ends."""

from __future__ import annotations

import math
import multiprocessing
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from stopping_core.traces.run import Run
from stopping_core.traces.run_log import RunLog, forget, read_log
from tests.cli.recorded import header

RUN = Run(
    question_id="1",
    question="Where is the Louvre?",
    context="The Louvre is in Paris.",
    gold=("Paris", "in Paris"),
    tokens=(" It", " is", "\n“Paris”", "."),
    finish_reason="stop",
    group="g",
    prompt="Where is the Louvre?\u2028",
    prompt_tokens=7,
    logprobs=np.array([-0.25, math.nan, -1.5, 0.0], np.float32),
)


def test_a_run_comes_back_as_it_was(tmp_path: Path) -> None:
    """With its texts, and gaps in its logprobs."""
    RunLog(tmp_path, header()).append(RUN, 5.0)
    read = read_log(tmp_path, 10)
    assert read is not None
    found, (one,) = read
    assert (header(), 5.0) == (found, one.time)
    for name in ("question_id", "question", "context", "gold", "tokens", "finish_reason", "prompt"):
        assert getattr(RUN, name) == getattr(one.run, name)
    assert RUN.logprobs is not None
    assert one.run.logprobs is not None
    np.testing.assert_allclose(RUN.logprobs, one.run.logprobs, atol=1e-5)
    assert RUN.prompt_tokens == one.run.prompt_tokens


def test_what_utf_8_lacks_is_replaced(tmp_path: Path) -> None:
    """A lone surrogate, as a cut emoji leaves it."""
    RunLog(tmp_path, header()).append(replace(RUN, tokens=("a\ud83d",), logprobs=None), 1.0)
    read = read_log(tmp_path, 1)
    assert read is not None
    assert (("a?",), None) == (read[1][0].run.tokens, read[1][0].run.logprobs)


def test_the_latest_are_read_oldest_first(tmp_path: Path) -> None:
    """Over all files; of one request the last run."""
    logs = [RunLog(tmp_path, header()) for _ in range(2)]
    for number in range(10):
        logs[number % 2].append(replace(RUN, question_id=str(number)), float(number))
    logs[0].append(replace(RUN, question_id="9", finish_reason="length"), 11.0)
    read = read_log(tmp_path, 3)
    assert read is not None
    assert [("7", 7.0), ("8", 8.0), ("9", 11.0)] == [
        (one.run.question_id, one.time) for one in read[1]
    ]
    assert "length" == read[1][-1].run.finish_reason


def test_where_there_is_nothing_nothing_is_read(tmp_path: Path) -> None:
    """No folder, no file, or none with a run."""
    assert read_log(tmp_path / "none", 1) is None
    assert read_log(tmp_path, 1) is None
    (tmp_path / "5-a.jsonl").write_bytes(b'{"header": ')
    assert read_log(tmp_path, 1) is None


def test_a_line_that_a_kill_cut_short_is_left_out(tmp_path: Path) -> None:
    """Those before it are there."""
    log = RunLog(tmp_path, header())
    for number in range(3):
        log.append(replace(RUN, question_id=str(number)), float(number))
    (path,) = tmp_path.glob("*.jsonl")
    path.write_bytes(path.read_bytes()[:-5])
    read = read_log(tmp_path, 10)
    assert read is not None
    assert ["0", "1"] == [one.run.question_id for one in read[1]]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b"{]", "line 2: not a JSON text"),
        (b"[]", "line 2 must be an object"),
        (b"{}", r"line 2\.question_id is missing"),
    ],
)
def test_a_damaged_line_is_named(tmp_path: Path, line: bytes, message: str) -> None:
    """By file and number."""
    log = RunLog(tmp_path, header())
    log.append(RUN, 1.0)
    (path,) = tmp_path.glob("*.jsonl")
    lines = path.read_bytes().split(b"\n")
    path.write_bytes(b"\n".join([lines[0], line, *lines[1:]]))
    with pytest.raises(ValueError, match=message):
        read_log(tmp_path, 1)


def test_runs_of_an_older_setting_do_not_count(tmp_path: Path) -> None:
    """A file holds one setting, and so does what is read."""
    RunLog(tmp_path, header(max_tokens=100)).append(RUN, 1.0)
    RunLog(tmp_path, header(max_tokens=200)).append(replace(RUN, question_id="2"), 2.0)
    read = read_log(tmp_path, 10)
    assert read is not None
    assert (200, ["2"]) == (read[0].max_tokens, [one.run.question_id for one in read[1]])


def test_files_are_for_their_owner_and_not_endless(tmp_path: Path) -> None:
    """A thousand runs a file; those that are older than asked for are removed."""
    log = RunLog(tmp_path, header())
    for number in range(1001):
        log.append(replace(RUN, question_id=str(number)), 10.0)
    old, new = sorted(tmp_path.glob("*.jsonl"), key=lambda path: -path.stat().st_size)
    assert {0o600} == {path.stat().st_mode & 0o777 for path in (old, new)}
    os.utime(old, (50, 50))
    os.utime(new, (150, 150))
    forget(tmp_path, 100)
    assert [new] == list(tmp_path.glob("*.jsonl"))


def test_a_write_that_fails_spoils_no_later_one(tmp_path: Path) -> None:
    """What it has left is the end of a file that is not gone on with."""
    log = RunLog(tmp_path, header())
    log.append(RUN, 1.0)
    (path,) = tmp_path.glob("*.jsonl")
    content = path.read_bytes()
    path.unlink()
    path.mkdir()
    with pytest.raises(OSError, match="directory"):
        log.append(replace(RUN, question_id="2"), 2.0)
    path.rmdir()
    path.write_bytes(content + b'{"half')
    log.append(replace(RUN, question_id="3"), 3.0)
    read = read_log(tmp_path, 10)
    assert read is not None
    assert ["1", "3"] == [one.run.question_id for one in read[1]]


def _append(folder: str, number: int) -> None:
    log = RunLog(folder, header())
    for place in range(50):
        log.append(replace(RUN, question_id=f"{number}-{place}"), float(place))


def test_processes_do_not_meet(tmp_path: Path) -> None:
    """Each has files of its own."""
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=_append, args=(str(tmp_path), one)) for one in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    read = read_log(tmp_path, 1000)
    assert read is not None
    assert 100 == len(read[1])
