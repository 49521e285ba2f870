"""How a handler is attached to everything inside a block, and which of several acts on a run."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextvars import ContextVar
from types import FrameType
from weakref import WeakSet

from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.callbacks.base import BaseCallbackManager
from langchain_core.tracers.context import register_configure_hook

BLOCK: ContextVar[BaseCallbackHandler | None] = ContextVar("adaptive_stopping", default=None)
"""The handler of the innermost block around the running code, or None."""

OF_BLOCKS: WeakSet[BaseCallbackHandler] = WeakSet()
"""All handlers that a block has made, so that they make way for one that was given by hand."""

register_configure_hook(BLOCK, inheritable=True)


def is_in_charge(handler: BaseCallbackHandler) -> bool:
    """Whether a handler acts on the run that is about to start, of all the handlers of its class.

    Two of them would cut the same text at two places. A handler that was given by hand acts before
    those of blocks, and of these the innermost, which LangChain adds last. To be called in
    ``on_chat_model_start``.
    """
    peers = [peer for peer in _handlers_of_run() if isinstance(peer, type(handler))]
    by_hand = [peer for peer in peers if peer not in OF_BLOCKS]
    chosen = by_hand[:1] or peers[-1:]
    return not chosen or chosen[0] is handler


def _handlers_of_run() -> Sequence[BaseCallbackHandler]:
    """Return what LangChain's callback manager, which is calling, has in its list."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        if frame.f_code.co_name == "on_chat_model_start":
            caller = frame.f_locals.get("self")
            if isinstance(caller, BaseCallbackManager):
                return caller.handlers
        frame = frame.f_back
    return ()
