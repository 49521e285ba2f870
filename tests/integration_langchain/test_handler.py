"""The callback: what it cuts, what it reports, what it does where it cannot cut gently."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.language_models import BaseChatModel, FakeListChatModel
from langchain_core.messages import AIMessageChunk
from langchain_core.output_parsers import StrOutputParser
from langchain_core.outputs import ChatGenerationChunk, ChatResult
from langchain_core.runnables import Runnable
from langchain_core.tools import tool
from langchain_core.tracers._streaming import _StreamingCallbackHandler

from langchain_stopping import AdaptiveChatModel, AdaptiveStopHandler
from stopping_core import Completion, GenerationStopped, Request
from tests.integration_langchain.setting import CUT, FIRST_SENTENCE, TOKENS, WAYS, openai
from tests.support.sse_server import CountingServer, Script


def test_langchain_still_takes_it_for_a_streaming_handler() -> None:
    """The protocol that makes ``invoke`` stream is private to LangChain, which may change it."""
    assert isinstance(AdaptiveStopHandler(FIRST_SENTENCE), _StreamingCallbackHandler)


def test_the_message_says_what_was_done() -> None:
    """The cut is told in the message's metadata and kept under the run's id."""
    run_id = uuid.uuid4()
    with CountingServer([TOKENS]) as server:
        handler = AdaptiveStopHandler(FIRST_SENTENCE)
        answer = openai(server).invoke("?", config={"callbacks": [handler], "run_id": run_id})
    done = answer.response_metadata["stopping"]
    assert [CUT, "sentence", True] == [answer.content, done["reason"], done["complete"]]
    assert [CUT, "cut"] == [
        handler.completions[run_id].text,
        handler.completions[run_id].finish_reason,
    ]
    assert 0 == done["tokens"]["avoided"]  # what the model would have said is not known


def test_a_limit_of_the_call_bounds_what_was_avoided() -> None:
    """Where the caller set a limit, the saving is what was left of it."""
    with CountingServer([TOKENS]) as server:
        handler = AdaptiveStopHandler(FIRST_SENTENCE)
        answer = openai(server, max_tokens=40).invoke("?", config={"callbacks": [handler]})
    assert 40 - 6 == answer.response_metadata["stopping"]["tokens"]["avoided"]


def test_the_cut_is_no_error_to_other_callbacks() -> None:
    """Tracing sees a run that ended, and its text up to the cut."""
    seen: list[Any] = []

    class Tracer(BaseCallbackHandler):
        def on_llm_end(self, response: Any, **kwargs: Any) -> None:
            seen.append(response.generations[0][0].text)

        def on_llm_error(self, error: BaseException, **kwargs: Any) -> None:
            seen.append(error)

    with CountingServer([TOKENS]) as server:
        callbacks = [AdaptiveStopHandler(FIRST_SENTENCE), Tracer()]
        openai(server).invoke("?", config={"callbacks": callbacks})
        list(openai(server).stream("?", config={"callbacks": callbacks}))
    assert [CUT, CUT] == seen


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("mode", ["shadow", "off"])
def test_only_active_cuts(way: str, mode: Any) -> None:
    """In shadow mode the answer is whole and the cut is reported; off reports nothing."""
    with CountingServer([TOKENS], delay=0.0) as server:
        handler = AdaptiveStopHandler(FIRST_SENTENCE.replace(mode=mode))
        chain = (openai(server) | StrOutputParser()).with_config(callbacks=[handler])
        answers = WAYS[way](chain, "Which city?")
    assert {"".join(TOKENS)} == set(answers)
    found = [c.would_stop and c.would_stop.offset for c in handler.completions.values()]
    assert ([len(CUT)] * len(answers) if mode == "shadow" else []) == found


def test_an_incomplete_answer_is_reported_not_retried() -> None:
    """A callback cannot call again: it says that the answer was cut off by its budget."""
    with CountingServer([TOKENS]) as server:
        handler = AdaptiveStopHandler(FIRST_SENTENCE)
        answer = openai(server, max_tokens=3).invoke("?", config={"callbacks": [handler]})
        assert 1 == len(server.calls)
    assert ["Paris is the", False] == [
        answer.content,
        answer.response_metadata["stopping"]["complete"],
    ]


def test_what_does_not_stream_is_checked() -> None:
    """Where streaming is disabled the answer is left whole and only judged."""
    with CountingServer([TOKENS]) as server:
        handler = AdaptiveStopHandler(FIRST_SENTENCE)
        model = openai(server, disable_streaming=True)
        answer = model.invoke("?", config={"callbacks": [handler]})
    assert "".join(TOKENS) == answer.content
    (completion,) = handler.completions.values()
    assert [True, len(TOKENS)] == [completion.complete, completion.usage.generated]


@tool
def weather(city: str) -> str:
    """Say what the weather is."""
    return city


def test_tool_calls_and_wrapped_models_are_left_alone() -> None:
    """Neither half a tool call nor a second opinion on a wrapped model."""
    handler = AdaptiveStopHandler(FIRST_SENTENCE)
    script = Script(['{"city":', ' "Paris. Then"', "}"], tool="weather", finish_reason="tool_calls")
    with CountingServer([script]) as server:
        model = openai(server).bind_tools([weather])
        answer = model.invoke("?", config={"callbacks": [handler]})
        assert [{"city": "Paris. Then"}] == [call["args"] for call in answer.tool_calls]
    with CountingServer([TOKENS]) as server:
        wrapped = AdaptiveChatModel(inner=openai(server), stopping=FIRST_SENTENCE)
        wrapped.invoke("?", config={"callbacks": [handler]})
    assert not handler.completions


def test_reasoning_in_tags_is_kept_and_not_counted_as_answer() -> None:
    """The text ends at the cut of the answer, behind the reasoning that stands before it."""
    tokens = ["<think>", "Hm. ", "Well.", "</think>", "\n\n", *TOKENS]
    with CountingServer([tokens], delay=0.03) as server:
        handler = AdaptiveStopHandler(FIRST_SENTENCE)
        answer = openai(server).invoke("?", config={"callbacks": [handler]})
    assert f"<think>Hm. Well.</think>\n\n{CUT}" == answer.content


def test_chunks_of_many_tokens_are_trimmed() -> None:
    """A chunk that goes beyond the cut is shortened before anybody has it."""
    with CountingServer([Script(TOKENS, per_chunk=8)]) as server:
        handler = AdaptiveStopHandler(FIRST_SENTENCE)
        model = openai(server).with_config(callbacks=[handler])
        assert CUT == model.invoke("?").content
        assert CUT == "".join(str(chunk.content) for chunk in model.stream("?"))


def test_an_error_of_the_model_is_the_models() -> None:
    """A failing call fails as without us, and what came before is kept."""
    with CountingServer([Script(TOKENS, drop_after=2)]) as server:
        handler = AdaptiveStopHandler(FIRST_SENTENCE)
        with pytest.raises(Exception, match=r"peer closed|onnection"):
            openai(server).invoke("?", config={"callbacks": [handler]})
    (completion,) = handler.completions.values()
    assert ["Paris is", False] == [completion.text, completion.complete]
    assert not handler._runs


def test_leaving_early_is_forgotten() -> None:
    """A stream that its reader leaves is no completion, and takes no memory."""
    with CountingServer([TOKENS]) as server:
        handler = AdaptiveStopHandler(FIRST_SENTENCE)
        for chunk in openai(server).stream("?", config={"callbacks": [handler]}):
            if chunk.content:
                break
    assert [0, 0] == [len(handler.completions), len(handler._runs)]


def test_completions_are_bounded_and_hooks_are_told() -> None:
    """The newest completions are kept; every one goes to the hooks."""
    told: list[str] = []

    def hook(request: Request, completion: Completion) -> None:
        told.append(request.question)

    with CountingServer([TOKENS], delay=0.0) as server:
        handler = AdaptiveStopHandler(FIRST_SENTENCE.replace(hooks=(hook,)), keep=2)
        for question in "abc":
            openai(server).invoke(question, config={"callbacks": [handler]})
    assert [2, ["a", "b", "c"]] == [len(handler.completions), told]
    with pytest.raises(ValueError, match="keep must be >= 1, got 0"):
        AdaptiveStopHandler(FIRST_SENTENCE, keep=0)


async def test_cancelled_runs_are_bounded() -> None:
    """LangChain does not tell a handler of a run that was cancelled: only so many are kept."""
    handler = AdaptiveStopHandler(FIRST_SENTENCE, keep=3)
    with CountingServer([TOKENS], delay=0.05) as server:
        model = openai(server).with_config(callbacks=[handler])
        for _ in range(10):
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(model.ainvoke("Which city?"), timeout=0.08)
    assert len(handler._runs) <= 3


def test_a_failing_hook_is_called_once_and_loses_no_answer(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A hook that raises is logged, and the chain goes on with the text up to the cut."""
    told: list[str] = []

    def hook(request: Request, completion: Completion) -> None:
        told.append(completion.text)
        raise RuntimeError("the database is away")

    with CountingServer([TOKENS]) as server:
        handler = AdaptiveStopHandler(FIRST_SENTENCE.replace(hooks=(hook,)))
        model = openai(server).with_config(callbacks=[handler])
        assert CUT == model.invoke("?").content
    assert [CUT] == told
    assert "the database is away" in caplog.text


