"""The callback under content-block events, ``stream_events(version="v3")``, sync and async."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk
from langchain_core.outputs import ChatGenerationChunk
from langchain_core.tracers import _streaming
from langchain_core.tracers.run_collector import RunCollectorCallbackHandler

from langchain_stopping import AdaptiveChatModel, AdaptiveStopHandler
from stopping_core import GenerationStopped
from tests.integration_langchain.setting import (
    CUT,
    DECIDED,
    FIRST_SENTENCE,
    HEARD,
    PATIENT,
    TOKENS,
    StreamsOnly,
    openai,
)
from tests.support.sse_server import CountingServer, Script

pytestmark = [
    pytest.mark.filterwarnings("ignore::langchain_core._api.LangChainBetaWarning"),
]

SLOW = 0.03

Watch = Callable[[BaseChatModel, Any], tuple[list[str], AIMessage]]


def _sync(model: BaseChatModel, config: Any) -> tuple[list[str], AIMessage]:
    stream = model.stream_events("Which city?", config=config, version="v3")
    return [*stream.text], stream.output


def _async(model: BaseChatModel, config: Any) -> tuple[list[str], AIMessage]:
    async def watch() -> tuple[list[str], AIMessage]:
        stream = await model.astream_events("Which city?", config=config, version="v3")
        deltas, message = [delta async for delta in stream.text], await stream.output
        # LangChain gives the message before it tells the callbacks of the end.
        await asyncio.gather(*asyncio.all_tasks() - {asyncio.current_task()})
        return deltas, message

    return asyncio.run(watch())


SIDES: dict[str, Watch] = {"sync": _sync, "async": _async}
both = pytest.mark.parametrize("watch", SIDES.values(), ids=SIDES)


@both
def test_a_cut_is_exact_and_hangs_up(watch: Watch) -> None:
    """Deltas and message end at the cut, the server stops, and tracing sees a success."""
    with CountingServer([PATIENT], delay=SLOW) as server:
        handler, runs = AdaptiveStopHandler(FIRST_SENTENCE), RunCollectorCallbackHandler()
        deltas, message = watch(openai(server), {"callbacks": [handler, runs]})
        assert [CUT, CUT] == ["".join(deltas), message.text]
        assert server.sent <= HEARD
        assert 1 == server.disconnected
    assert "sentence" == message.response_metadata["stopping"]["reason"]
    assert [None] == [run.error for run in runs.traced_runs]
    assert [CUT] == [done.text for done in handler.completions.values()]
    assert not handler._runs


def test_a_program_that_ends_at_once_has_hung_up() -> None:
    """The hang-up is awaited in the cut: no task is left to the loop for it."""

    async def ask(model: BaseChatModel, handler: AdaptiveStopHandler) -> str:
        config: Any = {"callbacks": [handler]}
        stream = await model.astream_events("Which city?", config=config, version="v3")
        return "".join([delta async for delta in stream.text])

    with CountingServer([PATIENT], delay=SLOW) as server:
        answer = asyncio.run(ask(openai(server), AdaptiveStopHandler(FIRST_SENTENCE)))
        assert [CUT, 1] == [answer, server.disconnected]
        assert server.sent <= HEARD


@both
def test_the_usage_is_estimated(watch: Watch) -> None:
    """The usage that the provider keeps back after a cut is ours, and says so."""
    with CountingServer([TOKENS], delay=SLOW) as server:
        config = {"callbacks": [AdaptiveStopHandler(FIRST_SENTENCE)]}
        _, message = watch(openai(server, stream_usage=True), config)
    assert message.usage_metadata is not None
    assert DECIDED == message.usage_metadata["output_tokens"]
    assert message.usage_metadata["input_tokens"] > 0
    assert message.response_metadata["stopping"]["tokens"]["estimated"]


@both
def test_chunks_of_many_tokens_are_trimmed(watch: Watch) -> None:
    """A chunk that goes beyond the cut is shortened before it becomes an event."""
    with CountingServer([Script(TOKENS, per_chunk=8)]) as server:
        config = {"callbacks": [AdaptiveStopHandler(FIRST_SENTENCE)]}
        deltas, message = watch(openai(server), config)
    assert [CUT, CUT] == ["".join(deltas), message.text]


@both
def test_an_answer_that_ends_by_itself_is_checked(watch: Watch) -> None:
    """Where nothing is cut the text is whole, the provider's usage stays, and the check is told."""
    with CountingServer([Script(TOKENS, logprobs=[-0.1] * len(TOKENS))], delay=0.0) as server:
        handler = AdaptiveStopHandler(FIRST_SENTENCE.replace(mode="shadow"))
        model = openai(server, stream_usage=True)
        deltas, message = watch(model, {"callbacks": [handler]})
    assert ["".join(TOKENS)] * 2 == ["".join(deltas), message.text]
    assert message.response_metadata["stopping"]["complete"]
    assert message.usage_metadata is not None
    assert len(TOKENS) == message.usage_metadata["output_tokens"]
    (completion,) = handler.completions.values()
    assert [len(TOKENS), False] == [completion.usage.generated, completion.usage.estimated]
    assert completion.would_stop is not None


