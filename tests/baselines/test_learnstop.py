"""LearnStop."""

from __future__ import annotations

import math
import sys

import numpy as np
import pytest

from stopping_core.engine import Engine
from stopping_core.errors import MissingPackage
from stopping_core.policies.baselines.baseline import Fitted
from stopping_core.policies.baselines.learnstop import FEATURES, LearnStop
from stopping_core.policies.learned.logistic import Logistic
from stopping_core.traces.columns import Columns, Mask
from stopping_core.traces.run import Run
from stopping_core.types import Boundary, Probe, Request
from tests.baselines.scripted import babble, probed, recorded, stop, words

CONFIDENCE, ENTROPY, SHARE, STABILITY, BACKTRACKING, ANSWERED, LENGTH = range(FEATURES)


def _only(feature: int, weight: float, intercept: float) -> Logistic:
    """A classifier that reads one feature."""
    weights = [0.0] * FEATURES
    weights[feature] = weight
    return Logistic((0.0,) * FEATURES, (1.0,) * FEATURES, tuple(weights), intercept)


FULL = np.ones(200, dtype=np.bool_)
"""What the rule is told of the full answers, which it does not ask for."""

RUN = words(
    36,
    {
        8: probed("5", 0.9, entropy=0.5),
        16: probed("4", 0.5, entropy=0.4),
        24: probed("4", 0.8, entropy=None),
        32: probed("4", 0.9, entropy=0.1),
    },
)


