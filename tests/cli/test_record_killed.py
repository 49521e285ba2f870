"""``stopping record`` on a local model: killed at any moment it loses and doubles nothing."""

from __future__ import annotations

import dataclasses
import os
import random
import re
import signal
import time
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path

import numpy as np
import pytest

from stopping_core.traces.run import Run, Trace
from stopping_core.traces.store import read_trace
from tests.cli.recording import begun, save_model, save_questions, start


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return save_model(tmp_path / "model")


def assert_equal(expected: Trace, actual: Trace) -> None:
    """Compare two traces in every column but the time."""
    assert expected.header == actual.header
    assert [run.question_id for run in expected.runs] == [run.question_id for run in actual.runs]
    for one, other in zip(expected.runs, actual.runs, strict=True):
        for field in dataclasses.fields(Run):
            if field.name != "seconds":
                np.testing.assert_equal(
                    getattr(other, field.name), getattr(one, field.name), err_msg=field.name
                )


class Recording:
    """A recording that is made undisturbed, made again under kills, and compared."""

    def __init__(self, folder: Path, work: Path, questions: int, tokens: int) -> None:
        asked = save_questions(work / "q.jsonl", questions)
        self._arguments: list[str | Path] = [asked, "--model", folder, "--template", "raw"]
        self._arguments += ["--threads", "1", "--batch", "2", "--max-tokens", str(tokens)]
        self._arguments += ["--probe-every", str(tokens // 3), "--probe-tokens", "4"]
        self._arguments += ["--samples", "2", "--temperature", "1", "--top-logprobs", "4"]
        self._runs = 2 * questions
        self._log = work / "log"
        self._whole, self._killed = work / "whole.parquet", work / "killed.parquet"
        self.parts = work / "killed.parquet.parts"

    def undisturbed(self) -> float:
        """Make it in one go; return the seconds after it had planned."""
        process = self._start(self._whole)
        first = time.monotonic()
        self._end(process)
        return time.monotonic() - first

    def interrupt(self, wait: Callable[[BaseProcess], None]) -> str:
        """Begin or go on, wait, press Ctrl-C; return what was said last."""
        process = self._start(self._killed)
        wait(process)
        assert process.pid is not None
        os.kill(process.pid, signal.SIGINT)
        process.join()
        assert process.exitcode == 130
        return self._log.read_text().splitlines()[-1]

    def kill(self, wait: Callable[[BaseProcess], None]) -> bool:
        """Begin or go on, wait, kill; return whether there was something left to kill."""
        process = self._start(self._killed)
        wait(process)
        process.kill()
        process.join()
        return process.exitcode == -signal.SIGKILL and self.parts.exists()

    def resume(self) -> None:
        """Go on to the end, and compare with the undisturbed one."""
        self._end(self._start(self._killed))
        assert f"killed.parquet: {self._runs} runs" in self._log.read_text()
        assert_equal(read_trace(self._whole), read_trace(self._killed))
        assert not list(self._killed.parent.glob("*killed.parquet?*"))

    def _start(self, out: Path) -> BaseProcess:
        process = start(self._log, *self._arguments, "--out", out)
        begun(process, self._log)
        return process

    def _end(self, process: BaseProcess) -> None:
        process.join()
        assert process.exitcode == 0, self._log.read_text()


def test_killed(folder: Path, tmp_path: Path) -> None:
    """Ctrl-C, then a kill -9 after a batch: the resumed file equals the undisturbed one."""
    recording = Recording(folder, tmp_path, questions=12, tokens=60)
    recording.undisturbed()

    def first_part(process: BaseProcess) -> None:
        while process.is_alive() and not list(recording.parts.glob("0*.parquet")):
            time.sleep(0.002)

    said = recording.interrupt(first_part)
    assert re.search(r"killed.parquet: \d+ of 24 runs are recorded: the same `stopping rec", said)
    assert recording.kill(first_part)
    recording.resume()


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_killed_often(folder: Path, tmp_path: Path) -> None:
    """Twenty kills -9 at random moments, likewise."""
    recording = Recording(folder, tmp_path, questions=60, tokens=120)
    longest = 1.5 * recording.undisturbed() / 20
    cut = [
        recording.kill(lambda process: time.sleep(random.uniform(0, longest))) for _ in range(20)
    ]
    assert any(cut)
    recording.resume()
