"""A request is one entry in a trace, ends as a success, and tells of its stop in an event."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from llama_index.core import Document, SummaryIndex
from llama_index.core.base.llms.types import ChatMessage
from llama_index.core.callbacks import CallbackManager, TokenCountingHandler
from llama_index.core.instrumentation.events.exception import ExceptionEvent
from llama_index.core.instrumentation.events.llm import (
    LLMChatEndEvent,
    LLMChatStartEvent,
    LLMCompletionEndEvent,
    LLMCompletionStartEvent,
)
from llama_index_instrumentation import get_dispatcher
from llama_index_instrumentation.base import BaseEvent
from llama_index_instrumentation.event_handlers import BaseEventHandler
from llama_index_instrumentation.events.span import SpanDropEvent
from llama_index_instrumentation.span import SimpleSpan
from llama_index_instrumentation.span_handlers import SimpleSpanHandler
from pydantic import Field

from llama_index.llms.stopping import GenerationStopEvent
from stopping_core import AdaptiveStopping, BudgetExhausted, TransportFailed
from stopping_core.completeness import JsonSchema
from stopping_core.policies import Never
from tests.integration_llama_index.asking import (
    HEAD,
    METHODS,
    QUESTION,
    SHORT,
    TAIL,
    adaptive,
    ask,
    goes_on,
    told,
)
from tests.support.sse_server import CountingServer, Say, Script

CUT = Script(["{", "}", *HEAD, *TAIL] * 5)
CALLS = {"is_function_calling_model": True}
STARTS = (LLMChatStartEvent, LLMCompletionStartEvent)
ENDS = (LLMChatEndEvent, LLMCompletionEndEvent)


class Events(BaseEventHandler):
    """Keeps events."""

    seen: list[BaseEvent] = Field(default_factory=list)

    @classmethod
    def class_name(cls) -> str:
        return "Events"

    def handle(self, event: BaseEvent, **kwargs: Any) -> None:
        """Keep one."""
        self.seen.append(event)

    def of(self, *kinds: type[BaseEvent]) -> list[BaseEvent]:
        """Those of some kinds."""
        return [event for event in self.seen if isinstance(event, kinds)]

    @property
    def stops(self) -> list[GenerationStopEvent]:
        """Those that tell of stops."""
        return [event for event in self.seen if isinstance(event, GenerationStopEvent)]


class Spans(SimpleSpanHandler):
    """Keeps the spans that end well and those that do not."""

    def names(self, spans: list[SimpleSpan]) -> list[str]:
        """Class and method of spans."""
        return [span.id_.split("-")[0] for span in spans]


@pytest.fixture
def events() -> Iterator[Events]:
    """What is dispatched, by anything."""
    handler, root = Events(), get_dispatcher()
    root.add_event_handler(handler)
    yield handler
    root.event_handlers.remove(handler)


@pytest.fixture
def spans() -> Iterator[Spans]:
    """The spans of anything."""
    handler, root = Spans(), get_dispatcher()
    root.add_span_handler(handler)
    yield handler
    root.span_handlers.remove(handler)


@pytest.mark.parametrize("chat_model", [True, False], ids=["chat model", "completion model"])
@pytest.mark.parametrize("method", METHODS)
def test_a_cut_is_one_success_in_a_trace(
    method: str, chat_model: bool, events: Events, spans: Spans
) -> None:
    """One beginning and one end, no exception, no span but the wrapper's, no dropped one."""
    with CountingServer([CUT], delay=0.02) as server:
        report = told(ask(adaptive(server, inner={"is_chat_model": chat_model}), method))
        assert 1 == server.disconnected
    assert (1, 1) == (len(events.of(*STARTS)), len(events.of(*ENDS)))
    assert [] == events.of(ExceptionEvent, SpanDropEvent)
    assert [f"AdaptiveLLM.{method}"] == spans.names(spans.completed_spans)
    assert [] == spans.dropped_spans
    (end,) = events.of(*ENDS)
    assert report == end.response.raw["stopping"]  # type: ignore[attr-defined]  # ends have one


@pytest.mark.parametrize("method", METHODS)
def test_retries_and_faults_are_no_events_of_their_own(method: str, events: Events) -> None:
    """A broken connection that was mended is told in the report, not as another request."""
    scripts = [Script([*HEAD, *TAIL], drop_after=4), Script(TAIL)]
    with CountingServer(scripts, delay=0) as server:
        ask(adaptive(server, AdaptiveStopping(backoff=(0.0, 0.0)), prefill=True), method)
    assert (1, 1) == (len(events.of(*STARTS)), len(events.of(*ENDS)))
    assert [] == events.of(ExceptionEvent)


@pytest.mark.parametrize("method", METHODS)
def test_untouched_calls_are_told_once_as_well(method: str, events: Events) -> None:
    """The inner LLM's own telling is silent there too."""
    with CountingServer([Script(["{", "}"])], delay=0) as server:
        ask(adaptive(server), method, response_format={"type": "json_object"})
    assert (1, 1) == (len(events.of(*STARTS)), len(events.of(*ENDS)))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("at", ["inner", "wrapper"])
def test_tokens_are_counted_once(method: str, at: str) -> None:
    """A counter on either LLM, or on both, sees the request once: all that was generated."""
    counter = TokenCountingHandler(tokenizer=str.split)
    manager = CallbackManager([counter])
    with CountingServer(goes_on, delay=0) as server:
        inner = {"callback_manager": manager}
        fields: dict[str, Any] = {"callback_manager": manager} if at == "wrapper" else {}
        ask(adaptive(server, SHORT, inner=inner, prefill=True, **fields), method)
    assert 1 == len(counter.llm_token_counts)
    assert 7 == counter.total_llm_token_count - counter.prompt_llm_token_count


