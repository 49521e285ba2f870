"""Whether a call has left anything behind."""

from __future__ import annotations

import asyncio


async def settled() -> None:
    """Wait until no task but the own one is left: a client's generators are closed a moment later.

    Raises:
        AssertionError: Some are left after a second.
    """
    for _ in range(100):
        if {asyncio.current_task()} == asyncio.all_tasks():
            return
        await asyncio.sleep(0.01)
    raise AssertionError(f"left behind: {asyncio.all_tasks()}")
