"""Find and close the stream that a chat model is reading from, from inside a callback.

LangChain gives a callback no means to end a generation without an error. While it calls the
callbacks the provider's ``_stream`` is suspended at its ``yield``, and closing that generator makes
it hang up and look like one that ended by itself. The generator is found by what it refers to: the
chunk that it has just yielded, or the list of messages that it was given, which LangChain copies
for every run. At the first chunk it is young, and the search among young objects takes a
millisecond; later the whole heap has to be searched, some 20 to 60 ms in which the model writes on.
Both need CPython's garbage collector, and find nothing where a provider keeps neither.
"""

from __future__ import annotations

import gc
import sys
import weakref
from collections.abc import AsyncGenerator, Generator
from types import AsyncGeneratorType, FrameType, GeneratorType
from typing import Any, TypeAlias

from langchain_core.language_models import chat_models

Stream: TypeAlias = Generator[Any, None, None] | AsyncGenerator[Any, None]
Watched: TypeAlias = list[weakref.ref[Stream]]

_CONSUMERS = {
    "_agenerate_with_cache": "messages",
    "_generate_with_cache": "messages",
    "astream": "input_messages",
    "stream": "input_messages",
}
"""LangChain's functions that read a stream, and the variable that holds what they gave it."""


def watch(chunk: object) -> Watched:
    """Look for the stream among young objects: worth while when its first chunk has come.

    The references are weak: a stream that its reader drops has to end.
    """
    if sys.implementation.name != "cpython":
        return []
    marks = {id(mark) for mark in _marks(chunk)}
    return [
        weakref.ref(stream)
        for generation in (0, 1)
        for stream in _suspended(gc.get_objects(generation))
        if any(id(held) in marks for held in gc.get_referents(stream))
    ]


def find_streams(chunk: object, watched: Watched) -> list[Stream]:
    """Return the suspended generators that stand for the stream in which ``chunk`` has come.

    To be called in a callback that LangChain calls with the chunk, as :func:`watch` is.
    """
    if sys.implementation.name != "cpython":
        return []
    known = _suspended([reference() for reference in watched])
    return known or _suspended(gc.get_referrers(*_marks(chunk)))


def close(streams: list[Stream]) -> bool:
    """Close the generators that are not async; return whether any was closed."""
    closed = False
    for stream in streams:
        if isinstance(stream, Generator):
            stream.close()
            closed = True
    return closed


async def aclose(streams: list[Stream]) -> bool:
    """Close all the generators; return whether any was closed."""
    for stream in streams:
        if isinstance(stream, AsyncGenerator):
            await stream.aclose()
    return close(streams) or bool(streams)


def _marks(chunk: object) -> list[object]:
    """What only the stream of this run refers to, LangChain's own variables aside."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        name = _CONSUMERS.get(frame.f_code.co_name)
        if name is not None and frame.f_code.co_filename == chat_models.__file__:
            messages = frame.f_locals.get(name)
            return [chunk] if messages is None else [chunk, messages]
        frame = frame.f_back
    return [chunk]


def _suspended(objects: list[Any]) -> list[Stream]:
    """Return the suspended generators among objects, and empty the list.

    The list may hold frames that, in a circle, hold the list: it would keep alive what is in it.
    """
    found: list[Stream] = []
    for candidate in objects:
        # By type and not by isinstance: that would ask lazy proxies for their class, and load them.
        if type(candidate) is GeneratorType:
            waits = candidate.gi_suspended
        elif type(candidate) is AsyncGeneratorType:
            waits = candidate.ag_frame is not None and not candidate.ag_running
        else:
            continue
        if waits:
            found.append(candidate)
    objects.clear()
    return found
