"""The rules whose thresholds come from recorded runs."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest

from stopping_core import Policy
from stopping_core.policies.baselines import ConformalThinking, ThoughtCalibration
from stopping_core.policies.baselines.conformal_thinking import Thresholds
from stopping_core.policies.baselines.high_confidence import Confidence
from stopping_core.traces.columns import Columns, Mask
from stopping_core.traces.evidence import MissingEvidence
from stopping_core.traces.replay import replay
from stopping_core.traces.run import Run
from stopping_core.types import Step
from tests.baselines.readings import run
from tests.baselines.scripted import stop


def lines(*confidences: float) -> Run:
    """A run of lines of two tokens, all of one probability; line i ends after token 2 i - 1."""
    tokens = [token for _ in confidences for token in ("So", "\n")]
    twice = [value for value in confidences for _ in range(2)]
    return run(tokens, logprobs=[math.log(value) for value in twice], margin=twice)


SOLVED = lines(0.2, 0.2, 0.2, 0.2, 0.9, 0.9, 0.9, 0.9)
"""Sure from the fifth line on, and right."""
HOPELESS = lines(0.2, 0.2, 0.2, 0.2, 0.2, 0.2, 0.2, 0.2)
"""Never sure, and never right."""
EASY = lines(0.2, 0.2, 0.2, 0.2, 0.2, 0.2, 0.2, 0.2)
"""Never sure, and right all along."""


def margin(step: Step) -> float | None:
    """A score that stands in for a probe: the margin of the step."""
    return step.margin


def columns_of(*runs: Run) -> tuple[Columns, Mask, Mask]:
    """The places of some runs, whether the answer is right there, and whether the full one is."""
    columns = Columns(runs, tags=None)
    solved, easy = (np.array([one is kind for one in runs]) for kind in (SOLVED, EASY))
    right = easy[columns.run] | (solved[columns.run] & (columns.tokens >= 9))
    return columns, right, solved | easy


def conformal(risk: float, *runs: Run) -> ConformalThinking:
    """Conformal Thinking on the confidence of the last token, fitted on some runs."""
    return ConformalThinking(risk, 0.05, signal=Confidence(1)).fit(*columns_of(*runs))


def test_conformal_thinking_stops_when_the_model_is_sure() -> None:
    """At 0.9, and not at 0.2, where every answer is wrong."""
    rule = conformal(0.1, *[SOLVED] * 60)
    assert rule.thresholds is not None
    assert pytest.approx(0.9) == rule.thresholds.upper
    assert (9, 0) == stop(rule, SOLVED)
    assert "sure" == replay(SOLVED, rule, tags=None).reason


def test_conformal_thinking_gives_up_on_hopeless_runs() -> None:
    """Before their end, and without giving up on a run that is solved in the middle."""
    rule = conformal(0.1, *[SOLVED] * 60, *[HOPELESS] * 60)
    assert (9, 0) == stop(rule, SOLVED)
    outcome = replay(HOPELESS, rule, tags=None)
    assert ("stuck", True) == (outcome.reason, outcome.forced)
    assert outcome.tokens < len(HOPELESS)


def test_conformal_thinking_takes_no_threshold_that_the_runs_do_not_bear() -> None:
    """Of 20 runs none is stopped wrongly: at a risk of 10% that is 0.9^20 = 0.12, above delta."""
    assert Thresholds(math.inf) == conformal(0.1, *[SOLVED] * 20).thresholds
    assert math.inf > (conformal(0.1, *[SOLVED] * 22).thresholds or Thresholds(math.inf)).upper


def test_a_higher_risk_buys_an_earlier_stop() -> None:
    """At the first line half of the answers are wrong, and the others were right before."""
    runs = [*[SOLVED] * 60, *[EASY] * 60]
    assert [9, 1] == [stop(conformal(risk, *runs), SOLVED)[0] for risk in (0.1, 0.7)]


def test_the_lower_threshold_rises_to_its_height() -> None:
    """Half way in the middle; none without a slope."""
    lower = Thresholds(1.0, 2.0, 10.0, 0.8).lower(np.array([-(10**6), 10, 10**6]))
    assert pytest.approx([0.0, 0.4, 0.8]) == lower.tolist()
    assert [-math.inf] == Thresholds(1.0).lower(np.array([5])).tolist()


def test_conformal_thinking_survives_runs_without_readings() -> None:
    """Nothing to choose from: it never stops."""
    empty = run(())
    assert Thresholds(math.inf) == conformal(0.1, empty).thresholds


@pytest.mark.parametrize(("runs", "threshold"), [(21, math.inf), (22, 0.01)])
def test_thought_calibration_certifies_what_the_runs_bear(runs: int, threshold: float) -> None:
    """No answer lost in 22 runs is 0.9^22 = 0.098, below delta; in 21 it is 0.109.

    Lines of one score cannot be told apart, so that the lowest threshold loses as little as any.
    """
    right_all_along = Columns([HOPELESS] * runs, tags=None)
    everywhere = ~right_all_along.nowhere()
    rule = ThoughtCalibration(risk=0.1, score=margin).fit(
        right_all_along, everywhere, np.ones(runs, dtype=np.bool_)
    )
    assert threshold == rule.threshold


def test_thought_calibration_stops_testing_at_the_first_failure() -> None:
    """Scores of 0.2 until the answer is right, then a mean of ten that rises to 0.55."""
    rule = ThoughtCalibration(risk=0.1, score=margin, window=10).fit(*columns_of(*[SOLVED] * 60))
    assert rule.threshold is not None
    assert 0.2 < rule.threshold <= 0.29  # after nine tokens: (8 * 0.2 + 0.9) / 9 = 0.278
    assert (9, 0) == stop(rule, SOLVED)


def test_a_score_is_a_mean_over_the_last_ones() -> None:
    """Of two: 0.9 in the second token of the fifth line's first two."""
    rule = ThoughtCalibration(0.6, score=margin, window=2)
    assert (11, 0) == stop(rule, SOLVED)


