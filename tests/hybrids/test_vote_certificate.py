"""Certified votes: what is written is read again, and holds for samples of that vote only."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from stopping_core import AdaptiveStopping, NotCertified, Request, Session
from stopping_core.certificates import Certificate, FittedModel
from stopping_core.hybrids import DecidedVote, Purse, VoteCertificate, VoteLevel, poll
from stopping_core.hybrids.voting import voting
from stopping_core.policies.baselines import Sample, SampleRule, VoteOfN
from stopping_core.results import Completion, Verdict
from stopping_core.traces.store import write_trace
from stopping_core.types import Usage
from tests.cli.certifiable import certifiable, stopping

LEVELS = (
    VoteLevel(0.02, -7.0, 0.99, 300, 1, 0.018, 0.5),
    VoteLevel(0.05, -6.0, 0.9, 300, 6, 0.045, 0.7),
)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> VoteCertificate:
    folder = tmp_path_factory.mktemp("votes")
    write_trace(folder / "runs.parquet", certifiable(120))
    made = folder / "model.json"
    code, told = stopping("fit", folder / "runs.parquet", "--out", made, "--share", "0.5")
    assert 0 == code, told
    fitted = FittedModel.load(made)
    scope = replace(fitted.scope, temperature=0.8)
    others = replace(fitted.origin, families=("0" * 16,), passages=("1" * 16,))
    return VoteCertificate(LEVELS, 8, 0.95, fitted.model, scope, ("em",), fitted.origin, others)


@pytest.fixture
def request_of(certificate: VoteCertificate) -> Request:
    """A request that the certificate holds for, but for the vote."""
    run = certifiable(1).runs[0]
    return Request(
        prompt=run.prompt, model=certificate.scope.model, sampling={"temperature": 0.8}, chat=True
    )


def test_it_is_read_as_it_was_written(certificate: VoteCertificate, tmp_path: Path) -> None:
    certificate.write(tmp_path / "vote.json")
    assert certificate == VoteCertificate.load(tmp_path / "vote.json")
    with pytest.raises(ValueError, match="kind must be 'stopping certificate', got 'stopping vote"):
        Certificate.load(tmp_path / "vote.json")


def test_a_level_is_a_rule_and_the_settings_of_its_samples(certificate: VoteCertificate) -> None:
    rule, made = certificate.rule(0.03), certificate.stopping(0.03, max_total_tokens=500)
    assert (0.99, 8) == (rule.confidence, rule.most)
    assert (-7.0, 500) == (made.policy.threshold, made.max_total_tokens)  # type: ignore[attr-defined]  # a learned rule
    assert 0.02 == made.risk
    with pytest.raises(
        ValueError, match=r"at least a certified level, one of 0.02, 0.05, got 0.01"
    ):
        certificate.rule(0.01)


def test_only_samples_of_that_vote_are_admitted(
    certificate: VoteCertificate, request_of: Request
) -> None:
    """Neither a request by itself, nor a sample of a vote that another rule decides."""
    made = certificate.stopping(0.05)
    told = r"the request is no sample of a vote, certified is one by DecidedVote\(0.9, 8\)"
    with pytest.raises(NotCertified, match=told):
        Session(made, request_of)
    for other in (VoteOfN(8), certificate.rule(0.02), DecidedVote(0.9, 16)):
        with voting(other), pytest.raises(NotCertified, match="is a sample of a vote by"):
            Session(made, request_of)
    with voting(certificate.rule(0.05)):
        session = Session(made, request_of)
        greedy = replace(request_of, sampling={"temperature": 0})
        with pytest.raises(NotCertified, match=r"the temperature is 0, certified is 0\.8"):
            Session(made, greedy)
    assert 0.05 == session.completion.risk
    assert Session(made.replace(trust=("vote",)), request_of)


def test_a_poll_tells_its_samples_of_the_vote(
    certificate: VoteCertificate, request_of: Request
) -> None:
    """In the threads in which they are drawn."""
    made = certificate.stopping(0.05)

    def ask(number: int, decided: threading.Event) -> str:
        return Session(made, request_of).request_id

    rule = certificate.rule(0.05)
    assert len(poll(rule, ask, lambda name: Sample("a", 1)).samples) >= 2
    with pytest.raises(NotCertified):
        ask(0, threading.Event())


def completed(risk: float | None = 0.05) -> Completion:
    return Completion(
        text="a",
        reasoning="",
        complete=True,
        verdict=Verdict(complete=True),
        finish_reason="stop",
        reason="",
        usage=Usage(generated=10),
        attempts=(),
        seconds=0.0,
        mode="active",
        risk=risk,
    )


def drawn(rule: SampleRule, purse: Purse, stopping: AdaptiveStopping, times: int) -> list[Any]:
    """Book some samples of one vote; return in which modes they were made."""
    modes = []
    with voting(rule):
        for _ in range(times):
            settings = purse.settings(stopping)
            modes.append(settings.mode)
            hook: Callable[..., Any] = settings.hooks[-1]
            hook(Request(), completed())
    return modes


def test_the_risk_of_a_vote_is_booked_once(certificate: VoteCertificate) -> None:
    """And that of the next vote again; what it does not leave room for is only watched."""
    rule, stopping = certificate.rule(0.05), certificate.stopping(0.05)
    purse = Purse(risk=0.11)
    assert ["active"] * 4 == drawn(rule, purse, stopping, 4)
    assert (0.05, 4, 40) == (purse.spent.risk, purse.spent.requests, purse.spent.tokens)
    drawn(rule, purse, stopping, 2)
    assert pytest.approx(0.1) == purse.spent.risk
    assert ["shadow"] == drawn(rule, purse, stopping, 1)


def test_what_is_no_certificate_is_refused(certificate: VoteCertificate) -> None:
    for changes, told in (
        ({"levels": LEVELS[::-1]}, r"levels must rise in risk, one or more, got \[0.05, 0.02\]"),
        ({"levels": ()}, r"levels must rise in risk, one or more, got \[\]"),
        ({"most": 1}, "most must be >= 2, got 1"),
        ({"certified": certificate.fitted}, "must not have been fitted on"),
        ({"levels": (replace(LEVELS[0], lost=60),)}, "bound must be at least what was lost"),
    ):
        with pytest.raises(ValueError, match=told):
            replace(certificate, **changes)
    sample = certificate.stopping(0.05).certificate
    assert sample is not None
    with pytest.raises(TypeError, match="write the VoteCertificate"):
        sample.write("sample.json")
