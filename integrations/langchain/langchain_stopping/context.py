"""A block inside which every chat model is cut off when its answer is done."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

from langchain_stopping.attachment import BLOCK, LEFT, OF_BLOCKS
from langchain_stopping.handler import AdaptiveStopHandler
from stopping_core import AdaptiveStopping


@contextmanager
def adaptive_stopping(
    stopping: AdaptiveStopping,
    *,
    keep: int = 1000,
    ungraceful: Literal["raise", "finish"] = "raise",
) -> Iterator[AdaptiveStopHandler]:
    """Attach an :class:`AdaptiveStopHandler` to everything that starts inside the block.

    Nothing has to be passed on: chains, agents, the threads of ``batch`` and the async tasks that
    are started inside all have it, for as long as they run. A stream counts as started when its
    first chunk is asked for. In nested blocks the inner one acts alone, and a handler that a call
    or a model was given by hand acts instead of both: no answer is cut twice. Models wrapped in
    ``AdaptiveChatModel`` are left alone.

    The block holds for the context (:mod:`contextvars`) in which it is entered. A generator that a
    framework steps in threads, as FastAPI does with a dependency that is no coroutine and Starlette
    with a streamed response, may enter it in one and call the model in another: nothing is cut
    there. Give the handler by hand in such places. A generator that is left at a ``yield`` inside
    the block ends it only when Python closes the generator.

    Args:
        stopping: When to cut, and what is complete. In mode ``off`` nothing inside is cut.
        keep: See :class:`AdaptiveStopHandler`.
        ungraceful: See :class:`AdaptiveStopHandler`.

    Yields:
        The handler, whose ``completions`` say what was done.

    Raises:
        ValueError: ``keep`` or ``ungraceful`` is out of its interval.

    Examples:
        >>> from langchain_core.language_models import FakeListChatModel
        >>> model = FakeListChatModel(responses=['{"city": "Paris"} I hope that this helps!'])
        >>> with adaptive_stopping(AdaptiveStopping(), ungraceful="finish") as handler:
        ...     answer = model.invoke("Where is the Louvre? Answer in JSON.")
        >>> answer.content, [done.reason for done in handler.completions.values()]
        ('{"city": "Paris"}', ['json'])
    """
    handler = AdaptiveStopHandler(stopping, keep=keep, ungraceful=ungraceful)
    OF_BLOCKS.add(handler)
    token = BLOCK.set(handler)
    try:
        yield handler
    finally:
        try:
            BLOCK.reset(token)
        except ValueError:  # another context than that in which the block was entered
            LEFT.add(handler)
