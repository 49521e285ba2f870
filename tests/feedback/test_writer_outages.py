"""A real PostgreSQL that crashes under traffic, and comes back."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from stopping_core.feedback import Outcome, OutcomeStore, OutcomeWriter
from tests.feedback.postgres import PASSWORD, Server


def check(server: Server, spool: Path, caplog: pytest.LogCaptureFixture, seconds: float) -> None:
    """Record before, during and after an outage: all is stored, and no call fails or waits."""
    with OutcomeStore(server.database()) as store, OutcomeWriter(store, spool) as writer:
        recorded: list[str] = []
        slowest = 0.0

        def traffic(until: float) -> None:
            nonlocal slowest
            while time.monotonic() < until:
                recorded.append(f"r{len(recorded)}")
                begun = time.perf_counter()
                writer.record(Outcome(recorded[-1]))
                slowest = max(slowest, time.perf_counter() - begun)
                time.sleep(0.002)

        traffic(time.monotonic() + 0.3)
        server.stop()
        try:
            traffic(time.monotonic() + seconds)
        finally:
            server.start()
        traffic(time.monotonic() + 0.3)
        assert writer.flush(90)
        assert sorted(recorded) == sorted(one.request_id for one in store.outcomes())
        assert slowest < 1
    assert "is away (OperationalError)" in caplog.text
    assert PASSWORD not in caplog.text
    assert [] == list(spool.iterdir())


def test_two_seconds(server: Server, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The database is gone for two seconds."""
    check(server, tmp_path / "spool", caplog, 2)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_half_a_minute(server: Server, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The database is gone for half a minute."""
    check(server, tmp_path / "spool", caplog, 30)
