"""What ``stopping doctor`` finds: on a real llama.cpp server, and on servers that play a part."""

from __future__ import annotations

import asyncio
import itertools
import json
import re
import tomllib
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from langchain_openai import ChatOpenAI
from llama_index.llms.openai_like import OpenAILike
from pydantic import SecretStr

from langchain_stopping import AdaptiveChatModel
from llama_index.llms.stopping import adaptive_llm
from stopping_core import AdaptiveStopping
from stopping_core.budgets import GeometricBudget
from stopping_core.cli.doctor.counters import (
    FAMILIES,
    Counters,
    Family,
    Reading,
    find_counters,
)
from stopping_core.cli.doctor.endpoint import Endpoint, Reply
from stopping_core.cli.doctor.findings import Finding
from stopping_core.cli.doctor.hang_up import examine
from stopping_core.cli.doctor.probes import _pace, budgets, logprobs, prefill, reach, streaming
from stopping_core.embedded import MODEL, EmbeddedServer, weights_path
from stopping_core.providers import find_provider
from tests.cli.examining import (
    KEY,
    TOKENS,
    answering,
    diagnosis,
    doctor,
    probe,
    refusing,
    teller,
    verdicts,
)
from tests.support.sse_server import CountingServer, Script, ServedCall

UNKNOWN = find_provider(["ChatOpenAI"], "http://127.0.0.1/v1")


def test_llama_cpp(embedded_server: EmbeddedServer) -> None:
    """The real server can do everything, and stops within two tokens by its own counter."""
    code, printed = doctor(
        *("--base-url", embedded_server.base_url, "--model", embedded_server.model),
        *("--api-key", KEY, "--max-tokens", 2),
    )
    assert code == 0, printed
    for name in ("streams", "usage in the stream", "logprobs", "prefill", "stops after a hang-up"):
        assert re.search(rf"^ {name} +yes ", printed, re.MULTILINE), printed
    assert "by llama.cpp's own counter" in " ".join(printed.split())
    (row,) = tomllib.loads(printed[printed.index("[[") : printed.index("LangChain\n")])["provider"]
    assert row.pop("source").startswith(f"stopping doctor on {MODEL}, 20")
    assert {
        "name": "127.0.0.1",
        "hosts": ["127.0.0.1"],
        "truncation_marks": ["length"],
        "prefill": True,
        "logprobs": True,
        "hang_up_ends_bill": True,
    } == row
    assert 2 == printed.count("    prefill=True,\n")
    assert KEY not in printed


def test_llama_cpp_without_metrics() -> None:
    """Its /slots tell when it is idle; the tokens follow from the time."""
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = str(weights_path())
    params.hostnames, params.port, params.n_parallel, params.n_ctx = ["127.0.0.1"], 0, 2, 2048
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 1
    params.use_jinja, params.endpoint_metrics, params.ui, params.verbosity = True, False, False, -1
    server = xllamacpp.Server(params)

    async def ask() -> list[Finding]:
        url = f"{server.listening_address}/v1"
        async with Endpoint(url, MODEL, KEY, 60.0, token_seconds=0.02) as endpoint:
            await reach(endpoint)
            counters = await find_counters(endpoint)
            assert counters is not None
            assert "llama.cpp's /slots" == counters.source
            return await examine(endpoint, UNKNOWN, within=16)

    assert ["yes", True] == [
        (stops := asyncio.run(ask())[0]).verdict,
        stops.row["hang_up_ends_bill"],
    ]


def test_a_server_like_vllm() -> None:
    """It is told to continue the message, and its metrics carry labels."""
    with CountingServer(teller(told=True, logprobs=[-0.1] * len(TOKENS)), delay=0.004) as server:
        found = diagnosis(server.base_url, server.model)
    assert {
        "answers": "yes",
        "obeys max_tokens": "yes",
        "obeys max_completion_tokens": "yes",
        "truncation mark": "length",
        "streams": "yes",
        "usage in the stream": "yes",
        "logprobs": "yes",
        "prefill": "yes",
        "stops after a hang-up": "yes",
    } == {name: verdict for name, verdict in verdicts(found).items() if name != "latency of a cut"}
    kwargs = {"extra_body": {"continue_final_message": True, "add_generation_prompt": False}}
    assert {"prefill": True, "prefill_kwargs": kwargs} == found["langchain"]["wrapper"]
    assert found["langchain"]["wrapper"] == found["llama_index"]["wrapper"]
    assert kwargs == tomllib.loads(found["toml"])["provider"][0]["prefill_kwargs"]


def test_a_server_that_writes_on() -> None:
    """Hanging up does not stop it, and the settings say so."""
    with CountingServer(teller(prefill=False, deaf=True), delay=0.004) as server:
        found = diagnosis(server.base_url, server.model)
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
        server.page = lambda path: (404, "text/plain", b"")  # type: ignore[method-assign]
        stops, latency = probe(server, lambda endpoint: examine(endpoint, groq, 8))
        assert 3 == server.disconnected
    assert "the provider table says that groq does not stop" in stops.evidence
    assert "medians of 3" in latency.evidence


