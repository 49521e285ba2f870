"""The best that could be done, by one who knows the answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stopping_core.costs import API, CACHED_API, LOCAL, REGIMES, CostRegime
from stopping_core.metrics import contains
from stopping_core.policies import AllOf, AnyOf, MaxTokens, Policy, Threshold
from stopping_core.signals import Lines, Sentences
from stopping_core.traces.columns import Columns
from stopping_core.traces.graded import Graded
from stopping_core.traces.oracle import oracle
from stopping_core.traces.run import Run
from stopping_core.traces.sweep import cut
from stopping_core.types import Channel, Probe, Usage
from tests.traces.made_runs import SETTINGS, make_run, plain_runs, thinking_runs

THOUGHT = ["<think>", "a", "b", "</think>", "It ", "is ", "20."]


def test_it_stops_at_the_first_token_from_which_the_answer_is_right() -> None:
    """Not inside the word that will be it."""
    run = make_run(["It ", "is ", "Par", "is", ", ", "in ", "France."], 0, prompt_tokens=9)
    best = oracle(Columns([run]))
    assert [4] == best.tokens.tolist()
    assert Usage(prompt=9, generated=4) == best.usage(0)


def test_a_wrong_run_is_stopped_at_once() -> None:
    """Nothing is lost."""
    best = oracle(Columns([make_run(["It ", "is ", "Rome."], 0, prompt_tokens=None)]))
    assert ([0], Usage()) == (best.tokens.tolist(), best.usage(0))


def test_a_run_that_ends_wrong_has_no_right_place() -> None:
    """It said the answer, and then another one."""
    run = make_run(["20", " no ", "21"], 0, grader="last_number", gold=("20",))
    assert [0] == oracle(Columns([run])).tokens.tolist()
    assert [1] == oracle(Columns([run]), "contains").tokens.tolist()


def test_tokens_of_thoughts_count() -> None:
    """The answer comes after them."""
    run = make_run(["<think>", "20", "</think>", "It ", "is ", "20", "."], 0)
    assert [6] == oracle(Columns([run])).tokens.tolist()


def test_a_place_inside_a_token_counts() -> None:
    """A line ends there, and a rule may stop at it."""
    tokens = ["It is ", "Pa", "ris.\nRome", " is", " big"]
    gold = ("It is Paris", "It is Paris. Rome is big")
    columns = Columns([make_run(tokens, 0, grader="exact_match", gold=gold)])
    stopped = cut(columns, Threshold(Sentences(), at_least=1))
    assert Graded(columns).right(stopped.row).all()
    assert [3] == stopped.generated.tolist() == oracle(columns).generated.tolist()


def test_thinking_is_ended_at_the_cheapest_right_probe() -> None:
    """Its answer is paid for; where the full run is cheaper, that is taken."""
    tokens = ["<think>", "a", "b", "c", "d", "e", "</think>", "20"]
    wrong, right, read_more = Probe("19", 2, 6), Probe("20", 2, 9), Probe("20", 2, 60)
    run = make_run(tokens, 0, probes={1: wrong, 3: right, 4: right}, prompt_tokens=5)
    late = make_run(tokens, 1, probes={6: read_more}, prompt_tokens=53)
    short = make_run(tokens, 2, probes={2: read_more, 3: Probe("20", 1, 60)}, prompt_tokens=57)
    best = oracle(Columns([run, late, short], channel="reasoning"))
    assert [3, 8, 3] == best.tokens.tolist()
    assert Usage(prompt=5, generated=3 + 1 + 2, reread=9) == best.usage(0)
    assert [6, 8, 4] == best.generated.tolist()


def test_the_prices_say_which_place_is_cheapest() -> None:
    """Input that is read again may cost more than the thinking that it saves."""
    tokens = ["<think>", *"abcdefgh", "</think>", "20"]
    probes = {2: Probe("20", 1, 42), 4: Probe("20", 1, 10)}
    columns = Columns([make_run(tokens, 0, probes=probes, prompt_tokens=40)], channel="reasoning")
    dear = CostRegime("dear", input=1, cached=1, output=1)
    places = [oracle(columns, regime=one).tokens[0] for one in (LOCAL, CACHED_API, API, dear)]
    assert [2, 2, 4, 11] == places


def exactly(run: Run) -> Run:
    """The run, with its whole answer and what it says at some places as gold."""
    places = Columns([run])
    gold = {places.answer(0), *(places.answer_at(row) for row in range(0, len(places), 7))}
    return replace(run, grader="exact_match", gold=tuple(sorted(gold)))


MADE = plain_runs()[::3] + thinking_runs()
TRACES = [
    MADE,
    [replace(run, grader="last_number", gold=("20", "5", "2.1")) for run in MADE],
    [exactly(run) for run in MADE],
]
COLUMNS = [
    Columns(runs, channel=channel, every=5) for runs in TRACES for channel in get_args(Channel)
]
GRADED = {columns: Graded(columns) for columns in COLUMNS}
BEST = {
    (columns, regime): oracle(columns, regime=regime)
    for columns in COLUMNS
    for regime in REGIMES.values()
}
RULES = [
    *(policy for group in SETTINGS.values() for policy in group),
    *(MaxTokens(n) for n in range(1, 60)),
    *(Threshold(kind(), at_least=n) for kind in (Sentences, Lines) for n in range(1, 5)),
]


@settings(max_examples=150, deadline=None)
@given(
    st.one_of(
        st.sampled_from(RULES),
        st.builds(
            lambda kind, parts: kind(*parts),
            st.sampled_from([AnyOf, AllOf]),
            st.lists(st.sampled_from(RULES), min_size=2, max_size=3),
        ),
    ),
    st.sampled_from(COLUMNS),
)
def test_no_rule_that_loses_nothing_is_cheaper(policy: Policy, columns: Columns) -> None:
    """On no run, under no prices."""
    cuts, graded = cut(columns, policy), GRADED[columns]
    lossless = graded.full() < 1
    lossless |= ~cuts.stopped
    lossless[cuts.stopped] |= graded.right(cuts.row[cuts.stopped])
    assert lossless.any()
    for regime in REGIMES.values():
        best = BEST[columns, regime]
        for number in np.flatnonzero(lossless).tolist():
            assert regime.cost(best.usage(number)) <= regime.cost(cuts.usage(number))


def test_the_runs_of_this_comparison_are_right_and_wrong() -> None:
    """Of each trace, and some are right in parts."""
    for columns in COLUMNS:
        right = GRADED[columns].full() >= 1
        assert right.any()
        best = BEST[columns, LOCAL]
        assert (best.generated[right] < columns.lengths[right]).any()


def test_answers_are_graded_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of probes too, which come again with every policy."""
    seen: list[str] = []

    def note(text: str, gold: Sequence[str], *, open_end: bool = False) -> float:
        seen.append(text)
        return contains(text, gold, open_end=open_end)

    monkeypatch.setattr("stopping_core.traces.graded.GRADERS", {"contains": note})
    columns = Columns([make_run(THOUGHT, 0)], channel="reasoning")
    graded = Graded(columns)
    for _ in range(2):
        graded.full()
        graded.right(columns.rows)
    assert {run.text for run in columns.probes} >= set(seen) - {columns.answer(0)}
    assert sorted(set(seen)) == sorted(seen)


def test_an_answer_is_graded_as_it_is_cut() -> None:
    """What ends inside a word is not that word."""
    run = make_run(["The ", "Paris", "ian"], 0)
    columns = Columns([run])
    graded = Graded(columns)
    assert [0.0] == graded.full().tolist()
    assert [False, False, False] == graded.right(columns.rows).tolist()
    whole = Columns([make_run(["The ", "Paris", " way"], 0)])
    assert [False, True, True] == Graded(whole).right(whole.rows).tolist()


def test_a_run_that_its_cap_ended_inside_a_word_is_graded_so() -> None:
    """The art may have been the artist; a stop at its last token leaves the same text."""
    for reason, expected in (("length", False), ("stop", True)):
        columns = Columns(
            [make_run(["By ", "the ", "art"], 0, gold=("art",), finish_reason=reason)]
        )
        graded = Graded(columns)
        assert [expected] == (graded.full() >= 1).tolist()
        assert expected == graded.right(columns.rows)[-1]
