"""The rule that stops where a stop is held to lose nothing."""

from __future__ import annotations

import math
import sys
from functools import partial

import numpy as np
import pytest

from stopping_core import Request
from stopping_core.engine import Engine
from stopping_core.errors import MissingPackage
from stopping_core.policies import LoopGuard, MinTokens, Patience
from stopping_core.policies.baselines import Fitted
from stopping_core.policies.learned import LearnedStopping
from stopping_core.policies.learned.answer import AnswerEvidence
from stopping_core.testing import check_policy
from stopping_core.traces.columns import Columns
from stopping_core.traces.graded import Graded
from stopping_core.traces.run import Run
from stopping_core.traces.sweep import cut, cut_by_engine
from stopping_core.types import Step
from tests.learned.made_answers import fitted, labelled, made_answer, made_model
from tests.traces.made_runs import plain_runs, thinking_runs

ANSWERS = [made_answer(seed, context=seed % 5 > 0) for seed in range(200, 230)]


@pytest.mark.parametrize("threshold", [-6.0, -4.0, -1.5])
def test_engine_and_arrays_stop_at_the_same_place(threshold: float) -> None:
    """Over answers with and without a context, odd runs and runs that think first."""
    runs = [*ANSWERS, *plain_runs(), *thinking_runs()]
    for tags in (None, ("<think>", "</think>")):
        columns = Columns(runs, tags=tags)
        for rule in (
            LearnedStopping(threshold, made_model(4), every=3),
            LearnedStopping(threshold, fitted().model),
            LearnedStopping(threshold, fitted().model) | LoopGuard(),
            Patience(LearnedStopping(threshold, fitted().model), 2) & MinTokens(5),
        ):
            at_once, one_by_one = cut(columns, rule), cut_by_engine(columns, rule)
            assert one_by_one.row.tolist() == at_once.row.tolist()
            assert one_by_one.tokens.tolist() == at_once.tokens.tolist()


def test_it_learns_when_the_answer_was_given() -> None:
    """On answers that it was not fitted on it saves a third, and loses few of them."""
    columns = Columns([made_answer(seed) for seed in range(1000, 1100)], tags=None)
    cuts = cut(columns, LearnedStopping(-4.0, fitted().model))
    saved = 1 - cuts.tokens.sum() / columns.lengths.sum()
    graded = Graded(columns)
    rows = np.flatnonzero(cuts.stopped)
    right = graded.full() >= 1
    lost = right[rows] & ~graded.right(cuts.row[rows])
    assert saved > 1 / 3
    assert lost.sum() <= 5


def test_higher_thresholds_stop_no_later() -> None:
    """They are a path from careful to aggressive, whatever the model says."""
    columns = Columns(ANSWERS, tags=None)
    path = [LearnedStopping(rule.threshold, fitted().model) for rule in LearnedStopping.grid()]
    tokens = np.array([cut(columns, rule).tokens for rule in path])
    assert (np.diff(tokens, axis=0) <= 0).all()
    assert tokens[-1].sum() < tokens[0].sum() == columns.lengths.sum()
    assert 40 == len({rule.threshold for rule in path})


def test_fitting_again_gives_the_same_model() -> None:
    """To the last bit."""
    runs = [made_answer(seed) for seed in range(160)]
    again = LearnedStopping(-4.0).fit(*labelled(runs))
    assert again.model == fitted().model


def test_runs_without_a_context_fit_and_are_stopped() -> None:
    """The model then knows of no weights, and reads what is left."""
    rule = LearnedStopping(-3.0)
    fit = rule.fit(*labelled([made_answer(seed, context=False) for seed in range(60)]))
    assert isinstance(rule, Fitted)
    assert rule.model is None
    assert fit.model is not None
    assert fit.model.salience is None
    cuts = cut(Columns(ANSWERS, tags=None), LearnedStopping(-1.5, fit.model))
    assert cuts.stopped.any()


def test_words_are_weighed_by_what_other_families_taught() -> None:
    """One family alone falls back on its groups; what one question taught nobody can tell."""
    runs = [made_answer(seed) for seed in range(4)]
    assert 1 == len({run.family for run in runs})
    columns, right, _ = labelled(runs)
    full = np.ones(4, dtype=np.bool_)
    model = LearnedStopping(-3.0).fit(columns, right, full).model
    assert model is not None
    assert model.salience is not None
    one = next(run for run in runs if run.gold[0] in run.text)
    alone = LearnedStopping(-3.0).fit(*labelled([one])).model
    assert alone is not None
    weights = dict(zip(AnswerEvidence.names, alone.scorer.to_dict()["weights"], strict=True))
    assert (0.0, 0.0) == (weights["said"], weights["unsaid"])


@pytest.mark.parametrize(("right", "full"), [(True, True), (False, True), (False, False)])
def test_runs_of_one_kind_teach_nothing(right: bool, full: bool) -> None:
    """The error says how many places lose an answer."""
    columns, _, _ = labelled([made_answer(seed) for seed in range(4)])
    lost = len(columns) if full and not right else 0
    with pytest.raises(ValueError, match=f"right and full must make a stop lose .* got {lost} los"):
        LearnedStopping(-3.0).fit(columns, np.full(len(columns), right), np.full(4, full))


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error says what to install."""
    monkeypatch.setitem(sys.modules, "sklearn.linear_model", None)
    with pytest.raises(MissingPackage, match=r"scikit-learn is needed .*stopping-core\[fit\]"):
        LearnedStopping(-3.0).fit(*labelled([made_answer(seed) for seed in range(20)]))


def test_what_was_not_fitted_is_refused() -> None:
    """By the engine and by the arrays."""
    with pytest.raises(ValueError, match="model must be fitted first"):
        Engine(LearnedStopping(-3.0), Request())
    with pytest.raises(ValueError, match="model must be fitted first"):
        LearnedStopping(-3.0).stops(Columns(ANSWERS, tags=None))


@pytest.mark.parametrize("threshold", [math.nan, math.inf])
def test_settings_out_of_their_interval(threshold: float) -> None:
    """The error names them."""
    with pytest.raises(ValueError, match="threshold must be a finite number, got"):
        LearnedStopping(threshold)
    with pytest.raises(ValueError, match="every must be >= 1, got 0"):
        LearnedStopping(-3.0, every=0)


def test_the_stop_may_be_refused() -> None:
    """It is not forced, and its reason is one word."""
    engine = Engine(LearnedStopping(9.0, made_model()), Request())
    engine.feed(Step("The answer "))
    engine.feed(Step("is Paris"))
    assert (True, "learned", False) == (
        engine.decision.stop,
        engine.decision.reason,
        engine.decision.forced,
    )


@pytest.mark.parametrize("threshold", [-9.0, -2.0, 9.0])
def test_the_contract_of_policies(threshold: float) -> None:
    """No context, and chunks of any size."""
    check_policy(partial(LearnedStopping, threshold, fitted().model))


def test_it_needs_the_text_alone() -> None:
    """And runs of no tokens are no trouble."""
    assert frozenset() == LearnedStopping(-3.0).needs()
    empty = Run("q", "?", ("a",), (), "stop")
    assert [-1] == cut(Columns([empty], tags=None), fitted()).row.tolist()