@pytest.mark.parametrize(
    ("refused", "obeyed", "framework", "setting"),
    [
        ("max_completion_tokens", "max_tokens", "langchain", "extra_body.max_tokens"),
        ("max_tokens", "max_completion_tokens", "llama_index", "max_completion_tokens"),
    ],
)
def test_a_keyword_that_is_refused(refused: str, obeyed: str, framework: str, setting: str) -> None:
    """The doctor finds the other one, and with the printed setting the wrapper keeps to it."""
    with CountingServer(refusing(refused), delay=0.001) as server:
        wrapper = diagnosis(server.base_url, server.model)[framework]["wrapper"]
        server.calls.clear()
        stopping = AdaptiveStopping(budget=GeometricBudget(first=4), attempts=1, backoff=(0.0, 0.0))
        assert setting == wrapper["budget_keyword"]
        if framework == "langchain":
            openai = ChatOpenAI(
                base_url=server.base_url, model=server.model, api_key=SecretStr(KEY)
            )
            AdaptiveChatModel(inner=openai, stopping=stopping, **wrapper).invoke("Tell me.")
        else:
            like = OpenAILike(
                api_base=server.base_url, model=server.model, api_key=KEY, is_chat_model=True
            )
            adaptive_llm(like, stopping, **wrapper).complete("Tell me.")
        assert [4] == server.sent_per_call
        assert [4] == [body.get(obeyed) for body in server.requests]


def test_keywords_that_are_ignored() -> None:
    """The answer runs past the budget, and is hung up on."""

    class Deaf(CountingServer):
        def begin(self, call: ServedCall) -> Script:
            call.body.pop("max_tokens", None)
            return super().begin(call)

    with Deaf([TOKENS], delay=0) as server:
        found, obeyed = probe(server, budgets)
    assert [("obeys max_tokens", "no"), ("obeys max_completion_tokens", "yes")] == [
        (finding.name, finding.verdict) for finding in found[:2]
    ]
    assert ("max_completion_tokens",) == obeyed


def test_no_streaming() -> None:
    """A server that answers in one piece whatever is asked: nothing to cut, and it says so."""
    choice = {"index": 0, "finish_reason": "length", "message": {"content": "".join(TOKENS[:16])}}
    answer = {"choices": [choice], "usage": {"completion_tokens": 16}}
    with answering(200, lambda key: answer) as url:
        found = diagnosis(url, "whole")
    assert ["yes", "no", "no", "unclear"] == [
        verdicts(found)[name]
        for name in ("obeys max_tokens", "streams", "stops after a hang-up", "prefill")
    ]
    assert {"disable_streaming": True} == found["langchain"]["inner"]
    assert not found["row"]["hang_up_ends_bill"]


def test_streams_that_are_refused() -> None:
    """What the endpoint refuses is given up, one thing after the other."""
    with CountingServer(refusing("stream"), delay=0) as server:
        found = probe(server, reach)
    assert "16 tokens, without max_tokens and temperature and stream" == found.evidence


def test_chunks_that_come_together_are_no_stream() -> None:
    """A proxy that holds chunks back leaves nothing to cut."""
    endpoint = Endpoint("http://127.0.0.1/v1", "m", KEY, 1.0)
    held = Reply(chunks=32, counted=32, first=0.9, last=0.901)
    assert "unclear" == _pace(endpoint, [held]).verdict
    assert "yes" == _pace(endpoint, [Reply(chunks=32, counted=32, first=0.1, last=0.9)]).verdict


def test_usage_and_logprobs_that_are_refused() -> None:
    """Neither is asked for in the settings, and both are told with the server's own words."""

    def script(body: Mapping[str, Any]) -> Script:
        return Script(
            status=422 if {"stream_options", "logprobs"} & set(body) else 200, tokens=TOKENS
        )

    with CountingServer(script, delay=0.002) as server:
        (streams, usage), refused = probe(server, streaming)
        log = probe(server, logprobs)
    assert ["yes", "no", "no"] == [streams.verdict, usage.verdict, log.verdict]
    assert "422: scripted failure" == usage.evidence == log.evidence
    assert refused


def test_an_answer_too_short_to_halve() -> None:
    """Nothing is concluded from it."""
    with CountingServer([["Yes", "."]], delay=0) as server:
        assert "not measured" == probe(server, prefill).verdict


def test_a_name_that_the_server_does_not_list() -> None:
    """Some answer under any name, and that is worth knowing."""
    with CountingServer([TOKENS], delay=0) as server:
        server_name = probe(server, lambda endpoint: _as(endpoint, "nobody"))
    assert "16 tokens; under any name: it lists scripted" == server_name.evidence


async def _as(endpoint: Endpoint, model: str) -> Finding:
    endpoint.model = model
    return await reach(endpoint)
