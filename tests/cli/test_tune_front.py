"""``stopping tune``: what a front reports of its settings, and what is drawn of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import optuna
import pytest

from stopping_core.cli.tune.front import Member, members
from stopping_core.cli.tune.half import Reported, Searched
from stopping_core.cli.tune.picture import picture
from stopping_core.cli.tune.runs import deal
from stopping_core.cli.tune.search import Trial
from stopping_core.policies import MaxTokens, Policy
from tests.cli.recorded import reading

if TYPE_CHECKING:
    from stopping_core.cli.tune.rules import Asked

Halves = tuple[Searched, Reported]
BUDGETS = (4, 8, 12, 16, 24, 32)


class Nameless(MaxTokens):
    """Prints its address in memory, as classes do that say nothing."""

    __repr__ = object.__repr__


@pytest.fixture(scope="module")
def halves() -> Halves:
    searched, reported = deal(reading(24), 0)
    return Searched(searched), Reported(reported)


def _members(halves: Halves, space: Callable[[Asked], Policy], policy: str) -> list[Member]:
    """What is reported of one trial, which was given 8 tokens."""
    return members([Trial(0, policy, {"tokens": 8}, 1.0, 40.0)], space, *halves)


def _budget(trial: Asked) -> Policy:
    return MaxTokens(trial.suggest_int("tokens", 1, 60))


def _doubled(trial: Asked) -> Policy:
    return MaxTokens(2 * trial.suggest_int("tokens", 1, 60))


def _renamed(trial: Asked) -> Policy:
    return MaxTokens(trial.suggest_int("budget", 1, 60))


def _pruning(trial: Asked) -> Policy:
    raise optuna.TrialPruned


def _nameless(trial: Asked) -> Policy:
    return Nameless(trial.suggest_int("tokens", 1, 60))


def test_a_setting_is_reported_as_it_was_tried(halves: Halves) -> None:
    """The reported figures are those of the policy that the trial names."""
    (found,) = _members(halves, _budget, "MaxTokens(8)")
    assert ("MaxTokens(8)", "") == (found.policy, found.missing)
    assert halves[1].figures(MaxTokens(8)) == found.reported


@pytest.mark.parametrize(
    ("space", "message"),
    [
        (_doubled, r"--space must make MaxTokens(8) of its parameters, got MaxTokens(16)"),
        (_renamed, "The value of the parameter 'budget' is not found"),
        (_pruning, "the space raises TrialPruned"),
    ],
)
def test_a_space_that_was_edited_is_not_reported(
    halves: Halves, space: Callable[[Asked], Policy], message: str
) -> None:
    """What it makes now is not what the trial was, which says so instead."""
    (found,) = _members(halves, space, "MaxTokens(8)")
    assert ("MaxTokens(8)", None) == (found.policy, found.reported)
    assert message in found.missing


def test_an_address_in_memory_is_no_difference(halves: Halves) -> None:
    """Policies without a repr of their own print another one in every process."""
    (found,) = _members(halves, _nameless, f"<{__name__}.Nameless object>")
    assert ("", True) == (found.missing, found.reported is not None)


def test_all_reported_settings_are_drawn_and_none_is_joined(halves: Halves) -> None:
    """Also one that another beats on that half: to leave it out would pick by that half."""
    tried = [
        Trial(number, f"MaxTokens({tokens})", {"tokens": tokens}, float(number), 30.0 + number)
        for number, tokens in enumerate(BUDGETS)
    ]
    found = members(tried, _budget, *halves)
    assert len(BUDGETS) == len(found)
    (axes,) = picture("budgets", tried, found).axes
    (drawn,) = [one for one in axes.lines if "reported half" in str(one.get_label())]
    points = [one.reported.point for one in found if one.reported is not None]
    assert [point.lost for point in points] == np.asarray(drawn.get_xdata()).tolist()
    assert [point.saving for point in points] == np.asarray(drawn.get_ydata()).tolist()
    assert "None" == drawn.get_linestyle()


def test_readings_are_kept_of_the_last_four_distances(halves: Halves) -> None:
    """As many as the default space has; the one that was asked for longest ago goes."""
    half = Reported(halves[1].dealt)
    first, *others = [half.material(places) for places in range(4)]
    assert [first, *others] == [half.material(places) for places in range(4)]
    half.material(4)
    assert others == [half.material(places) for places in range(1, 4)]
    assert first is not half.material(0)