@pytest.mark.parametrize("method", METHODS)
def test_a_cut_dispatches_an_event(method: str, events: Events) -> None:
    """With its reason, its tokens and the report, in the span of the method."""
    with CountingServer([CUT], delay=0.02) as server:
        report = told(ask(adaptive(server), method))
    (event,) = events.stops
    assert ("cut", "json", True, 1) == (event.kind, event.reason, event.complete, event.attempts)
    assert (report, report["tokens"]["generated"]) == (event.report, event.tokens)
    assert "scripted" == event.model
    assert str(event.span_id).startswith(f"AdaptiveLLM.{method}-")
    shown = str(event.model_dump())
    assert not [secret for secret in ("secret-key", QUESTION, "Paris") if secret in shown]


@pytest.mark.parametrize("method", ["chat", "astream_complete"])
def test_continuing_and_giving_up_dispatch_one_event_each(method: str, events: Events) -> None:
    """The first says what had been missing, the second what still is."""
    with CountingServer(goes_on, delay=0) as server:
        ask(adaptive(server, SHORT, prefill=True), method)
        ask(adaptive(server, SHORT.replace(attempts=1)), method)
    continued, given_up = events.stops
    assert ("continued", True, 2) == (continued.kind, continued.complete, continued.attempts)
    assert ("given up", False, 1) == (given_up.kind, given_up.complete, given_up.attempts)
    assert continued.reason == given_up.reason != ""


@pytest.mark.parametrize("method", ["complete", "astream_chat"])
def test_giving_up_with_an_error_dispatches_an_event(method: str, events: Events) -> None:
    """on_exhausted="raise" raises after the event."""
    stopping = SHORT.replace(on_exhausted="raise", attempts=1)
    with CountingServer(goes_on, delay=0) as server, pytest.raises(BudgetExhausted):
        ask(adaptive(server, stopping), method)
    assert ["given up"] == [event.kind for event in events.stops]


def test_shadow_dispatches_what_would_have_been(events: Events) -> None:
    """The event of a cut that was not made says so."""
    with CountingServer([CUT], delay=0) as server:
        ask(adaptive(server, AdaptiveStopping(mode="shadow")), "chat")
    assert [("would cut", "json")] == [(event.kind, event.reason) for event in events.stops]


def test_an_answer_that_was_left_alone_dispatches_nothing(events: Events) -> None:
    """It ended by itself, complete: there was no stop. Nor is there with the mode off."""
    with CountingServer([["Paris", "."]], delay=0) as server:
        ask(adaptive(server), "chat")
        ask(adaptive(server, AdaptiveStopping(mode="off")), "chat")
    assert [] == events.stops


def test_a_reader_who_leaves_is_no_stop(events: Events) -> None:
    """That is the reader's affair, and looks as it does with any LLM."""
    with CountingServer([CUT], delay=0.02) as server:
        stream = adaptive(server, AdaptiveStopping(policy=Never())).stream_chat(
            [ChatMessage(content=QUESTION)]
        )
        next(stream)
        stream.close()
        assert 1 == server.disconnected
    assert [] == events.stops


@pytest.mark.parametrize("streaming", [True, False], ids=["streaming", "whole"])
@pytest.mark.parametrize("awaited", [True, False], ids=["async", "sync"])
def test_a_query_dispatches_the_event(streaming: bool, awaited: bool, events: Events) -> None:
    """Whatever lies between the query and the LLM; nothing in the trace has failed."""
    index = SummaryIndex.from_documents([Document(text="Paris is the capital of France.")])

    async def query(engine: Any) -> str:
        response = await engine.aquery(QUESTION)
        if streaming:
            return "".join([piece async for piece in response.async_response_gen()])
        return str(response)

    with CountingServer([CUT], delay=0.02) as server:
        engine = index.as_query_engine(llm=adaptive(server), streaming=streaming)
        if awaited:
            text = asyncio.run(query(engine))
        else:
            response: Any = engine.query(QUESTION)
            text = "".join(response.response_gen) if streaming else str(response)
    assert "{}" == text
    assert [("cut", "json")] == [(event.kind, event.reason) for event in events.stops]
    assert [] == events.of(ExceptionEvent, SpanDropEvent)


def test_the_words_of_a_check_and_of_an_error_are_not_told(events: Events) -> None:
    """Both may quote: the check from the answer, the provider's error from the prompt."""
    schema = {"type": "object", "properties": {"city": {"type": "integer"}}}
    flagged = {"error": {"message": f"flagged: {QUESTION}", "code": "content_filter"}}
    faulty = Script(HEAD, faults={2: Say(flagged)})
    with CountingServer([Script(['{"city": "Paris"}']), faulty], delay=0) as server:
        once = AdaptiveStopping(attempts=1, completeness=JsonSchema(schema))
        response = ask(adaptive(server, once), "chat")
        with pytest.raises(TransportFailed):
            ask(adaptive(server, once), "chat")
    assert "Paris" in told(response)["verdict"]
    assert ["JsonSchema", "APIError"] == [event.reason for event in events.stops]
    for event in events.stops:
        assert not [word for word in ("Paris", QUESTION) if word in str(event.model_dump())]
        assert event.reason == event.report["verdict"]
