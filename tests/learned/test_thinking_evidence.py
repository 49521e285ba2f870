"""The features of reasoning."""

from __future__ import annotations

import math
import random

import pytest

from stopping_core.policies.learned.loss_model import Tier
from stopping_core.policies.learned.thinking import ThinkingEvidence
from stopping_core.segmenter import Segmenter
from stopping_core.testing import SAMPLES
from stopping_core.types import Boundary, Request, Step

QUESTION = Request(question="What is 3 + 4 - 2?")
THOUGHTS = """Okay, let me work out 3 + 4 - 2.
3 + 4 = 7.
7 - 2 = 6.

So it is 6.
Wait, that is wrong.
7 - 2 = 5.
That makes 5.
Good, 5 again.
"""


def rows(
    steps: list[Step], request: Request = QUESTION, tier: Tier = "text"
) -> list[dict[str, float]]:
    """What is read at the end of each line, by name."""
    evidence, segmenter = ThinkingEvidence(tier), Segmenter()
    evidence.reset(request)
    found = []
    for step in steps:
        for piece in segmenter.feed(step):
            evidence.update(piece)
            if piece.boundary & Boundary.LINE:
                found.append(dict(zip(evidence.names, evidence.row(), strict=True)))
    return found


def thought(text: str, tokens: int = 1, logprob: float | None = None) -> Step:
    """A chunk of reasoning."""
    return Step(text, tokens=tokens, logprob=logprob, channel="reasoning")


def read(text: str, name: str, request: Request = QUESTION) -> list[float]:
    """One feature at the end of each line of a text."""
    return [row[name] for row in rows([thought(text, len(text))], request)]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("question", [18] * 8),
        ("worked", [0, 0.5, 1, 1, 1, 1.5, 1.5, 1.5]),
        ("concluded", [0, 0, 0, 1, 1, 1, 2, 3]),
        ("agreeing", [0, 0, 0, 1, 1, 1, 1, 2]),
        ("repeated", [0, 0, 0, 0, 0, 0, 0, 1]),
        ("distinct", [0, 0, 0, 1, 1, 1, 2, 2]),
        ("since_conclusion", [math.nan, math.nan, math.nan, 0, 1, 2, 0, 0]),
        ("concludes", [0, 0, 0, 1, 0, 0, 1, 1]),
        ("known", [0, 0, 0, 1, 0, 0, 1, 1]),
        ("doubts", [0, 0, 0, 0, 1, 1, 1, 2]),
        ("sure", [0, 0, 0, 0, 0, 0, 0, 1]),
        ("faults", [0, 0, 0, 0, 1, 1, 1, 1]),
        ("since_doubt", [1, 2, 3, 4, 0, 1, 2, 0]),
    ],
)
def test_each_feature_of_the_text_is_read_as_described(name: str, expected: list[float]) -> None:
    """At the end of each line of a solution that corrects itself."""
    assert pytest.approx(expected, nan_ok=True) == read(THOUGHTS, name)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("That makes 1,600.0.", True),
        ("So the answer is Paris.", True),
        (r"Therefore \boxed{x + 1 = 2}.", True),
        ("Step 3: that is 12 in all.", True),
        ("2) 12 in all", True),
        ("#### 0", True),
        ("Is it 12?", False),
        ("12 = 12", False),
        ("From 12 to 14.", False),
        ("Step 3: now add them.", False),
        ("I do not know.", False),
    ],
)
def test_what_concludes(line: str, expected: bool) -> None:
    """A stated answer, or the one number of a line that asks and equates nothing."""
    assert [float(expected)] == read(line + "\n", "concludes")


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ("That makes 1600.", "The answer is 1,600.0", True),
        ("It is 0.", "It is 0 again.", True),
        ("It is -5.", "It is 5.", False),
        ("The answer is Paris.", "So the answer is **paris**.", True),
        ("The answer is Paris.", "So the answer is Rome.", False),
    ],
)
def test_conclusions_that_say_the_same(first: str, second: str, expected: bool) -> None:
    """Numbers as numbers, all else as answers are compared."""
    assert [0.0, float(expected)] == read(f"{first}\n{second}\n", "repeated")