@pytest.mark.parametrize(
    ("feature", "weight", "intercept", "expected"),
    [
        (CONFIDENCE, 10.0, -8.5, 8),
        (CONFIDENCE, -10.0, 6.0, 16),
        (ENTROPY, -10.0, 4.5, 16),  # at 24 it is unknown, and so average, which is 0 here
        (SHARE, 10.0, -6.0, 8),
        (SHARE, -10.0, 6.0, 16),
        (STABILITY, 10.0, -10 * math.log(2.5), 24),
        (STABILITY, 10.0, -10 * math.log(3.5), 32),
        (ANSWERED, 1.0, -0.5, 8),
        (LENGTH, 10.0, -10 * math.log(20), 24),
    ],
)
def test_each_feature_is_read_as_described(
    feature: int, weight: float, intercept: float, expected: int
) -> None:
    """It stops at the first probe at which the feature is beyond -intercept / weight."""
    rule = LearnStop(0.5, at=8, model=_only(feature, weight, intercept))
    assert (expected, expected // 8) == stop(rule, RUN)


def test_backtracking_is_a_share_of_words() -> None:
    """Two of eight words turn round by the first probe, two of sixteen by the second."""
    run = recorded(
        ("Wait, ", "I ", "know ", "but ", *("word ",) * 30), {8: probed("4"), 16: probed("4")}
    )
    rule = LearnStop(0.5, at=8, model=_only(BACKTRACKING, -100.0, 20.0))
    assert 16 == stop(rule, recorded(run.tokens[:20], run.probes))[0]


def test_the_threshold_is_a_probability() -> None:
    """Log odds of 1 are a probability of 0.731."""
    model = _only(ANSWERED, 0.0, 1.0)
    assert (8, 1) == stop(LearnStop(0.73, at=8, model=model), RUN)
    assert (None, 4) == stop(LearnStop(0.74, at=8, model=model), RUN)


def _agreeing(seed: int) -> tuple[Run, list[int]]:
    """A run whose answers settle on 4 after a while, and the places from which they are right."""
    rng = np.random.default_rng(seed)
    settles = int(rng.integers(1, 8))
    probes: dict[int, Probe] = {}
    right = []
    for i in range(1, 9):
        good = i >= settles
        if good:
            right.append(8 * i)
        text = "4" if good else str(rng.integers(5, 9))
        probes[8 * i] = probed(text, float(rng.uniform(0.6, 1) if good else rng.uniform(0.3, 0.8)))
    return words(70, probes), right


def _labelled(count: int) -> tuple[Columns, Mask]:
    """Runs, and whether the answer at each of their checkpoints is right."""
    runs, places = zip(*map(_agreeing, range(count)), strict=True)
    columns = Columns(runs, tags=None).asked(LearnStop(at=8).marks())
    pairs = zip(columns.run.tolist(), columns.tokens.tolist(), strict=True)
    right = [tokens // 8 * 8 in places[run] for run, tokens in pairs]
    return columns, np.array(right, dtype=np.bool_)


def test_it_learns_that_sure_and_stable_answers_are_right() -> None:
    """On other runs of the same kind, most stops are right, and they come before the end."""
    columns, right = _labelled(60)
    rule = LearnStop(0.9, at=8).fit(columns, right, FULL)
    others = Columns([_agreeing(seed)[0] for seed in range(60, 120)], tags=None)
    others = others.asked(rule.marks())
    stops = rule.stops(others).where
    first = others.first(stops)
    good = [
        int(others.tokens[row]) in _agreeing(seed)[1]
        for seed, row in zip(range(60, 120), first, strict=True)
        if row >= 0
    ]
    assert len(good) > 30
    assert sum(good) / len(good) >= 0.8
    assert others.tokens[first[first >= 0]].mean() < 56


def test_its_probabilities_are_those_of_scikit_learn() -> None:
    """The stored numbers give back what the fitted classifier says, missing features as average."""
    from sklearn.linear_model import LogisticRegression

    columns, right = _labelled(40)
    rule = LearnStop(0.9, at=8).fit(columns, right, FULL)
    rows, features = rule._features(columns)
    labels = np.asarray(right)[rows]
    assert rule.model is not None
    assert np.isnan(features[:, ENTROPY]).any()
    known = np.where(np.isnan(features), 0.0, features)
    scale = np.where(known.std(axis=0) > 0, known.std(axis=0), 1)
    standard = (known - known.mean(axis=0)) / scale
    reference = LogisticRegression(max_iter=1000).fit(standard, labels)
    expected = reference.predict_proba(standard)[:, 1]
    assert rule.model.probability(features) == pytest.approx(expected, abs=1e-3)


def test_a_fitted_copy_keeps_its_settings() -> None:
    """The rule that was not fitted stays so."""
    columns, right = _labelled(20)
    rule = LearnStop(0.7, at=8)
    fitted = rule.fit(columns, right, FULL)
    assert isinstance(rule, Fitted)
    assert (0.7, 8, None) == (fitted.threshold, fitted.at, rule.model)
    assert repr(fitted).startswith("LearnStop(0.7, at=8, intercept=")


def test_what_was_not_fitted_is_refused() -> None:
    """By the engine and by the arrays."""
    with pytest.raises(ValueError, match="model must be fitted first"):
        Engine(LearnStop(), Request(), prober=lambda checkpoint: probed("4"))
    with pytest.raises(ValueError, match="model must be fitted first"):
        LearnStop().stops(Columns([RUN], tags=None))


def test_a_place_without_a_probe_is_refused() -> None:
    """An answer that was not recorded is no empty answer."""
    columns = Columns([words(40, RUN.probes)], tags=None).asked(LearnStop(at=8).marks())
    with pytest.raises(ValueError, match=r"columns must hold a probe .* got none at 1 of 5"):
        LearnStop(at=8).fit(columns, columns.tokens > 20, FULL)


@pytest.mark.parametrize("answer", [True, False])
def test_one_kind_of_answer_teaches_nothing(answer: bool) -> None:
    """The error says how many were right."""
    columns = Columns([RUN], tags=None).asked(LearnStop(at=8).marks())
    with pytest.raises(ValueError, match=f"right must hold True and False .* got {4 * answer} T"):
        LearnStop(at=8).fit(columns, np.full(len(columns), answer), FULL)


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error says what to install."""
    monkeypatch.setitem(sys.modules, "sklearn.linear_model", None)
    columns, right = _labelled(3)
    with pytest.raises(MissingPackage, match="scikit-learn is needed here"):
        LearnStop(at=8).fit(columns, right, FULL)


def test_the_settings() -> None:
    """It needs probes with logprobs, and may ask at boundaries."""
    assert frozenset({"probes", "logprobs"}) == LearnStop().needs()
    assert {16, 32, 64, Boundary.LINE} == {rule.at for rule in LearnStop.grid()}
    with pytest.raises(ValueError, match=r"threshold must be in \(0, 1\), got 1.0"):
        LearnStop(1.0)


@pytest.mark.parametrize("seed", range(2))
def test_engine_and_arrays_agree_on_any_run(seed: int) -> None:
    """For classifiers that were fitted on runs with all kinds of ends."""
    columns = Columns([babble(10 + i) for i in range(30)], tags=None)
    for rule in LearnStop.grid():
        rows = columns.asked(rule.marks())
        stop(rule.fit(rows, rows.run % 2 == 0, FULL), babble(seed))
