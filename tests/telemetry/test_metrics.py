"""What is measured of a request: names, attributes, and numbers that the ledger has as well."""

from __future__ import annotations

import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from typing import Any

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import (
    InMemoryMetricReader,
    MetricExporter,
    MetricExportResult,
    PeriodicExportingMetricReader,
)
from opentelemetry.semconv._incubating.attributes import gen_ai_attributes
from opentelemetry.semconv._incubating.metrics import gen_ai_metrics
from opentelemetry.semconv.attributes import error_attributes

from stopping_core import AdaptiveStopping, Audit, Request, Session, Step, Usage, labelled, stream
from stopping_core.budgets import GeometricBudget
from stopping_core.completeness import AnswerPresent
from stopping_core.policies import Never
from stopping_core.telemetry import Telemetry, conventions
from stopping_core.telemetry.attributes import BoundedValues
from stopping_core.testing import ScriptedModel, words
from tests.telemetry.asking import REQUEST, SHARED, TEXT, Meeting, Recorded, go, labels

COUNTED = ("avoided", "retried", "discarded", "unseen", "probed", "reread")


def test_names_are_those_of_the_conventions() -> None:
    """Whatever of them is in OpenTelemetry's own package is spelt as there."""
    theirs = {
        getattr(module, name)
        for module in (gen_ai_attributes, gen_ai_metrics, error_attributes)
        for name in dir(module)
        if name.isupper()
    }
    ours = {
        value
        for name, value in vars(conventions).items()
        if name.isupper() and str(value).startswith(("gen_ai.", "error."))
    }
    assert 15 == len(ours)
    assert set() == ours - theirs


def test_bounds_are_those_of_the_conventions() -> None:
    """Doubling seconds and quadrupling tokens, to the last recommended one."""
    assert (0.01, 0.02, 81.92, 14) == (
        *conventions.DURATION_BOUNDS[:2],
        conventions.DURATION_BOUNDS[-1],
        len(conventions.DURATION_BOUNDS),
    )
    assert (1.0, 4.0, 67108864.0, 14) == (
        *conventions.TOKEN_BOUNDS[:2],
        conventions.TOKEN_BOUNDS[-1],
        len(conventions.TOKEN_BOUNDS),
    )


@pytest.mark.parametrize("asynchronous", [False, True])
def test_a_cut_is_measured(asynchronous: bool) -> None:
    """Sync and async alike: what it took, what it saved, and why it ended."""
    recorded = Recorded()
    done = go(recorded.hook, asynchronous=asynchronous, seconds_per_token=0.5)
    shared = labels(**SHARED)
    requests = labels(
        **SHARED,
        stopping__reason="sentence",
        stopping__complete=True,
        stopping__finish_reason="cut",
        stopping__audited=False,
    )
    assert {requests: 1} == recorded.values("stopping.requests")
    assert {shared: (1, 2.0)} == recorded.values("gen_ai.client.operation.duration")
    assert {shared: (1, 1)} == recorded.values("stopping.attempts")
    assert {shared: 124} == recorded.values("stopping.tokens.avoided")
    assert 124 == done.usage.avoided
    output = labels(**SHARED, gen_ai__token__type="output", stopping__estimated=True)
    assert {output: (1, 4)} == recorded.values("gen_ai.client.token.usage")


def test_the_tokens_are_those_of_the_ledger() -> None:
    """A retry, a probe's share and a discarded text are counted as they are booked."""
    recorded = Recorded()
    usage = Usage(prompt=50, generated=5, estimated=False)
    first = [Step("I do not know.", 5), Step("", 0, finish_reason="stop", usage=usage)]
    done = go(recorded.hook, first, "The answer is 4.", completeness=AnswerPresent())
    assert 2 == len(done.attempts)
    assert 5 == done.usage.discarded
    assert 0 < done.usage.reread
    assert {name: getattr(done.usage, name) for name in COUNTED} == {
        name: recorded.value(f"stopping.tokens.{name}") for name in COUNTED
    }
    tokens = {
        dict(key)["gen_ai.token.type"]: value
        for key, value in recorded.values("gen_ai.client.token.usage").items()
    }
    assert tokens == {
        "input": (1, done.usage.prompt + done.usage.reread),
        "output": (1, done.usage.generated),
    }


