"""What ``stopping record`` sends to an endpoint, how often and when, as the server sees it."""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from stopping_core.traces.journal import Journal
from stopping_core.traces.store import read_trace
from tests.cli.asking import Listing, asking, at, record, refuse_with, runs
from tests.support.sse_server import PROMPT_TOKENS, CountingServer, Say, Script, Stall


def number(body: Mapping[str, Any]) -> int | None:
    """Which question is asked; None where the endpoint is only tried out."""
    if body["max_tokens"] == 1:
        return None
    said = str(body.get("messages") or body["prompt"])
    return int(re.findall(r"What is (\d+)", said)[0])


def test_sampling(tmp_path: Path) -> None:
    """Each sampled run has a seed of its own, which --seed changes and nothing else does."""

    def seeds(out: str, seed: str) -> list[int]:
        with CountingServer([["yes"]], delay=0) as server:
            sampled = ["--samples", "3", "--temperature", "0.7", "--seed", seed]
            arguments = [*asking(tmp_path, 2), *at(server), *sampled, "--out", tmp_path / out]
            assert record(*arguments)[0] == 0
            asked = [body for body in server.requests if number(body) is not None]
            tried = [body for body in server.requests if number(body) is None]
        assert {body["temperature"] for body in asked} == {0.7}
        assert {body["temperature"] for body in tried} == {0}
        return sorted(body["seed"] for body in asked)

    first = seeds("a.parquet", "5")
    assert len(set(first)) == 2 * 3
    assert seeds("b.parquet", "5") == first
    assert not set(seeds("c.parquet", "6")) & set(first)


def test_greedy(tmp_path: Path) -> None:
    """Greedy runs are asked for with temperature 0 and the cap; the prompt's length is kept."""
    with CountingServer([["yes"]], delay=0) as server:
        assert record(*asking(tmp_path), *at(server))[0] == 0
        asked = [body for body in server.requests if number(body) is not None]
    assert {number(body) for body in asked} == {0, 1, 2}
    assert len(asked) == 3
    for body in asked:
        assert (body["temperature"], "seed" in body, body["max_tokens"]) == (0, False, 12)
        assert (body["logprobs"], body["top_logprobs"]) == (True, 20)
    assert {run.prompt_tokens for run in runs(tmp_path).values()} == {PROMPT_TOKENS}


def probing(thinks: bool, body: Mapping[str, Any]) -> Script:
    if body["messages"][-1]["role"] == "assistant":
        return Script(["The", " answer\n", "is", " 5."])
    return Script(["<think>", "1", "2", "</think>", "3"] if thinks else ["1", "2"])


@pytest.mark.parametrize(("thinks", "answer"), [(True, "The answer\nis 5."), (False, "The answer")])
def test_probes(tmp_path: Path, thinks: bool, answer: str) -> None:
    """Probes of sampled runs are greedy; they end with the line, save where the model thinks."""
    sampled = ["--samples", "2", "--temperature", "1"]
    arguments = ["--prefill", "--probe-every", "2", "--probe-tokens", "7", *sampled]
    with CountingServer(lambda body: probing(thinks, body), delay=0) as server:
        status, said = record(*asking(tmp_path, 1), *at(server), *arguments)
        probes = [one for one in server.requests if one["messages"][-1]["role"] == "assistant"]
    assert (status, "not probed" in said) == (0, False)
    assert {(one["temperature"], one["max_tokens"]) for one in probes} == {(0, 7)}
    run = runs(tmp_path)["q0"]
    assert {probe.text for probe in run.probes.values()} == {answer}
    assert {probe.reread for probe in run.probes.values()} == {PROMPT_TOKENS}


def test_reasoning_on_a_channel_is_not_probed(tmp_path: Path) -> None:
    """Runs that no probe can continue are counted at the end."""

    def script(body: Mapping[str, Any]) -> Script:
        return Script(["4"], reasoning=["2 +", " 2"] if number(body) in (0, 2) else [])

    with CountingServer(script, delay=0) as server:
        arguments = ["--prefill", "--probe-every", "2"]
        status, said = record(*asking(tmp_path), *at(server), *arguments)
    assert (status, "2 runs were not probed: they reason on a channel" in said) == (0, True)
    assert {name: bool(run.probes) for name, run in runs(tmp_path).items()} == {
        "q0": False,
        "q1": True,
        "q2": False,
    }


