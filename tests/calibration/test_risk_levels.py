"""Risk control on data that one can work out by hand: what it chooses, tells and refuses."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from stopping_core.calibration.bounds import (
    binomial_p_value,
    binomial_upper_bound,
    hoeffding_bentkus_p_value,
    hoeffding_bentkus_upper_bound,
    runs_needed,
)
from stopping_core.calibration.risk_control import RiskLevel, control_risk, fixed_sequences

Losses = NDArray[np.float64]


def _lost(runs: int, *counts: int) -> Losses:
    """Losses of so many runs, of which so many are lost at each setting.  # (runs, settings)."""
    return (np.arange(runs)[:, np.newaxis] < np.array(counts)).astype(np.float64)


def test_one_level_takes_the_last_setting_before_the_first_failure() -> None:
    """What comes after a failure is not looked at, however well it does."""
    (level,) = control_risk(_lost(400, 0, 2, 30, 0), [0.02])
    expected = RiskLevel(
        alpha=0.02,
        setting=1,
        units=400,
        loss=0.005,
        p_value=binomial_p_value(2, 400, 0.02),
        share=0.05,
        bound=binomial_upper_bound(2, 400, 0.05),
        exact=True,
        needed=None,
    )
    assert expected == level
    assert level.bound <= 0.02


def test_a_refused_level_says_how_many_runs_it_takes() -> None:
    """At the loss of the first setting, at the share of delta that it has, beyond those there are.

    At 386 runs one percent lost would do; at 400 it does not, because the fourth run is lost.
    """
    (level,) = control_risk(_lost(400, 4, 4), [0.02])
    expected = RiskLevel(
        alpha=0.02,
        setting=None,
        units=400,
        loss=0.01,
        p_value=binomial_p_value(4, 400, 0.02),
        share=0.05,
        bound=binomial_upper_bound(4, 400, 0.05),
        exact=True,
        needed=456,
    )
    assert expected == level
    assert level.bound > 0.02


def test_a_level_that_the_data_deny_has_no_number_of_runs() -> None:
    """More is lost than it allows: more runs like these would not help."""
    (level,) = control_risk(_lost(100, 3), [0.02])
    assert (None, None) == (level.setting, level.needed)


def test_levels_share_delta() -> None:
    """149 runs without a loss are enough for 2% alone, and not for 2% among three levels."""
    runs = _lost(149, 0, 20, 60, 90)
    alone = control_risk(runs, [0.02])
    assert [0] == [level.setting for level in alone]
    several = control_risk(runs, [0.02, 0.05, 0.1])
    assert [None, 0, 0] == [level.setting for level in several]
    assert [pytest.approx(0.05 / 3)] * 3 == [level.share for level in several]
    assert runs_needed(0.02, 0.05 / 3, 0.0) == several[0].needed


def test_one_setting_is_tested_at_all_levels_for_the_price_of_one() -> None:
    """Its upper bound answers for every level at once."""
    levels = control_risk(_lost(149, 0), [0.02, 0.05, 0.1])
    assert [0, 0, 0] == [level.setting for level in levels]
    assert {0.05} == {level.share for level in levels}


def test_a_level_that_comes_to_the_end_leaves_its_share_to_the_others() -> None:
    """Three levels; the laxest passes all four settings, and two thirds of delta are not needed."""
    levels = control_risk(_lost(149, 0, 9, 9, 9), [0.02, 0.03, 0.5])
    assert [None, 0, 3] == [level.setting for level in levels]
    assert {0.025} == {level.share for level in levels}


def test_groups_are_the_units() -> None:
    """Each counts once, by the mean over its runs, wherever its runs stand."""
    losses = np.array([[0.0], [1.0], [0.0], [0.0], [1.0], [1.0]])
    (level,) = control_risk(losses, [0.9], delta=0.5, groups=["a", "b", "a", "c", "b", "c"])
    loss = (0 + 1 + 0.5) / 3
    expected = RiskLevel(
        alpha=0.9,
        setting=0,
        units=3,
        loss=loss,
        p_value=hoeffding_bentkus_p_value(loss, 3, 0.9),
        share=0.5,
        bound=hoeffding_bentkus_upper_bound(loss, 3, 0.5),
        exact=False,
        needed=None,
    )
    assert expected == level


def test_the_test_does_not_depend_on_how_the_losses_of_a_group_fell() -> None:
    """Groups of several runs are bounded by Hoeffding-Bentkus even if each is lost as a whole."""
    losses = _lost(400, 2)
    alone, paired = range(400), np.arange(400) // 2
    assert control_risk(losses, [0.1]) == control_risk(losses, [0.1], groups=alone)
    assert control_risk(losses, [0.1])[0].exact
    assert not control_risk(losses, [0.1], groups=paired.tolist())[0].exact


