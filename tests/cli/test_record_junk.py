"""Endpoints that send what no endpoint should: a run fails in a line, and the others go on."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stopping_core.traces.store import read_trace
from tests.cli.asking import Listing, asking, at, record, record_aloud, refuse_with, runs
from tests.support.sse_server import CountingServer, Say, Script


def choice(**parts: Any) -> dict[str, Any]:
    return {"choices": [parts]}


JUNK: list[tuple[dict[str, Any] | bytes, str]] = [
    (b"[1]", "a chunk must be an object, got [1]"),
    (b'"x"', "a chunk must be an object, got 'x'"),
    (b"null", "a chunk must be an object, got None"),
    (b"[" * 100_000, "RecursionError"),
    ({"choices": [None]}, "a choice must be an object, got None"),
    ({"choices": {}}, "choices must be a list, got {}"),
    (choice(delta="x"), "delta must be an object, got 'x'"),
    (choice(delta={"content": 5}), "content must be a text, got 5"),
    (choice(finish_reason=5), "finish_reason must be a text, got 5"),
    (choice(logprobs="x"), "logprobs must be an object, got 'x'"),
    (choice(logprobs={"content": ["x"]}), "a token must be an object, got 'x'"),
    (choice(logprobs={"content": [{"bytes": [300]}]}), "bytes must be in [0, 255], got [300]"),
    (choice(logprobs={"content": [{"top_logprobs": 1}]}), "top_logprobs must be a list, got 1"),
    ({"usage": [1]}, "usage must be an object, got [1]"),
    ({"usage": {"prompt_tokens": True}}, "[0, 2147483647], got True"),
    ({"usage": {"prompt_tokens": -1}}, "[0, 2147483647], got -1"),
    ({"usage": {"completion_tokens": 10**12}}, "[0, 2147483647], got 1000000000000"),
]


@pytest.mark.parametrize(("junk", "expected"), JUNK)
def test_chunks(tmp_path: Path, junk: dict[str, Any] | bytes, expected: str) -> None:
    """A chunk that is none fails its run, with a line that says what it was."""

    def script(body: Mapping[str, Any]) -> Script:
        bad = body["max_tokens"] > 1 and "What is 1 " in str(body["messages"])
        return Script(["yes"], faults={0: Say(junk)} if bad else {})

    with CountingServer(script, delay=0) as server:
        status, said = record_aloud(*asking(tmp_path), *at(server))
        assert len(server.calls) == 2 + 3
    [line] = [line for line in said.splitlines() if "not recorded" in line]
    assert (status, line.startswith("not recorded: 'q1', sample 0: ")) == (1, True)
    assert expected in line
    assert sorted(runs(tmp_path)) == ["q0", "q2"]


def test_null_is_nothing(tmp_path: Path) -> None:
    """Nulls where something might stand are no mistake, and no token."""
    nulls = choice(delta={"content": None}, logprobs=None, finish_reason=None) | {"usage": None}
    with CountingServer([Script(["yes"], faults={0: Say(nulls)})], delay=0) as server:
        assert record(*asking(tmp_path, 1), *at(server))[0] == 0
    assert runs(tmp_path)["q0"].tokens == ("yes",)


def test_tokens_without_text(tmp_path: Path) -> None:
    """An endpoint that counts tokens and shows none of them has hidden them, and is refused."""
    with CountingServer([Script(["a", "b", "c"], tool="f")], delay=0) as server:
        status, said = record(*asking(tmp_path, 1), *at(server))
    assert (status, "counts 3 tokens, its stream shows 0" in said) == (1, True)
    assert not (tmp_path / "t.parquet").exists()


@pytest.mark.parametrize(
    ("models", "expected"),
    [
        (["x"], "the list of models must be an object, got ['x']"),
        ({"data": {"id": "scripted"}}, "data must be a list, got {'id': 'scripted'}"),
        ({"data": ["x"]}, "a model of the list must be an object, got 'x'"),
    ],
)
def test_lists_of_models(tmp_path: Path, models: Any, expected: str) -> None:
    """A list of models that is none is told in a line, before anything is asked."""
    with Listing([["yes"]], models) as server:
        status, said = record(*asking(tmp_path), *at(server))
        assert server.calls == []
    assert (status, said.startswith("stopping record: http://127.0.0.1")) == (1, True)
    assert expected in said


@pytest.mark.parametrize(("models", "status"), [({"data": None}, 200), ("nothing here", 404)])
def test_no_list_of_models(tmp_path: Path, models: Any, status: int) -> None:
    """An endpoint without a list of models is recorded under the model's name alone."""
    with Listing([["yes"]], models, status) as server:
        assert record(*asking(tmp_path), *at(server))[0] == 0
    assert sorted(runs(tmp_path)) == ["q0", "q1", "q2"]


