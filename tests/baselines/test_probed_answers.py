"""Answers that were asked for on the way."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

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
        ("1.5 km", "15 km", False),
        ("-3 apples", "3 apples", False),
        ("−3 apples", "-3 apples", True),
        ("1,600 apples", "1600 apples.", True),
        ("f(1, 600) = 2", "f(1600) = 2", False),
        ("1e-5", "1e5", False),
        ("x = -4", "x = 4", False),
        ("x = −4", r"\(x = -4\)", True),
        ("$x = -4$", "x = -4", True),
        ("$10$", "10", True),
        ("C++", "C", False),
        ("The answer is C++.", "c++", True),
        (">5", "<5", False),
        ("A", "a.", True),
        ("A", "B", False),
        ("(A)", "**A**", True),
        ("A, C", "C", False),
        ("A C", "C", False),
        ("an apple", "apple", True),
        ("'Paris', **France**", "Paris France", True),
        ("don’t know", "don't know", True),
        ("Washington, D.C.", "Washington DC", True),
        ("Paris?", "paris …", True),
    ],
)
def test_numbers_are_equal_as_numbers_and_all_else_as_words(
    one: str, other: str, equal: bool
) -> None:
    """Ways to write one number are one answer; so are ways to write the same words.

    Signs inside of them tell answers apart.
    """
    assert equal == (answer_key(one) == answer_key(other))


@pytest.mark.parametrize("text", ["", " \n", "...", "…", "**", '""', "---", "$$", "?"])
def test_nothing_is_no_answer(text: str) -> None:
    """Punctuation alone is empty."""
    assert answer_key(text) == ""


@pytest.mark.parametrize("text", ["A", "a", "an", "the", "The answer is A.", ">", "+"])
def test_a_choice_or_a_sign_is_an_answer(text: str) -> None:
    """Also where it looks like an article."""
    assert answer_key(text) != ""


@given(st.lists(st.text("abcxyzéß", min_size=2, max_size=6), min_size=1, max_size=4))
def test_what_stands_around_words_is_nothing(words: list[str]) -> None:
    text = " ".join(words)
    key = answer_key(text)
    assert key == answer_key(f" {text}. ") == answer_key(f'**"{text}"**.') == answer_key(str(key))


@pytest.mark.parametrize("part", ["1,000", "a.", "*'", " a", "$", "(", ".,", "the ", "-"])
def test_a_long_answer_takes_little_time(part: str) -> None:
    """In proportion to its length."""
    began = time.perf_counter()
    answer_key(part * 20_000)
    assert time.perf_counter() - began < 10


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
