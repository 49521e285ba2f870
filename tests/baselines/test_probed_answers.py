"""Answers that were asked for on the way."""

from __future__ import annotations

import pytest

from stopping_core.policies.baselines.probed_answers import Streak, answer_key, hesitates


@pytest.mark.parametrize(
    ("one", "other", "equal"),
    [
        ("1600", " $1,600.00.", True),
        ("The answer is 42.", "\n\n42", True),
        (r"\boxed{0.5}", "1/2", True),
        ("-3", "3", False),
        ("−3", "-3", True),
        ("3.5", "35", False),
        ("12", "1/2", False),
        ("1/0", "1/00", False),
        ("The Broncos", "broncos!", True),
        ("The Broncos. They won.", " Broncos\nand so on", True),
        ("42 apples", "42", False),
        ("9" * 5000, "9" * 5000 + "1", False),
    ],
)
def test_numbers_are_equal_as_numbers_and_all_else_as_words(
    one: str, other: str, equal: bool
) -> None:
    """Ways to write one number are one answer; so are case, articles and punctuation."""
    assert equal == (answer_key(one) == answer_key(other))


@pytest.mark.parametrize("text", ["", " \n", "...", "the"])
def test_nothing_is_no_answer(text: str) -> None:
    """What normalisation leaves nothing of is empty."""
    assert answer_key(text) == ""


def test_an_empty_answer_breaks_the_row() -> None:
    """It equals nothing, not even another empty one."""
    streak = Streak()
    assert [1, 2, 0, 0, 1, 1] == [streak.add(text) for text in ("4", "4.0", "", "", "4", "5")]


@pytest.mark.parametrize(
    ("text", "hesitant"),
    [
        ("Wait", True),
        ("4, but", True),
        ("NO", True),
        ("hold on", True),
        ("okay", True),
        ("hmm...", True),
        ("I know", False),
        ("a household", False),
        ("button", False),
        ("awaited", False),
    ],
)
def test_hesitation_is_whole_words(text: str, hesitant: bool) -> None:
    """A word that holds one of the words is none: to know is not to say no."""
    assert hesitant == hesitates(text)