@pytest.mark.parametrize("calls", [1, 3])
def test_concurrency(tmp_path: Path, calls: int) -> None:
    """As many calls at once as were asked for."""
    waits = {-1: Stall(0.2)}

    def script(body: Mapping[str, Any]) -> Script:
        return Script(["yes"], faults={} if number(body) is None else waits)

    with CountingServer(script, delay=0) as server:
        assert record(*asking(tmp_path), *at(server), "--concurrency", str(calls))[0] == 0
        assert server.stats()["peak"] == calls


def test_retry_after(tmp_path: Path) -> None:
    """A busy server is left alone for as long as it wants: longer than the first pause would be."""
    busy = Script(status=429, headers={"retry-after-ms": "800"})
    with CountingServer([["a"], ["a"], busy, ["a"]], delay=0) as server:
        assert record(*asking(tmp_path, 1), *at(server))[0] == 0
        before, after = (call.at for call in server.calls[2:])
    assert after - before >= 0.8


def test_gives_up(tmp_path: Path) -> None:
    """Eight failures in a row end it: what is left is not tried."""

    def script(body: Mapping[str, Any]) -> Script:
        return Script(["yes"], status=200 if number(body) in (None, 0) else 400)

    with CountingServer(script, delay=0) as server:
        arguments = [*asking(tmp_path, 12), *at(server), "--concurrency", "1"]
        status, said = record(*arguments)
        assert len(server.calls) == 2 + 1 + 8
    assert (status, "11 runs failed" in said) == (1, True)


def test_goes_on(tmp_path: Path) -> None:
    """Seven failures and a success, over and over, do not."""

    def script(body: Mapping[str, Any]) -> Script:
        return Script(["yes"], status=400 if (number(body) or 0) % 8 else 200)

    with CountingServer(script, delay=0) as server:
        arguments = [*asking(tmp_path, 17), *at(server), "--concurrency", "1"]
        assert record(*arguments)[0] == 1
        assert len(server.calls) == 2 + 17
    assert sorted(runs(tmp_path)) == ["q0", "q16", "q8"]


def test_logprobs_are_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Where the endpoint tells none, --top-logprobs 0 records without, and nothing else does."""

    def script(body: Mapping[str, Any]) -> Script:
        return Script(["a", "b"], status=422 if "logprobs" in body else 200, logprobs=None)

    refuse_with(monkeypatch, '{"error": {"message": "logprobs is not supported"}}')
    with CountingServer(script, delay=0) as server:
        status, said = record(*asking(tmp_path), *at(server))
        assert (status, "top_logprobs=20 is refused, 0 asks for none" in said) == (1, True)
        arguments = [*asking(tmp_path), *at(server), "--top-logprobs", "0"]
        assert record(*arguments)[0] == 0
        arguments += ["--template", "raw", "--out", tmp_path / "raw.parquet"]
        assert record(*arguments)[0] == 0
    for out in ("t.parquet", "raw.parquet"):
        trace = read_trace(tmp_path / out)
        assert trace.header.holds == frozenset()
        assert {(run.tokens, run.logprobs) for run in trace.runs} == {(("a", "b"), None)}


def test_logprobs_alone(tmp_path: Path) -> None:
    """With --top-logprobs 0 an endpoint is still asked for those of the tokens."""
    with CountingServer([["a"], ["a"], Script(["a"], logprobs=[-1.0])], delay=0) as server:
        assert record(*asking(tmp_path), *at(server), "--top-logprobs", "0")[0] == 0
    assert read_trace(tmp_path / "t.parquet").header.holds == {"logprobs"}


def test_usage_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Calls that are refused at the same time are each made again; no count needs logprobs."""

    def script(body: Mapping[str, Any]) -> Script:
        refused = "stream_options" in body
        return Script(["a"], status=400 if refused else 200, logprobs=[-1.0] if told else None)

    told = True
    refuse_with(monkeypatch, '{"error": {"message": "stream_options is unknown"}}')
    with CountingServer(script, delay=0) as server:
        assert record(*asking(tmp_path), *at(server))[0] == 0
        assert {run.prompt_tokens for run in runs(tmp_path).values()} == {None}
        told = False
        other = tmp_path / "other.parquet"
        status, said = record(*asking(tmp_path), *at(server), "--out", other)
    assert (status, "the endpoint tells neither usage nor" in said) == (1, True)


