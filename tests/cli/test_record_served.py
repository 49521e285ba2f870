"""``stopping record`` over an endpoint: llama.cpp's own server, and servers that play a part."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stopping_core.embedded import EmbeddedServer
from stopping_core.traces.store import read_trace
from tests.cli.asking import Listing, asking, at, record, runs
from tests.support.sse_server import CountingServer, Drop, Script


@pytest.fixture
def asked(tmp_path: Path) -> list[str | Path]:
    return asking(tmp_path)


def test_llama_cpp(
    embedded_server: EmbeddedServer, asked: list[str | Path], tmp_path: Path
) -> None:
    """A real server's tokens come with their logprobs, the prompt's length, and probes."""
    arguments = [*asked, *at(embedded_server), "--prefill", "--limit", "2", "--probe-every", "12"]
    assert record(*arguments, "--probe-tokens", "6")[0] == 0
    trace = read_trace(tmp_path / "t.parquet")
    assert trace.header.holds >= {"logprobs", "top_logprobs", "probes"}
    assert sorted(run.question_id for run in trace.runs) == ["q0", "q1"]
    for run in trace.runs:
        assert 0 < len(run) <= 12
        assert run.logprobs is not None
        assert run.top_logprobs is not None
        assert run.margin is not None
        assert run.prompt_tokens is not None
        assert (run.logprobs <= 0).all()
        np.testing.assert_array_equal(run.logprobs, run.top_logprobs[:, 0])
        assert (np.diff(run.top_logprobs) <= 0).all()
        assert ((run.margin >= 0) & (run.margin <= 1)).all()
        assert run.entropy is None
        assert set(run.probes) >= {0, len(run)}
        assert all(probe.reread > run.prompt_tokens for probe in run.probes.values())
        assert all(len(probe.logprobs) == probe.tokens <= 6 for probe in run.probes.values())
    before = (tmp_path / "t.parquet").read_bytes()
    status, said = record(*arguments, "--probe-tokens", "6")
    assert (status, "2 runs, 0 of them new: all 2 asked for are there" in said) == (0, True)
    assert "tokens/s" not in said
    assert (tmp_path / "t.parquet").read_bytes() == before


def test_llama_cpp_completes_raw_prompts(
    embedded_server: EmbeddedServer, asked: list[str | Path], tmp_path: Path
) -> None:
    """A template without a chat goes over completions, where the server tells as much."""
    assert record(*asked, *at(embedded_server), "--template", "raw", "--limit", "1")[0] == 0
    [run] = runs(tmp_path).values()
    assert run.prompt.startswith("Context: Passage 0.\nQuestion: What is 0?\nAnswer:")
    assert run.logprobs is not None
    assert np.isfinite(run.logprobs).all()


def test_nothing_emitted(asked: list[str | Path], tmp_path: Path) -> None:
    """A server that ends without a word gives runs of no tokens."""
    with CountingServer([[]], delay=0) as server:
        assert record(*asked, *at(server))[0] == 0
    found = {name: (len(run), run.finish_reason) for name, run in runs(tmp_path).items()}
    assert found == {"q0": (0, "stop"), "q1": (0, "stop"), "q2": (0, "stop")}


def test_without_logprobs(asked: list[str | Path], tmp_path: Path) -> None:
    """A server without logprobs is recorded without them, and the header does not claim them."""
    with CountingServer([["The", " end"]], delay=0) as server:
        assert record(*asked, *at(server))[0] == 0
    trace = read_trace(tmp_path / "t.parquet")
    assert trace.header.holds == frozenset()
    assert {(run.tokens, run.logprobs is None) for run in trace.runs} == {(("The", " end"), True)}


def test_reasoning_channel(asked: list[str | Path], tmp_path: Path) -> None:
    """Tokens of the provider's reasoning channel are marked as such."""
    with CountingServer([Script(["4"], reasoning=["2 +", " 2"])], delay=0) as server:
        assert record(*asked, *at(server))[0] == 0
    run = runs(tmp_path)["q0"]
    assert run.tokens == ("2 +", " 2", "4")
    assert run.reasoning is not None
    assert run.reasoning.tolist() == [True, True, False]


