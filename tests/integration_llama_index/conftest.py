"""What the tests of hanging up share: a trace by which a leak would show."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from typing import Any

import pytest
from llama_index.core.instrumentation.event_handlers import BaseEventHandler
from llama_index.core.instrumentation.events import BaseEvent
from llama_index_instrumentation import get_dispatcher


@pytest.fixture
def kept_exceptions() -> Iterator[None]:
    """A trace that keeps what ended a stream, and with it the frames of the stream."""
    kept: list[BaseEvent] = []

    class Keeping(BaseEventHandler):
        def handle(self, event: BaseEvent, **kwargs: Any) -> None:
            kept.append(event)

    handler, root = Keeping(), get_dispatcher()
    root.add_event_handler(handler)
    gc.disable()  # it would close the connection by and by
    yield
    gc.enable()
    root.event_handlers.remove(handler)
