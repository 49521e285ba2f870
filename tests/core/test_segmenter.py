"""The segmenter: where things end, and that it never depends on how the text came."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stopping_core.segmenter import Segmenter
from stopping_core.structures import LONG_RUN
from stopping_core.types import Boundary, Step

LETTERS = {
    Boundary.SENTENCE: "S",
    Boundary.LINE: "L",
    Boundary.PARAGRAPH: "P",
    Boundary.JSON: "J",
    Boundary.FENCE: "F",
    Boundary.LIST: "I",
}

FRAGMENTS = [
    *(".", "!", "?", "…", "。", "」", '"', "”", "“", ")", "]", "[", "{", "}", ",", ":", "»", "\\"),
    *("\n", "\n\n", " ", "  ", "\t", "    ", "\r\n", "\r", " " * LONG_RUN, "\n" * LONG_RUN),
    *("```", "~~~", "`", "~", "```json\n", "```\n", '{"a": 1}', '["b", true]', "[1]"),
    *("- ", "* ", "*", "1. ", "12) ", "1", "a", "B", "Dr", "e.g", "No", "etc", "word", "Word"),
    *("the answer is ", "Answer: ", "\\boxed{", "#### 4", "中", "e\u0301", "\ud800", "\0"),
]
texts = st.lists(st.sampled_from(FRAGMENTS), max_size=25).map("".join) | st.text(max_size=60)


def cut(text: str, places: Iterable[int]) -> list[Step]:
    """Chunks of the text that end at the places, one token a character."""
    ends = [*sorted({place for place in places if 0 < place < len(text)}), len(text)]
    starts = [0, *ends]
    return [Step(text[a:b], tokens=b - a) for a, b in zip(starts, ends, strict=False)]


def segment(steps: Iterable[Step]) -> list[Step]:
    """All that the steps give, the end of the text included."""
    segmenter = Segmenter()
    pieces = [piece for step in steps for piece in segmenter.feed(step)]
    return [*pieces, *segmenter.flush()]


def merged(pieces: Sequence[Step]) -> list[tuple[str, int, Boundary]]:
    """Text, tokens and kind of each mark, and of the end."""
    found, text, tokens = [], "", 0
    for piece in pieces:
        text, tokens = text + piece.text, tokens + piece.tokens
        if piece.boundary:
            found.append((text, tokens, piece.boundary))
            text, tokens = "", 0
    return [*found, (text, tokens, Boundary.NONE)]


def drawn(text: str) -> str:
    """The text with its marks drawn in, as ``<SL>``."""
    pieces = segment([Step(text)])
    return "".join(
        piece.text
        + (f"<{''.join(LETTERS[kind] for kind in piece.boundary)}>" if piece.boundary else "")
        for piece in pieces
    )


@pytest.mark.parametrize(
    "expected",
    [
        "He left.<S> Then<LP>",
        "Dr. Smith came.<S> He left.<SLP>",
        "It is 3.14.<S> Next<LP>",
        "U.S. army is<LP>",
        "In the U.S. The<LP>",
        "e.g. this<LP>",
        "J. R. Smith went.<S> Then<LP>",
        "No. 5 is.<S> No.<S> I<LP>",
        "wait... and<LP>",
        "Wait...<S> Then<LP>",
        "Wait…<S> Then<LP>",
        "## 2.1. Title<LP>",
        "see example.com.<S> Then main.py<LP>",
        "v 3.11.2 is.<S> Go<LP>",
        'He said "yes."<S> Then<LP>',
        '"Why?" he asked.<S> Then<LP>',
        "“Hi.”<S> “Ho.”<SLP>",
        "„Ja.“<S> Dann<LP>",
        "« Oui. »<S> Puis<LP>",
        "Quoi ?<S> Oui !<SLP>",
        "Really?!<S> Yes.<SLP>",
        "Yahoo! is<LP>",
        "(It is.)<S> Next<LP>",
        "**Bold.**<S> Next<LP>",
        "text.[1][2]<S> Next<LP>",
        "text. [1]<S> Next<LP>",
        "text [1].<S> Next<LP>",
        "etc.<S> The<LP>",
        "etc. the<LP>",
        "Smith et al. (2020)<LP>",
        "z. B. Der Hund.<S> Das<LP>",
        "am 3. Oktober.<S> Dann<LP>",
        "M. Dupont et Mme. Curie.<S> Puis<LP>",
        "El Sr. López y la Sra. Ruiz.<S> Luego<LP>",
        "It is 42.<S> The<LP>",
        "p. 5 and<LP>",
        "He came at 5.<S> 10 people<LP>",
        "\\boxed{4}.<S> Then<LP>",
        "中文。<S>你好！<S>是<LP>",
        "他说：「好。」<S>然后<LP>",
        "हाँ।<S> ठीक<LP>",
        "هل هذا؟<S> نعم<LP>",
        "好。<SL>\n你<LP>",
        "e\u0301.<S> Next<LP>",
        "cafe\ud800.<S> \0Next<LP>",
        "!<SLP>",
    ],
)
def test_sentence_ends(expected: str) -> None:
    """A sentence ends where a reader would say so, or in doubt not at all."""
    text = _undrawn(expected)
    assert expected == drawn(text)


@pytest.mark.parametrize(
    "expected",
    [
        "",
        "   \n ",
        "  a<LP> ",
        "One.<SL>\ntwo<LP>",
        "One.<SL><P>\n\ntwo<L>\nthree<LP>",
        "One.<SL><P>\n \t\n two<LP>",
        "One.<SL><P>\r\n\r\ntwo<L>\r\nthree<LP>",
        "One.<SL><P>\n\n",
        f"One.<SLP>{' ' * LONG_RUN}two<LP>",
        f"One.{' ' * (LONG_RUN - 1)}two<LP>",
    ],
)
def test_lines_and_paragraphs(expected: str) -> None:
    """A newline ends a line where its text ends, a blank line a paragraph; only news is marked."""
    assert expected == drawn(_undrawn(expected))


@pytest.mark.parametrize(
    "expected",
    [
        '{"a": [1, {"b": "}. X"}]}<J><LP>',
        '{"a": 1}<J>.<S> Then<LP>',
        'Here.<SL>\n{"a":<L>\n "b. C"}<J><L>\nDone<LP>',
        '{"a": "\\"}. X"}<J><LP>',
        "[1}.<S> X]<LP>",
        "[Note.<S> X]<LP>",
        "{x | y}.<S> Z<LP>",
        '{"a": "open.<L>\nIt is.<S> Z<LP>',
        "see {1} [2]<LP>",
        '{"a": 1}<J><L>\n{"a": 2}<J><LP>',
    ],
)
def test_json(expected: str) -> None:
    """A value that begins a line ends at its bracket, at once; what is no JSON is prose again."""
    assert expected == drawn(_undrawn(expected))


@pytest.mark.parametrize(
    "expected",
    [
        "```py<L>\na. B<L>\n\nc<L>\n```<F><L>\nHi.<SLP>",
        '```json<L>\n{"a": 1}<J><L>\n```<F><LP>',
        '```<L>\n{"a":<L> \n```<F><LP>',
        "```js<L>\nif (x)<L>\n{<L>\n}<L>\n```<F><LP>",
        "~~~<L>\n```<L>\n~~~<F><LP>",
        "````<L>\n```<L>\n````<F><LP>",
        "```<L>\nx<L>\n```<F>``<LP>",
        "```<L>\nx<L>\n```<F> y<L>\na. B<LP>",
        "```code``` a b.<S> C<LP>",
        "    ```<L>\nIt is.<S> B<LP>",
        "Code.<SL>\n```py<L>\nx.<L><P>\n",
        "1. x:<L>\n    ```<L>\n    a. B<L>\n    ```<F><L><P><I>\n\ntext<LP>",
    ],
)
def test_fences(expected: str) -> None:
    """A fence ends where its closing run is long enough, and inside it only lines end."""
    assert expected == drawn(_undrawn(expected))


@pytest.mark.parametrize(
    "expected",
    [
        "1. Item<L>\n2. Two.<S> Foo<L><P><I>\n\nbar<LP>",
        "- a<L>\n- b<L><P><I>\n\nText<LP>",
        "- a<L><P>\n\n- b<L><P>\n\n  c<L><P><I>\n\n**x**<LP>",
        "- a<L><P><I>\n\n12 x<LP>",
        "- a<L><P><I>\n\n2<LP>",
        "- a<L><P>\n\n2.<SLPI>",
        "1) a<L><P>\n\n2) b<L><PI>\n",
        "- a<LPI>",
        "-a<LP>",
        "5.<SLP>",
        "• a<L><P><I>\n\n```<L>\nx<L>\n```<F><LP>",
        '* a<L><P><I>\n\n{"a": 1}<J><LP>',
    ],
)
def test_lists(expected: str) -> None:
    """A list ends after its last item, once a blank line and something else follow."""
    assert expected == drawn(_undrawn(expected))


def _undrawn(expected: str) -> str:
    for mark in ("SLPI", "SLP", "LPI", "PI", "SL", "LP", "S", "L", "P", "J", "F", "I"):
        expected = expected.replace(f"<{mark}>", "")
    return expected


@given(texts, st.lists(st.integers(0, 400), max_size=8))
def test_chunking_changes_nothing(text: str, places: list[int]) -> None:
    """However the text comes, the same text and tokens stand between the same marks."""
    pieces = segment(cut(text, places))
    assert text == "".join(piece.text for piece in pieces)
    whole = merged(segment(cut(text, [])))
    assert whole == merged(pieces)
    assert whole == merged(segment(cut(text, range(len(text)))))


@given(texts, texts)
def test_marks_do_not_see_the_future(text: str, more: str) -> None:
    """What follows changes no mark that was already given."""
    so_far = merged([*Segmenter().feed(Step(text, tokens=len(text)))])[:-1]
    assert so_far == merged(segment(cut(text + more, [])))[: len(so_far)]


@given(texts, st.lists(st.integers(0, 400), max_size=8), st.integers(0, 50))
def test_tokens_add_up(text: str, places: list[int], tokens: int) -> None:
    """Sharing a step's tokens out loses none and invents none."""
    steps = [Step(step.text, tokens=tokens) for step in cut(text, places)]
    assert tokens * len(steps) == sum(piece.tokens for piece in segment(steps))