def test_tokens_that_come_together(tmp_path: Path) -> None:
    """Two tokens a chunk are told apart by their logprobs, and refused where there are none."""
    words = ["one", " two", " three", " four"]
    with CountingServer([Script(words, per_chunk=2)], delay=0) as server:
        status, said = record(*asking(tmp_path, 1), *at(server))
    assert (status, "counts 4 tokens, its stream shows 2: they" in said) == (1, True)
    assert not (tmp_path / "t.parquet").exists()
    known = Script(words, per_chunk=2, logprobs=[-1.0] * 4)
    with CountingServer([["one"], ["one"], known], delay=0) as server:
        assert record(*asking(tmp_path, 1), *at(server))[0] == 0
    assert runs(tmp_path)["q0"].tokens == tuple(words)


def test_bad_logprobs(tmp_path: Path) -> None:
    """What cannot be a logprob is a gap in a run, and a probe with a gap has none."""

    def script(body: Mapping[str, Any]) -> Script:
        if body["max_tokens"] == 1:
            return Script(["a"])
        probe = body["messages"][-1]["role"] == "assistant"
        return Script(["a", "b", "c"], logprobs=[-1, math.nan, -2] if probe else [-0.5, 5, 1e-7])

    arguments = ["--prefill", "--probe-every", "8", "--top-logprobs", "2"]
    with CountingServer(script, delay=0) as server:
        assert record(*asking(tmp_path, 1), *at(server), *arguments)[0] == 0
    run = runs(tmp_path)["q0"]
    np.testing.assert_array_equal(run.logprobs, np.array([-0.5, np.nan, 0.0], np.float32))
    assert {probe.tokens: probe.logprobs for probe in run.probes.values()} == {3: ()}


def test_runs_without_logprobs_are_among_them(tmp_path: Path) -> None:
    """A run that came without logprobs holds none, whatever the others hold."""

    def script(body: Mapping[str, Any]) -> Script:
        without = body["max_tokens"] > 1 and "What is 1 " in str(body["messages"])
        return Script(["yes"], logprobs=None if without else [-1.0])

    with CountingServer(script, delay=0) as server:
        assert record(*asking(tmp_path), *at(server))[0] == 0
    held = {name: run.logprobs is not None for name, run in runs(tmp_path).items()}
    assert held == {"q0": True, "q1": False, "q2": True}
    assert "logprobs" not in read_trace(tmp_path / "t.parquet").header.holds


KEY = "sk-a\"b'c\\d"


@pytest.mark.parametrize(
    "content",
    [
        f"the key {KEY} is unknown\n\nand 'no' \"more\"\n",
        '{"error": {"message": "the \\"key\\" sk-a\\"b\'c\\\\d is unknown\\nand no more"}}',
    ],
)
def test_keys_and_lines(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, content: str) -> None:
    """A refusal that repeats the key over several lines is told in one, without it."""
    refuse_with(monkeypatch, content)
    with CountingServer([Script(status=401)], delay=0) as server:
        status, said = record_aloud(*asking(tmp_path), *at(server), "--api-key", KEY)
        assert server.calls[0].headers["Authorization"] == f"Bearer {KEY}"
    [line] = [line for line in said.splitlines() if line.strip()]
    assert (status, line.startswith("stopping record: http://127.0.0.1")) == (1, True)
    assert "AuthenticationError: " in line
    assert "***" in line
    assert not [part for part in ("sk-a", "b'c", "b\\'c") if part in line]
