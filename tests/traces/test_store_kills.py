"""The journal, killed at every single thing that it does to a file."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from stopping_core.traces.journal import Asked, Journal, Key
from stopping_core.traces.run import Header, Run
from stopping_core.traces.store import read_trace

pytestmark = [
    pytest.mark.skipif(
        not hasattr(os, "fork"), reason="kills a fork of this process; runs on Linux and macOS"
    ),
    pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning"),  # the fork uses no threads
]

HEADER = Header("model", "0a", "plain", "0b", 9, samples=2, temperature=1.0)
EVENTS = frozenset({"open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "shutil.rmtree"})
KILLED = 9


def asked(questions: int) -> dict[Key, Asked]:
    return {
        (f"q{number}", sample): Asked("What?", "", ("b",), "contains", "", "")
        for number in range(questions)
        for sample in range(2)
    }


def run(key: Key) -> Run:
    """Told apart by its tokens, of which there may be none."""
    length = (int(key[0][1:]) + key[1]) % 4
    return Run(key[0], "What?", ("b",), (f"{key}",) * length, "stop", sample=key[1])


def batched(keys: list[Key]) -> list[list[Key]]:
    """Threes, the last questions first: the order of work is not that of the file."""
    return [keys[at : at + 3] for at in range(0, len(keys), 3)][::-1]


def record(path: Path, questions: int, failing: bool) -> None:
    """Record, and leave out the first batch where it fails."""
    with Journal(path) as journal:
        for number, keys in journal.begin(HEADER, asked(questions), batched).items():
            if number or not failing:
                journal.add(number, [run(key) for key in keys])
        journal.finish()


def killed(work: Callable[[], None], after: int) -> bool:
    """Do the work in a fork that ends, as by a kill, before it touches one more file."""
    child = os.fork()
    if not child:
        done = 0

        def watch(event: str, arguments: Any) -> None:
            nonlocal done
            done += event in EVENTS
            if done > after:
                os._exit(KILLED)

        sys.addaudithook(watch)
        try:
            work()
        except BaseException:
            os._exit(1)
        os._exit(0)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert status in (0, KILLED)
    return status == KILLED


STEPS = {
    "extended": [(1, False), (2, False)],
    "with a failure": [(2, True), (2, False)],
}


@pytest.mark.parametrize("name", STEPS)
def test_killed_anywhere(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the step and the moment, the same command again makes the same file, and no more."""
    monkeypatch.setattr(os, "fsync", lambda file: None)  # no power is cut here
    path = tmp_path / "whole" / "t.parquet"
    for step in STEPS[name]:
        record(path, *step)
    expected = [(one.question_id, one.sample, one.tokens) for one in read_trace(path).runs]
    for which in range(len(STEPS[name])):
        for after in count():
            path = tmp_path / "killed" / "t.parquet"
            path.parent.mkdir()
            for step in STEPS[name][:which]:
                record(path, *step)
            there = killed(partial(record, path, *STEPS[name][which]), after)
            for step in STEPS[name][which:]:
                record(path, *step)
            actual = [(one.question_id, one.sample, one.tokens) for one in read_trace(path).runs]
            assert (expected, [path]) == (actual, list(path.parent.iterdir()))
            shutil.rmtree(path.parent)
            if not there:
                break
        assert after > 10
