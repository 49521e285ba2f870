"""Final answers: one set of rules, on which the policies' signal and the check agree."""

from __future__ import annotations

import time

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from stopping_core.completeness import AnswerPresent, JsonText
from stopping_core.final_answers import last_answer, states_answer
from stopping_core.results import Draft
from stopping_core.segmenter import Segmenter
from stopping_core.signals import AnswerPattern, JsonClosed
from stopping_core.types import Request, Step

PARTS = [
    *(
        "The answer is ",
        "the answer is:",
        "**Answer:** ",
        "answer: ",
        "My final answer",
        " is",
        ":",
    ),
    *("\\boxed{", "\\fbox {", "}", "{", "$$", "\\[", "#### ", "42", "$7", "1/2", "-3", "**", "`"),
    *("not ", "no ", "as follows", "Here is why", "so", ". ", ", ", "? ", "。", "...", '"', ")"),
    *("\n", "\n\n", " ", "\t", "- ", "> "),
]
texts = st.lists(st.sampled_from(PARTS), max_size=24).map("".join)


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("The answer is 42.", "42"),
        ("So the **final answer** is: -3", "-3"),
        ("Our answer would be Paris", "Paris"),
        ("Correct answer is B.", "B"),
        ("**Answer:** Paris", "Paris"),
        ("> - **Final Answer\uff1a** Paris", "Paris"),
        ("Ten. Answer: 10", "10"),
        ("So, the answer: 10", "10"),
        ("This is my final answer: 10", "10"),
        ("The answer is .5", ".5"),
        ("The answer is `x`.", "`x`"),
        ("The answer is\n\n**42**", "42"),
        ("Answer:\n$$\nx = 4", "x = 4"),
        ("Thus $\\boxed{4}$ or so", "4"),
        ("\\fbox {4}", "4"),
        ("\\boxed{4}, \\boxed{5}, \\boxed{6", "5"),
        ("####42", "42"),
        ("#### -$1,234.50", "-$1,234.50"),
        ("#### 1/2 ", "1/2"),
        ("#### 50 %.\r", "50 %"),
        ("The answer is 4. Here is why:", "4"),
        ("The answer is 4\nand no other", None),
        ("The answer is as follows:\n- 4", None),
    ],
)
def test_statements(text: str, answer: str | None) -> None:
    """A statement is known wherever it stands, and the answer taken from the last line."""
    assert states_answer(text)
    assert states_answer(f"{text}\n\nSo that is that.")
    assert answer == last_answer(text)


@pytest.mark.parametrize(
    "text",
    ["", "The answer is", "The answer is ...", "The answer is `", "Answer: ,", "Answer: ?",
     "The answer is not 4.", "The answer is as follows:", "It is so. The answer is **this:**\n",
     "The answer is $\\boxed{}$.", "The answer is \\boxed{4", "The answer is:\n$$\n", "Answer: \\[",
     "\\boxed{ }", "#### 2 Methods", "##### 4", "answer = 4", "answers: 4", "That answer is wrong.",
     "Let me check the answer: 3 + 4 is 7.", "No answer: he left."],
)  # fmt: skip
def test_nothing_stated(text: str) -> None:
    """What is announced, denied, empty or about something else states no answer, for both."""
    assert not states_answer(text)
    assert last_answer(text) is None


@settings(max_examples=400, deadline=None)
@given(texts)
@example("The answer is 。}the answer is:")
def test_what_a_policy_stops_at_a_check_accepts(text: str) -> None:
    """From where the signal finds an answer, the check finds one in every longer text too."""
    signal, segmenter, check = AnswerPattern(), Segmenter(), AnswerPresent()
    seen = ""
    for piece in [*segmenter.feed(Step(text)), *segmenter.flush()]:
        signal.update(piece)
        seen += piece.text
        if signal.value:
            assert check(Request(), Draft(seen)).complete, seen


def test_nesting_too_deep_for_the_parser() -> None:
    """The check does not vouch for what it cannot parse; the signal knows where the value ends."""
    text = "[" * 100_000 + "]" * 100_000
    verdict = JsonText()(Request(), Draft(text))
    assert (False, "the JSON text is nested too deeply to be checked") == (
        verdict.complete,
        verdict.reason,
    )
    signal, segmenter = JsonClosed(), Segmenter()
    for piece in [*segmenter.feed(Step(text)), *segmenter.flush()]:
        signal.update(piece)
    assert 1.0 == signal.value


@pytest.mark.parametrize(
    "text",
    ["\n", " ", "> ", "the answer is ", "the answer is ... ", "the answer is $\\boxed{", "#### ",
     "#### 1 ", "answer\n", "final answer ", "\\boxed{", "{", "\\", "$$\n", "**", "answer: `",
     "1,"],
)  # fmt: skip
@pytest.mark.parametrize("begin", ["", "Answer: ", "#### 1"])
def test_a_megabyte_takes_linear_time(text: str, begin: str) -> None:
    """Repetition without end, which models do write, is read within two seconds of work."""
    start = time.process_time()
    states_answer(begin + text * (1_000_000 // len(text)) + ":")
    assert time.process_time() - start < 2