def test_a_reading_counts_once() -> None:
    """The piece that has the token has its reading; the other pieces of the step have none."""
    raw = object()
    step = Step("end. Next", logprob=-0.5, top_logprobs=(-0.5,), entropy=1.0, margin=0.2, raw=raw)
    first, mark, rest, *_ = segment([step])
    assert ("end.", 1, -0.5, (-0.5,), 1.0, 0.2) == (
        *(first.text, first.tokens, first.logprob),
        *(first.top_logprobs, first.entropy, first.margin),
    )
    assert first.raw is raw
    assert Step("", tokens=0, boundary=Boundary.SENTENCE) == mark
    assert Step(" Next", tokens=0) == rest
    assert rest.raw is None


def test_the_finish_reason_stays_last() -> None:
    """Only the last piece of a step says why the stream ended."""
    pieces = segment([Step("One. Two ", tokens=9, finish_reason="length")])
    assert [("One.", None), (" Two", None), (" ", "length")] == [
        (piece.text, piece.finish_reason) for piece in pieces if piece.text
    ]


def test_steps_without_text_pass_as_they_are() -> None:
    """Half a character costs a token and is no text; it does not wait for white space."""
    segmenter = Segmenter()
    assert ["One."] == [piece.text for piece in segmenter.feed(Step("One. "))]
    half = Step("", tokens=1, logprob=-2.0)
    assert [half] == list(segmenter.feed(half))