@pytest.mark.parametrize("limit", [-1, 0])
def test_no_limit_may_be_said(limit: int) -> None:
    """Providers take a limit below 1 for none, and so does the handler."""
    with CountingServer(lambda body: Script(TOKENS)) as server:
        handler = AdaptiveStopHandler(FIRST_SENTENCE)
        model = openai(server).with_config(callbacks=[handler])
        answer = model.invoke("?", max_tokens=limit)
    assert 0 == answer.response_metadata["stopping"]["tokens"]["avoided"]


async def test_runs_side_by_side_do_not_mix() -> None:
    """Concurrent runs of one handler are cut each at its own place."""
    texts = {str(n): [f"Number {n}", " is", " it", ".", " More"] + [" x"] * 40 for n in range(6)}

    def script(body: Any) -> Script:
        return Script(texts[body["messages"][-1]["content"]])

    with CountingServer(script, delay=0.02) as server:
        handler = AdaptiveStopHandler(FIRST_SENTENCE)
        model = openai(server).with_config(callbacks=[handler])
        answers = await asyncio.gather(*(model.ainvoke(number) for number in texts))
    assert [f"Number {n} is it." for n in range(6)] == [answer.content for answer in answers]


async def test_astream_events_still_has_the_chains_own_events() -> None:
    """Only one handler may tap a chain's output: ours makes way for the one that needs it."""
    with CountingServer([TOKENS]) as server:
        chain = openai(server) | StrOutputParser()
        config: Any = {"callbacks": [AdaptiveStopHandler(FIRST_SENTENCE)]}
        events = [event async for event in chain.astream_events("?", config=config, version="v2")]
    kinds = {event["event"] for event in events}
    assert {"on_chat_model_stream", "on_chain_stream", "on_parser_stream"} <= kinds
    assert CUT == events[-1]["data"]["output"]


