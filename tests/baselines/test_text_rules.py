"""The rules that read the text alone: budgets, ends, stop strings."""

from __future__ import annotations

import pytest

from stopping_core.policies.baselines import (
    BlankLine,
    FirstSentence,
    FixedBudget,
    Newline,
    StopString,
)
from stopping_core.traces.replay import replay
from tests.baselines.readings import run, words
from tests.baselines.scripted import stop

TEXT = run(
    ("It", " was", " Dr.", " Smith.", " He", " was", " late.", "\n\n", "The", " end.", "\n", "Q:")
)
"""Sentences end after tokens 4, 7 and 10, lines after 7 and 10, a paragraph after 7."""


@pytest.mark.parametrize("tokens", [1, 16, 33])
def test_a_fixed_budget_stops_right_there(tokens: int) -> None:
    """At N tokens, whatever stands there."""
    assert (tokens, 0) == stop(FixedBudget(tokens), run(words(40)))
    assert (None, 0) == stop(FixedBudget(41), run(words(40)))


def test_the_usual_budgets_are_swept() -> None:
    """16, 32, 64, 128 and 256 are what everybody sets."""
    assert {16, 32, 64, 128, 256} <= {rule.tokens for rule in FixedBudget.grid()}


@pytest.mark.parametrize(("count", "tokens"), [(1, 4), (2, 7), (3, 10), (4, None)])
def test_sentences_are_counted(count: int, tokens: int | None) -> None:
    """The full stop of a title ends none."""
    assert (tokens, 0) == stop(FirstSentence(count), TEXT)


@pytest.mark.parametrize(("count", "tokens"), [(1, 7), (2, 10), (3, None)])
def test_lines_are_counted(count: int, tokens: int | None) -> None:
    """A blank line is none."""
    assert (tokens, 0) == stop(Newline(count), TEXT)


def test_paragraphs_are_counted() -> None:
    """The text has one blank line."""
    assert (7, 0) == stop(BlankLine(), TEXT)
    assert (None, 0) == stop(BlankLine(2), TEXT)


def test_the_defaults_are_the_first_end() -> None:
    """Of the rules that count ends."""
    assert [1, 1, 1] == [rule().count for rule in (FirstSentence, Newline, BlankLine)]


def test_a_rule_counts_anew_in_each_run() -> None:
    """An engine's copy of a rule begins at none."""
    rule = FirstSentence(2)
    assert (7, 0) == stop(rule, TEXT)
    assert (7, 0) == stop(rule, TEXT)


def test_a_stop_string_is_found_at_the_token_that_ends_it() -> None:
    """The text keeps it, and the whole of that token."""
    text = run(("The", " art", "ist", " said", ": no", ". Que", "stion", ":"))
    assert (7, 0) == stop(StopString(("Quest",)), text)
    assert "The artist said: no. Question" == replay(text, StopString(("Quest",)), tags=None).text


def test_any_of_the_stop_strings_will_do() -> None:
    """A newline shows with the token after it."""
    assert (5, 0) == stop(StopString((". He",)), TEXT)
    assert (8, 0) == stop(StopString(("\n\n", "Q:")), TEXT)
    assert (12, 0) == stop(StopString(("Q:",)), TEXT)
    assert (None, 0) == stop(StopString(("A:",)), TEXT)


@pytest.mark.parametrize("strings", [(), ("a", "")])
def test_stop_strings_have_to_be_some(strings: tuple[str, ...]) -> None:
    """An empty one would stop everything."""
    with pytest.raises(ValueError, match="strings must hold at least one"):
        StopString(strings)


def test_none_is_no_count() -> None:
    """The error names the setting."""
    with pytest.raises(ValueError, match="count must be >= 1, got 0"):
        FirstSentence(0)
