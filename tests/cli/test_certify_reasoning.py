"""Ends of the reasoning, fitted and certified."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from stopping_core import AdaptiveStopping, NotCertified, Request, Session
from stopping_core.budgets import GeometricBudget
from stopping_core.certificates import Certificate
from stopping_core.cli.certify.run import shows_answer
from stopping_core.policies import Never
from stopping_core.policies.learned import LearnedStopping
from stopping_core.questions import Question
from stopping_core.templates import load_template
from stopping_core.traces.run import Header, Trace
from stopping_core.traces.store import write_trace
from stopping_core.types import Probe
from tests.cli.certifiable import stopping
from tests.learned.test_thinking_fit import sum_twice

TEMPLATE = load_template("testbed")
HEADER = Header(
    model="thinker",
    model_fingerprint="0123456789abcdef",
    template=TEMPLATE.name,
    template_fingerprint=TEMPLATE.fingerprint,
    max_tokens=100,
    reasoning_tags=("<think>", "</think>"),
    probe=TEMPLATE.probe,
    probe_tokens=9,
    probe_every=99,
)


def thinker(count: int, header: Header = HEADER) -> Trace:
    runs = []
    for seed in range(count):
        run = sum_twice(seed)
        asked = Question(run.question_id, run.question, run.gold)
        probes = {
            at: replace(one, text="The answer is" + one.text) for at, one in run.probes.items()
        }
        runs.append(replace(run, prompt=TEMPLATE.text(asked), probes=probes, family=f"f{seed}"))
    return Trace(header, tuple(runs))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs that reason, models of the three tiers, and their certificates."""
    folder = tmp_path_factory.mktemp("reasoning")
    runs = folder / "runs.parquet"
    write_trace(runs, thinker(360))
    for tier in ("text", "logprobs", "probes"):
        model, out = folder / f"{tier}-model.json", folder / f"{tier}.json"
        code, told = stopping("fit", runs, "--out", model, "--tier", tier)
        assert 0 == code, told
        more = ("--risk", "0.05", "--risk", "0.4", "--reliability", folder / f"{tier}.png")
        code, told = stopping("certify", model, runs, "--out", out, *more)
        assert 0 == code, told
    return folder


@pytest.mark.parametrize("tier", ["text", "logprobs", "probes"])
def test_it_is_certified_and_loaded(folder: Path, tier: str) -> None:
    """With the words that end the reasoning as they were recorded."""
    made = AdaptiveStopping.load(folder / f"{tier}.json", risk=0.4)
    assert isinstance(made.reasoning, LearnedStopping)
    assert isinstance(made.policy, Never)
    assert (tier, TEMPLATE.probe, 9) == (made.reasoning.tier, made.probe, made.probe_tokens)


def test_the_tier_is_what_the_runs_hold(folder: Path, tmp_path: Path) -> None:
    """Logprobs where there are any; probes only where they are asked for."""
    bare = thinker(120)
    without = tmp_path / "bare.parquet"
    write_trace(without, replace(bare, runs=tuple(replace(r, logprobs=None) for r in bare.runs)))
    for runs, tier in ((folder / "runs.parquet", "logprobs"), (without, "text")):
        code, told = stopping("fit", runs, "--out", tmp_path / "m.json")
        assert 0 == code, told
        assert f"): {tier}, reasoning" in told


def test_what_a_request_must_keep(folder: Path) -> None:
    """The words, a second call for the answer, and a model that continues a prefix."""
    made = AdaptiveStopping.load(folder / "logprobs.json", risk=0.4)
    asked = Question("q", "What is 12 + 13?", ("25",))
    request = Request(
        prompt=TEMPLATE.text(asked), model="thinker", sampling={"temperature": 0}, chat=False
    )
    assert made.probe == Session(made, request).stopping.probe
    for changes, told in (
        ({"probe": "</think>So"}, "probe and probe_tokens are"),
        ({"probe_tokens": 8}, "certified is .*, 9"),
        ({"attempts": 1}, "leaves no call for the answer behind reasoning"),
        ({"budget": GeometricBudget(first=40)}, "reasoning that fills them would be closed anywhe"),
    ):
        with pytest.raises(NotCertified, match=told):
            Session(made.replace(**changes), request)
    assert Session(made, request, hang_up_ends_bill=False)
    small = made.replace(up_front=GeometricBudget(first=20))
    with pytest.raises(NotCertified, match="grants 20 tokens, of budget and up_front the lesser"):
        Session(small, request, hang_up_ends_bill=False)
    with pytest.raises(NotCertified, match="does not continue a prefix"):
        Session(made, request, prefill=False)
    assert Session(made.replace(attempts=1, reasoning=Never()), request, prefill=False)
    assert Session(made.replace(attempts=1, mode="shadow"), request, prefill=False)


def test_only_answers_that_a_session_would_give_count(folder: Path) -> None:
    """Not those that the limit cut, nor those that would be continued."""
    scope = Certificate.load(folder / "text.json").scope
    assert shows_answer(Probe("The answer is 4.", 8, 9), scope)
    assert not shows_answer(Probe("The answer is 4.", 9, 9), scope)
    assert not shows_answer(Probe("```\nThe answer is 4.", 8, 9), scope)
    assert not shows_answer(Probe("", 0, 9), scope)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"reasoning_tags": ("<think>", "</thought>")}, "words that close the reasoning, with '</"),
    ],
)
def test_runs_that_do_not_show_it_are_refused(
    folder: Path, tmp_path: Path, changes: dict[str, object], told: str
) -> None:
    """Those that were asked without closing the reasoning."""
    runs = tmp_path / "runs.parquet"
    write_trace(runs, thinker(40, replace(HEADER, **changes)))  # type: ignore[arg-type]  # several
    code, printed = stopping(
        "certify", folder / "text-model.json", runs, "--out", tmp_path / "c.json"
    )
    assert code != 0
    assert told in printed
