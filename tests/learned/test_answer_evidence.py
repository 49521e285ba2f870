"""What an answer has said so far of what its context holds."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stopping_core.policies.learned.answer import AnswerEvidence
from stopping_core.policies.learned.logistic import Logistic
from stopping_core.policies.learned.salience import WIDTH, read_context
from stopping_core.segmenter import Segmenter
from stopping_core.testing import SAMPLES, check_signal
from stopping_core.types import Request, Step
from tests.learned.made_answers import made_model

CONTEXT = (
    "The tower was begun in 1887. It stands in the old part of Paris, by the river. In 1889 it was "
    "opened."
)
REQUEST = Request(question="Where does the tower stand?", context=CONTEXT)
SALIENCE = made_model(3).salience
EQUAL = Logistic((0.0,) * WIDTH, (1.0,) * WIDTH, (0.0,) * WIDTH, 0.0)
"""Gives every word a weight of one half."""


def read(
    *chunks: str, request: Request = REQUEST, salience: Logistic | None = EQUAL
) -> list[float]:
    """The features after some chunks of a token each."""
    evidence = AnswerEvidence(salience)
    evidence.reset(request)
    for chunk in chunks:
        evidence.update(Step(chunk))
    return list(evidence.row())


def named(
    *chunks: str, request: Request = REQUEST, salience: Logistic | None = EQUAL
) -> dict[str, float]:
    """Likewise, by name."""
    row = read(*chunks, request=request, salience=salience)
    return dict(zip(AnswerEvidence.names, row, strict=True))


WEIGHED = 8  # begun, 1887, old, part, paris, river, 1889, opened


def test_words_that_may_be_the_answer_add_up() -> None:
    """Small words and words of the question have no weight, and no word counts twice."""
    row = named("The tower", " is in Paris", ", in Paris", ", by the river.")
    assert pytest.approx(2 / WEIGHED) == row["said"]
    assert pytest.approx(math.log(0.5 + 3e-3)) == row["unsaid"]
    everything = named("Begun 1887 old part Paris river 1889 opened.")
    assert pytest.approx(1.0) == everything["said"]
    assert pytest.approx(math.log(3e-3)) == everything["unsaid"]


def test_a_word_counts_as_soon_as_it_reads_as_one_of_the_context() -> None:
    """And no more, once it has gone on to be another; a word of its own counts at its end."""
    assert pytest.approx(1 / WEIGHED) == named("In Paris")["said"]
    assert [0.0, 0.0] == [named("In Par")["said"], named("In Paris", "ian")["said"]]
    assert [-5.0, 0.0] == [named("elsewhere")["since_new"], named("elsewhere ")["since_new"]]


def test_what_was_said_by_the_end_of_a_sentence() -> None:
    """A dot after an abbreviation, a letter or a number ends none."""
    assert 0.0 == named("In Paris")["finished"]
    assert 0.5 == named("In Paris.")["finished"]
    assert 0.5 == named("In Paris\n")["finished"]
    for text in ("Paris, Dr.", "Paris, J.", "Paris, 1889."):
        assert 0.0 == named(text)["finished"]


def test_a_copy_of_the_context_tells_what_comes_next() -> None:
    """From its second word on, and to the end of the sentence."""
    assert (1.0, 0.0) == (named("stands")["copied"], named("stands")["ahead"])
    row = named("It stands in the ")
    assert 4.0 == row["copied"]
    assert pytest.approx(4 / WEIGHED) == row["ahead"]  # old, part, paris, river
    assert pytest.approx(1 / WEIGHED) == named("It stands in the old part of Paris")["ahead"]


def test_tokens_since_the_last_new_word() -> None:
    """None yet is -5, and more than 40 are 40."""
    assert -5.0 == named("The ", "tower ", "is ")["since_new"]
    assert 2.0 == named("Paris", " is", " it")["since_new"]
    assert 40.0 == named("Paris", *([" it"] * 60))["since_new"]


def test_repeated_runs_of_three_words() -> None:
    """Of one two three four, one two three four: the second time both are known."""
    assert pytest.approx(2 / 9) == named("one two three four one two three four ")["repeated"]


@pytest.mark.parametrize("request_", [Request(), Request(question="Who?", context="")])
def test_without_a_context_there_are_no_weights(request_: Request) -> None:
    """What needs them is not known; the rest is."""
    row = named("Paris is the capital. ", request=request_)
    unknown = {name for name, value in row.items() if math.isnan(value)}
    assert {"said", "finished", "unsaid", "ahead", "copied"} == unknown
    assert math.isnan(named("Paris", salience=None)["said"])
    assert 1.0 == named("Paris", salience=None)["copied"]


def test_reasoning_is_not_read() -> None:
    """Neither its text nor its tokens."""
    evidence = AnswerEvidence(EQUAL)
    evidence.reset(REQUEST)
    before = evidence.row()
    evidence.update(Step("Paris", channel="reasoning"))
    assert before == evidence.row()


def test_the_contract_of_signals() -> None:
    """Resets, deep copies, odd readings."""
    check_signal(lambda: AnswerEvidence(SALIENCE))


ODD = (
    *SAMPLES,
    "",
    "x" * 10_000,
    "\U0001f600 Paris\U0001f600\u200d\U0001f525",
    "\u0130stanbul \u00df \u1e9e",
    "Где стоит башня? В Париже.",
    "塔はパリの古い地区にあります。",
    "\ud800\udfff \x00",
    "1887 " * 300,
    " ".join(f"w{i}" for i in range(3000)),
)


@pytest.mark.parametrize("text", ODD, ids=lambda text: repr(text[:12]))
def test_any_text_gives_the_same_features_however_it_is_chunked(text: str) -> None:
    """As text, as context and as question, a token a character; nothing raises or overflows."""
    request = Request(question=text, context=f"{text} {CONTEXT} {text}")
    tokens = len(text)
    rows = []
    for size in (1, 2, 7, max(1, tokens)):
        evidence = AnswerEvidence(SALIENCE)
        evidence.reset(request)
        for begin in range(0, tokens, size):
            chunk = text[begin : begin + size]
            evidence.update(Step(chunk, tokens=len(chunk)))
        rows.append(_known(evidence.row()))
    assert all(row == rows[0] for row in rows)
    assert not any(math.isinf(value) for value in rows[0].values())


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_the_segmenter_changes_nothing(data: st.DataObject) -> None:
    """The features after a text are those of the text, with its tokens, in pieces of any size."""
    pieces = (
        "Paris",
        " 18",
        "87",
        ". ",
        "Dr",
        ".",
        "\n\n",
        " river",
        ", in",
        " the",
        " old",
        "- a",
    )
    chunks = data.draw(st.lists(st.sampled_from(pieces), max_size=30))
    whole, cut = AnswerEvidence(SALIENCE), AnswerEvidence(SALIENCE)
    for evidence in (whole, cut):
        evidence.reset(REQUEST)
    segmenter = Segmenter()
    for chunk in chunks:
        whole.update(Step(chunk))
        for piece in segmenter.feed(Step(chunk)):
            cut.update(piece)
    for piece in segmenter.flush():
        cut.update(piece)
    assert _known(whole.row()) == _known(cut.row())


def test_a_context_of_one_word_many_times_is_no_trap() -> None:
    """Copies are remembered up to a number of places."""
    evidence = AnswerEvidence(EQUAL)
    evidence.reset(Request(question="What?", context="no " * 3000))
    for _ in range(300):
        evidence.update(Step("no "))
    assert 12.0 == evidence.row()[AnswerEvidence.names.index("copied")]
    assert len(evidence._said.copies) <= 128


def test_words_of_gold_answers_are_found_in_the_context() -> None:
    """As whole words in order, in any case; an answer that is not there labels nothing."""
    context = read_context(REQUEST.question, REQUEST.context)
    labels = context.labels(("the OLD part", "Pari", "Rome", ""))
    found = [word for word, label in zip(context.words, labels, strict=True) if label]
    assert ["the", "old", "part"] == found


def _known(row: tuple[float, ...]) -> dict[int, float]:
    return {place: value for place, value in enumerate(row) if not math.isnan(value)}
