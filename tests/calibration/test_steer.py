"""Requests whose certified level is chosen one by one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from stopping_core import AdaptiveStopping, NotCertified, Request, Session, Setting, run
from stopping_core.certificates import Certificate
from stopping_core.policies import Never
from stopping_core.policies.learned import LearnedStopping
from stopping_core.testing import ScriptedModel
from tests.calibration.certified import ASKED, made_certificate


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A certificate of two levels, 0.01 that hardly cuts and 0.05 that cuts at once."""
    made_certificate().write(tmp_path / "certificate.json")
    return tmp_path / "certificate.json"


def steering(path: Path, setting: Setting) -> AdaptiveStopping:
    return AdaptiveStopping.load(path, risk=0.05, steer=lambda request, certificate: setting)


def threshold(session: Session) -> float | None:
    policy = session.stopping.policy
    return policy.threshold if isinstance(policy, LearnedStopping) else None


@pytest.mark.parametrize(("risk", "expected"), [(0.01, -5.0), (0.05, -0.5)])
def test_the_level_is_that_of_the_setting(path: Path, risk: float, expected: float) -> None:
    """And so is the share of audits; the completion says which it was."""
    session = Session(steering(path, Setting(risk, audit=0.25)), ASKED)
    assert (expected, 0.25) == (threshold(session), session.stopping.audit)
    done = session.completion
    assert (risk, Certificate.load(path).fingerprint) == (done.risk, done.certificate)


def test_without_a_cut_it_is_only_decided(path: Path) -> None:
    """By the policy of the level, as in shadow mode."""
    session = Session(steering(path, Setting(0.05, cut=False)), ASKED)
    done = run(session, ScriptedModel([" It", " is", " Paris", ".", " And", " more", "."]).backend)
    assert ("shadow", " It is Paris. And more.", 0.05) == (done.mode, done.text, done.risk)
    assert done.would_stop is not None


def test_only_certified_levels_can_be_chosen(path: Path) -> None:
    """Whoever chooses another is told which there are."""
    with pytest.raises(ValueError, match=r"steer must choose a certified level, one of \[0.01, 0"):
        Session(steering(path, Setting(0.02)), ASKED)
    with pytest.raises(ValueError, match="certificate must be given for steer"):
        AdaptiveStopping(steer=lambda request, certificate: Setting(0.01))
    with pytest.raises(TypeError, match="steer must be callable"):
        AdaptiveStopping.load(path, risk=0.05, steer=7)


def test_it_is_asked_with_what_is_known_of_the_request(path: Path) -> None:
    """Once for each, and not where the mode leaves no choice."""
    asked: list[Request] = []

    def steer(request: Request, certificate: Certificate) -> Setting:
        asked.append(request)
        return Setting(certificate.levels[0].risk)

    stopping = AdaptiveStopping.load(path, risk=0.05, steer=steer)
    Session(stopping, ASKED)
    Session(stopping.replace(mode="shadow"), ASKED)
    Session(stopping.replace(mode="off"), ASKED)
    (seen,) = asked
    assert seen.metadata["request_id"]
    assert ASKED == replace(seen, metadata={})


def test_a_call_that_is_never_cut_stays_so(path: Path) -> None:
    """An integration takes the policy away where nothing can be cut."""
    uncut = steering(path, Setting(0.05, audit=0.5)).replace(policy=Never())
    session = Session(uncut, ASKED)
    assert isinstance(session.stopping.policy, Never)
    assert None is session.completion.risk


def test_a_swapped_model_is_answered_in_shadow_where_that_is_wished(path: Path) -> None:
    """Nothing is cut, and it is told; by default it is refused."""
    swapped = replace(ASKED, model="small-2")
    stopping = AdaptiveStopping.load(path, risk=0.05)
    with pytest.raises(NotCertified, match="the model is 'small-2'"):
        Session(stopping, swapped)
    session = Session(stopping.replace(otherwise="shadow"), swapped)
    done = run(session, ScriptedModel([" It", " is", " Paris", ".", " And", " more", "."]).backend)
    assert ("shadow", " It is Paris. And more.") == (done.mode, done.text)
    assert "the model is 'small-2'" in done.uncertified
    assert "active" == Session(stopping.replace(otherwise="shadow"), ASKED).stopping.mode
    with pytest.raises(ValueError, match="otherwise must be 'refuse' or 'shadow', got 'cut'"):
        stopping.replace(otherwise="cut")
