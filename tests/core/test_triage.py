"""What is done with an incomplete answer."""

import pytest

from stopping_core import Decision, Draft, triage
from stopping_core.results import CallKind

LOOP = "The cat sat on the mat today. " * 5


@pytest.mark.parametrize(
    ("draft", "shown", "expected"),
    [
        (Draft("On tra", finish_reason="length"), False, "continue"),
        (Draft("On tra", finish_reason="MAX_TOKENS"), False, "continue"),
        (Draft("On tra", finish_reason=None), False, "continue"),
        (Draft("On tra", finish_reason="error"), False, "continue"),
        (Draft("On track.", finish_reason="cut"), False, "continue"),
        (Draft("I do not know.", finish_reason="stop"), False, "restart"),
        (Draft("I do not know.", finish_reason="stop"), True, "continue"),
        (Draft("", finish_reason="length"), False, "restart"),
        (Draft("", "Hm, let me", "length"), False, "close_reasoning"),
        (Draft("", "Hm, let me", "cut", Decision(True, "loop", True)), False, "close_reasoning"),
        (Draft("", "It is 4.", "stop"), False, "restart"),
        (Draft("", "Hm, let me", None), False, "restart"),
        (Draft(LOOP, finish_reason="length"), False, "reseed"),
        (Draft(LOOP, finish_reason="length"), True, None),
        (
            Draft("a b", finish_reason="cut", decision=Decision(True, "loop", True, 2)),
            False,
            "reseed",
        ),
        (Draft("I can", finish_reason="content_filter"), False, None),
    ],
)
def test_triage(draft: Draft, shown: bool, expected: CallKind | None) -> None:
    """Continue what was on track, drop loops, close reasoning, restart the rest."""
    assert triage(draft, shown=shown) == expected