def test_probes_are_billed_output() -> None:
    """They are not among the generated tokens of the ledger, but they are on the bill."""
    recorded = Recorded()
    done = go(Recorded().hook)
    recorded.hook(REQUEST, replace(done, usage=replace(done.usage, probed=3, prompt=10, reread=7)))
    assert [(1, 17), (1, 7)] == sorted(
        recorded.values("gen_ai.client.token.usage").values(), reverse=True
    )


def test_zeros_begin_a_series_and_are_left_out_afterwards() -> None:
    """The first rise of a counter can be seen, and a request that saves nothing is cheap."""
    recorded = Recorded()
    go(recorded.hook, policy=Never())
    assert (0, 0) == (
        recorded.value("stopping.tokens.retried"),
        recorded.value("stopping.uncertified"),
    )
    go(
        recorded.hook,
        "One two three four",
        " four five.",
        policy=Never(),
        budget=GeometricBudget(3),
    )
    assert 2 == recorded.value("stopping.tokens.retried")


@pytest.mark.parametrize("asynchronous", [False, True])
def test_a_transport_error_has_its_class_and_no_message(asynchronous: bool) -> None:
    """The request that ends with it has it as error.type; the exception goes up as ever."""
    recorded = Recorded()
    with pytest.raises(ValueError, match="bad key"):
        go(recorded.hook, [ValueError("bad key sk-1")], asynchronous=asynchronous)
    (requests,) = recorded.values("stopping.requests")
    assert ("ValueError", "error", False) == (
        dict(requests)["error.type"],
        dict(requests)["stopping.finish_reason"],
        dict(requests)["stopping.complete"],
    )
    (duration,) = recorded.values("gen_ai.client.operation.duration")
    assert "ValueError" == dict(duration)["error.type"]


def test_an_error_that_a_retry_mended_is_none() -> None:
    """The request has ended well; that it took two calls is told elsewhere."""
    recorded = Recorded()
    go(recorded.hook, ["Par", ConnectionError("reset")], ["is."])
    (requests,) = recorded.values("stopping.requests")
    assert "error.type" not in dict(requests)
    assert (1, 2) == recorded.value("stopping.attempts")


def test_a_consumer_that_goes_away_is_no_error() -> None:
    """It is told apart from one that stays, by the finish reason."""
    recorded = Recorded()
    session = Session(AdaptiveStopping(hooks=(recorded.hook,)), REQUEST, streaming=True)
    reading = stream(session, ScriptedModel(words(TEXT)).backend)
    next(reading)
    reading.close()
    (requests,) = recorded.values("stopping.requests")
    assert "abandoned" == dict(requests)["stopping.finish_reason"]
    assert "error.type" not in dict(requests)


def test_an_audit_is_graded_where_the_caller_grades() -> None:
    """What the grader says is recorded, and nothing where it cannot tell."""
    seen: list[tuple[Request, Audit]] = []

    def loss(request: Request, audit: Audit) -> float | None:
        seen.append((request, audit))
        return 0.25 if len(seen) == 1 else None

    recorded = Recorded({"loss": loss})
    for _ in range(2):
        done = go(recorded.hook, audit=0.5)
    assert (2, "It is Paris.", TEXT) == (len(seen), seen[0][1].cut, seen[0][1].full)
    assert {labels(**SHARED): (1, 0.25)} == recorded.values("stopping.audit.loss")
    (requests,) = recorded.values("stopping.requests")
    assert dict(requests)["stopping.audited"] is True
    assert done.audit is not None


@pytest.mark.parametrize("wrong", [1.5, -0.1, float("nan")])
def test_a_loss_outside_its_interval_is_refused_and_the_rest_is_kept(
    wrong: float, caplog: pytest.LogCaptureFixture
) -> None:
    """One wrong number would spoil a sum for ever; the request itself goes on, and is measured."""
    recorded = Recorded({"loss": lambda request, audit: wrong})
    with caplog.at_level(logging.ERROR, logger="stopping_core.retry"):
        done = go(recorded.hook, audit=0.5)
    assert "It is Paris." == done.text
    assert "a hook failed" in caplog.text
    assert "ValueError in __call__ (metrics.py:" in caplog.text
    assert {} == recorded.values("stopping.audit.loss")
    assert 1 == recorded.value("stopping.requests")
    assert 2 == len(recorded.spans())


