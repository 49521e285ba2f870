"""A cut reaches the server: it stops generating, whichever method was called."""

from __future__ import annotations

import asyncio
import gc
from typing import Any

import pytest
from llama_index.core.base.llms.types import ChatMessage

from stopping_core import AdaptiveStopping
from tests.integration_llama_index.asking import METHODS, adaptive, ask, scripted, text_of, told
from tests.support.sse_server import CountingServer, Script, patient

VALUE = ['{"city"', ":", ' "Paris"', "}"]
TRAILING = [" That", " is", " all", " there", " is", " to", " say", "."] * 5
SCRIPT = [*VALUE, *TRAILING]
HEARD = len(VALUE) + 2
PATIENT = patient(SCRIPT, HEARD)
PACE = 0.05  # seconds a token


@pytest.mark.parametrize("chat_model", [True, False], ids=["chat model", "completion model"])
@pytest.mark.parametrize("method", METHODS)
def test_the_server_stops_within_two_tokens_of_a_cut(method: str, chat_model: bool) -> None:
    """Closing the JSON value ends the text there, and at most two more tokens are generated."""
    with CountingServer([PATIENT], delay=PACE) as server:
        llm = adaptive(server, inner={"is_chat_model": chat_model})
        responses = ask(llm, method)
        assert '{"city": "Paris"}' == text_of(responses[-1])
        assert server.sent <= HEARD
        assert 1 == server.disconnected == len(server.calls)
    assert "json" == told(responses)["reason"]


def test_the_inner_llm_alone_does_not_hang_up() -> None:
    """The reason for looking into its generator: closing that is not enough.

    If this fails, the inner LLM has learnt to hang up, and ours need not do it any more.
    """
    with CountingServer([SCRIPT[:20]], delay=0.01) as server:
        gc.disable()  # it would close the connection by and by
        try:
            stream = scripted(server).stream_chat([ChatMessage(content="Hi")])
            next(stream)
            stream.close()
            assert 20 == server.sent
        finally:
            gc.enable()


UNTOUCHED: dict[str, Any] = {"response_format": {"type": "json_object"}}


@pytest.mark.parametrize("kwargs", [{}, UNTOUCHED], ids=["adaptive", "untouched"])
@pytest.mark.parametrize("method", ["stream_chat", "stream_complete"])
@pytest.mark.usefixtures("kept_exceptions")
def test_a_reader_who_leaves_hangs_up_too(method: str, kwargs: dict[str, Any]) -> None:
    """Closing the stream before its end stops the server as a cut does."""
    asked: Any = "Hi" if method.endswith("complete") else [ChatMessage(content="Hi")]
    with CountingServer([TRAILING], delay=PACE) as server:
        stream = getattr(adaptive(server), method)(asked, **kwargs)
        next(stream)
        stream.close()
        assert 1 == server.disconnected
        assert server.sent < 10


@pytest.mark.parametrize("kwargs", [{}, UNTOUCHED], ids=["adaptive", "untouched"])
@pytest.mark.parametrize("method", ["astream_chat", "astream_complete"])
@pytest.mark.usefixtures("kept_exceptions")
async def test_a_reader_who_leaves_hangs_up_too_async(method: str, kwargs: dict[str, Any]) -> None:
    """Closing the async stream before its end stops the server as a cut does."""
    asked: Any = "Hi" if method.endswith("complete") else [ChatMessage(content="Hi")]
    with CountingServer([TRAILING], delay=PACE) as server:
        stream = await getattr(adaptive(server), method)(asked, **kwargs)
        await anext(stream)
        await stream.aclose()
        await asyncio.to_thread(server.wait)
        assert 1 == server.disconnected
        assert server.sent < 10


@pytest.mark.parametrize("kwargs", [{}, UNTOUCHED], ids=["adaptive", "untouched"])
async def test_a_reader_who_is_cancelled_hangs_up_too(kwargs: dict[str, Any]) -> None:
    """A task that reads the stream is cancelled while it waits for the next token."""
    with CountingServer([TRAILING], delay=PACE) as server:
        begun = asyncio.Event()

        async def read() -> None:
            stream = await adaptive(server).astream_chat([ChatMessage(content="Hi")], **kwargs)
            async for _ in stream:
                begun.set()

        task = asyncio.create_task(read())
        await begun.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.to_thread(server.wait)
        assert 1 == server.disconnected
        assert server.sent < 10


@pytest.mark.parametrize("method", METHODS)
def test_shadow_records_and_does_not_cut(method: str) -> None:
    """The text and the call stay as they were; the report says where active mode would cut."""
    with CountingServer([SCRIPT], delay=0) as server:
        stopping = AdaptiveStopping(mode="shadow")
        responses = ask(adaptive(server, stopping, inner={"max_tokens": 99}), method)
        assert "".join(SCRIPT) == text_of(responses[-1])
        assert [99] == [body["max_tokens"] for body in server.requests]
    report = told(responses)
    assert "shadow" == report["mode"]
    assert len("".join(VALUE)) == report["would_stop"]["offset"]


def test_off_leaves_everything_alone() -> None:
    """In mode off nothing is judged, so that nothing is continued."""
    with CountingServer([Script(VALUE[:2], finish_reason="length")], delay=0) as server:
        responses = ask(adaptive(server, AdaptiveStopping(mode="off")), "chat")
        assert '{"city":' == text_of(responses[-1])
        assert 1 == len(server.calls)
        assert "max_tokens" not in server.requests[0]


def test_many_cuts_leave_no_connection_behind() -> None:
    """Of twenty cuts in a row each hangs up, and the next finds a working connection."""
    with CountingServer([SCRIPT], delay=0.002) as server:
        llm = adaptive(server)
        for _ in range(20):
            assert '{"city": "Paris"}' == text_of(ask(llm, "complete")[-1])
        assert 20 == server.disconnected == len(server.calls)
