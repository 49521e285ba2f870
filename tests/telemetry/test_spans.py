"""The span of a request and those of its calls: names, times, parents, errors, no texts."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Sequence

import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from opentelemetry.trace import SpanKind, StatusCode

from stopping_core import AdaptiveStopping, Request, Session, TransportFailed, arun, stream
from stopping_core.budgets import GeometricBudget
from stopping_core.completeness import AnswerPresent
from stopping_core.policies import Never
from stopping_core.telemetry import Telemetry
from stopping_core.testing import FakeClock, ScriptedModel, words
from tests.telemetry.asking import ONE_SENTENCE, REQUEST, TEXT, Recorded, go

SECOND = 1_000_000_000


def lasting(span: ReadableSpan) -> float:
    assert span.end_time is not None
    assert span.start_time is not None
    return (span.end_time - span.start_time) / SECOND


@pytest.mark.parametrize("asynchronous", [False, True])
def test_a_request_is_a_span(asynchronous: bool) -> None:
    """It ends now, lasts as long as the request did, and says what came of it."""
    recorded = Recorded()
    done = go(recorded.hook, asynchronous=asynchronous, seconds_per_token=0.5)
    span = recorded.span()
    assert ("chat small", SpanKind.CLIENT, StatusCode.UNSET) == (
        span.name,
        span.kind,
        span.status.status_code,
    )
    assert done.seconds == pytest.approx(lasting(span))
    assert abs((span.end_time or 0) - time.time_ns()) < 10 * SECOND
    assert {
        "gen_ai.operation.name": "chat",
        "gen_ai.request.model": "small",
        "gen_ai.usage.output_tokens": 4,
        "gen_ai.usage.reasoning.output_tokens": 0,
        "gen_ai.response.finish_reasons": ("cut",),
        "stopping.mode": "active",
        "stopping.tenant": "acme",
        "stopping.use_case": "faq",
        "stopping.reason": "sentence",
        "stopping.complete": True,
        "stopping.audited": False,
        "stopping.uncertified": False,
        "stopping.estimated": True,
        "stopping.attempts": 1,
        "stopping.tokens.avoided": 124,
        "stopping.tokens.retried": 0,
        "stopping.tokens.discarded": 0,
        "stopping.tokens.unseen": 0,
        "stopping.tokens.probed": 0,
        "stopping.tokens.reread": 0,
    } == dict(span.attributes or {})


def test_each_call_is_a_span_below_it() -> None:
    """In order, one after the other, with what the ledger says of it."""
    recorded = Recorded()
    text = "one two three four five six."
    done = go(
        recorded.hook,
        text,
        " five six.",
        policy=Never(),
        budget=GeometricBudget(4),
        seconds_per_token=1.0,
    )
    above, attempts = recorded.span(), recorded.attempts()
    assert ["attempt first", "attempt continue"] == [span.name for span in attempts]
    assert above.context is not None
    assert [above.context.span_id] * 2 == [span.parent and span.parent.span_id for span in attempts]
    assert [attempt.seconds for attempt in done.attempts] == [
        pytest.approx(lasting(span)) for span in attempts
    ]
    assert (above.start_time, attempts[0].end_time, above.end_time) == (
        attempts[0].start_time,
        attempts[1].start_time,
        attempts[1].end_time,
    )
    assert {
        "stopping.attempt.kind": "first",
        "stopping.attempt.budget": 4,
        "stopping.attempt.generated": 4,
        "stopping.attempt.discarded": 0,
        "stopping.attempt.reason": "none",
        "stopping.attempt.finish_reason": "length",
        "stopping.attempt.complete": False,
    } == dict(attempts[0].attributes or {})


def test_a_wait_stands_behind_the_call_that_failed() -> None:
    """Between two calls is what neither of them took."""
    recorded = Recorded()
    done = go(
        recorded.hook,
        ["Par", ConnectionError("reset")],
        ["is."],
        seconds_per_token=1.0,
        backoff=(2.0, 2.0),
    )
    first, second = recorded.attempts()
    waited = done.seconds - sum(attempt.seconds for attempt in done.attempts)
    assert waited == pytest.approx(
        ((second.start_time or 0) - (first.end_time or 0)) / SECOND, abs=1e-6
    )
    assert recorded.span().end_time == pytest.approx(second.end_time, abs=1000)


def test_an_error_sets_the_status_of_call_and_request() -> None:
    """By its class: the message may quote what no trace should hold."""
    recorded = Recorded()
    with pytest.raises(TransportFailed):
        go(recorded.hook, ["Par", ValueError("key sk-1 is not valid")])
    for span in recorded.spans():
        assert (StatusCode.ERROR, "ValueError", "ValueError", ()) == (
            span.status.status_code,
            span.status.description,
            (span.attributes or {})["error.type"],
            tuple(span.events),
        )


def test_a_mended_error_is_one_of_its_call_alone() -> None:
    """The request went well."""
    recorded = Recorded()
    go(recorded.hook, ["Par", ConnectionError("reset")], ["is."])
    assert [StatusCode.ERROR, StatusCode.UNSET] == [
        span.status.status_code for span in recorded.attempts()
    ]
    assert StatusCode.UNSET is recorded.span().status.status_code


def test_a_consumer_that_goes_away_sets_no_status() -> None:
    """Closing a page is no error of anybody."""
    recorded = Recorded()
    session = Session(AdaptiveStopping(hooks=(recorded.hook,)), REQUEST, streaming=True)
    reading = stream(session, ScriptedModel(words(TEXT)).backend)
    next(reading)
    reading.close()
    assert [StatusCode.UNSET] * 2 == [span.status.status_code for span in recorded.spans()]
    assert ("abandoned",) == (recorded.span().attributes or {})["gen_ai.response.finish_reasons"]


@pytest.mark.parametrize("asynchronous", [False, True])
def test_the_current_span_is_the_parent(asynchronous: bool) -> None:
    """A request stands below the chain that made it; without one it is a root."""
    recorded = Recorded()
    tracer = recorded.tracers.get_tracer("app")
    with tracer.start_as_current_span("chain") as chain:
        go(recorded.hook, asynchronous=asynchronous)
    span = recorded.spans()[1]
    assert "chat small" == span.name
    assert span.parent is not None
    assert chain.get_span_context().span_id == span.parent.span_id
    recorded.exporter.clear()
    go(recorded.hook, asynchronous=asynchronous)
    assert recorded.span().parent is None


async def test_requests_at_one_time_keep_their_parents() -> None:
    """Each task's request stands below its own span."""
    recorded = Recorded()
    tracer = recorded.tracers.get_tracer("app")

    async def ask(number: int) -> None:
        with tracer.start_as_current_span(f"chain {number}"):
            clock = FakeClock()
            stopping = AdaptiveStopping(policy=ONE_SENTENCE, hooks=(recorded.hook,))
            session = Session(stopping, Request(model=f"m{number}"))
            await asyncio.sleep(0)
            await arun(session, ScriptedModel(words(TEXT)).abackend, clock=clock)

    await asyncio.gather(*(ask(number) for number in range(5)))
    spans = recorded.spans()
    chains = {s.context.span_id: s.name for s in spans if s.context and s.name.startswith("chain")}
    found = {s.name: chains[s.parent.span_id] for s in spans if s.parent and s.name[0:4] == "chat"}
    assert {f"chat m{number}": f"chain {number}" for number in range(5)} == found


