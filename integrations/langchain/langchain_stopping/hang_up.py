"""Close an async stream so that the connection is closed when the call returns.

A provider's ``_astream`` mostly loops over another async generator: ``ChatOpenAI._astream`` over
that of its base class, which loops over the client's. To close the outer one only drops the inner
ones. The event loop closes those in a task of its own, later, and ``asyncio.run`` cancels that task
where the program ends first: the server then generates to the end, and bills it. Here each of them
is closed and awaited.
"""

from __future__ import annotations

import gc
import logging
from collections.abc import AsyncGenerator
from types import AsyncGeneratorType
from typing import Any

_log = logging.getLogger(__name__)


async def ahang_up(stream: AsyncGenerator[Any, None]) -> None:
    """Close an async generator and those that it reads from, the innermost first.

    What a provider raises on closing is logged and not raised: the answer stands by then. Nothing
    happens to a stream that has ended.

    Args:
        stream: A generator that is suspended at its ``yield``, or has ended.
    """
    chain: list[AsyncGenerator[Any, None]] = [stream]
    for one in chain:  # grows while it is read
        for held in gc.get_referents(one):
            if type(held) is AsyncGeneratorType and not any(held is known for known in chain):
                chain.append(held)
    for one in reversed(chain):
        try:
            await one.aclose()
        except Exception as error:  # whatever a provider's own clean-up raises
            _log.warning("a stream could not be closed: %s: %s", type(error).__name__, error)