class Temporaries(BaseChatModel):
    """Yields what nothing else refers to, and takes its messages where nothing can find them."""

    def _generate(self, *args: Any, **kwargs: Any) -> ChatResult:
        raise NotImplementedError

    def _stream(self, *args: Any, **kwargs: Any) -> Iterator[ChatGenerationChunk]:
        for token in TOKENS:
            yield ChatGenerationChunk(message=AIMessageChunk(content=token))

    @property
    def _llm_type(self) -> str:
        return "temporaries"


class AsyncTemporaries(Temporaries):
    """The same, for async callers."""

    async def _astream(self, *args: Any, **kwargs: Any) -> AsyncIterator[ChatGenerationChunk]:
        for token in TOKENS:
            yield ChatGenerationChunk(message=AIMessageChunk(content=token))


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
        handler = AdaptiveStopHandler(FIRST_SENTENCE, ungraceful=ungraceful)  # type: ignore[arg-type]
        model = Temporaries().with_config(callbacks=[handler])
        other = FakeListChatModel(responses=["Other."])
        assert expected == model.with_fallbacks([other]).invoke("?").content


@pytest.mark.parametrize("way", ["ainvoke", "astream"])
def test_a_sync_model_in_async_code_is_cut(way: str) -> None:
    """LangChain reads a model without async methods in threads; that stream can be closed too."""
    handler = AdaptiveStopHandler(FIRST_SENTENCE)
    chain = (Temporaries() | StrOutputParser()).with_config(callbacks=[handler])
    assert [CUT] == WAYS[way](chain, "Which city?")
