"""Cut streams in a row leave no connection, no thread and no task behind."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import pytest

from tests.load.cutting import CUT, DECIDED, KINDS, TEXT, Cutting, Held, held
from tests.support.sse_process import ServerProcess

NUMBERS = [25, pytest.param(500, marks=[pytest.mark.slow, pytest.mark.timeout(300)])]
WARM_UP = 5  # clients, their thread pools and caches are made once
DELAY = 0.004  # seconds a token


def check(server: ServerProcess, number: int, before: Held, after: Held) -> None:
    """Nothing more is held than before, on either side; and the server had stopped at the cut."""
    assert 0 == after.sockets
    assert frozenset() == after.threads - before.threads
    assert frozenset() == after.tasks - before.tasks
    stats = server.stats()
    calls = number + WARM_UP
    late = stats["sent"] - calls * DECIDED
    print(f"{calls} cut streams: {late} tokens after the cut, {late / calls:.2f} each; {stats}")
    assert [calls, calls, 0, 0] == [
        stats[name] for name in ("calls", "disconnected", "running", "open")
    ]


def settled(server: ServerProcess) -> None:
    """Give the server the moment in which it hears of the last hang-up."""
    deadline = time.monotonic() + 5
    while server.stats()["open"] and time.monotonic() < deadline:
        time.sleep(0.01)


@pytest.mark.parametrize("number", NUMBERS)
@pytest.mark.parametrize("kind", KINDS)
def test_cut_streams_leave_nothing(kind: Callable[[ServerProcess], Cutting], number: int) -> None:
    """The sync clients' streams."""
    with ServerProcess(TEXT, delay=DELAY) as server:
        cutting = kind(server)
        texts = [cutting.ask() for _ in range(WARM_UP)]
        before = held(server)
        texts += [cutting.ask() for _ in range(number)]
        settled(server)
        check(server, number, before, held(server))
    assert {CUT} == set(texts)


@pytest.mark.parametrize("number", NUMBERS)
@pytest.mark.parametrize("kind", KINDS)
async def test_cut_async_streams_leave_nothing(
    kind: Callable[[ServerProcess], Cutting], number: int
) -> None:
    """The async clients' streams, in one event loop."""
    with ServerProcess(TEXT, delay=DELAY) as server:
        cutting = kind(server)
        texts = [await cutting.aask() for _ in range(WARM_UP)]
        before = held(server)
        texts += [await cutting.aask() for _ in range(number)]
        await asyncio.to_thread(settled, server)
        check(server, number, before, held(server))
        await cutting.aclose()
    assert {CUT} == set(texts)
