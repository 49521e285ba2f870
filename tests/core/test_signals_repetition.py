"""Repetition, loops and novelty in a text."""

from __future__ import annotations

import copy
from collections.abc import Callable
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stopping_core.protocols import Signal
from stopping_core.signals.novelty import Novelty
from stopping_core.signals.repetition import Loop, Repetition, find_loop
from stopping_core.types import Boundary, Request, Step

SENTENCE = "The cat sat on the mat. "
GOOD = [
    "- apples\n- pears\n- plums\n- cherries\n- grapes\n- figs\n",
    "1. Preheat the oven.\n2. Mix the flour.\n3. Bake the cake.\n4. Eat the cake.\n",
    "| Name | Born | Died |\n| --- | --- | --- |\n| Ada | 1815 | 1852 |\n",
    "| --- " * 12 + "|\n",
    "|---|---|---|---|---|---|---|---|\n",
    "| Yes | No | N/A |\n" * 4,
    "| not available " * 5 + "|\n",
    "-" * 200 + "\n",
    "=" * 80 + "\n",
    "* * * * * * * * * *\n",
    ", ".join(map(str, range(100))),
    "\n".join(" ".join("1" if i == j else "0" for j in range(10)) for i in range(10)),
    "0x00, " * 32,
    "    }\n  }\n}\n" + "}\n" * 10,
    "</div>\n" * 12,
    "end\n" * 10,
    "NULL, " * 12,
    "Yes, yes, yes! No, no, no! Let it be, let it be, let it be, let it be.",
    "ha ha ha ha ha",
    "x" * 120,
    " " * 160 + "end",
    "Row, row, row your boat gently down the stream. Merrily, merrily, merrily, merrily.",
    "第一、苹果。第二、梨。第三、李子。第四、樱桃。",
    "\ud800" * 20,
    "",
]
LOOPS = [
    (SENTENCE * 3, len(SENTENCE)),
    ("So. " + SENTENCE * 4, 4 + len(SENTENCE)),
    (SENTENCE * 3 + "The ca", len(SENTENCE)),
    (" the" * 40, 5),
    ("I am sorry.\n" * 8, 12),
    ("Today cats. " + "I like cats. " * 6, 25),
    ("我不知道答案是什么。" * 3, 10),
    ("| 3 | 4 |\n" * 40, 10),
]
texts = st.one_of(
    st.text(max_size=200),
    st.text(alphabet="ab |.\n1あ。\ud800", max_size=300),
    st.builds(
        lambda head, unit, n: head + unit * n,
        st.text(max_size=20),
        st.text(alphabet="the cat.\n我", min_size=1, max_size=30),
        st.integers(1, 30),
    ),
)
SIGNALS: list[Callable[[], Signal]] = [
    Loop,
    lambda: Repetition(n=2, window=16),
    lambda: Novelty(window=4),
]


def feed(signal: Signal, text: str, cuts: list[int]) -> list[tuple[int, float | None]]:
    """Readings at each cut, and after a mark at the end of the text."""
    signal.reset(Request())
    readings = []
    for begin, end in pairwise([0, *cuts, len(text)]):
        if begin < end:
            signal.update(Step(text[begin:end], tokens=end - begin))
        readings.append((end, signal.value))
    signal.update(Step("", tokens=0, boundary=Boundary.SENTENCE))
    return [*readings, (-1, signal.value)]


@pytest.mark.parametrize("make", SIGNALS)
@given(text=texts, data=st.data())
def test_readings_do_not_depend_on_chunks(
    make: Callable[[], Signal], text: str, data: st.DataObject
) -> None:
    """At every place a text gives the same reading, whether it came in chunks or by character."""
    cuts = sorted(data.draw(st.sets(st.integers(0, len(text)), max_size=12)))
    by_character = dict(feed(make(), text, list(range(len(text) + 1))))
    for place, reading in feed(make(), text, cuts):
        assert reading == by_character[place]


@pytest.mark.parametrize("text", GOOD)
def test_good_texts_are_no_loops(text: str) -> None:
    """Lists, tables, rules, matrices, code and refrains are never taken for a loop on the way."""
    loop = Loop()
    for character in text:
        loop.update(Step(character))
        assert loop.value == 0.0
    assert find_loop(text) is None


@pytest.mark.parametrize(("text", "start"), LOOPS)
def test_loops_are_found(text: str, start: int) -> None:
    """A degenerate loop is found and what precedes its second copy is said."""
    assert find_loop(text) == start


@pytest.mark.parametrize("run", ["\n", " \n", "a", "-", "ha", "😂", "abc,", "\ud800"])
def test_runs_without_words_are_found(run: str) -> None:
    """A stream that never ends a word, or never begins one, is a loop once it is clearly long."""
    start = find_loop(run * 600)
    assert start is not None
    assert start <= 64


