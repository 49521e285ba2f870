"""Hanging up: what is found inside a suspended stream, and what if it cannot be closed."""

from __future__ import annotations

import gc
import itertools
import logging
import warnings
from collections.abc import AsyncGenerator, AsyncIterator, Generator, Iterator
from typing import Any

import pytest

from llama_index.llms.stopping.transport import ahang_up, ahanging_up, hang_up, hanging_up


class Http:
    """An HTTP response that notes how often it was closed."""

    def __init__(self, error: Exception | None = None) -> None:
        self.closed = 0
        self._error = error

    def close(self) -> None:
        """Close, or fail to."""
        self.closed += 1
        if self._error is not None:
            raise self._error


class Client:
    """A client's stream without a close of its own; like some, it is part of a cycle."""

    def __init__(self, response: Http) -> None:
        self.response = response
        self._iterator = self._pieces()

    def _pieces(self) -> Iterator[int]:
        yield from range(9)
        self.response.close()

    def __iter__(self) -> Iterator[int]:
        yield from self._iterator


class AsyncClient(Client):
    async def __aiter__(self) -> AsyncIterator[int]:
        for piece in self._iterator:
            yield piece

    async def close(self) -> None:
        """Close by awaiting, as async clients do."""
        self.response.close()


def integration(client: Client) -> Generator[int, None, None]:
    """Iterate as integrations do, inside another generator."""

    def inner() -> Generator[int, None, None]:
        for piece in client:  # noqa: UP028 - as it is written in the integrations
            yield piece

    for piece in inner():  # noqa: UP028 - likewise
        yield piece


async def aintegration(client: AsyncClient) -> AsyncGenerator[int, None]:
    """The same, async."""
    async for piece in client:
        yield piece


def test_the_response_is_found_through_nested_generators() -> None:
    """It is closed once, and the stream with it."""
    http = Http()
    with hanging_up(integration(Client(http))) as stream:
        assert 0 == next(iter(stream))
    assert 1 == http.closed
    assert [] == list(stream)


def test_generators_inside_are_closed_from_the_outside_in() -> None:
    """Each can clean up after itself, though the one around it does not close it."""
    closed: list[str] = []

    def inner() -> Generator[int, None, None]:
        try:
            yield 0
        finally:
            closed.append("inner")

    def outer(pieces: Iterator[int]) -> Generator[int, None, None]:
        try:
            for piece in pieces:  # noqa: UP028 - as LlamaIndex's callback decorator does
                yield piece
        finally:
            closed.append("outer")

    pieces = inner()  # held here, so that nothing is closed for want of a reference
    stream = outer(pieces)
    next(stream)
    hang_up(stream)
    assert ["outer", "inner"] == closed


async def test_an_async_client_is_closed_by_awaiting() -> None:
    """By its own close, which is a coroutine."""
    http = Http()
    async with ahanging_up(aintegration(AsyncClient(http))) as stream:
        assert 0 == await anext(aiter(stream))
    assert 1 == http.closed


def test_a_stream_that_has_ended_has_nothing_to_hang_up() -> None:
    """Nothing is closed a second time."""
    http = Http()
    with hanging_up(integration(Client(http))) as stream:
        assert 9 == len(list(stream))
    assert 1 == http.closed


async def test_what_is_no_generator_is_left_to_itself() -> None:
    """An iterator of another kind has no frame to look into, and no close to call."""
    hang_up(iter([1, 2]))

    class Pieces:
        def __aiter__(self) -> AsyncIterator[Any]:
            raise NotImplementedError

    await ahang_up(Pieces())


@pytest.mark.filterwarnings("ignore:coroutine")
def test_failing_to_close_is_logged_and_not_raised(caplog: pytest.LogCaptureFixture) -> None:
    """The text that came stands: a failure here must not look like one of the call."""
    http = Http(OSError("already gone"))
    with (
        caplog.at_level(logging.WARNING),
        hanging_up(integration(Client(http))) as stream,
    ):
        next(iter(stream))
    assert 1 == http.closed
    assert ["could not hang up"] == [line.message[:17] for line in caplog.records]


def test_a_stream_inside_an_iterator_of_c_is_found() -> None:
    """Map and chain hold it in a tuple, or in each other; closing reaches it all the same."""
    http = Http()
    stream = itertools.chain(map(str, filter(lambda piece: True, integration(Client(http)))))
    with hanging_up(stream) as pieces:
        assert "0" == next(iter(pieces))
    assert 1 == http.closed


async def test_generators_inside_an_async_stream_are_closed() -> None:
    """A sync one inside an async one, and an async one inside another."""
    closed: list[str] = []

    def innermost() -> Generator[int, None, None]:
        try:
            yield 0
        finally:
            closed.append("sync")

    async def outer(pieces: Iterator[int]) -> AsyncGenerator[int, None]:
        try:
            for piece in pieces:
                yield piece
        finally:
            closed.append("async")

    async def outermost(pieces: AsyncIterator[int]) -> AsyncGenerator[int, None]:
        async for piece in pieces:
            yield piece

    pieces = innermost()  # held here, so that nothing is closed for want of a reference
    between = outer(pieces)
    stream = outermost(between)
    await anext(stream)
    await ahang_up(stream)
    assert ["async", "sync"] == closed


def test_an_async_client_in_a_sync_stream_is_not_awaited() -> None:
    """Its close is begun nowhere: no coroutine is left over to warn of."""
    gc.collect()  # what other tests left over
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with hanging_up(integration(AsyncStyle(Http()))) as stream:
            next(iter(stream))
        gc.collect()
    assert [] == [str(one.message) for one in caught]


class AsyncStyle(Client):
    """Closed by awaiting, though it is read without."""

    async def close(self) -> None:
        """Close by awaiting."""
        self.response.close()
