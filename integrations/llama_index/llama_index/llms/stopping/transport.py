"""Hang up on a model whose LlamaIndex generator does not do it when it is closed.

Several integrations iterate their client's stream without a ``with`` block. Closing their generator
then leaves the connection open, held by a reference cycle, and the server generates, and bills, on.
"""

from __future__ import annotations

import gc
import inspect
import logging
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    AsyncIterator,
    Callable,
    Generator,
    Iterable,
    Iterator,
)
from contextlib import asynccontextmanager, contextmanager
from functools import wraps
from types import AsyncGeneratorType, CoroutineType, GeneratorType
from typing import Any, TypeVar

T = TypeVar("T")

logger = logging.getLogger(__name__)

_IN_C = ("builtins", "itertools")  # map, filter, chain: they hold what they iterate in tuples
_SUSPENDED = (GeneratorType, AsyncGeneratorType, CoroutineType)


@contextmanager
def hanging_up(stream: Iterable[T]) -> Iterator[Iterable[T]]:
    """Read a stream in a ``with`` block that hangs up at its end, as :func:`hang_up` does.

    Iterate it with a loop and not with ``yield from``, which would close the stream on its way out
    before it can be looked into.
    """
    try:
        yield stream
    finally:
        hang_up(stream)


@asynccontextmanager
async def ahanging_up(stream: AsyncIterable[T]) -> AsyncIterator[AsyncIterable[T]]:
    """Do what :func:`hanging_up` does, for an async stream."""
    try:
        yield stream
    finally:
        await ahang_up(stream)


def hang_up(stream: Iterable[Any]) -> None:
    """Close every connection that a suspended stream holds, then the stream and those inside it.

    Does nothing where the stream has ended. A connection that cannot be closed is logged and not
    raised: the text that was received stands, whatever the server goes on doing.

    Args:
        stream: What the LLM's stream method returned.
    """
    suspended, clients = _held_by(stream)
    for client in clients:
        try:
            closing = _closer(client)()
            if inspect.iscoroutine(closing):  # an async client in a sync stream: not ours to await
                closing.close()
        except Exception as error:
            _log(error)
    for one in suspended:
        if isinstance(one, Generator):
            one.close()


async def ahang_up(stream: AsyncIterable[Any]) -> None:
    """Do what :func:`hang_up` does, for an async stream."""
    suspended, clients = _held_by(stream)
    for client in clients:
        try:
            closing = _closer(client)()
            if inspect.isawaitable(closing):
                await closing
        except Exception as error:
            _log(error)
    for one in suspended:
        if isinstance(one, AsyncGenerator):
            await one.aclose()
        elif isinstance(one, Generator):
            one.close()


def hangs_up(method: Callable[..., Any]) -> Callable[..., Any]:
    """Have a method's stream hang up when its reader closes it, whatever else is around it.

    LlamaIndex's callback decorator puts a generator around the method's that does not close it.
    """

    @wraps(method)
    def called(*args: Any, **kwargs: Any) -> Generator[Any, None, None]:
        return _read(method(*args, **kwargs))

    return called


def ahangs_up(method: Callable[..., Any]) -> Callable[..., Any]:
    """Do what :func:`hangs_up` does, for a method that gives an async stream."""

    @wraps(method)
    async def called(*args: Any, **kwargs: Any) -> AsyncGenerator[Any, None]:
        return _aread(await method(*args, **kwargs))

    return called


def _read(stream: Iterable[T]) -> Generator[T, None, None]:
    with hanging_up(stream) as responses:
        for response in responses:  # noqa: UP028 - as hanging_up says
            yield response


async def _aread(stream: AsyncIterable[T]) -> AsyncGenerator[T, None]:
    async with ahanging_up(stream) as responses:
        async for response in responses:
            yield response


def _held_by(stream: Any) -> tuple[list[Any], list[Any]]:
    """Find the generators in a suspended stream, outermost first, and its client's streams.

    A generator keeps what it iterates on its frame's stack, which only the garbage collector can
    see. Only generators and C's iterators are looked into, so what is found belongs to this stream
    and no other. A client's stream is told by its shape: an object that holds its HTTP
    ``response``, as those of the OpenAI, Anthropic and Mistral clients do.
    """
    seen = {id(stream)}
    suspended, clients = [stream], []
    for one in suspended:  # which grows
        for found in gc.get_referents(one):
            if id(found) in seen:
                continue
            seen.add(id(found))
            in_c = _is_in_c(one) and isinstance(found, tuple)
            if isinstance(found, _SUSPENDED) or _is_in_c(found) or in_c:
                suspended.append(found)
            elif not isinstance(found, type) and _response(found) is not None:
                clients.append(found)
    return suspended, clients


def _is_in_c(found: Any) -> bool:
    iterates = isinstance(found, Iterator) and not isinstance(found, _SUSPENDED)
    return iterates and type(found).__module__ in _IN_C


def _response(client: Any) -> Any:
    """The HTTP response that a client's stream holds; properties are not touched."""
    response = getattr(client, "__dict__", {}).get("response")
    return response if callable(getattr(response, "close", None)) else None


def _closer(client: Any) -> Any:
    close = getattr(client, "close", None)
    return close if callable(close) else _response(client).close


def _log(error: Exception) -> None:
    logger.warning("could not hang up, so the server may generate on: %r", error)
