"""Graders: what counts as right, and that a cut inside a word never does."""

from __future__ import annotations

from decimal import Decimal
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stopping_core.metrics import (
    GRADERS,
    choice,
    contains,
    cuts_word,
    exact_match,
    f1,
    first_sentence,
    last_number,
)

TEXTS = st.text(alphabet="abAsSßΣσ01.,-_'\u0301 \n(") | st.text()
GOLD = {
    "contains": ["New York"],
    "exact_match": ["New York"],
    "f1": ["New York"],
    "last_number": ["12.5"],
    "choice": ["no", "maybe"],
}


@pytest.mark.parametrize(
    ("text", "gold", "expected"),
    [
        ("The Eiffel Tower!", "eiffel tower", True),
        ("an  Eiffel\nTower", "Eiffel Tower", True),
        ("Eiffel Tower in Paris", "Eiffel Tower", False),
        ("", "Eiffel Tower", False),
    ],
)
def test_exact_match_follows_squad(text: str, gold: str, expected: bool) -> None:
    """Case, punctuation, articles and white space do not count; every other word does."""
    assert expected == exact_match(text, ["something else", gold])


@pytest.mark.parametrize(
    ("text", "gold", "expected"),
    [
        ("Eiffel Tower", "the Eiffel Tower", 1.0),
        ("Eiffel Tower of Paris", "Eiffel Tower", 2 * 2 / (4 + 2)),
        ("tower tower", "tower", 2 * 1 / (2 + 1)),
        ("Paris", "Eiffel Tower", 0.0),
        ("", "Eiffel Tower", 0.0),
    ],
)
def test_f1_counts_common_words(text: str, gold: str, expected: float) -> None:
    """Twice the common words over all words, repeated words as often as both have them."""
    assert pytest.approx(expected) == f1(text, [gold])


def test_the_best_gold_answer_counts() -> None:
    """Gold answers are spellings of one fact; without any, nothing is right."""
    assert f1("steam turbine", ["turbine"]) < f1("steam turbine", ["turbine", "steam turbine"])
    assert (False, 0.0, False) == (exact_match("x", []), f1("x", []), contains("x", []))


@pytest.mark.parametrize(
    ("text", "gold", "expected"),
    [
        ("It is in new  york.", "New York", True),
        ("It is in New\nYork, I think", "New York", True),
        ("It is in New Yor", "New York", False),
        ("The artist left", "art", False),
        ("The start, the artist, the art.", "art", True),
        ("Call __init__() first", "__init__", True),
        ("Call my__init__ first", "__init__", False),
        ("It is 3.5 or 3,000", "3", False),
        ("It is 13.5", "5", False),
        ("It is 3. Then 5", "3", True),
        ("In 1990, 1991", "1990", True),
        ("Straße", "STRASSE", True),
        ("", "art", False),
    ],
)
def test_containment_is_of_whole_words(text: str, gold: str, expected: bool) -> None:
    """Neither a part of a word nor a part of a number counts."""
    assert expected == contains(text, [gold])


@pytest.mark.parametrize(
    ("text", "following", "expected"),
    [
        ("the art", "ist", True),
        ("the art", " is", False),
        ("the art ", "is", False),
        ("the art", ".", False),
        ("well-", "known", True),
        ("It is 3", ".5", True),
        ("It is 3", ". Then", False),
        ("It is 3.", "5", True),
        ("It is 3", "", False),
        ("", "It", False),
    ],
)
def test_a_cut_inside_a_word_is_told(text: str, following: str, expected: bool) -> None:
    """A cut before or after white space is outside, whatever the word there; numbers are words."""
    assert expected == cuts_word(text, following)


