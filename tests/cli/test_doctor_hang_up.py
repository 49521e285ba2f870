"""What ``stopping doctor`` finds of a hang-up: by counters, by a next call, or not at all."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import Callable

import pytest

from stopping_core.cli.doctor.counters import FAMILIES, Counters, Family, Reading
from stopping_core.cli.doctor.endpoint import Endpoint
from stopping_core.cli.doctor.findings import Finding
from stopping_core.cli.doctor.hang_up import examine
from stopping_core.providers import find_provider
from tests.cli.examining import (
    KEY,
    diagnosis,
    limits,
    one_at_a_time,
    probe,
    teller,
    verdicts,
)
from tests.support.sse_server import CountingServer

UNKNOWN = find_provider(["ChatOpenAI"], "http://127.0.0.1/v1")


def test_a_server_that_writes_on() -> None:
    """Hanging up does not stop it, and the settings say so."""
    with CountingServer(teller(prefill=False, deaf=True), delay=0.004) as server:
        found = diagnosis(server.base_url, server.model)
        assert sum(limits(server)) <= 1200
    assert ["no", "no"] == [verdicts(found)[n] for n in ("prefill", "stops after a hang-up")]
    stops = next(f for f in found["findings"] if f["name"] == "stops after a hang-up")
    left = stops["figures"]["tokens_left"]
    assert left == pytest.approx(stops["figures"]["tokens_after_hang_up"], abs=2)
    assert {"prefill": False, "hang_up_ends_bill": False} == found["llama_index"]["wrapper"]


@pytest.mark.parametrize(
    ("page", "said"),
    [
        ("", "does not answer one call at a time"),
        ("llamacpp:tokens_predicted_total 7\n", "leaves calls out that are hung up on"),
        ('vllm:generation_tokens_total{a="b c"} {moving}.0\n', "other calls are running"),
    ],
)
def test_what_cannot_be_measured_says_so(
    page: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No counters, a counter that forgets, other calls: the table's word, marked as such."""
    reads = itertools.count()

    async def read(self: Endpoint, path: str) -> str | None:
        return page.replace("{moving}", str(next(reads))) if path == "/metrics" else None

    monkeypatch.setattr(Endpoint, "page", read)
    with CountingServer(teller(), delay=0.004) as server:
        stops, *_ = probe(server, lambda endpoint: examine(endpoint, UNKNOWN, 8), timeout=2.0)
    assert "not measured" == stops.verdict
    assert said in stops.evidence
    assert "the provider table says that openai-compatible stops" in stops.evidence
    assert {} == stops.row


@pytest.mark.parametrize(
    ("family", "page", "last"),
    [
        (None, lambda n: json.dumps([{"is_processing": n < 50}]), Reading(None, 0)),
        (
            FAMILIES[1],
            lambda n: f"{FAMILIES[1].generated} {min(n, 50)}\n{FAMILIES[1].running} 1\n",
            Reading(50, 1),
        ),
    ],
)
def test_counters_are_read_until_the_server_is_at_rest(
    family: Family | None,
    page: Callable[[int], str],
    last: Reading,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Slots until none is busy; vLLM's count until it stands, though its gauge may not go back."""
    reads = itertools.count()

    async def read(self: Endpoint, path: str) -> str:
        return page(next(reads))

    monkeypatch.setattr(Endpoint, "page", read)
    endpoint = Endpoint("http://127.0.0.1/v1", "m", KEY, 1.0, token_seconds=0.01)
    settled = asyncio.run(Counters(endpoint, "", family).settle(patience=20.0))
    assert last == settled.reading
    assert settled.seconds is not None
    assert settled.seconds > 0.4


def test_a_hosted_service_is_only_cut() -> None:
    """Nothing can be known of what it does after a hang-up; the time until control can."""
    groq = find_provider(["ChatOpenAI"], "https://api.groq.com/openai/v1")
    with CountingServer(teller(), delay=0.004) as server:
        server.page = lambda path: (404, "text/plain", b"")  # type: ignore[method-assign]  # a page less
        stops, latency = probe(server, lambda endpoint: examine(endpoint, groq, 8))
        assert 3 == server.disconnected
    assert "the provider table says that groq does not stop" in stops.evidence
    assert "medians of 3" in latency.evidence


@pytest.mark.parametrize(("deaf", "verdict"), [(False, "yes"), (True, "no")])
def test_the_next_call_waits(deaf: bool, verdict: str) -> None:
    """Without counters, a server that answers one call at a time tells by how long it takes."""
    with one_at_a_time(deaf=deaf) as (url, sent):
        found = diagnosis(url, "m", "--max-tokens", 16)
        assert sum(sent) <= 1200
    (stops,) = (f for f in found["findings"] if f["name"] == "stops after a hang-up")
    assert verdict == stops["verdict"], stops
    assert deaf is not found["row"]["hang_up_ends_bill"]
    assert "hang_up_ends_bill" in found["measured"]


def test_a_slow_start_does_not_make_it_dear() -> None:
    """However long a call takes to begin, what is asked for by the queue keeps within the bound."""

    async def ask(url: str) -> list[Finding]:
        async with Endpoint(url, "m", KEY, 10.0, token_seconds=0.005) as endpoint:
            return await examine(endpoint, UNKNOWN, within=48)

    with one_at_a_time(wait=0.2) as (url, sent):
        stops, _ = asyncio.run(ask(url))
        assert 3 + 4 * 128 + 4 == sum(sent)
    assert "yes" == stops.verdict


def test_a_next_call_that_fails_tells_nothing() -> None:
    """A refusal comes at once, and must not pass for a server that is idle at once."""
    with one_at_a_time(then=429) as (url, _):
        found = diagnosis(url, "m")
    (stops,) = (f for f in found["findings"] if f["name"] == "stops after a hang-up")
    assert "not measured" == stops["verdict"]
    assert "a short call failed: 429: too much" in stops["evidence"]
    assert "hang_up_ends_bill" not in found["measured"]
