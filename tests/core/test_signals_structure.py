"""Signals that read structure: what they count, and that chunking is nothing to them."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterable
from typing import Literal, TypeAlias

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stopping_core.protocols import Signal
from stopping_core.segmenter import Segmenter
from stopping_core.signals.structure import (
    WINDOW,
    AnswerPattern,
    FencesClosed,
    JsonClosed,
    Lines,
    ListsClosed,
    Paragraphs,
    Sentences,
)
from stopping_core.types import Boundary, Channel, Request, Step

SIGNALS: list[Callable[[], Signal]] = [
    *(Sentences, Lines, Paragraphs, FencesClosed, ListsClosed, JsonClosed, AnswerPattern),
    lambda: AnswerPattern(r"(?:total|sum) is (?P<answer>\d+)"),
]
FRAGMENTS = [
    *("The answer is ", "Answer:", "\\boxed{", "}", "{", "#### ", "42", "total is 7", "not ", "**"),
    *('{"a": 1}', "[", "]", '"', "```json\n", "```\n", "```", "[1] ", "[2, 3]", "NaN", "true"),
    *("- a\n", "\n", "\n\n", " ", ". ", "。", "The", "word", "e.g. ", ":", ",", " " * 200),
    *("long words " * 60, "\ud800", "\0"),
]
texts = st.lists(st.sampled_from(FRAGMENTS), max_size=20).map("".join)
expectations = st.sampled_from([None, "json"])
Expects: TypeAlias = Literal["text", "json", "code"] | None

scalars = st.none() | st.booleans() | st.integers() | st.text(max_size=8)
values = st.recursive(
    scalars | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=12,
)
documents = st.lists(values, max_size=4) | st.dictionaries(st.text(max_size=4), values)


def pieces(text: str, places: Iterable[int] = (), channel: Channel = "answer") -> list[Step]:
    """What the segmenter makes of the text, cut at the places; its end is not told."""
    ends = [*sorted({place for place in places if 0 < place < len(text)}), len(text)]
    segmenter = Segmenter()
    return [
        piece
        for start, end in zip([0, *ends], ends, strict=False)
        for piece in segmenter.feed(Step(text[start:end], channel=channel))
    ]


def read(signal: Signal, steps: Iterable[Step], expects: Expects = None) -> list[float | None]:
    """The signal's value at every mark."""
    signal.reset(Request(expects=expects))
    values = []
    for step in steps:
        signal.update(step)
        if step.boundary:
            values.append(signal.value)
    return values


def final(signal: Signal, text: str, expects: Expects = None) -> float | None:
    """The signal's value at the end of the text."""
    segmenter = Segmenter()
    read(signal, [*segmenter.feed(Step(text)), *segmenter.flush()], expects)
    return signal.value


@settings(deadline=None)
@given(texts, st.lists(st.integers(0, 900), max_size=8), expectations)
def test_chunking_changes_nothing(text: str, places: list[int], expects: Expects) -> None:
    """Every signal reads the same at every mark, however the text comes."""
    whole, cut, single = pieces(text), pieces(text, places), pieces(text, range(len(text)))
    for make in SIGNALS:
        expected = read(make(), whole, expects)
        assert expected == read(make(), cut, expects)
        assert expected == read(make(), single, expects)


@pytest.mark.parametrize(
    ("signal", "expected"),
    [(Sentences(), 3), (Lines(), 8), (Paragraphs(), 4), (FencesClosed(), 1), (ListsClosed(), 1)],
)
def test_counts(signal: Signal, expected: float) -> None:
    """Each count counts its own kind, over the whole answer."""
    text = "One. Two.\n\n- a\n- b\n\nThree:\n\n```py\na. B\n```\nFour e.g. this. Five"
    assert expected == final(signal, text) == final(signal, text)


@pytest.mark.parametrize("make", SIGNALS)
def test_reasoning_is_not_read(make: Callable[[], Signal]) -> None:
    """What the model thinks is no part of the answer."""
    signal = make()
    expected = signal.value
    text = '{"a": 1}\n\n```\n```\n- a\n\nThe answer is 4. The total is 4.\n'
    assert {expected} == set(read(signal, pieces(text, channel="reasoning")))


@pytest.mark.parametrize(
    ("text", "expects", "expected"),
    [
        ('{"a": 1}', None, 1.0),
        (' \n {"a": [1, "}"]} and more', None, 1.0),
        ('[{"a": 1}]', None, 1.0),
        ('[ ["a"]]', None, 1.0),
        ('["a"]', None, 1.0),
        ("[1, 2]", None, None),
        ("[1, 2]", "json", 1.0),
        ("[]", "json", 1.0),
        ("[1] According to {it}", None, None),
        ("[link](there)", None, None),
        ('```json\n[1, {"a": 2}]\n```', None, 1.0),
        ('~~~ JSON\n{"a": 2}', None, 1.0),
        ('```\n{"a": 2}\n```', None, None),
        ('```\n{"a": 2}\n```', "json", 1.0),
        ('```python\n{"a": 2}\n```', "json", None),
        ("```json\nNone\n```", None, None),
        ('Here it is:\n{"a": 1}', None, None),
        ("", None, None),
        ("   ", "json", None),
        ("[", None, None),
        ("{", None, 0.0),
        ('{"a": NaN}', None, 0.0),
        ('{"a": -Infinity}', None, 0.0),
        ('{"a": 1,}', None, 0.0),
        ('{"a": 1e999}', None, 1.0),
        ("{'a': 1}", None, 0.0),
        ('{"a": 1]}', None, 0.0),
        ('{"a": "\n"}\n{"b": 1}', None, 0.0),
        ('{"a": 1' + "0" * 5000 + "}", None, 1.0),
        ('{"a": "\ud800"}', None, 1.0),
    ],
)
def test_json_closed(text: str, expects: Expects, expected: float | None) -> None:
    """It reads 1.0 for a valid value that is the answer, 0.0 for another, None without one."""
    assert expected == final(JsonClosed(), text, expects)


