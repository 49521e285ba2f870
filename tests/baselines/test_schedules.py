"""Budgets that are tried one after another."""

from __future__ import annotations

from itertools import islice

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stopping_core.policies.baselines import Doubling, Increment, OneBudget
from stopping_core.types import Usage
from tests.baselines.readings import run, words


def test_truncated_attempts_are_booked() -> None:
    """100 tokens do not fit into 32, nor into 64."""
    usage = Doubling(32).usage(run(words(100), prompt_tokens=9))
    assert usage == Usage(
        prompt=9, generated=196, reread=18, retried=164, discarded=96, estimated=False
    )


def test_the_end_of_the_answer_has_to_fit_too() -> None:
    """With 64 tokens of 64 the finish reason is "length", and nobody knows that it is complete."""
    assert 64 + 64 == Doubling(64).usage(run(words(64))).generated
    assert 63 == Doubling(64).usage(run(words(63))).generated


def test_a_run_that_came_to_its_cap_is_given_up_there() -> None:
    """The budget that is no smaller than the cap is the last."""
    usage = Doubling(32).usage(run(words(128), finish_reason="length"))
    assert 32 + 64 + 128 == usage.generated


def test_budgets() -> None:
    """Rising, also where a factor rounds to nothing."""
    assert [64, 128, 256] == list(islice(Doubling().budgets(), 3))
    assert [1, 2, 3] == list(islice(Doubling(1, 1.1).budgets(), 3))
    assert [32, 96, 160] == list(islice(Increment(32, 64).budgets(), 3))


def test_an_increment_adds() -> None:
    """100 tokens do not fit into 32, 64 and 96."""
    assert 32 + 64 + 96 + 100 == Increment(32, 32).usage(run(words(100))).generated


def test_one_budget_makes_nothing_again() -> None:
    """The full run, once."""
    usage = OneBudget().usage(run(words(300), prompt_tokens=9))
    assert Usage(prompt=9, generated=300, estimated=False) == usage


@given(st.integers(1, 64), st.integers(0, 2000))
def test_doubling_costs_less_than_three_times_what_is_needed(first: int, length: int) -> None:
    """And grants less than four times, where the first budget is not too large already."""
    needed = length + 1
    usage = Doubling(first).usage(run(words(length)))
    assert usage.generated < 3 * needed
    granted = usage.discarded + next(b for b in Doubling(first).budgets() if b >= needed)
    assert granted < 4 * max(needed, first)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Doubling(0), "first must be >= 1, got 0"),
        (lambda: Doubling(8, 1.0), r"factor must be in \(1, inf\), got 1.0"),
        (lambda: Increment(0), "first must be >= 1, got 0"),
        (lambda: Increment(8, 0), "step must be >= 1, got 0"),
    ],
)
def test_settings_out_of_their_interval(make: type[Doubling], message: str) -> None:
    """The error names setting, interval and value."""
    with pytest.raises(ValueError, match=message):
        make()
