"""The places of many runs as arrays, and what signals read there."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stopping_core.engine import Engine
from stopping_core.policies import Policy
from stopping_core.protocols import Signal
from stopping_core.signals import MeanLogprob, Sentences
from stopping_core.traces.columns import Columns
from stopping_core.traces.run import Run
from stopping_core.traces.stream import closing_tokens, stream, thinking_tokens
from stopping_core.types import (
    CONTINUE,
    Boundary,
    Channel,
    Checkpoint,
    Decision,
    Probe,
    Request,
    Step,
)
from tests.traces.made_runs import make_run, plain_runs, thinking_runs


class Notes(Policy):
    """Notes where it is asked and what a signal reads there, and goes on."""

    def __init__(self, marks: tuple[int, ...], places: list[tuple[int, int, int]]) -> None:
        self.named = marks
        self.places = places
        self.signal = MeanLogprob(3)
        self.read: list[float] = []

    def decide(self, checkpoint: Checkpoint) -> Decision:
        self.places.append((checkpoint.tokens, checkpoint.offset, int(checkpoint.boundary)))
        value = self.signal.value
        self.read.append(np.nan if value is None else value)
        return CONTINUE

    def signals(self) -> tuple[Signal, ...]:
        return (self.signal,)

    def marks(self) -> tuple[int, ...]:
        return self.named

    def __deepcopy__(self, memo: object) -> Notes:
        return self


RUNS = plain_runs() + thinking_runs()
WHOLE = Columns(RUNS)


@settings(max_examples=100, deadline=None)
@given(
    st.sampled_from(RUNS),
    st.lists(st.integers(-1, 60), max_size=4),
    st.integers(1, 20),
    st.sampled_from(["answer", "reasoning"]),
    st.sampled_from([None, ("<think>", "</think>")]),
)
def test_the_rows_are_where_the_engine_asks(
    run: Run, marks: list[int], every: int, channel: Channel, tags: tuple[str, str] | None
) -> None:
    """Every one of them, in order, and no other."""
    places: list[tuple[int, int, int]] = []
    engine = Engine(Notes(tuple(marks), places), Request(), every=every)
    over = thinking_tokens(run, tags) if channel == "reasoning" else len(run) + 1
    for fed, step in stream(run, tags):
        if step.channel == channel and fed < over:
            engine.feed(step)
    view = Columns([run], channel=channel, tags=tags, every=every).asked(marks)
    assert places == list(
        zip(view.tokens.tolist(), view.offset.tolist(), view.boundary.tolist(), strict=True)
    )


def test_tokens_that_came_together_are_counted_one_by_one() -> None:
    """The splitter holds back what may be a tag; no count is skipped in it."""
    columns = Columns([make_run(["<", "th", "in", " ice"], 0)])
    assert [1, 2, 3, 4] == columns.tokens.tolist()
    assert [4, 4, 4, 4] == columns.fed.tolist()


def test_a_place_is_counted_over_both_channels() -> None:
    """And no later than what had come."""
    columns = Columns([make_run(["<think>", "Hm.", "</think>", "Yes", ". ", "No"], 0)])
    assert [1, 2, 2, 3] == columns.tokens.tolist()
    assert [4, 5, 5, 6] == columns.place.tolist()
    assert [4, 5, 6, 6] == columns.fed.tolist()


def test_the_readings_are_those_of_the_signal() -> None:
    """At every place, NaN where there is none, in each run anew."""
    columns = Columns(RUNS)
    readings = columns.reading(MeanLogprob(3))
    for number, run in enumerate(RUNS):
        notes = Notes((), [])
        engine = Engine(notes, run.request(), every=1)
        for _, step in stream(run, columns.tags):
            if step.channel == "answer":
                engine.feed(step)
        np.testing.assert_array_equal(notes.read, readings[columns.of_run(number)])


class Counted(Sentences):
    """Counts how often any of its kind was fed."""

    fed = 0

    def update(self, step: Step) -> None:
        Counted.fed += 1
        super().update(step)


def test_a_signal_is_read_once_for_all_with_its_settings() -> None:
    """For another object, and for a selection."""
    columns = Columns(RUNS[:4])
    whole = columns.reading(Counted())
    before = Counted.fed
    view = columns.asked((3,))
    np.testing.assert_array_equal(whole[view.rows], view.reading(Counted()))
    assert before == Counted.fed > 0


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.booleans(), min_size=len(RUNS), max_size=len(RUNS)),
    st.lists(st.integers(1, 60), max_size=4),
)
def test_some_runs_are_as_if_there_were_no_others(kept: list[bool], marks: list[int]) -> None:
    """They are numbered anew; their rows, probes and readings are their own."""
    where = np.array(kept)
    view = WHOLE.asked(marks).of_runs(where)
    alone = Columns([run for run, keep in zip(RUNS, kept, strict=True) if keep]).asked(marks)
    assert alone.runs == view.runs
    for name in ("run", "starts", "lengths", "prompts", "tokens", "offset", "boundary", "fed"):
        np.testing.assert_array_equal(getattr(alone, name), getattr(view, name), name)
    np.testing.assert_array_equal(alone.reading(MeanLogprob(3)), view.reading(MeanLogprob(3)))
    np.testing.assert_array_equal(alone.first(alone.has_probe), view.first(view.has_probe))
    rows = np.arange(len(alone))
    assert alone.probes_at(rows) == view.probes_at(rows)
    texts = [[one.answer_at(row) for row in rows.tolist()] for one in (alone, view)]
    assert texts[0] == texts[1]


def test_what_settings_share_is_made_once_for_the_same_places() -> None:
    """Whoever asks; for some of the runs, and at other marks, it is made of these."""
    columns = Columns([make_run(list("abcdef"), 0), make_run(list("abc"), 1)])
    made: list[int] = []

    def make(places: Columns) -> int:
        made.append(len(places))
        return len(places)

    for marks in ((3, 5, 0), (5, 3)):
        asked = columns.asked(marks)
        assert [3, 2, 1] == [
            asked.once("length", make),
            asked.of_runs(np.array([True, False])).once("length", make),
            asked.of_runs(np.array([False, True])).once("length", make),
        ]
    assert [3, 2, 1] == made
    assert 2 == columns.asked((3,)).once("length", make)


def test_settings_tell_signals_apart() -> None:
    """A window of two is not a window of three."""
    columns = Columns(RUNS)
    two, three = columns.reading(MeanLogprob(2)), columns.reading(MeanLogprob(3))
    assert not np.array_equal(two, three, equal_nan=True)


def test_a_signal_that_cannot_be_written_down_is_told_by_itself() -> None:
    """One that holds a function, or was made in one."""

    class Local(Sentences):
        def __init__(self, number: int) -> None:
            super().__init__()
            self.read: Callable[[], float] = lambda: number

        @property
        def value(self) -> float:
            return self.read()

    columns = Columns(RUNS[10:11])
    one, two = Local(1), Local(2)
    assert [{1.0}, {2.0}, {1.0}] == [set(columns.reading(s).tolist()) for s in (one, two, one)]


def test_a_streak_ends_with_its_run() -> None:
    """It is counted up to each row."""
    columns = Columns([make_run(list("abc"), 0), make_run(list("de"), 1)])
    assert [1, 2, 0, 1, 2] == columns.streak(np.array([1, 1, 0, 1, 1], bool)).tolist()
    assert [0, 1, 2, 1, 0] == columns.streak(np.array([0, 1, 1, 1, 0], bool)).tolist()


def test_the_first_row_of_each_run() -> None:
    """Or -1, and for a run without rows too."""
    columns = Columns([make_run(list("abc"), 0), make_run([], 1), make_run(list("de"), 2)])
    assert [1, -1, 3] == columns.first(np.array([0, 1, 1, 1, 1], bool)).tolist()
    assert [-1, -1, -1] == columns.first(columns.nowhere()).tolist()


def test_forced_stops_are_stops() -> None:
    """A row that does not stop cannot be forced."""
    columns = Columns([make_run(list("abc"), 0)])
    yes, no = np.array([True, True, False]), np.array([False, True, True])
    one, two = columns.stops(yes, no), columns.stops(no)
    assert [False, True, False] == one.forced.tolist()
    assert ([True] * 3, [False, True, False]) == (
        (one | two).where.tolist(),
        (one | two).forced.tolist(),
    )
    assert [False, True, False] == (one & two).where.tolist() == (one & two).forced.tolist()


def test_probes_stand_at_their_places() -> None:
    """In the row, by number, and read once each."""
    run = make_run(list("Hi. Oh. So"), 0)
    some = make_run(list("Hi. Oh. So"), 1, probes={k: run.probes[k] for k in (3, 9)})
    columns = Columns([run, some])
    rows = columns.of_run(1)
    # The first sentence ends after 3 tokens; the second after 7, which shows with the ninth.
    assert [True, True] == columns.has_probe[rows][columns.boundary[rows] != 0].tolist()
    assert len(run.probes) + 2 == len(columns.probes)
    assert columns.probe(rows.start).text == ""
    tokens, reread, closing = columns.bills_of_probes(columns.rows)
    assert 0 < closing.max()
    for row, number in enumerate(columns.run.tolist()):
        probe, one = columns.probe(row), columns.runs[number]
        assert (probe.tokens, probe.reread) == (tokens[row], reread[row])
        place = next((k for k, v in one.probes.items() if v is probe), None)
        assert closing[row] == (0 if place is None else closing_tokens(one, place))


def test_the_words_that_close_the_reasoning_are_what_is_left_of_a_request() -> None:
    """Prompt and text so far are taken away; where that says nothing, there are none."""
    probes = {4: Probe("20", 2, reread=50), 3: Probe("20", 2, reread=20)}
    run = make_run(["a"] * 5, 0, probes=probes, prompt_tokens=40)
    assert (6, 0) == (closing_tokens(run, 4), closing_tokens(run, 3))
    assert 0 == closing_tokens(replace(run, prompt_tokens=None), 4)


@pytest.mark.parametrize(
    ("tokens", "finish_reason", "expected"),
    [
        (["By", " the", " art"], "length", True),
        (["By", " the", " art"], "stop", False),
        (["By", " art", "."], "length", False),
        (["By", " art "], "length", False),
        (["<think>", "a", "</think>", "20"], "length", True),
        (["<think>", "a"], "length", False),
        ([], "length", False),
    ],
)
def test_a_run_at_its_cap_may_end_inside_a_word(
    tokens: list[str], finish_reason: str, expected: bool
) -> None:
    """What would have followed is not known."""
    run = make_run(tokens, 0, finish_reason=finish_reason)
    for channel in ("answer", "reasoning"):
        assert expected == Columns([run], channel=channel).full_open_end(0)


def test_boundaries_are_told_apart() -> None:
    """A mark of several kinds is each of them."""
    columns = Columns([make_run(["One. ", "Two.", "\n\n", "x"], 0)])
    ends = columns.at(Boundary.SENTENCE)
    assert 2 == ends.sum()
    assert 1 == (ends & columns.at(Boundary.LINE)).sum()


def test_time_is_that_of_the_last_token() -> None:
    """NaN where it was not recorded."""
    columns = Columns(
        [make_run(["a", "b"], 0, seconds=np.array([1, 2], np.float32)), make_run(["c"], 1)]
    )
    assert [1.0, 2.0] == columns.seconds[:2].tolist()
    assert np.isnan(Columns([make_run(["c"], 1, seconds=None)]).seconds).all()


def test_a_mistake_is_named() -> None:
    """When the columns are made."""
    with pytest.raises(ValueError, match="every must be >= 1, got 0"):
        Columns([], every=0)