def test_losses_that_lie_between_are_bounded() -> None:
    """Also without groups; a refusal then counts by the same test."""
    (level,) = control_risk(np.full((50, 1), 0.01), [0.05])
    assert not level.exact
    assert hoeffding_bentkus_p_value(0.01, 50, 0.05) == level.p_value
    assert runs_needed(0.05, 0.05, level.loss, exact=False) == level.needed


@st.composite
def outcomes(draw: st.DrawFn) -> tuple[Losses, list[float]]:
    """Losses of some runs at some settings, and levels."""
    runs, settings = draw(st.integers(1, 150)), draw(st.integers(1, 5))
    rng = np.random.default_rng(draw(st.integers(0, 1000)))
    rates = draw(st.lists(st.floats(0, 0.3), min_size=settings, max_size=settings))
    levels = draw(st.lists(st.floats(0.01, 0.6), min_size=1, max_size=4, unique=True))
    return (rng.random((runs, settings)) < np.array(rates)).astype(np.float64), sorted(levels)


@given(outcomes(), st.floats(0.01, 0.5))
def test_no_less_is_certified_than_by_bonferroni(
    data: tuple[Losses, list[float]], delta: float
) -> None:
    """Each level by itself at its part of delta never comes further, at all of delta never less."""
    losses, levels = data
    for level in control_risk(losses, levels, delta=delta):
        (part,) = control_risk(losses, [level.alpha], delta=delta / len(levels))
        (whole,) = control_risk(losses, [level.alpha], delta=delta)
        chosen = [-1 if one.setting is None else one.setting for one in (part, level, whole)]
        assert sorted(chosen) == chosen


@given(outcomes(), st.floats(0.01, 0.5))
def test_what_is_told_belongs_together(data: tuple[Losses, list[float]], delta: float) -> None:
    """Certified: p-value and bound hold. Refused: neither does. A higher level chooses no less."""
    losses, levels = data
    told = control_risk(losses, levels, delta=delta)
    for level in told:
        certified = level.setting is not None
        assert certified == (level.p_value <= level.share)
        assert certified == (level.bound <= level.alpha * (1 + 1e-9))
        assert level.needed is None or (not certified and level.needed > level.units)
        assert losses.mean(axis=0)[level.setting or 0] == level.loss
    chosen = [-1 if level.setting is None else level.setting for level in told]
    assert sorted(chosen) == chosen


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: control_risk([[0.0]], [0.1], delta=0.0), r"delta must be in \(0, 1\), got 0.0"),
        (lambda: control_risk([[0.0]], []), r"levels must be in \(0, 1\) .* one or more, got \[\]"),
        (lambda: control_risk([[0.0]], [0.0, 0.1]), r"levels must be .* got \[0.0, 0.1\]"),
        (lambda: control_risk([[0.0]], [math.nan]), r"levels must be .* got \[nan\]"),
        (lambda: control_risk([[0.0]], [0.2, 0.1]), r"and rise, .* got \[0.2, 0.1\]"),
        (lambda: control_risk([[0.0]], [0.1, 0.1]), r"and rise, .* got \[0.1, 0.1\]"),
        (lambda: control_risk([], [0.1]), r"losses must have shape .* got \(0,\)"),
        (lambda: control_risk([[]], [0.1]), r"losses must have shape .* got \(1, 0\)"),
        (lambda: control_risk([0.0], [0.1]), r"losses must have shape .* got \(1,\)"),
        (
            lambda: control_risk([[0.0, 1.0], [0.0, 1.5]], [0.1]),
            r"losses must be in \[0, 1\], got 1.5 for run 1, setting 1",
        ),
        (lambda: control_risk([[math.nan]], [0.1]), "got nan for run 0, setting 0"),
        (
            lambda: control_risk([[0.0], [0.0]], [0.1], groups=["a"]),
            "groups must name a group for each of 2 runs, got 1",
        ),
        (lambda: fixed_sequences([0.1], 0.1), r"p_values must have shape .* got \(1,\)"),
        (lambda: fixed_sequences([[1.1]], 0.1), r"p_values must be in \[0, 1\], got 1.1"),
        (lambda: fixed_sequences([[math.nan]], 0.1), r"p_values must be in \[0, 1\], got nan"),
        (lambda: fixed_sequences([[0.1, 0.2]], 0.1), "p_values must not rise with the level"),
        (lambda: fixed_sequences([[0.1]], 1.0), r"delta must be in \(0, 1\), got 1.0"),
    ],
)
def test_what_cannot_be_is_named(call: Callable[[], object], message: str) -> None:
    """The error names the argument, its interval and its value."""
    with pytest.raises(ValueError, match=message):
        call()