def test_an_ordinary_step_is_not_copied() -> None:
    """A word in the middle of a sentence passes as the same object."""
    segmenter = Segmenter()
    list(segmenter.feed(Step("Some words")))
    step = Step(" more")
    (piece,) = segmenter.feed(step)
    assert piece is step


def test_the_rest_of_a_chunk_is_left_to_the_consumer() -> None:
    """Who stops at a mark gets nothing of what the chunk held after it."""
    pieces = Segmenter().feed(Step("One. Two. Three.", tokens=16))
    assert "One." == next(pieces).text
    assert Boundary.SENTENCE == next(pieces).boundary


def test_white_space_waits_for_what_follows() -> None:
    """Blanks after text come with the next text, or at the end."""
    segmenter = Segmenter()
    assert ["One"] == [piece.text for piece in segmenter.feed(Step("One "))]
    assert [" ", "two"] == [piece.text for piece in segmenter.feed(Step("two"))]
    assert ["."] == [piece.text for piece in segmenter.feed(Step(". "))]
    assert ["", " "] == [piece.text for piece in segmenter.flush()]


def test_endless_blanks_are_let_go() -> None:
    """A model that loops on newlines is seen to, and nothing piles up."""
    segmenter = Segmenter()
    steps = [Step("One.")] + [Step("\n")] * 1000
    given_out = sum(len(piece.text) for step in steps for piece in segmenter.feed(step))
    assert 1004 == given_out


def test_a_change_of_channel_ends_the_text() -> None:
    """Reasoning that goes over to the answer has ended, and marks keep their channel."""
    pieces = segment([Step("I think. ", channel="reasoning"), Step("Yes")])
    assert [
        ("I think.", "reasoning", Boundary.NONE),
        ("", "reasoning", Boundary.SENTENCE | Boundary.LINE | Boundary.PARAGRAPH),
        (" ", "reasoning", Boundary.NONE),
        ("Yes", "answer", Boundary.NONE),
        ("", "answer", Boundary.LINE | Boundary.PARAGRAPH),
    ] == [(piece.text, piece.channel, piece.boundary) for piece in pieces]


@pytest.mark.parametrize(
    "unit",
    [
        *(
            "word ",
            " ",
            "\n",
            ".",
            '"',
            "[",
            "`",
            "1",
            "。",
            "\\",
            "a.",
            " " * (LONG_RUN - 1) + "a",
        ),
        *("It is so, and it was ever so. ", '{"name": ["Ada", "Grace"], "id": 17}\n'),
    ],
)
def test_a_megabyte_takes_linear_time(unit: str) -> None:
    """One chunk of a million characters, whatever it is made of, is cut in two seconds of work."""
    text = unit * (1_000_000 // len(unit))
    start = time.process_time()
    pieces = segment([Step(text, tokens=len(text))])
    assert time.process_time() - start < 2
    assert len(text) == sum(len(piece.text) for piece in pieces)


def test_deep_nesting_closes() -> None:
    """A hundred thousand brackets are one value, and need no stack frames."""
    text = "[" * 100_000 + "]" * 100_000
    (value, *_) = merged(segment([Step(text)]))
    assert (text, 1, Boundary.JSON) == value