@pytest.mark.parametrize(
    ("grader", "text", "gold"),
    [
        ("contains", "It was the art", "art"),
        ("contains", "It is 3.", "3"),
        ("exact_match", "the art", "art"),
        ("f1", "the art", "art"),
        ("last_number", "16 - 4 = 12", "12"),
        ("last_number", "It makes 12,", "12"),
        ("choice", "The answer is no", "no"),
        ("choice", "The answer is B", "B"),
    ],
)
def test_a_word_that_is_not_known_whole_is_not_right(grader: str, text: str, gold: str) -> None:
    """The same text is right where it ended, and wrong where it was cut inside its last word."""
    assert GRADERS[grader](text, [gold]) == 1.0
    assert GRADERS[grader](text, [gold], open_end=True) == 0.0


@pytest.mark.parametrize("grader", ["contains", "f1", "last_number", "choice"])
def test_what_stands_before_a_broken_word_counts(grader: str) -> None:
    """Only the last word is in doubt: an answer that was given before it is given."""
    text, gold = {
        "contains": ("New York is lar", ["New York"]),
        "f1": ("New York lar", ["New York"]),
        "last_number": ("It is 12.5 app", ["12.5"]),
        "choice": ("No, it do", ["no"]),
    }[grader]
    assert GRADERS[grader](text, gold, open_end=True) >= 4 / 5


@given(TEXTS, st.text(alphabet="abAsSßΣ01., (", min_size=1, max_size=3).filter(str.strip))
def test_what_a_cut_text_contains_the_full_text_contains(text: str, gold: str) -> None:
    """Containment can only fall by a cut, wherever it is made."""
    whole = contains(text, [gold])
    for end in range(len(text)):
        cut, rest = text[:end], text[end:]
        assert whole or not contains(cut, [gold], open_end=cuts_word(cut, rest))


@given(TEXTS)
def test_no_text_makes_a_grader_raise(text: str) -> None:
    """A model's text is data, and every grade is between 0 and 1."""
    for name, grader in GRADERS.items():
        for open_end in (False, True):
            assert 0.0 <= grader(text, GOLD[name], open_end=open_end) <= 1.0
    assert first_sentence(text) in text


@pytest.mark.parametrize(
    ("text", "gold"),
    [
        ("16 - 8 = 8 eggs", "8.0"),
        ("8", "8"),
        ("That makes $1,600.", "1600"),
        ("1,450,000 people", "1450000"),
        ("It costs $ 3.50 each.", "3.5"),
        ("It falls to -5 degrees", "-5"),
        ("It falls to \N{MINUS SIGN}5 degrees", "-5"),
        ("a debt of -$5", "-5"),
        ("7-5", "5"),
        ("f(3)-5", "5"),
        ("grew by 50%", "50"),
        ("about .5 litres", "0.5"),
        ("It is 3/4", "0.75"),
        ("It is 1 1/2 cups", "1.5"),
        (r"\boxed{\frac{3}{4}}", "0.75"),
        (r"\boxed{12}", "12"),
        ("1,2", "2"),
        ("So it is...5", "5"),
        ("10 km in 5h", "5"),
        ("#### 18", "18"),
        ("12 and CO2", "12"),
        ("10/2 = 5.", "5"),
    ],
)
def test_the_last_number_is_read(text: str, gold: str) -> None:
    """Thousands, currencies, decimals, signs and fractions; and equal means equal as numbers."""
    assert last_number(text, [gold])
    assert not last_number(text, [gold + "1"])


@pytest.mark.parametrize(
    ("text", "gold"),
    [
        ("", "0"),
        ("no number", "0"),
        ("8, or rather 9", "8"),
        ("1/0", "1"),
        ("12 and 1" + "0" * 5000, "12"),
        ("1," + "000," * 5000 + "005", "5"),
        ("\N{SUPERSCRIPT TWO}", "2"),
    ],
)
def test_what_is_no_number_is_not_right(text: str, gold: str) -> None:
    """Earlier numbers, a division by zero, and digits that a loop wrote."""
    assert not last_number(text, [gold])


