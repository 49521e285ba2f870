"""Many cut streams at a time in one process: every text exact, memory flat, nothing left open."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable

import pytest

from tests.load.cutting import CUT, DECIDED, KINDS, TEXT, Cutting, held, resident
from tests.support.sse_process import ServerProcess

GROWTH = 1.10
"""Largest memory after a later round, as a multiple of that after the first."""

LATE = 6
"""Tokens a stream that may come after the cut: a search of the heap for each cut would let 20."""

FEW = (40, 3, 0.1)
MANY = (1000, 4, 1.5)
"""Streams at a time, rounds, seconds a token: so long that all run before the first is cut."""

_SLOW = [pytest.mark.slow, pytest.mark.timeout(600)]
CASES = [pytest.param(kind, *FEW, id=f"{kind.__name__}-{FEW[0]}") for kind in KINDS] + [
    pytest.param(kind, *MANY, id=f"{kind.__name__}-{MANY[0]}", marks=_SLOW) for kind in KINDS
]


@pytest.mark.parametrize(("kind", "size", "rounds", "delay"), CASES)
async def test_concurrent_streams_keep_memory_flat(
    kind: Callable[[ServerProcess], Cutting], size: int, rounds: int, delay: float
) -> None:
    """Rounds of streams that all run at once; each is cut at the same place."""
    with ServerProcess(TEXT, delay=delay) as server:
        cutting, memory, sent = kind(server), [], []
        before = None
        for _ in range(rounds):
            began, counted = time.monotonic(), server.stats()["sent"]
            texts = await asyncio.gather(*(cutting.aask() for _ in range(size)))
            assert {CUT: size} == Counter(texts)
            await asyncio.sleep(2 * delay)  # a stream that went on would be counted
            stats = server.stats()
            sent.append(stats["sent"] - counted - size * DECIDED)
            memory.append(resident())
            seconds = time.monotonic() - began
            before = before or held(server)  # the loop's own threads, which look up addresses, stay
        after = held(server)
        print(
            f"{kind.__name__}, {size} at a time: {seconds:.1f} s a round, {stats}, "
            f"MiB after each round {[m >> 20 for m in memory]}, "
            f"tokens after the cut {[round(s / size, 2) for s in sent]} a stream"
        )
        assert [size, size * rounds, 0, 0] == [
            stats[name] for name in ("peak", "disconnected", "running", "open")
        ]
        assert before is not None
        assert [0, frozenset(), frozenset()] == [
            after.sockets,
            after.threads - before.threads,
            after.tasks - before.tasks,
        ]
        assert max(memory) <= GROWTH * memory[0]
        assert max(sent) <= LATE * size
        await cutting.aclose()
