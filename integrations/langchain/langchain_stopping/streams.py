"""Find and close the stream that a chat model is reading from, from inside a callback.

LangChain gives a callback no means to end a generation without an error. While it calls the
callbacks the provider's ``_stream`` is suspended at its ``yield``, and closing that generator makes
it hang up and look like one that ended by itself. The generator is found by what it refers to: the
chunk that it has just yielded, or the list of messages that it was given, which LangChain copies
for every run. At the first chunk it is mostly young, and the search among young objects takes a
millisecond. Where many runs start at a time, or modules are imported in between, it has aged by
then: the whole heap is searched at the cut, some 20 to 60 ms in which all models write on. What a
search finds is remembered, so that runs side by side need one search and not one each. Both need
CPython's garbage collector, and find nothing where a provider keeps neither.
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


_known: Watched = []
"""The generators that the searches have found, of all runs."""


def watch(chunk: object) -> Watched:
    """Look for the stream among young objects: worth while when its first chunk has come.

    The references are weak: a stream that its reader drops has to end.
    """
    if sys.implementation.name != "cpython":
        return []
    marks = _marks(chunk)
    found = _holding(marks, _alive(_known))
    if not found:
        young = _generators(gc.get_objects(0)) + _generators(gc.get_objects(1))
        _remember(young)
        found = _holding(marks, young)
    return [weakref.ref(stream) for stream in found]


def find_streams(chunk: object, watched: Watched, *, alone: bool) -> list[Stream]:
    """Return the suspended generators that stand for the stream in which ``chunk`` has come.

    To be called in a callback that LangChain calls with the chunk, as :func:`watch` is. A run that
    is ``alone`` is searched for in half the time, and nothing is remembered for others.
    """
    if sys.implementation.name != "cpython":
        return []
    if found := [stream for stream in _alive(watched) if _waits(stream)]:
        return found
    marks = _marks(chunk)
    if found := _holding(marks, _alive(_known)):
        return found
    if alone:
        return [one for one in _generators(gc.get_referrers(*marks)) if _waits(one)]
    everything = _generators(gc.get_objects())
    _remember(everything)
    return _holding(marks, everything)


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


def _remember(streams: list[Stream]) -> None:
    """Add generators to those that are known, and drop what is gone."""
    global _known  # noqa: PLW0603  # of the process, as the heap is
    together = {id(stream): stream for stream in [*_alive(_known), *streams]}
    _known = [weakref.ref(stream) for stream in together.values()]


def _alive(references: Watched) -> list[Stream]:
    return [stream for reference in references if (stream := reference()) is not None]


def _generators(objects: list[Any]) -> list[Stream]:
    """Return the generators among objects, and empty the list.

    The list may hold frames that, in a circle, hold the list: it would keep alive what is in it.
    """
    # By type and not by isinstance: that would ask lazy proxies for their class, and load them.
    found = [one for one in objects if type(one) in (GeneratorType, AsyncGeneratorType)]
    objects.clear()
    return found


def _holding(marks: list[object], streams: list[Stream]) -> list[Stream]:
    """Return the suspended ones among generators that refer to one of the marks."""
    wanted = {id(mark) for mark in marks}
    return [
        stream
        for stream in streams
        if _waits(stream) and any(id(held) in wanted for held in gc.get_referents(stream))
    ]


def _waits(stream: Stream) -> bool:
    """Whether a generator is suspended at a ``yield``."""
    if isinstance(stream, GeneratorType):
        return bool(stream.gi_suspended)
    return (
        isinstance(stream, AsyncGeneratorType)
        and stream.ag_frame is not None
        and not stream.ag_running
    )