@both
def test_the_wrapper_is_cut_once(watch: Watch) -> None:
    """A wrapped model cuts by itself; the handler leaves it alone."""
    with CountingServer([PATIENT], delay=SLOW) as server:
        handler = AdaptiveStopHandler(FIRST_SENTENCE)
        model = AdaptiveChatModel(inner=openai(server), stopping=FIRST_SENTENCE)
        deltas, message = watch(model, {"callbacks": [handler]})
        assert server.sent <= HEARD
    assert [CUT, CUT] == ["".join(deltas), message.text]
    assert not handler.completions


class Silent(StreamsOnly):
    """Reports no token by itself, so that the handler sees nothing before the events."""

    def _stream(self, *args: Any, **kwargs: Any) -> Iterator[ChatGenerationChunk]:
        for token in TOKENS:
            self.metadata = {"said": token}
            yield ChatGenerationChunk(message=AIMessageChunk(content=token))


class AsyncSilent(Silent):
    """The same, for async callers."""

    async def _astream(self, *args: Any, **kwargs: Any) -> AsyncIterator[ChatGenerationChunk]:
        for chunk in self._stream():
            yield chunk


@both
@pytest.mark.parametrize("model", [Silent(), AsyncSilent()], ids=["sync-model", "async-model"])
def test_a_model_that_reports_no_tokens(watch: Watch, model: Silent) -> None:
    """The deltas have the chunk that decides, the message ends at the cut, the model stops."""
    handler = AdaptiveStopHandler(FIRST_SENTENCE)
    deltas, message = watch(model, {"callbacks": [handler]})
    assert ["".join(TOKENS[:DECIDED]), CUT] == ["".join(deltas), message.text]
    assert {"said": TOKENS[DECIDED - 1]} == model.metadata
    assert "sentence" == message.response_metadata["stopping"]["reason"]
    assert message.usage_metadata is not None
    assert DECIDED == message.usage_metadata["output_tokens"]
    assert not handler._runs


class Native(Silent):
    """Makes its events by itself."""

    def _stream_chat_model_events(self, *args: Any, **kwargs: Any) -> Iterator[Any]:
        yield {"event": "message-start"}
        block = {"type": "text", "text": ""}
        yield {"event": "content-block-start", "index": 0, "content": block}
        for token in TOKENS:
            delta = {"type": "text-delta", "text": token}
            yield {"event": "content-block-delta", "index": 0, "delta": delta}
        block = {"type": "text", "text": "".join(TOKENS)}
        yield {"event": "content-block-finish", "index": 0, "content": block}
        yield {"event": "message-finish"}

    async def _astream_chat_model_events(self, *args: Any, **kwargs: Any) -> AsyncIterator[Any]:
        for event in self._stream_chat_model_events():
            yield event


@both
def test_events_of_the_models_own_cannot_be_ended(watch: Watch) -> None:
    """Such a run ends with the exception that carries the text, or is whole."""
    handler = AdaptiveStopHandler(FIRST_SENTENCE)
    with pytest.raises(GenerationStopped) as caught:
        watch(Native(), {"callbacks": [handler]})
    assert CUT == caught.value.completion.text
    assert not handler._runs
    handler = AdaptiveStopHandler(FIRST_SENTENCE, ungraceful="finish")
    _, message = watch(Native(), {"callbacks": [handler]})
    assert "".join(TOKENS) == message.text
    assert [0] == [done.usage.avoided for done in handler.completions.values()]


Marker: Any = getattr(_streaming, "_V2StreamingCallbackHandler", object)


class Events(RunCollectorCallbackHandler, Marker):  # type: ignore[misc]  # its base is Any to mypy
    """Asks for events on ``invoke`` as well, as LangGraph does for its own v3 streams."""

    def __init__(self) -> None:
        super().__init__()
        self.kinds: list[str] = []

    def on_stream_event(self, event: Any, **kwargs: Any) -> None:
        self.kinds.append(event["event"])


@pytest.mark.parametrize("way", ["invoke", "ainvoke"])
def test_invoke_by_way_of_events(way: str) -> None:
    """Where another handler turns ``invoke`` into events, it is cut, and its events are closed."""
    with CountingServer([PATIENT], delay=SLOW) as server:
        handler, events = AdaptiveStopHandler(FIRST_SENTENCE), Events()
        model = openai(server).with_config(callbacks=[handler, events])
        answer = model.invoke("?") if way == "invoke" else asyncio.run(model.ainvoke("?"))
        assert server.sent <= HEARD
    assert CUT == answer.text
    assert ["content-block-finish", "message-finish"] == events.kinds[-2:]
    assert [None] == [run.error for run in events.traced_runs]


@both
def test_reasoning_is_kept(watch: Watch) -> None:
    """Reasoning in tags stands before the answer, and the message ends at the answer's cut."""
    tokens = ["<think>", "Hm. ", "Well.", "</think>", "\n\n", *TOKENS]
    with CountingServer([tokens], delay=SLOW) as server:
        config = {"callbacks": [AdaptiveStopHandler(FIRST_SENTENCE)]}
        _, message = watch(openai(server), config)
    assert f"<think>Hm. Well.</think>\n\n{CUT}" == message.text