def test_logprobs_are_read_line_by_line() -> None:
    """Lowest ones, and those of tokens with digits; the white space after a line is the next's."""
    steps = [
        *(thought("So", 1, -0.5), thought(" 1", 1, -0.25), thought("2", 2, -0.5), thought(".")),
        *(thought("\n", 1, -3.0), thought("Hmm", 1, -0.125), thought(" =", 1, -math.inf)),
        *(thought("\n", 1, -0.5), thought("7 = 8", 1, -1.0), thought("\n"), thought("So", 1, -0.1)),
        thought("\n"),
    ]
    expected = {
        "lowest": [-0.5, -3.0, -3.0, -3.0],
        "lowest_here": [-0.5, -3.0, -1.0, -0.1],
        "lowest_lately": [-0.5, -3.0, -3.0, -1.0],
        "numbers": [-1.25, -1.25, -2.25, -2.25],
        "lowest_number": [-0.5, -0.5, -1.0, -1.0],
        "conclusion": [-1.25] * 4,
        "since_dip": [1, 0, 0, 1],
    }
    read_at = rows(steps, tier="logprobs")
    assert expected == {name: [row[name] for row in read_at] for name in expected}
    assert all(math.isnan(row[name]) for row in rows(steps) for name in expected)


def test_what_is_not_known_is_nan() -> None:
    """A question that was not told, and logprobs that do not come or are no numbers."""
    steps = [thought("So 5 = 5", 1, None), thought(".", 1, math.nan), thought("\n")]
    (row,) = rows(steps, Request(prompt="What?"), "logprobs")
    unknown = {name for name, value in row.items() if math.isnan(value)}
    logprobs = set(ThinkingEvidence.names[14:])
    assert logprobs | {"question", "worked", "since_conclusion"} == unknown


@pytest.mark.parametrize("text", [THOUGHTS, *SAMPLES, "x" * 5000 + " 7\n" + "7" * 5000 + "\n"])
def test_the_features_do_not_depend_on_the_chunks(text: str) -> None:
    """A token a character, in pieces of any length."""
    rng = random.Random(len(text))
    whole = [tuple(row.values()) for row in rows([thought(text, len(text))])]
    for longest in (1, 3, 40):
        steps, at = [], 0
        while at < len(text):
            piece = text[at : at + rng.randint(1, longest)]
            steps.append(thought(piece, len(piece)))
            at += len(piece)
        pieces = [tuple(row.values()) for row in rows(steps)]
        assert len(whole) == len(pieces)
        for expected, actual in zip(whole, pieces, strict=True):
            assert pytest.approx(expected, nan_ok=True) == actual


def test_a_new_stream_begins_with_nothing() -> None:
    """The answer is not read."""
    evidence = ThinkingEvidence("logprobs")
    evidence.reset(QUESTION)
    before = evidence.row()
    evidence.update(Step("The answer is 5.", logprob=-1.0))
    evidence.update(Step("", tokens=0, boundary=Boundary.LINE))
    assert pytest.approx(before, nan_ok=True) == evidence.row()
    evidence.update(thought("So it is 5. Wait, no = 7", 9, -1.0))
    evidence.update(Step("", tokens=0, channel="reasoning", boundary=Boundary.LINE))
    assert before != pytest.approx(evidence.row(), nan_ok=True)
    evidence.reset(QUESTION)
    assert pytest.approx(before, nan_ok=True) == evidence.row()


def test_a_tier_reads_what_it_says() -> None:
    """And there are two."""
    assert frozenset({"logprobs"}) == ThinkingEvidence("logprobs").needs
    assert frozenset() == ThinkingEvidence().needs
    with pytest.raises(ValueError, match="tier must be 'text' or 'logprobs', got 'probes'"):
        ThinkingEvidence("probes")
