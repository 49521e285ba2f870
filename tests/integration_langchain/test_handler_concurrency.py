"""Many runs of one handler at a time, its copies, and what it leaves behind: nothing."""

from __future__ import annotations

import asyncio
import copy
import gc
import pickle
import weakref
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from langchain_core.messages import AIMessageChunk
from langchain_core.outputs import ChatGenerationChunk
from langchain_core.runnables import RunnableLambda
from langchain_openai import ChatOpenAI

from langchain_stopping import AdaptiveStopHandler
from langchain_stopping.streams import Stream
from stopping_core import Boundary
from stopping_core.policies import Threshold
from stopping_core.signals import Sentences
from tests.integration_langchain.setting import CUT, FIRST_SENTENCE, TOKENS, StreamsOnly, openai
from tests.support.sse_server import CountingServer, Script

pytestmark = pytest.mark.filterwarnings("ignore::langchain_core._api.LangChainBetaWarning")

SLOW = 0.03


def numbered(body: Any) -> Script:
    """An answer that says the number it was asked for."""
    number = body["messages"][-1]["content"]
    return Script([f"Number {number}", " is", " it", ".", " More"] + [" x"] * 40)


def test_threads_do_not_mix() -> None:
    """The runs of a batch, each in its own thread, are cut each at its own place."""
    handler = AdaptiveStopHandler(FIRST_SENTENCE)
    with CountingServer(numbered, delay=SLOW) as server:
        model = openai(server).with_config(callbacks=[handler])
        answers = model.batch([str(n) for n in range(8)])
        assert (
            max(server.sent_per_call) <= len(numbered({"messages": [{"content": "0"}]}).tokens) / 2
        )
    assert [f"Number {n} is it." for n in range(8)] == [answer.content for answer in answers]
    assert not handler._runs


async def test_ways_at_the_same_time() -> None:
    """Events, streams and whole answers of one handler side by side."""
    handler = AdaptiveStopHandler(FIRST_SENTENCE)
    with CountingServer(numbered, delay=SLOW) as server:
        model = openai(server)
        config: Any = {"callbacks": [handler]}

        async def events(question: str) -> str:
            stream = await model.astream_events(question, config=config, version="v3")
            return str((await stream.output).text)

        async def chunks(question: str) -> str:
            return "".join([str(c.content) async for c in model.astream(question, config=config)])

        async def whole(question: str) -> str:
            return str((await model.ainvoke(question, config=config)).content)

        async def threaded(question: str) -> str:
            return await asyncio.to_thread(lambda: str(model.invoke(question, config).content))

        ways = (events, chunks, whole, threaded)
        answers = await asyncio.gather(*(ways[n % 4](str(n)) for n in range(8)))
    assert [f"Number {n} is it." for n in range(8)] == answers
    assert not handler._runs


def test_a_copied_configuration_works() -> None:
    """A copy has the same settings and completions of its own."""
    handler = AdaptiveStopHandler(FIRST_SENTENCE, keep=7, ungraceful="finish")
    with CountingServer([TOKENS], delay=SLOW) as server:
        openai(server).invoke("?", config={"callbacks": [handler]})
        config = copy.deepcopy({"callbacks": [handler]})
        (copied,) = config["callbacks"]
        assert [handler.stopping, 7, "finish"] == [
            copied.stopping,
            copied._keep,
            copied._ungraceful,
        ]
        chain = RunnableLambda(str) | openai(server).with_config(config)  # type: ignore[arg-type]  # a dict
        assert CUT == chain.invoke("?").content
    assert [1, 2] == [len(handler.completions), len(copied.completions)]


def test_a_handler_can_be_sent_to_another_process() -> None:
    """With its settings and what it has done so far."""
    handler = AdaptiveStopHandler(FIRST_SENTENCE, keep=7, ungraceful="finish")
    with CountingServer([TOKENS], delay=SLOW) as server:
        openai(server).invoke("?", config={"callbacks": [handler]})
        twin = pickle.loads(pickle.dumps(handler))
        assert [handler.completions, 7, "finish"] == [
            twin.completions,
            twin._keep,
            twin._ungraceful,
        ]
        assert CUT == openai(server).invoke("?", config={"callbacks": [twin]}).content
    assert [1, 2] == [len(handler.completions), len(twin.completions)]


class Own(AdaptiveStopHandler):
    """A user's subclass."""