@given(st.decimals(min_value=-(10**9), max_value=10**9, places=2), st.sampled_from("$€"))
def test_a_number_that_a_cut_broke_is_not_right(number: Decimal, sign: str) -> None:
    """At every cut inside the only number of a text, no beginning of it is taken for it."""
    written = f"{number:,}"
    text, start = f"It is {sign}{written} in all.", len("It is $")
    assert last_number(text, [f"{number}"])
    for end in range(start, start + len(written)):
        cut, rest = text[:end], text[end:]
        assert not last_number(cut, [f"{number}"], open_end=cuts_word(cut, rest))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Yes.", "yes"),
        ("No, it does not. Yes would be wrong.", "no"),
        ("**Maybe**: the data are few.", "maybe"),
        ("The answer is yes, although no trial was blind.", "yes"),
        ("The final answer to this question would be: no", "no"),
        ("The trial says: yes.", "yes"),
        ("There is no doubt about it", None),
        ("Yes and no.", None),
        ("Yes or no? That is the question.", None),
        ("It is not yes.", None),
        ("Nothing is known of it", None),
        ("The answer is yes. No, the answer is no.", "yes"),
        ("B", "B"),
        ("(b) Paris", "B"),
        ("B. Paris", "B"),
        ("The answer is (C), as A is out.", "C"),
        ("The correct answer is **D**.", "D"),
        ("I would take option E here", "E"),
        (r"So we get \boxed{\text{A}}.", "A"),
        ("It follows that\n\nC\n\nas was said.", "C"),
        ("It must be (A) here", "A"),
        ("It is (A) or (B)", None),
        ("The answer is A or B.", None),
        ("A dog ran off", None),
        ("The answer is a dog", None),
        ("Because of that", None),
        ("", None),
    ],
)
def test_the_choice_is_what_is_stated(text: str, expected: str | None) -> None:
    """First what is stated as the answer, then how the text begins, then what stands alone."""
    options = ("yes", "no", "maybe") if expected in {"yes", "no", "maybe"} else tuple("ABCDE")
    if expected is None:
        assert [] == [one for one in ("yes", "no", "maybe", *"ABCDE") if choice(text, [one])]
    else:
        assert [expected] == [one for one in options if choice(text, [one])]


@pytest.mark.parametrize("gold", [["Paris"], ["yes", "B"], ["yes", "Paris"]])
def test_gold_that_is_no_choice_is_refused(gold: list[str]) -> None:
    """It could never be right, or would mix two kinds of choice."""
    with pytest.raises(ValueError, match="gold must be yes, no or maybe, or a letter from A to E"):
        choice("Paris", gold)


def test_gold_without_a_number_is_refused() -> None:
    """It could never be right."""
    with pytest.raises(ValueError, match="gold must hold a number, got 'Paris'"):
        last_number("Paris", ["Paris"])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("It was Dr. Smith. He came late.", "It was Dr. Smith."),
        ("\n Paris\n\nIt lies on the Seine.", "Paris"),
        ("The answer is:\nParis. It is large.", "The answer is:\nParis."),
        ("Paris is the", "Paris is the"),
        ("", ""),
    ],
)
def test_the_first_sentence_ends_where_the_stopping_rules_see_its_end(
    text: str, expected: str
) -> None:
    """An abbreviation ends none, a line does, and a text may have none that ends."""
    assert expected == first_sentence(text)


def test_a_rambling_tail_lowers_f1_and_leaves_the_first_sentence() -> None:
    """What makes the first sentence's F1 worth reporting beside the whole output's."""
    text = "Paris. It lies on the Seine. It is large. It is old."
    ends = [end for end in range(len(text) + 1) if text[end - 1 : end] == "."]
    cuts = [text[:end] for end in ends]
    assert all(f1(longer, ["Paris"]) < f1(shorter, ["Paris"]) for shorter, longer in pairwise(cuts))
    assert {1.0} == {f1(first_sentence(cut), ["Paris"]) for cut in cuts}