def test_the_level_is_that_of_the_session_or_of_the_caller() -> None:
    """The certified risk in use, and nothing where it is none."""
    recorded = Recorded()
    done = go(recorded.hook, request=replace(REQUEST, metadata={"risk": 0.05}))
    assert 0.05 == recorded.value("stopping.level")
    recorded.hook(replace(REQUEST, metadata={"risk": 0.05}), replace(done, risk=0.02))
    assert 0.02 == recorded.value("stopping.level")
    for wrong in (None, "0.05", 0.0, 1.0, float("nan"), True):
        other = Recorded()
        other.hook(replace(REQUEST, metadata={"risk": wrong}), done)
        assert {} == other.values("stopping.level")


def test_uncertified_requests_are_counted() -> None:
    """Once each, and why is not told: it quotes what was asked."""
    recorded = Recorded()
    done = go(Recorded().hook)
    for uncertified in ("", "the model is 'secret'", "the sampling differs"):
        recorded.hook(REQUEST, replace(done, uncertified=uncertified))
    assert {labels(**SHARED): 2} == recorded.values("stopping.uncertified")


def test_only_the_first_values_are_told_apart() -> None:
    """Of a thousand tenants, models and reasons two of each are kept, and the sum is right."""
    recorded = Recorded({"most_values": 2, "segments": ("tenant",)})
    done = go(Recorded().hook)
    for number in range(1000):
        request = Request(model=f"m{number}", metadata={"tenant": f"t{number}"})
        recorded.hook(request, replace(done, reason=f"r{number}", attempts=()))
    found = recorded.values("stopping.requests")
    told = {
        name: {dict(key)[name] for key in found}
        for name in ("stopping.tenant", "gen_ai.request.model", "stopping.reason")
    }
    assert {
        "stopping.tenant": {"t0", "t1", "other"},
        "gen_ai.request.model": {"m0", "m1", "other"},
        "stopping.reason": {"r0", "r1", "other"},
    } == told
    assert (3, 1000) == (len(found), sum(found.values()))


def test_the_limit_holds_for_threads_that_come_at_one_time() -> None:
    """Two that bring a new tenant in one moment do not bring one too many."""
    meeting, values = Meeting(), BoundedValues(1)

    class Slow(set[str]):
        def __len__(self) -> int:
            meeting.wait()
            return super().__len__()

    values._seen["tenant"] = Slow()
    with ThreadPoolExecutor(2) as pool:
        shown = list(pool.map(lambda tenant: values.of("tenant", tenant), ("a", "b")))
    assert (False, 1) == (meeting.met, shown.count("other"))


class Unprintable:
    def __str__(self) -> str:
        raise AssertionError("it was asked what it holds")

    __repr__ = __str__


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("a", "a"),
        (7, "7"),
        (True, "True"),
        ("x" * 101, "other"),
        pytest.param(10**5000, "other", id="many digits"),
        (1.5, "other"),
        (["a"], "other"),
        pytest.param(Unprintable(), "other", id="object"),
        ("half \ud800", "half ?"),
    ],
)
def test_what_is_no_name_is_not_shown(value: object, shown: str) -> None:
    """Long texts and objects are "other", and half a surrogate breaks no exporter."""
    recorded = Recorded({"segments": ("tenant",)})
    go(recorded.hook, request=Request(metadata={"tenant": value}))
    (key,) = recorded.values("stopping.attempts")
    assert shown == dict(key)["stopping.tenant"]


def test_what_is_not_known_is_left_out() -> None:
    """No model, no tenant: no attribute rather than an empty one."""
    recorded = Recorded()
    go(recorded.hook, request=Request(chat=False))
    assert {
        labels(gen_ai__operation__name="text_completion", stopping__mode="active"): (1, 1)
    } == recorded.values("stopping.attempts")


def test_labels_of_a_block_are_segments() -> None:
    """What is told once for all requests of a block tells them apart here as well."""
    recorded = Recorded({"segments": ("tenant",)})
    with labelled(tenant="acme", user="ann"):
        go(recorded.hook, request=Request())
    (key,) = recorded.values("stopping.attempts")
    assert {"gen_ai.operation.name", "stopping.mode", "stopping.tenant"} == set(dict(key))