def test_hidden_states_are_not_recorded() -> None:
    """Without a score the rule is refused."""
    with pytest.raises(MissingEvidence, match="needs hidden_states"):
        replay(SOLVED, ThoughtCalibration(0.5), tags=None)


@pytest.mark.parametrize(
    "rule", [ConformalThinking(), ThoughtCalibration(score=margin)], ids=["conformal", "thought"]
)
def test_a_rule_that_was_not_fitted_says_so(rule: Policy) -> None:
    """Instead of never stopping."""
    with pytest.raises(ValueError, match="must be fitted first, by"):
        replay(SOLVED, rule, tags=None)
    with pytest.raises(ValueError, match="must be fitted first, by"):
        rule.stops(Columns((SOLVED,), tags=None).asked())


def test_the_published_settings() -> None:
    """A delta of 0.1 in both, and the scores are smoothed over ten steps."""
    assert (0.1, 0.1) == (ConformalThinking().delta, ThoughtCalibration().delta)
    assert 10 == ThoughtCalibration().scores.window


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ConformalThinking(0.0), r"risk must be in \(0, 1\), got 0.0"),
        (lambda: ConformalThinking(0.1, 1.0), r"give_up must be in \(0, 1\), got 1.0"),
        (lambda: ConformalThinking(delta=1.0), r"delta must be in \(0, 1\), got 1.0"),
        (lambda: ThoughtCalibration(0.0), r"threshold must be in \(0, 1\] or inf, got 0.0"),
        (lambda: ThoughtCalibration(risk=1.0), r"risk must be in \(0, 1\), got 1.0"),
        (lambda: ThoughtCalibration(delta=0.0), r"delta must be in \(0, 1\), got 0.0"),
        (lambda: ThoughtCalibration(window=0), "window must be >= 1, got 0"),
    ],
)
def test_settings_out_of_their_interval(make: Callable[[], Policy], message: str) -> None:
    """The error names setting, interval and value."""
    with pytest.raises(ValueError, match=message):
        make()
