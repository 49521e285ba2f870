"""Answer Convergence."""

from __future__ import annotations

import pytest

from stopping_core.policies.baselines.answer_convergence import AnswerConvergence
from stopping_core.types import Boundary
from tests.baselines.scripted import probed, recorded, stop

SENTENCES = ("It ", "is. ", "So ", "it ", "is. ", "It ", "is.\n\n", "Then. ", "End")
"""Sentence ends after tokens 2, 5, 7 and 8; a blank line after 7."""
PROBES = {2: probed("5"), 5: probed("4"), 7: probed("The answer is 4."), 8: probed("4")}


def test_it_stops_when_the_answer_repeats() -> None:
    """The third sentence repeats the answer of the second."""
    assert (7, 3) == stop(AnswerConvergence(), recorded(SENTENCES, PROBES))
    assert (8, 4) == stop(AnswerConvergence(3), recorded(SENTENCES, PROBES))
    assert (None, 4) == stop(AnswerConvergence(4), recorded(SENTENCES, PROBES))


def test_it_may_ask_at_blank_lines_instead() -> None:
    """Then one answer is all that it gets here."""
    rule = AnswerConvergence(at=Boundary.PARAGRAPH)
    assert (None, 1) == stop(rule, recorded(SENTENCES, PROBES))


def test_a_place_where_two_things_end_is_asked_about_once() -> None:
    """A blank line ends a line, and then a paragraph, at one place."""
    rule = AnswerConvergence(at=Boundary.LINE | Boundary.PARAGRAPH)
    assert (None, 1) == stop(rule, recorded(SENTENCES, PROBES))


def test_the_published_setting() -> None:
    """After every sentence, an answer that repeats."""
    rule = AnswerConvergence()
    assert (2, Boundary.SENTENCE) == (rule.k, rule.at)
    assert frozenset({"probes"}) == rule.needs()
    assert "AnswerConvergence(2, at=SENTENCE)" == repr(AnswerConvergence.grid()[0])


def test_one_answer_cannot_repeat() -> None:
    """The error names the setting."""
    with pytest.raises(ValueError, match="k must be >= 2, got 1"):
        AnswerConvergence(1)
