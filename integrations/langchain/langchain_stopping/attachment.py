"""How a handler is attached to a block, which of several acts on a run, what makes a run stream."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Iterator, Sequence
from contextvars import ContextVar
from types import FrameType
from typing import Any
from uuid import UUID
from weakref import WeakSet

from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.callbacks.base import BaseCallbackManager
from langchain_core.tracers.context import register_configure_hook

BLOCK: ContextVar[BaseCallbackHandler | None] = ContextVar("adaptive_stopping", default=None)
"""The handler of the innermost block around the running code, or None."""

OF_BLOCKS: WeakSet[BaseCallbackHandler] = WeakSet()
"""All handlers that a block has made, so that they make way for one that was given by hand."""

LEFT: WeakSet[BaseCallbackHandler] = WeakSet()
"""Those of blocks that ended in another context, where they cannot be detached: they do nothing."""

register_configure_hook(BLOCK, inheritable=True)


def is_in_charge(handler: BaseCallbackHandler, peers: Sequence[BaseCallbackHandler]) -> bool:
    """Whether a handler acts on the run that is about to start, of all those of the same kind.

    Two of them would cut the same text at two places. The first that was given by hand acts before
    those of blocks, and of these the innermost, which LangChain adds last.
    """
    if handler in LEFT:
        return False
    peers = [peer for peer in peers if peer not in LEFT]
    by_hand = [peer for peer in peers if peer not in OF_BLOCKS]
    chosen = by_hand[:1] or peers[-1:]
    return not chosen or chosen[0] is handler


def manager_of_run() -> BaseCallbackManager | None:
    """Return LangChain's callback manager that is calling; to be called in a handler's start."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        if frame.f_code.co_name == "on_chat_model_start":
            caller = frame.f_locals.get("self")
            if isinstance(caller, BaseCallbackManager):
                return caller
        frame = frame.f_back
    return None


class _Streaming(BaseCallbackHandler):
    """Has LangChain stream the runs that have it: ``invoke`` streams where a handler has taps."""

    @property
    def ignore_llm(self) -> bool:
        return True

    @property
    def ignore_chat_model(self) -> bool:
        return True

    def tap_output_iter(self, run_id: UUID, output: Iterator[Any]) -> Iterator[Any]:
        """Leave an output alone; LangChain has taps for chains only, which never have this."""
        return output

    def tap_output_aiter(self, run_id: UUID, output: AsyncIterator[Any]) -> AsyncIterator[Any]:
        """As :meth:`tap_output_iter`, for async chains."""
        return output


STREAMING = _Streaming()
"""To be added to the run that is watched, and to no other."""