@given(st.text(max_size=40), st.integers(3, 6), st.integers(0, 30))
def test_one_copy_is_kept(head: str, copies: int, cut: int) -> None:
    """Whatever precedes a loop and wherever it breaks off, one copy and no more is kept."""
    sentence = "A quick brown fox jumps over dogs. "
    text = f"{head}\n" + sentence * copies + sentence[:cut]
    start = find_loop(text)
    assert start is not None
    assert text[:start] == f"{head}\n{sentence}"


@given(texts)
def test_loop_start_agrees_with_the_text(text: str) -> None:
    """Where a loop is found, it begins inside the text and there is something to keep."""
    start = find_loop(text)
    assert start is None or 0 < start < len(text)


def test_loop_ends_with_the_next_new_word() -> None:
    """A text that finds its way out of a loop ends in none."""
    loop = Loop()
    loop.update(Step(SENTENCE * 4))
    assert (loop.value, loop.loop_start) == (1.0, len(SENTENCE))
    loop.update(Step("Then it left. "))
    assert (loop.value, loop.loop_start) == (0.0, None)


def test_settings_move_the_threshold() -> None:
    """More copies or a shorter longest unit let through what is a loop by default."""
    for loop, value in ((Loop(), 1.0), (Loop(min_repeats=4), 0.0), (Loop(max_period=5), 0.0)):
        loop.update(Step(SENTENCE * 3))
        assert loop.value == value


def test_loop_holds_bounded_memory() -> None:
    """After a long stream only the last words of the window are held."""
    loop = Loop(max_period=8)
    for i in range(5000):
        loop.update(Step(f"word{i % 7} "))
    assert len(loop._ring) == 9
    assert sum(map(len, loop._places.values())) <= 9
    assert len(loop._runs) <= 8


def test_offsets_count_the_channel_alone() -> None:
    """A loop in the answer begins at an offset in the answer, whatever was reasoned before."""
    loop = Loop()
    loop.update(Step("Let me think about the cat. ", channel="reasoning"))
    loop.update(Step("So. "))
    loop.update(Step("Wait. ", channel="reasoning"))
    loop.update(Step(SENTENCE * 3))
    assert loop.loop_start == 4 + len(SENTENCE)


@given(st.lists(st.sampled_from("abc"), max_size=60), st.integers(1, 4), st.integers(5, 20))
def test_repetition_is_the_share_of_repeated_grams(words: list[str], n: int, window: int) -> None:
    """The share equals a plain count over the n-grams of the last words."""
    signal = Repetition(n, window)
    signal.update(Step(" ".join([*words, ""])))
    last = words[-window:]
    grams = [tuple(last[i : i + n]) for i in range(len(last) - n + 1)]
    expected = (len(grams) - len(set(grams))) / len(grams) if grams else None
    assert signal.value == expected


@given(texts)
def test_shares_are_between_none_and_all(text: str) -> None:
    """Repetition and novelty are shares, whatever the text."""
    for signal in (Repetition(2, 8), Novelty(4)):
        signal.update(Step(text))
        assert signal.value is None or 0.0 <= signal.value <= 1.0


def test_novelty_falls_when_the_text_goes_in_circles() -> None:
    """New words are new once, without regard to case and punctuation."""
    signal = Novelty(window=4)
    signal.update(Step("Paris, Rome, Bonn: - "))
    assert signal.value is None
    signal.update(Step("Oslo "))
    assert signal.value == 1.0
    signal.update(Step("(paris) ROME! "))
    assert signal.value == 0.5


def test_novelty_forgets_what_was_not_used_for_long() -> None:
    """Memory is capped: the words used longest ago are new again."""
    signal = Novelty(window=1)
    signal.update(Step("first "))
    for i in range(Novelty.capacity):
        signal.update(Step(f"w{i} "))
    assert len(signal._seen) == Novelty.capacity
    signal.update(Step("first "))
    assert signal.value == 1.0
    signal.update(Step("first "))
    assert signal.value == 0.0


@pytest.mark.parametrize("make", SIGNALS)
def test_copies_and_resets_are_independent(make: Callable[[], Signal]) -> None:
    """A deep copy shares no state, and a reset forgets the last stream."""
    signal = make()
    fresh = signal.value
    signal.update(Step(SENTENCE * 4))
    twin = copy.deepcopy(signal)
    before = twin.value
    signal.reset(Request())
    assert signal.value == fresh
    assert before != fresh
    assert twin.value == before


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Repetition(n=0), r"n must be >= 1, got 0"),
        (lambda: Repetition(n=4, window=4), r"window must be > n \(4\), got 4"),
        (lambda: Loop(min_repeats=1), r"min_repeats must be >= 2, got 1"),
        (lambda: Loop(max_period=0), r"max_period must be >= 1, got 0"),
        (lambda: Novelty(window=0), r"window must be >= 1, got 0"),
    ],
)
def test_settings_are_validated(make: Callable[[], Signal], message: str) -> None:
    """A setting outside its interval is refused with its name, interval and value."""
    with pytest.raises(ValueError, match=message):
        make()
