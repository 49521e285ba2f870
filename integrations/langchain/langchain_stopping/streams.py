"""Find and close the stream that a chat model is reading from, from inside a callback.

LangChain gives a callback no means to end a generation without an error. While it calls the
callbacks the provider's ``_stream`` is suspended at its ``yield``, and closing that generator makes
it hang up and look like one that ended by itself.

In async code the way to it is short: once the task of the callback waits, so does LangChain's
function that reads the stream, and what a waiting function reads can be looked up. Nothing leads
from a function that runs to what it reads, so in sync code the heap is searched, by what the
generator refers to: the chunk that it has just yielded, or the list of messages that it was given,
which LangChain copies for every run. At the first chunk it is mostly young, and the search among
young objects takes a millisecond. Where it has aged by then, as when modules are imported in
between, the whole heap is searched at the cut, some 20 to 60 ms in which the model writes on. Both
ways need CPython.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import sys
import weakref
from collections.abc import AsyncGenerator, Container, Generator
from types import AsyncGeneratorType, CoroutineType, FrameType, GeneratorType
from typing import Any, TypeAlias

from langchain_core.language_models import chat_models

from langchain_stopping.hang_up import ahang_up

logger = logging.getLogger(__name__)

Stream: TypeAlias = Generator[Any, None, None] | AsyncGenerator[Any, None]
Watched: TypeAlias = list[weakref.ref[Stream]]

_READERS = {
    "_agenerate_with_cache": "messages",
    "_generate_with_cache": "messages",
    "astream": "input_messages",
    "stream": "input_messages",
}
"""LangChain's functions that read a stream, and the variable that holds what they gave it."""

_GENERATORS = (GeneratorType, AsyncGeneratorType)

_STEPS = frozenset({"anext_awaitable", "async_generator_asend", "coroutine_wrapper"})
"""The types, which have no public name, that stand between a waiting function and the next."""


def watch(chunk: object) -> Watched:
    """Look for the stream among young objects: worth while when its first chunk has come.

    The references are weak: a stream that its reader drops has to end.
    """
    if sys.implementation.name != "cpython":
        return []
    wanted = {id(mark) for mark in _marks(chunk)}
    young = _generators(gc.get_objects(0)) + _generators(gc.get_objects(1))
    return [
        weakref.ref(stream)
        for stream in young
        if _waits(stream) and any(id(held) in wanted for held in gc.get_referents(stream))
    ]


def find_streams(chunk: object, watched: Watched) -> list[Stream]:
    """Return the suspended generators that stand for the stream in which ``chunk`` has come.

    To be called in a callback that LangChain calls with the chunk, as :func:`watch` is.
    """
    known = [stream for one in watched if (stream := one()) is not None and _waits(stream)]
    if known or sys.implementation.name != "cpython":
        return known
    return [one for one in _generators(gc.get_referrers(*_marks(chunk))) if _waits(one)]


async def find_in_task() -> list[Stream]:
    """Return the stream that is read in the running task; empty where it is no generator.

    To be awaited in a callback that LangChain awaits with a chunk.
    """
    reader, task = calling(_READERS), asyncio.current_task()
    if reader is None or task is None or sys.implementation.name != "cpython":
        return []
    found: list[Stream] = []
    loop = asyncio.get_running_loop()
    loop.call_soon(lambda: found.extend(_read_by(reader, task.get_coro())))
    await asyncio.sleep(0)  # the whole task waits, and can be looked into
    return found


def close(streams: list[Stream]) -> bool:
    """Close the generators that are not async; return whether there were any and all have ended.

    What a provider raises on closing is logged: the answer stands by then.
    """
    streams = [one for one in streams if isinstance(one, Generator | AsyncGenerator)]
    for stream in streams:
        if isinstance(stream, Generator):
            try:
                stream.close()
            except Exception as error:  # whatever a provider's own clean-up raises
                logger.warning("a stream could not be closed: %s: %s", type(error).__name__, error)
    return bool(streams) and not any(_waits(stream) for stream in streams)


async def aclose(streams: list[Stream]) -> bool:
    """As :func:`close`, for all generators."""
    for stream in streams:
        if isinstance(stream, AsyncGenerator):
            await ahang_up(stream)
    return close(streams)


def _read_by(reader: FrameType, start: object) -> list[Stream]:
    """Follow what a waiting task waits for, down to a function; return the streams it reads."""
    chain, seen = [start], {id(start)}
    for one in chain:  # grows while it is read
        held = gc.get_referents(one)
        frames = (getattr(one, name, None) for name in ("cr_frame", "ag_frame", "gi_frame"))
        if any(frame is reader for frame in frames):
            return [stream for stream in _generators(held) if _waits(stream)]
        for next_one in held:
            kind = type(next_one)
            if (kind in (CoroutineType, *_GENERATORS) or kind.__name__ in _STEPS) and id(
                next_one
            ) not in seen:
                seen.add(id(next_one))
                chain.append(next_one)
    return []


def calling(names: Container[str]) -> FrameType | None:
    """LangChain's function, of those named, that is calling the callbacks."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        code = frame.f_code
        if code.co_name in names and code.co_filename == chat_models.__file__:
            return frame
        frame = frame.f_back
    return None


def _marks(chunk: object) -> list[object]:
    """What only the stream of this run refers to, LangChain's own variables aside."""
    reader = calling(_READERS)
    messages = reader and reader.f_locals.get(_READERS[reader.f_code.co_name])
    return [chunk] if messages is None else [chunk, messages]


def _generators(objects: list[Any]) -> list[Stream]:
    """Return the generators among objects, and empty the list.

    The list may hold frames that, in a circle, hold the list: it would keep alive what is in it.
    """
    # By type and not by isinstance: that would ask lazy proxies for their class, and load them.
    found = [one for one in objects if type(one) in _GENERATORS]
    objects.clear()
    return found


def _waits(stream: Stream) -> bool:
    """Whether a generator is suspended at a ``yield``."""
    if isinstance(stream, GeneratorType):
        return bool(stream.gi_suspended)
    return (
        isinstance(stream, AsyncGeneratorType)
        and stream.ag_frame is not None
        and not stream.ag_running
    )
