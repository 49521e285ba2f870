"""Certificates as files: what one has to be, and the settings that are made of it."""

from __future__ import annotations

import copy
import json
import math
import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from stopping_core import AdaptiveStopping, Session
from stopping_core.budgets import LengthModel, QuantileBudget
from stopping_core.budgets.request_features import NAMES
from stopping_core.certificates import Certificate
from stopping_core.errors import NotCertified
from stopping_core.policies import Never
from stopping_core.policies.learned import LearnedStopping, LossModel
from stopping_core.policies.learned.logistic import Logistic
from stopping_core.policies.learned.thinking import ThinkingEvidence
from stopping_core.results import Verdict
from tests.calibration.certified import ASKED, made_certificate, made_scope


@pytest.fixture
def path(tmp_path: Path) -> Path:
    made_certificate().write(tmp_path / "certificate.json")
    return tmp_path / "certificate.json"


def test_a_file_gives_the_certificate_back(path: Path) -> None:
    """All of it, with and without what may be missing."""
    assert made_certificate() == Certificate.load(path)
    bare = made_certificate(scope=made_scope(frame=None, reasoning_tags=("<t>", "</t>")))
    bare.write(path)
    assert bare == Certificate.load(path)


def _places(value: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The ways to all members of all objects."""
    if isinstance(value, dict):
        inner = [place for key in value for place in _places(value[key], (*at, key))]
        return [(*at, key) for key in value] + inner
    if isinstance(value, list) and value and isinstance(value[0], dict):
        return _places(value[0], (*at, 0))
    return []


def test_every_key_is_needed_known_and_of_its_type(path: Path) -> None:
    """A member that is missing, or of another type, or one too many: the error names it."""
    content = json.loads(path.read_text("utf-8"))
    places = _places(content)
    assert len(places) > 40
    for *way, key in places:
        for what in ("missing", "wrong", "unknown"):
            spoilt = copy.deepcopy(content)
            inner = spoilt
            for step in way:
                inner = inner[step]
            named = str(key)
            if what == "missing":
                del inner[key]
            elif what == "wrong":
                inner[key] = {"no": ["such"]}
            else:
                named = "surplus"
                inner[named] = 1
            path.write_text(json.dumps(spoilt), "utf-8")
            with pytest.raises(ValueError, match=path.name) as caught:
                Certificate.load(path)
            assert named in str(caught.value) or "model.scorer" in str(caught.value), (way, key)


@pytest.mark.parametrize(
    ("way", "value", "message"),
    [
        (("levels", 0, "threshold"), -4.0, "digest"),
        (("levels", 0, "bound"), 0.02, "levels[0].bound must be in [0, 0.01]"),
        (("levels", 0, "lost"), 501, "levels[0].lost must be in [0, 500]"),
        (("levels", 1, "risk"), 0.01, "levels[1].bound"),
        (("levels",), [], "levels must rise in risk"),
        (("levels", 0, "threshold"), 0.0, "levels must not fall in threshold"),
        (("levels", 1, "lost"), 21, "levels[1].bound must be at least what was lost, 21 of 500"),
        (("confidence",), 1.5, "confidence must be in [0, 1]"),
        (("confidence",), 1, "confidence must be in (0, 1)"),
        (("scope", "channel"), "reasoning", "scope.channel must be the model's, 'answer'"),
        (("fitted", "families"), ["c" * 16], "certified.families must not have been fitted on"),
        (("version",), 2, "version must be 1"),
        (("version",), True, "version must be 1"),
        (("scope", "every"), 0, "scope.every must be a whole number >= 1"),
        (("scope", "template", "user"), "no place", "scope.template.user must hold {question}"),
        (("scope", "completeness"), "none", "scope.completeness must be 'default'"),
        (("fitted", "passages"), ["e" * 16], "certified.passages must not have been fitted on"),
        (("fitted", "seed"), "0", "fitted.seed"),
        (("fitted", "traces"), ["a"], "fitted.traces[0] must be 64 hex digits, got 'a'"),
        (("fitted", "families"), [], "fitted.families must hold one hash or more"),
        (("certified", "passages"), ["e" * 16] * 2, "certified.passages must hold one hash"),
        (("scope", "temperature"), -1, "scope.temperature must be in [0, inf]"),
        (("scope", "max_tokens"), 0, "scope.max_tokens must be a whole number >= 1"),
        (("scope", "context_words"), [5, 1], "scope.context_words must rise, got [5, 1]"),
        (("scope", "question_words"), [1], "scope.question_words must hold two numbers, got [1]"),
    ],
)
def test_tampering_is_told(path: Path, way: tuple[Any, ...], value: Any, message: str) -> None:
    """A value that cannot be is named; one that could be is noticed by the digest."""
    content = json.loads(path.read_text("utf-8"))
    inner = content
    for step in way[:-1]:
        inner = inner[step]
    inner[way[-1]] = value
    path.write_text(json.dumps(content), "utf-8")
    with pytest.raises(ValueError, match=path.name) as caught:
        Certificate.load(path)
    assert message in str(caught.value)


def test_no_part_of_a_file_is_a_certificate(path: Path) -> None:
    """Truncated anywhere, followed by more, empty, or no text at all."""
    whole = path.read_bytes()
    parts = [whole[:at] for at in range(0, len(whole.rstrip()), 97)]
    for content in (*parts, whole + b"{}", b"[1]", b"\xff\xfe", b"[" * 100_000, b'{"kind": NaN}'):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=path.name):
            Certificate.load(path)


@pytest.mark.parametrize(("risk", "threshold"), [(0.01, -5.0), (0.03, -5.0), (0.05, -0.5)])
def test_the_largest_level_that_is_allowed(path: Path, risk: float, threshold: float) -> None:
    """The policy of the most that may be lost, and never of more."""
    stopping = AdaptiveStopping.load(path, risk)
    assert isinstance(stopping.policy, LearnedStopping)
    assert threshold == stopping.policy.threshold
    assert isinstance(stopping.reasoning, Never)


def test_no_level_is_small_enough(path: Path) -> None:
    """The error says which levels there are."""
    with pytest.raises(ValueError, match=r"risk must be .* one of 0\.01, 0\.05, got 0\.005"):
        AdaptiveStopping.load(path, 0.005)


def _lengths(*tokens: int, runs: int = 100) -> LengthModel:
    """Quantiles that are the same for every request."""
    width, logs = len(NAMES), tuple(map(math.log, tokens))
    levels = tuple((place + 1) / (len(tokens) + 1) for place in range(len(tokens)))
    rows = ((0.0,) * width,) * len(tokens)
    zeros = (0.0,) * len(tokens)
    return LengthModel(levels, (0.0,) * width, (1.0,) * width, rows, logs, 256, zeros, runs)


def test_a_profile_chooses_a_level_and_plans_the_grants(path: Path) -> None:
    """Its risk chooses among what was proven; grants begin small where a hang-up is billed on."""
    needed = _lengths(20, 40, 80)
    levels = tuple(replace(one, needed=needed) for one in made_certificate().levels)
    made_certificate(levels=levels, natural=_lengths(200, 250, 256)).write(path)
    chat = AdaptiveStopping.load(path, profile="realtime_chat")
    batch = AdaptiveStopping.load(path, profile="batch")
    assert isinstance(chat.policy, LearnedStopping)
    assert isinstance(batch.policy, LearnedStopping)
    assert (-0.5, -5.0) == (chat.policy.threshold, batch.policy.threshold)
    assert (2, 3) == (chat.attempts, batch.attempts)
    with pytest.raises(ValueError, match=r"'high_stakes' asks for .* 0\.005, certified are 0\.01"):
        AdaptiveStopping.load(path, profile="high_stakes")
    for wrong in ("0.05", 7, 0, True):
        with pytest.raises(ValueError, match=r"risk must be in \(0, 1\), got "):
            AdaptiveStopping.load(path, wrong)  # type: ignore[arg-type]  # wrong on purpose
    with pytest.raises(ValueError, match=r"profile must be one of .*'balanced'.*, got 'fast'"):
        AdaptiveStopping.load(path, profile="fast")
    assert isinstance(chat.up_front, QuantileBudget)
    assert (64.0, 2) == (chat.up_front.call_cost, chat.up_front.attempts)
    short = replace(ASKED, prompt_tokens=10)
    granted = [
        Session(stopping, short, hang_up_ends_bill=ends).next_call(0.0).max_tokens
        for stopping, ends in ((batch, True), (batch, False), (chat, False))
    ]
    assert 256 == granted[0]
    assert granted[1] is not None
    assert granted[2] is not None
    assert granted[1] <= granted[2] < 256
    assert AdaptiveStopping.load(path, profile="batch", attempts=5).up_front != batch.up_front


def test_lengths_come_back_as_they_were(path: Path) -> None:
    """Those of each level and the natural ones, to the bit; what is damaged names its place."""
    levels = tuple(replace(one, needed=_lengths(20, 41)) for one in made_certificate().levels)
    made = made_certificate(levels=levels, natural=_lengths(200, 255))
    made.write(path)
    assert made == Certificate.load(path)
    content = json.loads(path.read_text("utf-8"))
    content["levels"][1]["needed"]["cap"] = 0
    path.write_text(json.dumps(content), "utf-8")
    with pytest.raises(ValueError, match=r"levels\[1\]\.needed\.cap must be a whole number >= 1"):
        Certificate.load(path)


def test_trust_is_for_known_kinds() -> None:
    """A word that means nothing is refused where it is said."""
    with pytest.raises(ValueError, match="trust must hold some of"):
        AdaptiveStopping(trust=("everything",))  # type: ignore[arg-type]  # wrong on purpose


def test_it_is_pickled_and_copied_with_its_certificate(path: Path) -> None:
    """Frameworks copy settings: the copy is as certified as the original."""
    stopping = AdaptiveStopping.load(path)
    for twin in (copy.deepcopy(stopping), pickle.loads(pickle.dumps(stopping)), stopping.replace()):
        assert ASKED.model == Session(twin, ASKED).request.model


def test_the_reasoning_has_a_channel_of_its_own(path: Path) -> None:
    """A policy that was certified on the reasoning ends the reasoning, and leaves the answer."""
    scope = made_scope(channel="reasoning", reasoning_tags=("<t>", "</t>"), every=1)
    width = len(ThinkingEvidence.names)
    even = Logistic((0.0,) * width, (1.0,) * width, (0.0,) * width, 0.0)
    made_certificate(scope=scope, model=LossModel("text", "reasoning", even)).write(path)
    stopping = AdaptiveStopping.load(path)
    assert isinstance(stopping.reasoning, LearnedStopping)
    assert isinstance(stopping.policy, Never)
    assert (("<t>", "</t>"), 1) == (stopping.reasoning_tags, stopping.checkpoint_every)
    Session(stopping, ASKED)
    with pytest.raises(NotCertified, match="the check before a cut is"):
        Session(stopping.replace(completeness=lambda request, draft: Verdict(True)), ASKED)
    with pytest.raises(NotCertified, match="reasoning_tags"):
        Session(stopping.replace(reasoning_tags=("<a>", "</a>")), ASKED)