def test_texts_are_kept_where_asked_for() -> None:
    """As the conventions' messages; the reason of a verdict and an error's message are not."""
    recorded = Recorded({"keep_texts": True})
    request = Request(prompt="Where? \ud800", model="small", max_tokens=64, expects="text")
    go(recorded.hook, "<think>Hm.</think>\n\nIt is Paris. Yes.", request=request)
    attributes = recorded.span().attributes or {}
    assert [
        {"role": "user", "parts": [{"type": "text", "content": "Where? \ud800"}]}
    ] == json.loads(str(attributes["gen_ai.input.messages"]))
    assert [
        {
            "role": "assistant",
            "parts": [
                {"type": "reasoning", "content": "Hm."},
                {"type": "text", "content": "It is Paris."},
            ],
            "finish_reason": "cut",
        }
    ] == json.loads(str(attributes["gen_ai.output.messages"]))
    assert (64, "text") == (
        attributes["gen_ai.request.max_tokens"],
        attributes["gen_ai.output.type"],
    )


def test_texts_never_get_into_metrics() -> None:
    """Not even where the spans keep them."""
    recorded = Recorded({"keep_texts": True})
    go(recorded.hook, request=Request(prompt="Where is it?"))
    assert "Paris" not in str(recorded.reader.get_metrics_data())
    assert "Where" not in str(recorded.reader.get_metrics_data())


def test_a_shadow_stop_is_told() -> None:
    """Where active mode would have cut."""
    recorded = Recorded()
    go(recorded.hook, mode="shadow")
    assert 3 == (recorded.span().attributes or {})["stopping.would_stop.tokens"]


def test_what_is_not_sampled_is_not_recorded() -> None:
    """And costs no attributes."""
    recorded = Recorded()
    hook = Telemetry(recorded.meters, TracerProvider(sampler=ALWAYS_OFF))
    go(hook, "No idea.", "The answer is 4.", completeness=AnswerPresent())
    assert () == recorded.spans()
    assert 1 == recorded.value("stopping.requests")


class FailingExporter(SpanExporter):
    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        raise ConnectionError("the collector is down")


@pytest.mark.parametrize("asynchronous", [False, True])
def test_an_exporter_that_fails_breaks_no_request(
    asynchronous: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """Not even one that exports in the request's own thread."""
    tracers = TracerProvider()
    tracers.add_span_processor(SimpleSpanProcessor(FailingExporter()))
    recorded = Recorded()
    with caplog.at_level(logging.ERROR):
        done = go(Telemetry(recorded.meters, tracers), asynchronous=asynchronous)
    assert ("It is Paris.", 1) == (done.text, recorded.value("stopping.requests"))
    assert "the collector is down" in caplog.text
