"""Streams that the callback finds and closes, and those that it cannot find or close."""

from __future__ import annotations

import asyncio
import gc
import pickle
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.language_models import FakeListChatModel
from langchain_core.messages import AIMessageChunk
from langchain_core.output_parsers import StrOutputParser
from langchain_core.outputs import ChatGenerationChunk
from langchain_core.runnables import Runnable

from langchain_stopping import AdaptiveStopHandler
from stopping_core import Completion, GenerationStopped
from tests.integration_langchain.setting import (
    CUT,
    DECIDED,
    FIRST_SENTENCE,
    HEARD,
    PATIENT,
    TOKENS,
    WAYS,
    StreamsOnly,
    openai,
)
from tests.support.sse_server import CountingServer


class Temporaries(StreamsOnly):
    """Yields what nothing else refers to, and takes its messages where nothing can find them."""

    def _stream(self, *args: Any, **kwargs: Any) -> Iterator[ChatGenerationChunk]:
        for token in TOKENS:
            yield ChatGenerationChunk(message=AIMessageChunk(content=token))


class Unsuspended:
    """Reads from an async generator and is none."""

    def __init__(self, chunks: AsyncIterator[ChatGenerationChunk]) -> None:
        self._chunks = chunks

    def __aiter__(self) -> AsyncIterator[ChatGenerationChunk]:
        return self

    async def __anext__(self) -> ChatGenerationChunk:
        return await anext(self._chunks)


async def _chunks() -> AsyncIterator[ChatGenerationChunk]:
    for token in TOKENS:
        yield ChatGenerationChunk(message=AIMessageChunk(content=token))


class AsyncTemporaries(Temporaries):
    """The same, for async callers."""

    def _astream(self, *args: Any, **kwargs: Any) -> AsyncIterator[ChatGenerationChunk]:
        return Unsuspended(_chunks())


@pytest.mark.parametrize("way", WAYS)
def test_where_the_stream_is_not_found_it_raises(way: str) -> None:
    """The stop surfaces as an exception that carries the text up to the cut."""
    handler = AdaptiveStopHandler(FIRST_SENTENCE)
    model: Runnable[Any, str] = AsyncTemporaries() | StrOutputParser()
    with pytest.raises(GenerationStopped, match="AdaptiveChatModel") as caught:
        WAYS[way](model.with_config(callbacks=[handler]), "Which city?")
    assert CUT == caught.value.completion.text
    assert not handler._runs


@pytest.mark.parametrize("way", WAYS)
def test_where_the_stream_is_not_found_it_may_finish(way: str) -> None:
    """Asked to, the handler lets the model write on and takes away what comes after the cut."""
    told: list[Completion] = []
    stopping = FIRST_SENTENCE.replace(hooks=(lambda request, done: told.append(done),))
    handler = AdaptiveStopHandler(stopping, ungraceful="finish")
    model: Runnable[Any, str] = AsyncTemporaries() | StrOutputParser()
    answers = WAYS[way](model.with_config(callbacks=[handler]), "Which city?")
    assert [CUT] * len(answers) == answers
    assert [(CUT, 0)] * len(answers) == [(done.text, done.usage.avoided) for done in told]
    assert told == list(handler.completions.values())
    assert not handler._runs


def test_finishing_saves_nothing_and_says_so() -> None:
    """Where the model writes on, nothing is avoided even under a known limit."""
    handler = AdaptiveStopHandler(FIRST_SENTENCE, ungraceful="finish")
    answer = Temporaries().invoke("?", config={"callbacks": [handler]}, max_tokens=40)
    done = answer.response_metadata["stopping"]
    assert [CUT, "sentence", 0] == [answer.content, done["reason"], done["tokens"]["avoided"]]
    with pytest.raises(ValueError, match='ungraceful must be "raise" or "finish", got \'stop\''):
        AdaptiveStopHandler(FIRST_SENTENCE, ungraceful="stop")  # type: ignore[arg-type]  # the mistake


def test_raising_counts_as_an_error_to_fallbacks() -> None:
    """A cut that had to raise sends a chain to its fallback; one that finishes does not."""
    for ungraceful, expected in (("raise", "Other."), ("finish", CUT)):
        handler = AdaptiveStopHandler(FIRST_SENTENCE, ungraceful=ungraceful)  # type: ignore[arg-type]  # a str
        model = Temporaries().with_config(callbacks=[handler])
        other = FakeListChatModel(responses=["Other."])
        assert expected == model.with_fallbacks([other]).invoke("?").content


@pytest.mark.parametrize("way", ["ainvoke", "astream"])
def test_a_sync_model_in_async_code_is_cut(way: str) -> None:
    """LangChain reads a model without async methods in threads; that stream can be closed too."""
    handler = AdaptiveStopHandler(FIRST_SENTENCE)
    chain = (Temporaries() | StrOutputParser()).with_config(callbacks=[handler])
    assert [CUT] == WAYS[way](chain, "Which city?")


class Plain(Temporaries):
    """Yields what nothing else refers to, in async code too; its messages can be found."""

    def _stream(self, messages: Any, *args: Any, **kwargs: Any) -> Iterator[ChatGenerationChunk]:
        yield from super()._stream()

    async def _astream(self, *args: Any, **kwargs: Any) -> AsyncIterator[ChatGenerationChunk]:
        for token in TOKENS:
            yield ChatGenerationChunk(message=AIMessageChunk(content=token))