@pytest.mark.parametrize("kinds", [(AdaptiveStopHandler, Own), (Own, AdaptiveStopHandler)])
def test_the_first_of_several_acts(kinds: Any) -> None:
    """Of those given by hand, subclasses included."""
    tokens = ["One", ".", " Two", ".", " Three", *TOKENS[5:]]
    two = Threshold(Sentences(), at_least=2, at=Boundary.SENTENCE, reason="two")
    handlers = [
        kinds[0](FIRST_SENTENCE.replace(policy=two)),
        kinds[1](FIRST_SENTENCE),
    ]
    with CountingServer([tokens], delay=SLOW) as server:
        answer = openai(server).invoke("?", config={"callbacks": [*handlers]})
    assert ["One. Two.", 1, 0] == [answer.content, *(len(h.completions) for h in handlers)]


def test_a_handler_and_its_copy_cut_once() -> None:
    """Where both are on a run, one acts."""
    handler = AdaptiveStopHandler(FIRST_SENTENCE)
    copied = copy.deepcopy(handler)
    with CountingServer([TOKENS], delay=SLOW) as server:
        model = openai(server).with_config(callbacks=[handler])
        assert CUT == model.invoke("?", config={"callbacks": [copied]}).content
    assert 1 == len(handler.completions) + len(copied.completions)


class Watched(ChatOpenAI):
    """Remembers its streams without keeping them."""

    seen: list[Any]

    def _stream(self, *args: Any, **kwargs: Any) -> Iterator[ChatGenerationChunk]:
        stream = super()._stream(*args, **kwargs)
        self.seen.append(weakref.ref(stream))
        return stream

    async def _astream(self, *args: Any, **kwargs: Any) -> AsyncIterator[ChatGenerationChunk]:
        stream = super()._astream(*args, **kwargs)
        self.seen.append(weakref.ref(stream))
        async for chunk in stream:
            yield chunk


def alive(model: Watched) -> list[Stream]:
    return [stream for reference in model.seen if (stream := reference()) is not None]


def watched(server: CountingServer) -> Watched:
    known = openai(server)
    return Watched(
        base_url=server.base_url, model=server.model, api_key=known.openai_api_key, seen=[]
    )


def test_two_hundred_cuts_leave_nothing() -> None:
    """After sync and async cuts, event streams too, no run is kept and all streams are freed."""
    handler = AdaptiveStopHandler(FIRST_SENTENCE, keep=10)
    with CountingServer([TOKENS], delay=0.001) as server:
        model = watched(server)
        config: Any = {"callbacks": [handler]}

        async def gather(count: int) -> None:
            for _ in range(count // 10):
                await asyncio.gather(*(model.ainvoke("?", config=config) for _ in range(10)))

        for _ in range(40):
            model.invoke("?", config=config)
            assert CUT == "".join(str(c.content) for c in model.stream("?", config=config))
        for _ in range(20):
            assert CUT == model.stream_events("?", config=config, version="v3").output.text
        asyncio.run(gather(100))
        server.wait()
        assert [200, 200] == [len(server.calls), len(model.seen)]
        gc.collect()
        assert [[], 0, 10] == [alive(model), len(handler._runs), len(handler.completions)]


def test_a_cut_frees_its_stream_without_the_collector() -> None:
    """Nothing of ours holds a stream in a circle."""
    handler = AdaptiveStopHandler(FIRST_SENTENCE)
    with CountingServer([TOKENS], delay=0.001) as server:
        model = watched(server)
        gc.collect()
        gc.disable()
        try:
            model.invoke("?", config={"callbacks": [handler]})
            assert [] == alive(model)
        finally:
            gc.enable()


class Failing(StreamsOnly):
    """Breaks after a few tokens."""

    def _stream(self, *args: Any, **kwargs: Any) -> Iterator[ChatGenerationChunk]:
        yield ChatGenerationChunk(message=AIMessageChunk(content="Paris"))
        raise ConnectionError("gone")


def test_failing_runs_leave_nothing() -> None:
    """Neither errors nor readers that leave early are kept."""
    handler = AdaptiveStopHandler(FIRST_SENTENCE)
    config: Any = {"callbacks": [handler]}
    for _ in range(20):
        with pytest.raises(ConnectionError):
            Failing().invoke("?", config=config)
        with pytest.raises(ConnectionError):
            str(Failing().stream_events("?", config=config, version="v3").text)
        next(iter(Failing().stream("?", config=config)))
    assert not handler._runs