def model(number: int = 0, **others: Any) -> dict[str, Any]:
    """A list of models as vLLM and llama.cpp make them, with what changes from call to call."""
    permission = {"id": f"modelperm-{number}", "created": number}
    entry = {"id": "scripted", "created": number, "root": "/m", "permission": [permission]}
    meta = {"n_ctx": number, "n_params": others.pop("n_params", 7)}
    return {"data": [{"id": "other"}, {**entry, "meta": meta, **others}]}


def test_fingerprint_of_the_list(tmp_path: Path) -> None:
    """What names the model tells models apart; numbers of an answer do not."""
    with Listing([["yes"]], model()) as server:
        arguments = [*asking(tmp_path), *at(server)]
        assert record(*arguments)[0] == 0
        server.models = model(1)
        status, said = record(*arguments)
        assert (status, "3 runs, 0 of them new" in said) == (0, True)
        others = [model(root="/n"), model(max_model_len=9), model(n_params=8), {"data": []}]
        for server.models in others:
            status, said = record(*arguments)
            assert (status, "was recorded with model_fingerprint" in said) == (1, True)


def test_system_fingerprint(tmp_path: Path) -> None:
    """The provider's own fingerprint tells models apart, where it is the same twice."""
    names = iter("aaaaa" + "bb" + "cdccc" + "ef")

    def script(body: Mapping[str, Any]) -> Script:
        return Script(["yes"], faults={0: Say({"system_fingerprint": next(names)})})

    with CountingServer(script, delay=0) as server:
        arguments = [*asking(tmp_path), *at(server)]
        assert record(*arguments)[0] == 0
        status, said = record(*arguments)
        assert (status, "was recorded with model_fingerprint" in said) == (1, True)
        arguments += ["--out", tmp_path / "changing.parquet"]
        assert record(*arguments)[0] == 0
        assert record(*arguments)[0] == 0
    one, other = (
        read_trace(tmp_path / name).header.model_fingerprint
        for name in ("t.parquet", "changing.parquet")
    )
    assert one != other


def test_killed_while_tidying_up(tmp_path: Path) -> None:
    """Parts that a kill left behind after the file was whole are not put into it again."""
    parts = tmp_path / "t.parquet.parts"
    failing = True

    def script(body: Mapping[str, Any]) -> Script:
        if number(body) == 2 and failing:
            shutil.copytree(parts, tmp_path / "kept", ignore=shutil.ignore_patterns("*lock"))
            return Script(status=400)
        return Script(["yes"])

    with CountingServer(script, delay=0) as server:
        arguments = [*asking(tmp_path), *at(server), "--concurrency", "1"]
        assert record(*arguments)[0] == 1
        assert len(list((tmp_path / "kept").glob("*.parquet"))) == 2
        shutil.copytree(tmp_path / "kept", parts)
        failing = False
        calls = len(server.calls)
        status, said = record(*arguments)
        assert len(server.calls) == calls + 2 + 1
    assert (status, "3 runs, 1 of them new" in said) == (0, True)
    assert [run.question_id for run in read_trace(tmp_path / "t.parquet").runs] == [
        "q0",
        "q1",
        "q2",
    ]


def test_nothing_is_asked_for_a_file_that_cannot_be(tmp_path: Path) -> None:
    """A file of another kind, one that is taken, a folder that is none: told before any call."""
    (tmp_path / "file").write_text("no folder")
    (tmp_path / "other.parquet").write_text("no trace")
    (tmp_path / "folder.parquet").mkdir()
    taken = tmp_path / "taken.parquet"
    with (
        CountingServer([["yes"]], delay=0) as server,
        Journal(taken),
    ):
        for out, expected in (
            (tmp_path / "file" / "t.parquet", "t.parquet: its folder cannot be written: "),
            (tmp_path / "other.parquet", "other.parquet: is no trace file"),
            (tmp_path / "folder.parquet", "folder.parquet: cannot be read: Is a directory"),
            (taken, "taken.parquet: another process is recording this file"),
        ):
            status, said = record(*asking(tmp_path), *at(server), "--out", out)
            assert (status, said.startswith("stopping record: ")) == (1, True)
            assert expected in said
        status, said = record(*asking(tmp_path), *at(server), "--temperature", "inf")
        assert (status, "--temperature must be finite, got inf" in said) == (1, True)
        assert server.calls == []
