"""Bills of schedules over recorded runs, worked out by hand."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from benchmarks.billing import Need, exact, play
from benchmarks.budgets import needs_of
from benchmarks.lengths import Floats, boosted, out_of_fold
from stopping_core.budgets import FixedBudget, GeometricBudget
from stopping_core.budgets.lengths import LEVELS
from stopping_core.cli.fit.recorded import request_of
from stopping_core.costs import API, LOCAL
from stopping_core.ledger import Ledger
from stopping_core.traces import Columns
from stopping_core.types import Request
from tests.traces.made_runs import make_run

NEED = Need(Request(), needed=150, natural=300, prompt=100)


def test_the_oracle_is_billed_what_is_needed() -> None:
    """One call, nothing unseen."""
    bill = exact(NEED)
    assert (bill.calls, bill.usage.generated, bill.usage.unseen) == (1, 150, 0)
    assert bill.cost(API) == 25 + 150


def test_a_large_grant_is_billed_to_the_natural_end() -> None:
    """What comes after the cut is unseen, and no more than the model says."""
    bill = play(FixedBudget(512), NEED, ceiling=512)
    assert (bill.calls, bill.usage.generated, bill.usage.unseen) == (1, 150, 150)
    bill = play(FixedBudget(200), NEED, ceiling=512)
    assert (bill.usage.generated, bill.usage.unseen) == (150, 50)


def test_a_continued_text_is_read_again() -> None:
    """64, 128, 256: prompt and prefix are read twice more, and 106 are billed unseen."""
    bill = play(GeometricBudget(64, 2.0, 512), NEED, ceiling=512)
    assert (bill.calls, bill.usage.generated, bill.usage.unseen) == (3, 150, 106)
    assert bill.usage.reread == (100 + 64) + (100 + 128)
    assert bill.cost(LOCAL) == 256
    assert bill.cost(LOCAL, call_cost=10) == 276


def test_a_restart_is_billed_anew() -> None:
    """64 and 128 are thrown away; only the prompt is read again."""
    bill = play(GeometricBudget(64, 2.0, 512), NEED, ceiling=512, restarts=True)
    assert (bill.calls, bill.usage.generated, bill.usage.unseen) == (3, 64 + 128 + 150, 106)
    assert (bill.usage.reread, bill.usage.discarded) == (200, 192)


def test_a_natural_end_takes_a_token_that_is_not_billed() -> None:
    """A model that says 150 tokens needs a budget of 151, and is billed 150."""
    need = Need(Request(), needed=151, natural=150, prompt=0)
    assert exact(need).cost(LOCAL) == 150
    short = play(GeometricBudget(150, 2.0, 512), need, ceiling=512)
    assert (short.calls, short.cost(LOCAL)) == (2, 150)


def test_a_run_that_came_to_the_cap_is_given_up_there() -> None:
    """What it would have needed is not known."""
    need = Need(Request(), 200, 200, prompt=0)
    bill = play(GeometricBudget(64, 2.0, 4096), need, ceiling=200)
    assert (bill.calls, bill.cost(LOCAL)) == (3, 200)


def test_a_schedule_knows_the_prompt_from_the_second_call_on() -> None:
    """As in production: it is billed from the first, and no request says its length."""
    seen: list[tuple[int | None, int | None]] = []

    def schedule(request: Request, ledger: Ledger) -> int:
        billed = ledger.attempts[0].prompt_tokens if ledger.attempts else None
        seen.append((request.prompt_tokens, billed))
        return 128 * (1 + len(ledger))

    runs = [make_run(["It is so."] * 200, 1, prompt_tokens=100)]
    (need,) = needs_of(Columns(runs), [request_of(run) for run in runs], [150])
    bill = play(schedule, need, ceiling=512)
    assert [(None, None), (100, 100)] == seen
    assert (100, 100 + 128) == (bill.usage.prompt, bill.usage.reread)


def test_lengths_are_told_from_what_production_knows() -> None:
    """Not from the length of the prompt, of the runs that are known or of the others."""
    asked: list[Request] = []

    def fit(known: Sequence[Request], needed: Floats, new: Sequence[Request]) -> Floats:
        asked.extend([*known, *new])
        return np.zeros((len(new), len(LEVELS)))

    runs = [make_run(["Yes."], seed) for seed in range(20)]
    out_of_fold(fit, runs, np.ones(len(runs)))
    assert {None} == {request.prompt_tokens for request in asked}


def test_trees_do_without_what_is_never_known() -> None:
    """The length of no prompt is, and here there is no context: the loss is that of a number."""
    runs = [make_run(["Yes."], seed) for seed in range(20)]
    assert np.isfinite(out_of_fold(boosted(max_iter=1), runs, np.arange(1.0, 21.0))).all()


def test_a_schedule_that_ends_too_early_is_an_error() -> None:
    """Its bill would not be comparable."""
    with pytest.raises(RuntimeError, match="ended at 64 of 150 tokens"):
        play(FixedBudget(64), NEED, ceiling=512)
