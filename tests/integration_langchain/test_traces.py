"""What tracers see: an early stop is a success with its reason, a further call is a retry."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import pytest
from langchain_core.messages import AIMessageChunk
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import Runnable
from langchain_core.tracers.run_collector import RunCollectorCallbackHandler
from langchain_core.tracers.schemas import Run

from stopping_core import BudgetExhausted
from stopping_core.budgets import GeometricBudget
from tests.integration_langchain.setting import (
    CUT,
    FIRST_SENTENCE,
    HEARD,
    PATIENT,
    SMALL,
    TEXT,
    TOKENS,
    WAYS,
    openai,
    wrapped,
)
from tests.support.sse_server import CountingServer, Script

ONE_BY_ONE = [way for way in WAYS if "batch" not in way]
MODELS = ("llm", "chat_model")
WHOLE = SMALL.replace(budget=GeometricBudget(first=64))


def collected(collector: RunCollectorCallbackHandler) -> list[Run]:
    """All runs, each with the ones under it."""

    def below(run: Run) -> Iterator[Run]:
        yield run
        for child in run.child_runs:
            yield from below(child)

    return [run for root in collector.traced_runs for run in below(root)]


def stopping_of(run: Run) -> dict[str, Any]:
    """What the outputs of a model's run say of the stopping."""
    (generation,) = (run.outputs or {})["generations"][0]
    metadata: dict[str, Any] = generation["message"]["kwargs"]["response_metadata"]
    return dict(metadata["stopping"])


def chain(model: Runnable[Any, Any]) -> Runnable[Any, str]:
    return ChatPromptTemplate.from_template("{question}") | model | StrOutputParser()


AROUND: dict[str, Callable[[Any], Runnable[Any, str]]] = {
    "chain": chain,
    "retry": lambda model: chain(model).with_retry(stop_after_attempt=2),
    "fallbacks": lambda model: chain(model.with_fallbacks([model])),
}


@pytest.mark.parametrize("around", AROUND)
@pytest.mark.parametrize("way", WAYS)
def test_an_early_stop_is_a_success_with_its_reason(way: str, around: str) -> None:
    """No run of a chain ends in an error, and that of the model says why it stopped."""
    collector = RunCollectorCallbackHandler()
    with CountingServer([PATIENT]) as server:
        runnable = AROUND[around](wrapped(server, FIRST_SENTENCE))
        answers = WAYS[way](
            runnable.with_config(callbacks=[collector]), {"question": "Which city?"}
        )
        assert {CUT} == set(answers)
        assert max(server.sent_per_call) <= HEARD
    runs = collected(collector)
    models = [run for run in runs if run.run_type in MODELS]
    assert [None] * len(runs) == [run.error for run in runs]
    assert ["sentence"] * len(answers) == [stopping_of(run)["reason"] for run in models]


@pytest.mark.parametrize("way", ONE_BY_ONE)
@pytest.mark.parametrize("fault", ["truncated", "overloaded", "broken"])
def test_a_further_call_is_a_retry(way: str, fault: str) -> None:
    """A continuation, a second try and a reconnection stand in the trace as retries."""
    scripts = {
        "truncated": [Script(TEXT), Script(TEXT[4:])],
        "overloaded": [Script(status=503), Script(TEXT)],
        "broken": [Script(TEXT, drop_after=3), Script(TEXT[3:])],
    }
    collector = RunCollectorCallbackHandler()
    with CountingServer(scripts[fault]) as server:
        stopping = SMALL if fault == "truncated" else WHOLE
        runnable = chain(wrapped(server, stopping, prefill=True))
        answers = WAYS[way](runnable.with_config(callbacks=[collector]), {"question": "Count."})
        assert 2 == len(server.calls)
    (run,) = [run for run in collected(collector) if run.run_type in MODELS]
    assert ["".join(TEXT)] == answers
    assert [None, 1] == [run.error, [event["name"] for event in run.events].count("retry")]
    assert [2] == [len(stopping_of(run)["attempts"])]


@pytest.mark.parametrize("way", ONE_BY_ONE)
def test_running_out_is_an_error_after_its_retries(way: str) -> None:
    """Where the user wants an exception, the trace has it, and the tries that came before it."""
    collector = RunCollectorCallbackHandler()
    with CountingServer([TEXT * 2]) as server:
        stopping = SMALL.replace(attempts=2, on_exhausted="raise")
        runnable = chain(wrapped(server, stopping, prefill=True)).with_config(callbacks=[collector])
        with pytest.raises(BudgetExhausted):
            WAYS[way](runnable, {"question": "Count."})
    (run,) = [run for run in collected(collector) if run.run_type in MODELS]
    assert "BudgetExhausted" in str(run.error)
    assert 1 == [event["name"] for event in run.events].count("retry")


@pytest.mark.parametrize("of_model", [True, False])
async def test_events_end_as_they_should(of_model: bool) -> None:
    """``astream_events`` shows the text up to the cut, then the end of each run, and no error."""
    with CountingServer([TOKENS]) as server:
        model = wrapped(server, FIRST_SENTENCE)
        runnable, question = (
            (model, "Which city?") if of_model else (chain(model), {"question": ""})
        )
        events = [event async for event in runnable.astream_events(question, version="v2")]
    chunks = [e["data"]["chunk"] for e in events if e["event"] == "on_chat_model_stream"]
    assert CUT == "".join(chunk.text for chunk in chunks if isinstance(chunk, AIMessageChunk))
    (end,) = [event for event in events if event["event"] == "on_chat_model_end"]
    assert [CUT, "sentence"] == [
        end["data"]["output"].content,
        end["data"]["output"].response_metadata["stopping"]["reason"],
    ]
    assert not [event["event"] for event in events if "error" in event["event"]]


@pytest.mark.parametrize("wraps", [True, False])
def test_a_reader_that_leaves_is_langchains_affair(wraps: bool) -> None:
    """A stream that is left ends its run with ``GeneratorExit``: of any model, the bare one too."""
    collector = RunCollectorCallbackHandler()
    with CountingServer([TOKENS]) as server:
        model: Any = wrapped(server, FIRST_SENTENCE) if wraps else openai(server)
        with closing(model.stream("Which city?", config={"callbacks": [collector]})) as chunks:
            next(chunks)
        assert 1 == server.disconnected
    (run,) = collected(collector)
    assert "GeneratorExit" in str(run.error)
