"""``stopping doctor`` on ``transformers serve``, which has no counters and serves one at a time."""

from __future__ import annotations

import asyncio
import json

import pytest
from typer.testing import CliRunner

from stopping_core.cli.app import app
from stopping_core.cli.doctor.endpoint import Endpoint
from stopping_core.cli.doctor.findings import Finding
from stopping_core.cli.doctor.hang_up import examine
from stopping_core.providers import find_provider
from tests.servers.conftest import RealServer


def test_it_stops_after_a_hang_up(transformers_server: RealServer) -> None:
    """The next call does not have to wait for the answer that nobody reads any more."""
    url = transformers_server.base_url

    async def ask() -> list[Finding]:
        model = transformers_server.model
        async with Endpoint(url, model, "none", 60.0, token_seconds=0.07) as endpoint:
            return await examine(endpoint, find_provider(["ChatOpenAI"], url), within=12)

    stops, latency = asyncio.run(ask())
    assert ["yes", {"hang_up_ends_bill": True}] == [stops.verdict, stops.row], stops
    assert "by the time that it kept a next call waiting" in stops.evidence
    assert {"seconds_to_control", "seconds_to_idle"} == set(latency.figures)


@pytest.mark.slow
def test_the_whole_examination(transformers_server: RealServer) -> None:
    """It streams, obeys both keywords, and neither continues a message nor gives logprobs."""
    arguments = ["doctor", "--base-url", transformers_server.base_url, "--json"]
    arguments += ["--model", transformers_server.model, "--max-tokens", "12"]
    result = CliRunner().invoke(app, arguments)
    assert 0 == result.exit_code, result.output
    found = json.loads(result.output)
    assert {
        "answers": "yes",
        "obeys max_tokens": "yes",
        "obeys max_completion_tokens": "yes",
        "truncation mark": "length",
        "streams": "yes",
        "usage in the stream": "yes",
        "logprobs": "no",
        "prefill": "no",
        "stops after a hang-up": "yes",
    } == {f["name"]: f["verdict"] for f in found["findings"] if f["name"] != "latency of a cut"}
    assert {"prefill": False} == found["langchain"]["wrapper"] == found["llama_index"]["wrapper"]
