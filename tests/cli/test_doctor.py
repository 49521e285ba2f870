"""What ``stopping doctor`` finds: on a real llama.cpp server, and on servers that play a part."""

from __future__ import annotations

import asyncio
import re
import tomllib
from collections.abc import Mapping
from typing import Any

import pytest
from langchain_openai import ChatOpenAI
from llama_index.llms.openai_like import OpenAILike
from pydantic import SecretStr

from langchain_stopping import AdaptiveChatModel
from llama_index.llms.stopping import adaptive_llm
from stopping_core import AdaptiveStopping
from stopping_core.budgets import GeometricBudget
from stopping_core.cli.doctor.counters import find_counters
from stopping_core.cli.doctor.endpoint import Endpoint, Reply
from stopping_core.cli.doctor.findings import Finding
from stopping_core.cli.doctor.hang_up import examine
from stopping_core.cli.doctor.probes import _pace, budgets, logprobs, prefill, reach, streaming
from stopping_core.cli.doctor.report import Diagnosis, row_as_toml
from stopping_core.embedded import MODEL, EmbeddedServer, weights_path
from stopping_core.providers import find_provider
from tests.cli.examining import (
    KEY,
    TOKENS,
    answering,
    diagnosis,
    doctor,
    limits,
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
        "truncation_marks": ["length"],
        "prefill": True,
        "logprobs": True,
        "hang_up_ends_bill": True,
    } == row
    assert "# No hosts: any server may be at 127.0.0.1. Use the settings below." in printed
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
    assert ["yes", "no", "not measured", "unclear"] == [
        verdicts(found)[name]
        for name in ("obeys max_tokens", "streams", "stops after a hang-up", "prefill")
    ]
    assert {"disable_streaming": True} == found["langchain"]["inner"]
    assert "hang_up_ends_bill" not in found["measured"]


@pytest.mark.parametrize(
    ("refused", "blamed"),
    [
        (("max_tokens",), "max_tokens"),
        (("temperature",), "temperature"),
        (("stream",), "stream"),
        (("max_tokens", "stream"), "max_tokens and stream"),
    ],
)
def test_only_what_is_refused_is_given_up(refused: tuple[str, ...], blamed: str) -> None:
    """What was given up on the way to the keyword to blame is put back."""

    def script(body: Mapping[str, Any]) -> Script:
        return Script(status=400) if set(refused) & set(body) else Script(TOKENS)

    with CountingServer(script, delay=0) as server:
        found = probe(server, lambda endpoint: _last_call(endpoint, server))
    assert (f"16 tokens, without {blamed}", set(refused)) == found


async def _last_call(endpoint: Endpoint, server: CountingServer) -> tuple[str, set[str]]:
    """What was found, and the keywords that a call lacks from then on."""
    evidence = (await reach(endpoint)).evidence
    await endpoint.ask([], 1)
    return evidence, {"max_tokens", "temperature", "stream"} - set(server.requests[-1])


def test_a_model_that_thinks_in_silence() -> None:
    """A stream that ends without a word is no missing stream: it is given more tokens."""

    def script(body: Mapping[str, Any]) -> Script:
        if "max_tokens" in body:
            return Script(status=400)
        return Script(TOKENS if body["max_completion_tokens"] > 64 else (), "length")

    with CountingServer(script, delay=0.001) as server:
        found = diagnosis(server.base_url, server.model)
        assert sum(limits(server)) <= 4500
    assert {
        "streams": "yes",
        "prefill": "not measured",
        "stops after a hang-up": "not measured",
    } == {name: verdicts(found)[name] for name in ("streams", "prefill", "stops after a hang-up")}
    assert found["findings"][0]["evidence"].endswith(
        "without max_tokens; it thinks in silence: the first 16 are not shown"
    )
    assert {} == found["langchain"]["inner"]
    assert {"prefill": False} == found["langchain"]["wrapper"]
    assert {"logprobs", "truncation_marks"} == set(found["measured"])


@pytest.mark.parametrize(
    ("size", "verdict", "evidence"),
    [
        (32, "yes", "8 chunks of 32 tokens"),
        (256, "unclear", "256 tokens came in 1 chunk: held back on the way?"),
    ],
)
def test_large_chunks(size: int, verdict: str, evidence: str) -> None:
    """A short answer in one piece proves nothing: a longer one is asked for."""
    with CountingServer(teller(per_chunk=size), delay=0.002) as server:
        (streams, _), _ = probe(server, streaming)
    assert verdict == streams.verdict
    assert streams.evidence.startswith(evidence)


@pytest.mark.parametrize(
    ("host", "named"), [("api.example.com", True), ("192.168.1.7", False), ("vllm", False)]
)
def test_a_row_names_no_private_host(host: str, named: bool) -> None:
    """It would speak for every server at that address."""
    row = find_provider(["ChatOpenAI"], f"https://{host}/v1")
    known = Diagnosis(f"https://{host}/v1", "m", (), row, frozenset(), (), True, False)
    assert named is ("hosts" in tomllib.loads(row_as_toml(known))["provider"][0])


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