def test_the_provider_is_named_where_the_caller_names_it() -> None:
    """The conventions ask for it, and a request does not know it."""
    recorded = Recorded({"provider": "openai"})
    go(recorded.hook)
    (key,) = recorded.values("stopping.attempts")
    assert "openai" == dict(key)["gen_ai.provider.name"]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"most_values": 0}, "most_values must be a whole number >= 1, got 0"),
        ({"most_values": 2.5}, "most_values must be a whole number >= 1, got 2.5"),
        ({"most_values": True}, "most_values must be a whole number >= 1, got True"),
        ({"segments": ("Use case",)}, "segments must be names .*, got 'Use case'"),
        ({"segments": ("",)}, "segments must be names .*, got ''"),
        ({"segments": (7,)}, "segments must be names .*, got 7"),
        ({"segments": ("mode",)}, "segments must not be one of .*, got 'mode'"),
        ({"segments": ("a", "a")}, r"segments must be different names, got \('a', 'a'\)"),
    ],
)
def test_settings_out_of_their_interval_are_refused(settings: Any, message: str) -> None:
    """The error names argument, interval and value."""
    with pytest.raises(ValueError, match=message):
        Telemetry(**settings)


def test_one_segment_may_be_given_as_a_text() -> None:
    """It is a name, and not the letters of one."""
    recorded = Recorded({"segments": "tenant"})
    go(recorded.hook)
    (key,) = recorded.values("stopping.attempts")
    assert "acme" == dict(key)["stopping.tenant"]


def test_without_an_sdk_nothing_happens() -> None:
    """The API alone records nothing and raises nothing."""
    assert "It is Paris." == go(Telemetry()).text


class FailingExporter(MetricExporter):
    def __init__(self) -> None:
        super().__init__()
        self.asked = 0

    def export(self, *args: Any, **kwargs: Any) -> MetricExportResult:
        self.asked += 1
        raise ConnectionError("the collector is down")

    def force_flush(self, timeout_millis: float = 10_000) -> bool:
        return True

    def shutdown(self, timeout_millis: float = 30_000, **kwargs: Any) -> None:
        pass


@pytest.mark.parametrize("asynchronous", [False, True])
def test_an_exporter_that_fails_breaks_no_request(asynchronous: bool) -> None:
    """It fails in the provider's own thread, or where it is flushed."""
    exporter = FailingExporter()
    meters = MeterProvider([PeriodicExportingMetricReader(exporter, 1e9)])
    done = go(Telemetry(meters), asynchronous=asynchronous)
    meters.force_flush()
    assert ("It is Paris.", True) == (done.text, exporter.asked > 0)
    meters.shutdown()


@pytest.mark.parametrize("asynchronous", [False, True])
def test_a_hook_that_fails_is_logged_and_the_answer_is_kept(
    asynchronous: bool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A broken provider costs the measurement, and no answer; hooks behind it are told."""
    recorded, told = Recorded(), []

    def broken(*args: object) -> None:
        raise RuntimeError("no more memory")

    monkeypatch.setattr(recorded.hook, "_measure", broken)
    after: Callable[..., None] = lambda request, completion: told.append(completion.text)  # noqa: E731  # its type is said
    with caplog.at_level(logging.ERROR, logger="stopping_core.retry"):
        done = go(recorded.hook, hooks=(recorded.hook, after), asynchronous=asynchronous)
    assert ("It is Paris.", ["It is Paris."]) == (done.text, told)
    assert "a hook failed" in caplog.text
    assert "RuntimeError in broken (test_metrics.py:" in caplog.text


def test_one_telemetry_serves_many_readers() -> None:
    """Two readers of one provider see the same numbers."""
    readers = InMemoryMetricReader(), InMemoryMetricReader()
    go(Telemetry(MeterProvider(readers)))
    seen = []
    for reader in readers:
        data = reader.get_metrics_data()
        assert data is not None
        metrics = data.resource_metrics[0].scope_metrics[0].metrics
        seen.append([metric.name for metric in metrics])
    assert seen[0] == seen[1]
    assert {f"stopping.tokens.{name}" for name in COUNTED} < set(seen[0])
    assert set(COUNTED) < set(asdict(Usage()))