@settings(deadline=None)
@given(documents, st.sampled_from([None, 2]), st.booleans())
def test_no_prefix_of_a_json_document_is_closed(
    document: object, indent: int | None, escape: bool
) -> None:
    """A value has closed at its last character and nowhere before."""
    text = json.dumps(document, indent=indent, ensure_ascii=escape)
    signal, segmenter = JsonClosed(), Segmenter()
    signal.reset(Request(expects="json"))
    for index, char in enumerate(text):
        assert signal.value != 1.0, text[:index]
        for piece in segmenter.feed(Step(char)):
            signal.update(piece)
    assert 1.0 == signal.value


def test_deep_json_closes_without_a_parser() -> None:
    """Where the parser's stack does not reach, matching brackets are enough; in two seconds."""
    start = time.process_time()
    assert 1.0 == final(JsonClosed(), "[" * 100_000 + "]" * 100_000)
    assert 0.0 == final(JsonClosed(), "[" * 100_000 + "]" * 99_999)
    assert time.process_time() - start < 2


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("So the answer is 42. Then", "42"),
        ("The final answer is **Paris**.", "Paris"),
        ("The answer is: x = 3.5. More", "x = 3.5"),
        ("The final answer is:\n\n42", "42"),
        ("Answer: Paris\nmore", "Paris"),
        ("**Answer:** Paris. And", "Paris"),
        ("## Final Answer\n\n**Final Answer**:\n42\n", "42"),
        ("thus $\\boxed{\\frac{1}{2}}$. And", "\\frac{1}{2}"),
        ("The answer is $\\boxed{\\}}$.", "\\}"),
        ("so\n#### 1,234\n", "1,234"),
        ("so\n#### $18.", "$18"),
        ("The answer is not clear. Well", None),
        ("The answer is as follows:\nmany", None),
        ("#### 2 Methods\n", None),
        ("#### 1. Methods\n", None),
        ("thus \\boxed{4\n", None),
        ("My answering machine. Yes", None),
        ("", None),
    ],
)
def test_final_answers(text: str, expected: str | None) -> None:
    """The set ways of stating a final answer are found, with the answer, and nothing else is."""
    signal = AnswerPattern()
    assert float(expected is not None) == final(signal, text)
    assert expected == signal.answer


def test_an_answer_has_to_finish() -> None:
    """A statement is no answer before its sentence or line has ended, and the first find holds."""
    signal = AnswerPattern()
    segmenter = Segmenter()
    readings = []
    for token in ["The answer", " is", " 4", "2", ".", " The", " answer", " is 5", ".", "\n"]:
        for piece in segmenter.feed(Step(token)):
            signal.update(piece)
        readings.append(signal.value)
    assert [0.0] * 5 + [1.0] * 5 == readings
    assert "42" == signal.answer


@pytest.mark.parametrize(
    ("pattern", "text", "expected"),
    [
        (r"total is \d+", "The total is 7. So", "total is 7"),
        (r"total is (\d+)", "The total is 7. So", "7"),
        (r"(the) total is (?P<answer>\d+)", "So the total is 7. So", "7"),
        (re.compile("TOTAL: (.*)", re.IGNORECASE), "total: 7\n", "7"),
        (r"total(x)? is", "The total is 7.", ""),
        (r"first\nsecond", "first\n\nsecond\n", "first\nsecond"),
        (r"first", f"first {'x' * WINDOW}\n", None),
        (r"first", "first\nsecond\nthird", "first"),
    ],
)
def test_own_pattern(pattern: str | re.Pattern[str], text: str, expected: str | None) -> None:
    """One's own pattern is searched in the last two lines; its group is the answer."""
    signal = AnswerPattern(pattern)
    final(signal, text)
    assert expected == signal.answer


@pytest.mark.parametrize("pattern", ["(", re.compile(b"x"), 3, "(?P<1>x)"])
def test_a_bad_pattern_is_named(pattern: str) -> None:
    """What is no regular expression for text is refused by the argument's name."""
    with pytest.raises(ValueError, match=r"^pattern must be"):
        AnswerPattern(pattern)


@pytest.mark.parametrize("make", SIGNALS)
def test_a_megabyte_takes_linear_time(make: Callable[[], Signal]) -> None:
    """A million characters in one piece or in words are read within two seconds of work."""
    words = [Step(" word")] * 100_000
    mark = Step("", tokens=0, boundary=Boundary.SENTENCE)
    start = time.process_time()
    signal = make()
    for step in [*words, mark, Step("word\n" * 200_000), mark]:
        signal.update(step)
    assert time.process_time() - start < 2
