"""When the wrapper cuts, the connection is closed by then, and not at some later time."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import closing, suppress
from typing import Any

import pytest
from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
from langchain_core.language_models import FakeListChatModel
from langchain_core.messages import AIMessageChunk, BaseMessage
from langchain_core.outputs import ChatGenerationChunk
from pydantic import Field

from langchain_stopping import AdaptiveChatModel
from langchain_stopping.hang_up import ahang_up
from stopping_core import AdaptiveStopping
from tests.integration_langchain.setting import (
    CUT,
    DECIDED,
    FIRST_SENTENCE,
    HEARD,
    PATIENT,
    TOKENS,
    ask,
    openai,
    wrapped,
)
from tests.support.sse_server import CountingServer

WAYS = ["invoke", "stream", "ainvoke", "astream"]


@pytest.mark.parametrize("way", ["ainvoke", "astream"])
def test_the_server_has_stopped_when_the_answer_comes(way: str) -> None:
    """Nothing is left to the event loop, which a busy program does not let run.

    The loop is kept from running from then on until the server has noticed the end.
    """

    async def go(model: Any) -> None:
        if way == "ainvoke":
            await model.ainvoke("Which city?")
        else:
            [_ async for _ in model.astream("Which city?")]
        time.sleep(0.3)  # what is not closed by now goes on

    with CountingServer([PATIENT], keep_alive=False) as server:
        asyncio.run(go(wrapped(server, FIRST_SENTENCE)))
        assert server.stats()["sent"] <= HEARD
        assert 1 == server.stats()["disconnected"]


async def test_a_stream_in_a_stream_is_closed_with_it() -> None:
    """The client's connection is closed when the call returns, and again is no error."""
    with CountingServer([PATIENT], keep_alive=False) as server:
        stream = openai(server)._astream([])
        for _ in range(DECIDED):
            await anext(stream)
        await ahang_up(stream)  # type: ignore[arg-type]  # it is a generator
        assert 0 == server.still_open()
        assert server.sent <= HEARD
        await ahang_up(stream)  # type: ignore[arg-type]  # it is a generator


class Stubborn(FakeListChatModel):
    """A model whose streams fail, or go on, when they are closed; it keeps them from the GC."""

    goes_on: bool = False
    fails: bool = False
    closed: list[str] = Field(default_factory=list)
    streams: list[Any] = Field(default_factory=list)

    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> Iterator[ChatGenerationChunk]:
        self.streams.append(self._chunks())
        return iter(self.streams[-1])

    def _chunks(self) -> Iterator[ChatGenerationChunk]:
        try:
            for token in TOKENS:
                yield ChatGenerationChunk(message=AIMessageChunk(content=token))
        finally:
            self.closed.append("closed")
            if self.goes_on:
                yield ChatGenerationChunk(message=AIMessageChunk(content="!"))
            if self.fails:
                raise ConnectionError("broken")

    async def _astream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[ChatGenerationChunk]:
        with closing(self._stream(messages)) as chunks:  # type: ignore[type-var]  # a generator
            for chunk in chunks:
                yield chunk


@pytest.mark.filterwarnings("error::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("fault", ["goes_on", "fails"])
def test_a_stream_that_cannot_be_closed_changes_no_answer(way: str, fault: str) -> None:
    """What the provider raises on closing comes too late to matter, and is not printed either."""
    inner = Stubborn(responses=[""], **{fault: True})  # type: ignore[arg-type]  # a field's name
    answer = ask(AdaptiveChatModel(inner=inner, stopping=FIRST_SENTENCE), way)
    assert [CUT, True] == [answer.content, answer.response_metadata["stopping"]["complete"]]
    with suppress(GeneratorExit):  # it goes on with what it was told
        assert [] == [chunk for stream in inner.streams for chunk in stream]


async def test_what_is_raised_on_closing_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """Nobody could do anything about it, but a reader of logs wants to know."""

    async def stream() -> AsyncIterator[int]:
        try:
            yield 1
        finally:
            raise ConnectionError("broken")

    stubborn = stream()
    await anext(stubborn)
    with caplog.at_level(logging.WARNING):
        await ahang_up(stubborn)  # type: ignore[arg-type]  # it is a generator
    assert "ConnectionError: broken" in caplog.text


@pytest.mark.parametrize("way", ["invoke", "stream"])
def test_a_cut_closes_a_stream_that_somebody_else_still_holds(way: str) -> None:
    """It is closed, and not left to be closed when the last reference goes."""
    inner = Stubborn(responses=[""])
    ask(AdaptiveChatModel(inner=inner, stopping=FIRST_SENTENCE), way)
    assert ["closed"] == inner.closed


@pytest.mark.parametrize("mode", ["off", "active"])
def test_a_reader_that_leaves_closes_it_as_well(mode: Any) -> None:
    """Whether or not the call is left alone."""
    inner = Stubborn(responses=[""])
    stopping: AdaptiveStopping = FIRST_SENTENCE.replace(mode=mode)
    chunks = AdaptiveChatModel(inner=inner, stopping=stopping).stream("Which city?")
    next(chunks)
    del chunks
    assert ["closed"] == inner.closed
