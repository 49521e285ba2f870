"""The writer's process, killed at any moment: what it acknowledged is stored, exactly once."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
import sqlalchemy as sa

from stopping_core.feedback import OutcomeStore, OutcomeWriter
from stopping_core.feedback.tables import FEEDBACK, OUTCOMES

ROOT = Path(__file__).parents[2]


def killed(nursery: subprocess.Popen[str], name: str, seconds: float) -> list[str]:
    """Record in a process, kill it some time after its first record, return what it promised."""
    assert nursery.stdin is not None
    assert nursery.stdout is not None
    nursery.stdin.write(f"{name}\n")
    nursery.stdin.flush()
    child = int(nursery.stdout.readline())
    told = [nursery.stdout.readline()]
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        told.append(nursery.stdout.readline())
    os.kill(child, signal.SIGKILL)
    while not (line := nursery.stdout.readline()).startswith("ended"):
        told.append(line)
    assert f"ended -{signal.SIGKILL:d}" == line.strip()
    return [line.strip() for line in told]


def check(url: str, spool: Path, kills: int) -> None:
    """Kill so many processes, one after the other in one folder; then look for their records."""
    promised: list[str] = []
    chance = random.Random(kills)
    command = [sys.executable, "-m", "tests.feedback.recording", url, str(spool), "one-by-one"]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, cwd=ROOT, stdin=pipe, stdout=pipe, text=True) as nursery:
        for number in range(kills):
            promised += killed(nursery, f"k{number}", chance.uniform(0, 0.4))
    with OutcomeStore(url) as store, OutcomeWriter(store, spool) as writer:
        assert writer.flush(90)
        with store._engine.connect() as connection:
            stored = Counter(connection.scalars(sa.select(OUTCOMES.c.request_id)))
            judged = Counter(connection.scalars(sa.select(FEEDBACK.c.request_id)))
    assert kills <= len(promised)
    assert [] == [name for name in promised if (stored[name], judged[name]) != (1, 1)]
    assert {1} == {*stored.values(), *judged.values()}
    assert [] == list(spool.iterdir())


def test_killed_some_times(url: str, tmp_path: Path) -> None:
    """Five kills, at random moments."""
    check(url, tmp_path / "spool", 5)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_killed_many_times(url: str, tmp_path: Path) -> None:
    """Fifty kills, at random moments."""
    check(url, tmp_path / "spool", 50)