def test_a_stream_is_found_while_it_is_young() -> None:
    """At its first chunk, so that the cut need not search the heap."""
    handler = AdaptiveStopHandler(FIRST_SENTENCE)
    found: set[int] = set()

    class Spy(BaseCallbackHandler):
        def on_llm_new_token(self, *args: Any, **kwargs: Any) -> None:
            found.update(len(run.streams) for run in handler._runs.values())

    gc.collect()
    gc.disable()  # a collection in between would age it
    try:
        Plain().invoke("?", config={"callbacks": [handler, Spy()]})
    finally:
        gc.enable()
    assert {1} == found


def test_the_hang_up_is_awaited() -> None:
    """When the cut's callback returns, the server knows: nothing is left to the event loop."""
    seen: list[list[int]] = []

    class Spy(BaseCallbackHandler):
        run_inline = True

        def on_llm_new_token(self, *args: Any, **kwargs: Any) -> None:
            if "stopping" in kwargs["chunk"].message.response_metadata:  # the loop waits here
                seen.append([server.disconnected, server.sent])

    with CountingServer([PATIENT], delay=0.03) as server:
        config: Any = {"callbacks": [AdaptiveStopHandler(FIRST_SENTENCE), Spy()]}
        assert CUT == asyncio.run(openai(server).ainvoke("?", config)).content
    ((disconnected, sent),) = seen
    assert 1 == disconnected
    assert sent <= HEARD


@pytest.mark.parametrize("way", WAYS)
def test_a_stream_is_found_without_its_chunk(way: str) -> None:
    """By its messages in sync code; in async code by what waits for it."""
    handler = AdaptiveStopHandler(FIRST_SENTENCE)
    answers = WAYS[way]((Plain() | StrOutputParser()).with_config(callbacks=[handler]), "?")
    assert [CUT] * len(answers) == answers


class Wrapped(Plain):
    """Gives an object of its own in async code, around a generator that holds the messages."""

    def _astream(self, messages: Any, *args: Any, **kwargs: Any) -> Any:
        async def chunks() -> AsyncIterator[ChatGenerationChunk]:
            held = messages
            async for chunk in _chunks():
                yield chunk
            del held

        return Unsuspended(chunks())


def test_an_async_stream_inside_an_object_is_found() -> None:
    """Where no generator is read, the heap is searched as in sync code."""
    handler = AdaptiveStopHandler(FIRST_SENTENCE)
    answer = asyncio.run(Wrapped().ainvoke("?", config={"callbacks": [handler]}))
    assert CUT == answer.content


class Stubborn(StreamsOnly):
    """Raises when it is closed, or goes on."""

    goes_on: bool
    sent: list[str]

    def _stream(self, *args: Any, **kwargs: Any) -> Iterator[ChatGenerationChunk]:
        for token in TOKENS:
            self.sent.append(token)
            chunk = ChatGenerationChunk(message=AIMessageChunk(content=token))
            try:
                yield chunk
            except GeneratorExit:
                if not self.goes_on:
                    raise ConnectionError("close failed") from None
                yield chunk

    async def _astream(self, *args: Any, **kwargs: Any) -> AsyncIterator[ChatGenerationChunk]:
        for token in TOKENS:
            self.sent.append(token)
            chunk = ChatGenerationChunk(message=AIMessageChunk(content=token))
            try:
                yield chunk
            except GeneratorExit:
                if not self.goes_on:
                    raise ConnectionError("close failed") from None
                yield chunk


single = pytest.mark.parametrize("way", ["invoke", "stream", "ainvoke", "astream"])


@single
def test_what_closing_raises_is_logged(way: str, caplog: pytest.LogCaptureFixture) -> None:
    """The model has stopped, and the answer stands."""
    handler, model = AdaptiveStopHandler(FIRST_SENTENCE), Stubborn(goes_on=False, sent=[])
    chain = (model | StrOutputParser()).with_config(callbacks=[handler])
    assert [CUT] == WAYS[way](chain, "Which city?")
    assert TOKENS[:DECIDED] == model.sent
    assert "close failed" in caplog.text


@single
def test_a_stream_that_goes_on_when_closed_is_not_hung_up(way: str) -> None:
    """As where none is found: it is told, or its text is taken away."""
    chain: Runnable[Any, str] = Stubborn(goes_on=True, sent=[]) | StrOutputParser()
    handler = AdaptiveStopHandler(FIRST_SENTENCE)
    with pytest.raises(GenerationStopped) as caught:
        WAYS[way](chain.with_config(callbacks=[handler]), "?")
    assert CUT == caught.value.completion.text
    handler = AdaptiveStopHandler(FIRST_SENTENCE, ungraceful="finish")
    assert [CUT] == WAYS[way](chain.with_config(callbacks=[handler]), "?")


def test_an_answer_is_in_no_log(caplog: pytest.LogCaptureFixture) -> None:
    """LangChain logs the exception that ends a run; the text is in it, and not in the log."""
    handler = AdaptiveStopHandler(FIRST_SENTENCE)
    with pytest.raises(GenerationStopped) as caught:
        Temporaries().invoke("?", config={"callbacks": [handler]})
    assert [True, False] == ["GenerationStopped" in caplog.text, "Paris" in caplog.text]
    assert CUT == pickle.loads(pickle.dumps(caught.value)).completion.text
