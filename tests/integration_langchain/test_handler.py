"""The callback: what it cuts, what it reports, what it does where it cannot cut gently."""

from __future__ import annotations

import asyncio
import uuid
from typing import Any

import pytest
from langchain_core.callbacks import BaseCallbackHandler, CallbackManager
from langchain_core.output_parsers import StrOutputParser
from langchain_core.tools import tool
from langchain_core.utils.function_calling import convert_to_openai_tool

from langchain_stopping import AdaptiveChatModel, AdaptiveStopHandler, AdaptiveStopMiddleware
from stopping_core import AdaptiveStopping, Completion, Request
from tests.integration_langchain.setting import CUT, FIRST_SENTENCE, TOKENS, WAYS, openai
from tests.support.sse_server import CountingServer, Script


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
    assert ["".join(TOKENS), "stop"] == [completion.text, completion.finish_reason]


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
        assert not server.requests[0].get("stream")
    with CountingServer([TOKENS]) as server:
        wrapped = AdaptiveChatModel(inner=openai(server), stopping=FIRST_SENTENCE)
        wrapped.invoke("?", config={"callbacks": [handler]})
    assert not handler.completions


LEFT_ALONE: dict[str, dict[str, Any]] = {
    "tools": {"tools": [convert_to_openai_tool(weather)]},
    "structured": {"response_format": {"type": "json_object"}},
    "several": {"n": 2},
}


@pytest.mark.parametrize("way", ["invoke", "ainvoke"])
@pytest.mark.parametrize("kind", [*LEFT_ALONE, "off"])
def test_what_is_left_alone_is_as_without_it(kind: str, way: str) -> None:
    """It is sent as it was, not as a stream, and nothing of what comes back is lost."""
    mode: Any = "off" if kind == "off" else "active"
    handler = AdaptiveStopHandler(FIRST_SENTENCE.replace(mode=mode))
    manager = CallbackManager([handler])
    with CountingServer([TOKENS], delay=0.0, keep_alive=False) as server:
        configs: list[Any] = [{}, {"callbacks": [handler]}, {"callbacks": manager}]
        answers: list[Any] = []
        for config in configs:
            model = openai(server).bind(**LEFT_ALONE.get(kind, {}))
            answers.append(
                asyncio.run(model.ainvoke("?", config))
                if way == "ainvoke"
                else model.invoke("?", config)
            )
        first, *others = server.requests
    assert [first, first] == others
    assert not first.get("stream")
    assert 1 == len({str(answer.model_dump(exclude={"id"})) for answer in answers})
    assert [handler] == manager.handlers


def test_only_the_run_that_is_watched_is_made_a_stream() -> None:
    """Another call through the same callback manager is not."""
    config: Any = {"callbacks": CallbackManager([AdaptiveStopHandler(FIRST_SENTENCE)])}
    with CountingServer([TOKENS], delay=0.001) as server:
        openai(server).invoke("?", config)
        openai(server).bind(n=2).invoke("?", config)
        assert [True, False] == [bool(body.get("stream")) for body in server.requests]


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


def test_what_stands_in_earlier_chunks_is_trimmed() -> None:
    """A decision may fall some blanks behind the cut; those that are on hand are taken back."""
    with CountingServer([["Paris is", " the capital.", " ", " ", "It", *TOKENS]]) as server:
        handler = AdaptiveStopHandler(FIRST_SENTENCE)
        assert CUT == openai(server).invoke("?", config={"callbacks": [handler]}).content


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
    assert "RuntimeError in hook (test_handler.py:" in caplog.text


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
    """Only one handler may tap a chain's output, and ours does not."""
    with CountingServer([TOKENS]) as server:
        chain = openai(server) | StrOutputParser()
        config: Any = {"callbacks": [AdaptiveStopHandler(FIRST_SENTENCE)]}
        events = [event async for event in chain.astream_events("?", config=config, version="v2")]
    kinds = {event["event"] for event in events}
    assert {"on_chat_model_stream", "on_chain_stream", "on_parser_stream"} <= kinds
    assert CUT == events[-1]["data"]["output"]


def test_reasoning_is_not_cut() -> None:
    """A callback could not go on to the answer: even reasoning in a loop is left to its end."""
    tokens = ["<think>", *["I must think about it again. "] * 60, "</think>", "\n\n", "Paris."]
    with CountingServer([tokens], delay=0.0) as server:
        handler = AdaptiveStopHandler(AdaptiveStopping())
        answer = openai(server).invoke("Where?", config={"callbacks": [handler]})
    assert ["Paris.", True] == [
        str(answer.content).rpartition("\n")[2],
        answer.response_metadata["stopping"]["complete"],
    ]


@pytest.mark.parametrize("kind", [AdaptiveStopHandler, AdaptiveStopMiddleware])
def test_what_is_no_stopping_is_refused(kind: Any) -> None:
    """When it is made, and not inside somebody's chain."""
    with pytest.raises(TypeError, match="stopping must be an AdaptiveStopping, got 'balanced'"):
        kind("balanced")
