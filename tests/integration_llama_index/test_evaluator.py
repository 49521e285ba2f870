"""One object judges drafts for the adaptive LLM and responses for a retrying query engine."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Mapping
from typing import Any

import pytest
from llama_index.core import Document, Settings, SummaryIndex
from llama_index.core.query_engine import RetryQueryEngine

from llama_index.llms.stopping import CompletenessEvaluator
from stopping_core import AdaptiveStopping
from stopping_core.completeness import ClosedFences, EndsSentence, Judge, all_of
from stopping_core.results import Draft, Verdict
from stopping_core.types import Request
from tests.integration_llama_index.asking import (
    HEAD,
    QUESTION,
    SHORT,
    TAIL,
    adaptive,
    ask,
    goes_on,
    text_of,
    told,
)
from tests.support.sse_server import CountingServer, Script

WHOLE = "".join([*HEAD, *TAIL])


def answers_feedback(body: Mapping[str, Any]) -> Script:
    """Answer in full only a query that holds what the evaluator said."""
    asked = body["messages"][-1]["content"]
    return Script([*HEAD, *TAIL] if "previous bad answer" in asked else HEAD)


@pytest.mark.parametrize("awaited", [True, False], ids=["async", "sync"])
def test_a_retrying_query_engine_asks_again(awaited: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """An answer that does not end a sentence is returned to the engine, with what is missing."""
    index = SummaryIndex.from_documents([Document(text="Paris is the capital of France.")])
    with CountingServer(answers_feedback, delay=0) as server:
        llm = adaptive(server, AdaptiveStopping(attempts=1))
        monkeypatch.setattr(Settings, "_llm", llm)  # the engine looks there for one to rewrite with
        engine = RetryQueryEngine(
            index.as_query_engine(llm=llm), CompletenessEvaluator(EndsSentence())
        )
        response = asyncio.run(engine.aquery(QUESTION)) if awaited else engine.query(QUESTION)
        assert WHOLE == str(response)
        first, second = (body["messages"][-1]["content"] for body in server.requests)
    missing = EndsSentence()(Request(), Draft("".join(HEAD))).reason
    assert missing not in first
    assert missing in second


@pytest.mark.parametrize("method", ["chat", "astream_complete"])
def test_the_same_object_has_an_answer_continued(method: str) -> None:
    """As completeness of the stopping it is asked about the draft, with its request."""
    evaluator = CompletenessEvaluator(EndsSentence())
    with CountingServer(goes_on, delay=0) as server:
        stopping = SHORT.replace(completeness=evaluator)
        responses = ask(adaptive(server, stopping, prefill=True), method)
    assert WHOLE == text_of(responses[-1])
    assert [False, True] == [one["verdict"]["complete"] for one in told(responses)["attempts"]]


def test_what_is_evaluated_is_what_was_asked_and_answered() -> None:
    """Query and contexts are in the request, the response is the draft, the rest is the result."""
    seen: list[tuple[Request, Draft]] = []

    def check(request: Request, draft: Draft, /) -> Any:
        seen.append((request, draft))
        return EndsSentence()(request, draft)

    result = CompletenessEvaluator(check).evaluate("Where?", "In Paris.", ["One.", "Two."])
    ((request, draft),) = seen
    assert ("Where?", "One.\n\nTwo.") == (request.question, request.context)
    assert ("In Paris.", "stop") == (draft.text, draft.finish_reason)
    assert (True, 1.0, "Where?", "In Paris.") == (
        result.passing,
        result.score,
        result.query,
        result.response,
    )


async def test_nothing_at_all_is_incomplete() -> None:
    """The default check says so, and why."""
    result = await CompletenessEvaluator().aevaluate("Where?", None)
    assert (False, 0.0) == (result.passing, result.score)
    assert result.feedback


async def test_a_slow_check_does_not_hold_up_the_event_loop() -> None:
    """A judge is asked in a thread; a quick check where the caller is."""
    threads: list[int] = []

    def ask_judge(request: Request, text: str) -> bool:
        threads.append(threading.get_ident())
        return True

    def check(request: Request, draft: Draft) -> Verdict:
        threads.append(threading.get_ident())
        return Verdict(True)

    await CompletenessEvaluator(Judge(ask_judge)).aevaluate("Where?", "In Paris")
    await CompletenessEvaluator(check).aevaluate("Where?", "In Paris")
    asked, checked = threads
    assert asked != checked == threading.get_ident()


def test_slow_and_fast_are_those_of_the_check() -> None:
    """Else a judge would be asked before every cut."""
    judge = Judge(lambda request, text: True)
    plain = CompletenessEvaluator(EndsSentence())
    assert (False, None) == (plain.slow, plain.fast)
    assert (True, None) == (CompletenessEvaluator(judge).slow, CompletenessEvaluator(judge).fast)
    both = CompletenessEvaluator(all_of(ClosedFences(), judge))
    assert both.slow
    assert both.fast is not None
    assert not both.fast(Request(), Draft("```")).complete


def test_what_is_no_check_is_refused() -> None:
    """A class in place of an object is the likely mistake."""
    with pytest.raises(ValueError, match="check must be callable and no class"):
        CompletenessEvaluator(EndsSentence)  # type: ignore[arg-type]  # the mistake
