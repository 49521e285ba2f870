"""Requests on scripted models with telemetry, and what it recorded, as plain values."""

from __future__ import annotations

import asyncio
import threading
import urllib.request
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import (
    HistogramDataPoint,
    InMemoryMetricReader,
    NumberDataPoint,
)
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from prometheus_client.parser import text_string_to_metric_families

from stopping_core import AdaptiveStopping, Completion, Hook, Request, Session, arun, run
from stopping_core.policies import Threshold
from stopping_core.signals import Sentences
from stopping_core.telemetry import Telemetry
from stopping_core.testing import FakeClock, ScriptedModel, words

TEXT = "It is Paris. It lies on the Seine. Many live there."
ONE_SENTENCE = Threshold(Sentences(), at_least=1, reason="sentence")
REQUEST = Request(model="small", metadata={"tenant": "acme", "use_case": "faq", "user": "ann"})

Labels = frozenset[tuple[str, Any]]


def labels(**given: Any) -> Labels:
    """Attributes as a key; ``__`` stands for a dot."""
    return frozenset((name.replace("__", "."), value) for name, value in given.items())


SHARED = {
    "gen_ai__operation__name": "chat",
    "gen_ai__request__model": "small",
    "stopping__mode": "active",
    "stopping__tenant": "acme",
    "stopping__use_case": "faq",
}


@dataclass
class Recorded:
    """Telemetry with providers that keep what they are told."""

    settings: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.reader = InMemoryMetricReader()
        self.meters = MeterProvider([self.reader])
        self.exporter = InMemorySpanExporter()
        self.tracers = TracerProvider()
        self.tracers.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.hook = Telemetry(self.meters, self.tracers, **self.settings)

    def values(self, name: str) -> Mapping[Labels, Any]:
        """What a metric says: a number, or count and sum, by attributes."""
        found: dict[Labels, Any] = {}
        data = self.reader.get_metrics_data()
        for resource in data.resource_metrics if data is not None else ():
            for scope in resource.scope_metrics:
                for metric in scope.metrics:
                    for point in metric.data.data_points if metric.name == name else ():
                        key = frozenset((point.attributes or {}).items())
                        if isinstance(point, HistogramDataPoint):
                            found[key] = (point.count, point.sum)
                        elif isinstance(point, NumberDataPoint):
                            found[key] = point.value
        return found

    def value(self, name: str) -> Any:
        """What a metric says that has one set of attributes."""
        (only,) = self.values(name).values()
        return only

    def span(self) -> ReadableSpan:
        """The only span of a request."""
        (only,) = (span for span in self.spans() if not span.name.startswith("attempt "))
        return only

    def attempts(self) -> list[ReadableSpan]:
        """The spans of the calls, in order."""
        found = [span for span in self.spans() if span.name.startswith("attempt ")]
        return sorted(found, key=lambda span: span.start_time or 0)

    def spans(self) -> tuple[ReadableSpan, ...]:
        """All spans that were exported."""
        return self.exporter.get_finished_spans()


def go(
    hook: Hook,
    *scripts: Any,
    request: Request = REQUEST,
    asynchronous: bool = False,
    seconds_per_token: float = 0.0,
    **settings: Any,
) -> Completion:
    """Run one request with a fake clock; a text is one script."""
    clock = FakeClock()
    model = ScriptedModel(
        *(words(script) if isinstance(script, str) else script for script in scripts or (TEXT,)),
        clock=clock,
        seconds_per_token=seconds_per_token,
    )
    stopping = AdaptiveStopping(policy=ONE_SENTENCE, hooks=(hook,)).replace(**settings)
    session = Session(stopping, request, draw=lambda: 0.0)
    if asynchronous:
        return asyncio.run(arun(session, model.abackend, clock=clock, sleep=clock.asleep))
    return run(session, model.backend, clock=clock, sleep=clock.sleep)


def scrape(url: str, token: str | None = None) -> str:
    """Ask the endpoint as Prometheus does."""
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    request = urllib.request.Request(url, headers=headers)
    with urllib.request.urlopen(request, timeout=10) as response:
        body: bytes = response.read()
    return body.decode()


def samples(text: str) -> list[tuple[str, dict[str, str], float]]:
    """Every sample of a scrape, by Prometheus' own parser: name, labels, value."""
    return [
        (sample.name, dict(sample.labels), sample.value)
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    ]


class Meeting:
    """Where two threads meet if they can be there at one time; ``met`` says whether they did."""

    def __init__(self) -> None:
        self._barrier = threading.Barrier(2)
        self.met = False

    def wait(self) -> None:
        """Wait a moment for the other one."""
        with suppress(threading.BrokenBarrierError):
            self._barrier.wait(0.2)
            self.met = True


def every_kind(telemetry: Telemetry) -> None:
    """Ask requests of every kind there is to measure."""
    certain = Request(model="small", metadata={"tenant": "acme", "use_case": "faq", "risk": 0.05})
    done = go(telemetry, request=certain)
    go(telemetry, audit=0.5)
    go(telemetry, mode="shadow")
    go(telemetry, ["Par", ConnectionError("reset")], ["is."])
    with suppress(ValueError):
        go(telemetry, [ValueError("refused")])
    telemetry(certain, replace(done, usage=replace(done.usage, prompt=10)))