def test_retried(asked: list[str | Path], tmp_path: Path) -> None:
    """A server that is busy or breaks off is asked again; half a run is not kept."""
    good = Script(["The", " end"])
    broken = Script(["The", " end"], faults={1: Drop()})
    busy = Script(status=503, headers={"Retry-After": "0"})
    with CountingServer([good, good, broken, busy, good], delay=0) as server:
        assert record(*asked, *at(server), "--concurrency", "1")[0] == 0
        assert len(server.calls) == 2 + 3 + 2
    assert {run.tokens for run in runs(tmp_path).values()} == {("The", " end")}


def test_failed_is_left_for_later(asked: list[str | Path], tmp_path: Path) -> None:
    """A question that the server refuses is named, the others are kept; the next call asks it."""
    refusing = True

    def script(body: Any) -> Script:
        refused = refusing and "What is 1 " in str(body["messages"])
        return Script(status=400) if refused else Script(["yes"])

    with CountingServer(script, delay=0) as server:
        status, said = record(*asked, *at(server))
        assert (status, "not recorded: 'q1', sample 0: BadRequestError" in said) == (1, True)
        assert sorted(runs(tmp_path)) == ["q0", "q2"]
        refusing = False
        assert record(*asked, *at(server))[0] == 0
    assert sorted(runs(tmp_path)) == ["q0", "q1", "q2"]


def test_endpoint_is_down(asked: list[str | Path], tmp_path: Path) -> None:
    """An endpoint that refuses is told in a line without the key, and nothing is written."""
    with CountingServer([Script(status=401)], delay=0) as server:
        status, said = record(*asked, *at(server), "--api-key", "sk-secret")
    assert (status, said.startswith("stopping record: http://127.0.0.1")) == (1, True)
    assert "sk-secret" not in said
    assert not (tmp_path / "t.parquet").exists()


def test_other_model(asked: list[str | Path]) -> None:
    """Another name at the endpoint is another model, and is refused."""
    with CountingServer([["yes"]], delay=0) as server:
        assert record(*asked, *at(server))[0] == 0
        status, said = record(*asked, *at(server), "--model", "other")
    assert (status, "(scripted), asked for is" in said) == (1, True)


@pytest.mark.parametrize(
    ("name", "ids", "expected"),
    [
        ("scripted", ["other", "scripted"], []),
        ("script", [], []),
        ("nope", [], ["the endpoint answers as 'scripted', not 'nope'"]),
        ("nope", ["nope"], ["the endpoint answers as 'scripted', not 'nope'"]),
        ("nope", list("abcdefg"), ["lists 'a', 'b', 'c', 'd', 'e' and 2 more, not 'nope'"]),
    ],
)
def test_unknown_name(
    asked: list[str | Path],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    name: str,
    ids: list[str],
    expected: list[str],
) -> None:
    """A name that the endpoint does not know is warned of and recorded; a version's is known."""
    with Listing([["yes"]], {"data": [{"id": one} for one in ids]}) as server:
        assert record(*asked, *at(server), "--model", name)[0] == 0
    told = [line for line in caplog.messages if server.base_url in line]
    assert [part in line for part, line in zip(expected, told, strict=True)] == [True] * len(told)
    assert len(runs(tmp_path)) == 3


@pytest.mark.parametrize("arguments", [["--template", "prefill"], ["--probe-every", "4"]])
def test_continuing_needs_prefill(asked: list[str | Path], arguments: list[str]) -> None:
    """What continues a reply is refused unless the endpoint is said to do so."""
    with CountingServer([["yes"]], delay=0) as server:
        status, said = record(*asked, *at(server), *arguments)
        assert (status, "say --prefill" in said) == (1, True)
        assert server.calls == []
