"""Logs of runs: what is appended is read, by whom and however a process ends."""

from __future__ import annotations

import errno
import json
import math
import multiprocessing
import os
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from stopping_core.traces.run import Run
from stopping_core.traces.run_log import Logged, RunLog, forget, read_log
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
LINE = {
    **{name: getattr(RUN, name) for name in ("question_id", "question", "context", "group")},
    **{"family": "", "prompt": "", "grader": "contains", "time": 2.0, "finish_reason": "stop"},
    **{"gold": ["Paris"], "tokens": ["It", " is"], "prompt_tokens": None, "logprobs": None},
}


def runs(folder: Path, since: float = 0.0, now: float = 1e9) -> tuple[Logged, ...]:
    """Those of the one header that there is."""
    found = read_log(folder, since, now).runs
    return found.get(header(), ())


def test_a_run_comes_back_as_it_was(tmp_path: Path) -> None:
    """With its texts, and gaps in its logprobs."""
    RunLog(tmp_path, header()).append(RUN, 5.0)
    (one,) = runs(tmp_path)
    assert 5.0 == one.time
    for name in ("question_id", "question", "context", "gold", "tokens", "finish_reason", "prompt"):
        assert getattr(RUN, name) == getattr(one.run, name)
    assert RUN.logprobs is not None
    assert one.run.logprobs is not None
    np.testing.assert_allclose(RUN.logprobs, one.run.logprobs, atol=1e-5)
    assert RUN.prompt_tokens == one.run.prompt_tokens


def test_what_utf_8_lacks_is_replaced(tmp_path: Path) -> None:
    """A lone surrogate, as a cut emoji leaves it."""
    RunLog(tmp_path, header()).append(replace(RUN, tokens=("a\ud83d",), logprobs=None), 1.0)
    (one,) = runs(tmp_path)
    assert (("a?",), None) == (one.run.tokens, one.run.logprobs)


def test_what_came_since_is_read_oldest_first(tmp_path: Path) -> None:
    """Over all files; of one request the last run; of a clock that is ahead, as of now."""
    logs = [RunLog(tmp_path, header()) for _ in range(2)]
    for number in range(10):
        logs[number % 2].append(replace(RUN, question_id=str(number)), float(number))
    logs[0].append(replace(RUN, question_id="9", finish_reason="length"), 11.0)
    logs[0].append(replace(RUN, question_id="10"), 1e12)
    found = runs(tmp_path, since=6.0, now=20.0)
    assert [("7", 7.0), ("8", 8.0), ("9", 11.0), ("10", 20.0)] == [
        (one.run.question_id, one.time) for one in found
    ]
    assert "length" == found[2].run.finish_reason
    assert 20.0 == read_log(tmp_path, 6.0, 20.0).latest


def test_where_there_is_nothing_nothing_is_read(tmp_path: Path) -> None:
    """No folder, no file, or none with a run."""
    assert not read_log(tmp_path / "none", 0.0, 1.0).runs
    (tmp_path / "5-a.jsonl").write_bytes(b'{"header": ')
    assert 0 == read_log(tmp_path, 0.0, 1.0).count


def test_a_line_that_a_kill_cut_short_is_left_out(tmp_path: Path) -> None:
    """Those before it are there."""
    log = RunLog(tmp_path, header())
    for number in range(3):
        log.append(replace(RUN, question_id=str(number)), 1.0 + number)
    (path,) = tmp_path.glob("*.jsonl")
    path.write_bytes(path.read_bytes()[:-5])
    assert ["0", "1"] == [one.run.question_id for one in runs(tmp_path)]


@pytest.mark.parametrize(
    "line",
    [
        b"{]",
        b"[]",
        b"{}",
        b'{"unseen": "x"}',
        json.dumps({**LINE, "more": 1}).encode(),
        json.dumps({**LINE, "gold": []}).encode(),
        json.dumps({**LINE, "tokens": [1]}).encode(),
        json.dumps({**LINE, "logprobs": [0.0]}).encode(),
        json.dumps({**LINE, "grader": "taste"}).encode(),
        json.dumps({**LINE, "time": None}).encode(),
        b"\xff",
    ],
)
def test_a_damaged_line_is_counted_and_left_out(tmp_path: Path, line: bytes) -> None:
    """The others count."""
    log = RunLog(tmp_path, header())
    log.append(RUN, 1.0)
    (path,) = tmp_path.glob("*.jsonl")
    lines = path.read_bytes().split(b"\n")
    path.write_bytes(b"\n".join([lines[0], line, *lines[1:]]))
    found = read_log(tmp_path, 0.0, 9.0)
    assert (1, 1) == (found.damaged, found.count)
    path.write_bytes(b"\n".join([line, *lines[1:]]))
    assert 0 == read_log(tmp_path, 0.0, 9.0).count


def test_runs_of_several_settings_are_told_apart(tmp_path: Path) -> None:
    """A header each; and what could not be recorded is counted by why."""
    RunLog(tmp_path, header(max_tokens=100)).append(RUN, 1.0)
    log = RunLog(tmp_path, header(max_tokens=200))
    log.append(replace(RUN, question_id="2"), 2.0)
    for time in (1.0, 3.0, 4.0):
        log.note("broke off", time)
    found = read_log(tmp_path, 1.0, 9.0)
    assert {200: ["2"]} == {
        kind.max_tokens: [one.run.question_id for one in some] for kind, some in found.runs.items()
    }
    assert ({"broke off": 2}, 3) == (dict(found.unseen), found.count)


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
    assert ["1", "3"] == [one.run.question_id for one in runs(tmp_path)]


def test_a_disk_that_is_full_leaves_no_files_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However often it is tried; then it goes on."""
    log = RunLog(tmp_path, header())
    with monkeypatch.context() as patched:
        patched.setattr("stopping_core.traces.run_log._write", full)
        for _ in range(5):
            with pytest.raises(OSError, match="No space"):
                log.append(RUN, 1.0)
    assert [] == list(tmp_path.iterdir())
    log.append(RUN, 1.0)
    assert 1 == len(runs(tmp_path))


def full(path: Path, line: bytes) -> None:
    path.touch()
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_child_appends_while_its_parent_does(tmp_path: Path) -> None:
    """Whatever the other threads are at when it is forked: no lock is held."""
    log, stop = RunLog(tmp_path, header()), threading.Event()

    def busy() -> None:
        while not stop.is_set():
            log.append(RUN, 1.0)

    thread = threading.Thread(target=busy)
    thread.start()
    children = []
    for number in range(20):
        child = os.fork()
        if child == 0:
            log.append(replace(RUN, question_id=f"child {number}"), 1.0)
            os._exit(0)
        children.append(child)
    codes = [os.waitpid(child, 0)[1] for child in children]
    stop.set()
    thread.join()
    assert [0] * 20 == codes
    assert 21 == len(runs(tmp_path))


def _append(folder: str, number: int) -> None:
    log = RunLog(folder, header())
    for place in range(50):
        log.append(replace(RUN, question_id=f"{number}-{place}"), 1.0 + place)


def test_processes_do_not_meet(tmp_path: Path) -> None:
    """Each has files of its own."""
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=_append, args=(str(tmp_path), one)) for one in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert 100 == len(runs(tmp_path))
