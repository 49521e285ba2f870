"""Certified votes: what is written is read again, and holds for samples of that vote only."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from stopping_core import AdaptiveStopping, NotCertified, Request, Session, run
from stopping_core.certificates import Certificate, FittedModel
from stopping_core.hybrids import DecidedVote, Purse, VoteCertificate, VoteLevel, apoll, poll
from stopping_core.hybrids.voting import voting
from stopping_core.policies.baselines import (
    DeepConf,
    DeepConfOffline,
    Sample,
    SampleRule,
    VoteOfN,
    vote_key,
)
from stopping_core.results import Completion, Verdict
from stopping_core.testing import ScriptedModel, words
from stopping_core.traces.store import write_trace
from stopping_core.types import Usage
from tests.cli.certifiable import CITIES, certifiable, stopping


class Hasty(DecidedVote):
    """Decides at once, and prints itself like the others."""

    def more(self) -> bool:
        return not self.taken


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


@pytest.mark.parametrize("rule", [DeepConf(), DeepConfOffline()], ids=repr)
def test_a_rule_with_a_policy_of_its_own_is_not_certified(
    certificate: VoteCertificate, rule: SampleRule
) -> None:
    """What listens to a sample, or ends it, is no part of what was proven."""
    stopping = certificate.stopping(0.05)
    with pytest.raises(ValueError, match=r"certificate must be None for DeepConf.* its own"):
        poll(rule, lambda *one: 1 / 0, lambda one: Sample("", 0), stopping=stopping)


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
    for other in (VoteOfN(8), certificate.rule(0.02), DecidedVote(0.9, 16), Hasty(0.9, 8)):
        with voting(other, vote_key), pytest.raises(NotCertified, match="is a sample of a vote by"):
            Session(made, request_of)
    with voting(certificate.rule(0.05), vote_key):
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

    def ask(number: int, decided: threading.Event, settings: AdaptiveStopping) -> str:
        return Session(settings, request_of).request_id

    def read(name: str) -> Sample:
        return Sample("a", 1)

    rule = certificate.rule(0.05)
    done = poll(rule, ask, read, stopping=made, key=vote_key)
    assert (True, "") == (2 <= len(done.samples) < 8, done.uncertified)
    for key in (None, str.strip):
        with pytest.raises(NotCertified, match="a vote that compares"):
            poll(rule, ask, read, stopping=made, key=key)
    with pytest.raises(NotCertified):
        ask(0, threading.Event(), made)


def completed(certificate: str, risk: float | None = 0.05) -> Completion:
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
        certificate=certificate,
    )


def drawn(rule: SampleRule, purse: Purse, stopping: AdaptiveStopping, times: int) -> list[Any]:
    """Book some samples of one vote; return in which modes they were made."""
    modes = []
    fingerprint = stopping.certificate.fingerprint if stopping.certificate else ""
    with voting(rule, vote_key) as vote:
        vote.certificate = fingerprint  # as a session does
        for _ in range(times):
            settings = purse.settings(stopping)
            modes.append(settings.mode)
            hook: Callable[..., Any] = settings.hooks[-1]
            hook(Request(), completed(fingerprint))
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


@pytest.mark.parametrize("asynchronous", [False, True])
@pytest.mark.parametrize(
    ("spoiled", "told"),
    [
        ("a longer context", "the context has"),
        ("a failure", "a sample failed: ConnectionError"),
        ("no risk left", "a sample was drawn in mode shadow"),
    ],
)
def test_what_is_not_covered_draws_all_samples(
    certificate: VoteCertificate,
    request_of: Request,
    spoiled: str,
    told: str,
    asynchronous: bool,
) -> None:
    """The end of the sampling is a part of what was certified; and the vote says so."""
    made, rule = certificate.stopping(0.05), certificate.rule(0.05)
    longer = request_of.prompt.replace("flows", "flows " * 200)

    def drawn_by(number: int, settings: AdaptiveStopping) -> str:
        asked = request_of
        if spoiled == "a longer context" and number == 1:
            asked = replace(asked, prompt=longer)
        model = ScriptedModel(words("It flows through Oslo."))
        session = Session(settings, asked)
        if spoiled == "a failure" and number == 1:
            raise ConnectionError("reset")
        return run(session, model.backend).text

    def ask(number: int, decided: threading.Event, settings: AdaptiveStopping) -> str:
        return drawn_by(number, settings)

    async def aask(number: int, settings: AdaptiveStopping) -> str:
        return drawn_by(number, settings)

    def read(text: str) -> Sample:
        return Sample(vote_key(text), 1)

    purse = Purse(risk=0.01) if spoiled == "no risk left" else Purse()
    given: dict[str, Any] = {"stopping": made, "key": vote_key, "purse": purse, "at_once": 1}
    if asynchronous:
        done = asyncio.run(apoll(rule, aask, read, **given))
    else:
        done = poll(rule, ask, read, **given)
    assert 8 == len(done.votes)
    assert told in (done.uncertified or "")
    assert done.report["uncertified"] == done.uncertified


def test_a_budget_that_is_too_small_ends_the_vote(
    certificate: VoteCertificate, request_of: Request
) -> None:
    """Before a sample that it has not whole runs left for, and the vote is not called decided."""
    made, rule = certificate.stopping(0.05), certificate.rule(0.05)
    whole = certificate.scope.max_tokens
    sizes = []

    def ask(number: int, decided: threading.Event, settings: AdaptiveStopping) -> str:
        sizes.append(settings.max_total_tokens)
        model = ScriptedModel(words(f"It flows through {CITIES[number]}."))
        return run(Session(settings, request_of), model.backend).text

    def read(text: str) -> Sample:
        return Sample(vote_key(text), 1)

    purse = Purse(tokens=whole + 6)  # an answer takes five or six
    done = poll(rule, ask, read, stopping=made, key=vote_key, purse=purse, at_once=8)
    assert {whole} == set(sizes)
    assert (0, 2, True) == (done.failed, len(done.votes), done.short)
    assert "the budget has ended it" == done.uncertified
    left = purse.tokens_left
    assert left is not None
    assert left < whole
    assert done.tokens == purse.spent.tokens == whole + 6 - left


def test_its_samples_are_neither_steered_nor_taken_for_others(certificate: VoteCertificate) -> None:
    with pytest.raises(ValueError, match="steer must be None where the levels are those of votes"):
        certificate.stopping(0.05, steer=lambda request, certificate: None)
    with pytest.raises(ValueError, match=r"audit must be 0 where levels .*, got 0\.1"):
        certificate.stopping(0.05, audit=0.1)
    names = {
        one.stopping(0.05).certificate.fingerprint  # type: ignore[union-attr]  # there is one
        for one in (certificate, replace(certificate, most=16))
    }
    assert 2 == len(names)


def test_a_vote_that_saves_nothing_can_be_written(
    certificate: VoteCertificate, tmp_path: Path
) -> None:
    """Where probes cost more than the ends of samples save."""
    dear = replace(certificate, levels=(replace(LEVELS[0], saving=-1.5),))
    dear.write(tmp_path / "dear.json")
    assert dear == VoteCertificate.load(tmp_path / "dear.json")
