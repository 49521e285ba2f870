"""The best that could be done, by one who knows the answer."""

from __future__ import annotations

import numpy as np
import pytest

from stopping_core.policies import MaxTokens
from stopping_core.traces.columns import Columns
from stopping_core.traces.graded import Graded
from stopping_core.traces.oracle import oracle
from stopping_core.traces.sweep import cut
from stopping_core.types import Probe, Usage
from tests.traces.made_runs import make_run, plain_runs, thinking_runs


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


def test_thinking_is_ended_at_the_first_right_probe() -> None:
    """Its answer is paid for; where the full run is cheaper, that is taken."""
    tokens = ["<think>", "a", "b", "c", "d", "e", "</think>", "20"]
    wrong, right = Probe("19", 2, 50), Probe("20", 2, 60)
    run = make_run(tokens, 0, probes={1: wrong, 3: right, 4: right}, prompt_tokens=5)
    late = make_run(tokens, 1, probes={6: right})
    best = oracle(Columns([run, late], channel="reasoning"))
    assert [3, 8] == best.tokens.tolist()
    assert Usage(prompt=5, generated=5, reread=60) == best.usage(0)
    assert [5, 8] == best.generated.tolist()


@pytest.mark.parametrize("channel", ["answer", "reasoning"])
def test_no_fixed_budget_beats_it(channel: str) -> None:
    """On a run that stays right, whatever the budget."""
    columns = Columns(plain_runs() + thinking_runs(), channel=channel)  # type: ignore[arg-type]
    graded, best = Graded(columns), oracle(columns)
    right = graded.full() >= 1
    assert right.any()
    assert not right.all()
    for tokens in range(1, 60):
        cuts = cut(columns, MaxTokens(tokens))
        kept = np.flatnonzero(right & cuts.stopped)
        kept = kept[graded.right(cuts.row[kept])]
        assert (best.generated[kept] <= cuts.generated[kept]).all()


def test_an_answer_is_graded_as_it_is_cut() -> None:
    """What ends inside a word is not that word."""
    run = make_run(["The ", "Paris", "ian"], 0)
    columns = Columns([run])
    graded = Graded(columns)
    assert [0.0] == graded.full().tolist()
    assert [False, False, False] == graded.right(columns.rows).tolist()
    whole = Columns([make_run(["The ", "Paris", " way"], 0)])
    assert [False, True, True] == Graded(whole).right(whole.rows).tolist()
