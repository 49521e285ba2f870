"""Budgets by quantiles: their plans are the cheapest there are, and they keep their word."""

from __future__ import annotations

import itertools
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stopping_core.budgets import QuantileBudget, cap
from stopping_core.budgets.plan import Outlook, Prices, plan
from stopping_core.costs import API, LOCAL, REGIMES, CostRegime
from stopping_core.ledger import Ledger
from stopping_core.results import Attempt
from stopping_core.types import Request
from tests.core.made_lengths import made_lengths

ODD = ["", " \n", "\ud800", "?" * 5000, "\x00", "9" * 400, "٣ sentences", "how many " * 2000, "茶"]
amounts = st.floats(0, 300)


@st.composite
def outlooks(draw: st.DrawFn) -> Outlook:
    """Any distribution over up to six grants."""
    base = draw(st.sampled_from([0, 0, 7]))
    grants = sorted(draw(st.sets(st.integers(base + 1, 900), min_size=1, max_size=6)))
    size = len(grants)
    chances = draw(st.lists(st.floats(0.01, 1), min_size=size, max_size=size))
    ends = draw(st.lists(st.floats(1, 2000), min_size=size, max_size=size))
    return Outlook(base, tuple(grants), tuple(chances), tuple(ends))


def cost_of(chosen: tuple[int, ...], outlook: Outlook, prices: Prices) -> float:
    """What a fixed row of grants costs on average, piece by piece and call by call."""
    total = 0.0
    for grant, chance, end in zip(outlook.grants, outlook.chances, outlook.ends, strict=True):
        before = outlook.base
        for number, asked in enumerate(chosen):
            if number or outlook.base:
                total += chance * (prices.again + (0 if prices.restarts else prices.kept * before))
            output = min(asked, end) if asked >= grant else asked
            total += chance * (output - (0 if prices.restarts else before))
            if asked >= grant:
                break
            before = asked
    return total / math.fsum(outlook.chances)


@given(outlooks(), amounts, st.floats(0, 1), st.booleans(), st.integers(1, 7))
def test_no_row_of_grants_is_cheaper(
    outlook: Outlook, again: float, kept: float, restarts: bool, calls: int
) -> None:
    """The plan costs what the cheapest of all rows of so many calls costs, and begins one."""
    prices = Prices(again, kept, restarts)
    made = plan(outlook, prices, calls)
    *others, last = outlook.grants
    rows = [
        (*some, last)
        for size in range(min(calls - 1, len(others)) + 1)
        for some in itertools.combinations(others, size)
    ]
    costs = {row: cost_of(row, outlook, prices) for row in rows}
    least = min(costs.values())
    assert made.cost == pytest.approx(least, rel=1e-9, abs=1e-9)
    assert made.grant in {row[0] for row, cost in costs.items() if cost <= least + 1e-6}


def book(ledger: Ledger, grant: int, *, came: int | None = None, discarded: int = 0) -> None:
    """Write a call that used all of its grant into the ledger, or one that brought less."""
    generated = grant - ledger.kept if came is None else came
    ledger.attempts.append(
        Attempt("continue", grant, generated, 0, 100, 1.0, "length", discarded=discarded)
    )


def grants(budget: QuantileBudget, request: Request) -> list[int]:
    """All that it grants to an answer that always needs more."""
    ledger, granted = Ledger(), []
    while (grant := cap(budget(request, ledger), request, ledger)) is not None:
        granted.append(grant)
        book(ledger, grant)
    return granted


@given(
    regime=st.sampled_from([*REGIMES.values(), CostRegime("dear", 3.0, 3.0, 0.5)]),
    ceiling=st.none() | st.integers(1, 2000),
    call_cost=amounts,
    runs_on=st.booleans(),
    restarts=st.booleans(),
    attempts=st.integers(1, 12),
    prompt=st.none() | st.integers(0, 10**6),
    question=st.text(max_size=60) | st.sampled_from(ODD),
    slope=st.floats(-3, 3),
)
def test_grants_grow_to_the_ceiling_and_end(
    *,
    regime: CostRegime,
    ceiling: int | None,
    call_cost: float,
    runs_on: bool,
    restarts: bool,
    attempts: int,
    prompt: int | None,
    question: str,
    slope: float,
) -> None:
    """Whatever is asked, grants rise to the ceiling, in no more calls than may be made."""
    budget = QuantileBudget(
        made_lengths(slope=slope),
        ceiling,
        regime,
        call_cost,
        runs_on,
        restarts=restarts,
        attempts=attempts,
    )
    granted = grants(budget, Request(question, question, question, prompt_tokens=prompt))
    assert granted == sorted(set(granted))
    assert granted[-1] == (ceiling or 512)
    assert len(granted) <= attempts


@given(st.integers(1, 600), st.integers(0, 600), st.integers(0, 5))
def test_it_goes_on_from_any_grant(grant: int, came: int, calls: int) -> None:
    """A grant that another limit set, or a call that broke off, is gone on from."""
    ledger = Ledger()
    for _ in range(calls):
        book(ledger, 1, came=0)
    book(ledger, grant, came=came)
    granted = QuantileBudget(made_lengths(), 512)(Request(), ledger)
    if came >= 512:
        assert granted is None
    else:
        assert granted is not None
        assert min(512, max(grant, came) + 1) <= granted <= 512


def test_a_call_that_broke_off_has_what_is_left_of_the_ceiling() -> None:
    """The ceiling is granted again: whether that is enough, the cap knows."""
    ledger, budget = Ledger(), QuantileBudget(made_lengths(), 100)
    book(ledger, 100, came=30)
    assert budget(Request(), ledger) == 100
    assert cap(budget(Request(), ledger), Request(), ledger, must_grow=False) == 100
    assert cap(budget(Request(), ledger), Request(), ledger) is None


def test_where_a_hang_up_ends_the_bill_the_first_grant_is_the_ceiling() -> None:
    """Nothing is billed that is not needed, and a second call would cost something."""
    assert grants(QuantileBudget(made_lengths(), runs_on=False), Request()) == [512]


def test_where_nothing_is_cut_the_first_grant_is_the_ceiling() -> None:
    """The model ends where it is done, and no bill goes further than that."""
    lengths = made_lengths()
    assert grants(QuantileBudget(lengths, natural=lengths), Request()) == [512]


def test_what_runs_on_not_far_is_granted_more() -> None:
    """The nearer the natural end, the less a large grant costs."""
    needed = made_lengths()
    longer = made_lengths([2 * n for n in (8, 14, 24, 30, 38, 50, 80, 120, 200)])
    alone = QuantileBudget(needed, 512, LOCAL)
    known = QuantileBudget(needed, 512, LOCAL, natural=longer)
    first = [budget(Request(), Ledger()) for budget in (alone, known)]
    assert first == sorted(first, key=lambda grant: grant or 0)
    assert known.expected_bills(Request()).continued < alone.expected_bills(Request()).continued


def test_dearer_calls_are_fewer_and_larger() -> None:
    """A long prompt that is read again, or a call that takes long, makes the first grant larger."""
    lengths = made_lengths()
    by_cost = [
        QuantileBudget(lengths, call_cost=cost)(Request(), Ledger()) for cost in (0, 500, 10**5)
    ]
    by_prompt = [
        QuantileBudget(lengths, prices=API)(Request(prompt_tokens=tokens), Ledger())
        for tokens in (0, 5000, 10**6)
    ]
    for first in (by_cost, by_prompt):
        assert None not in first
        assert first == sorted(set(first), key=lambda grant: grant or 0)
        assert first[-1] == 512


def test_it_says_what_a_restart_costs_more() -> None:
    """What is thrown away is generated again, so continuing is cheaper, save where reading is."""
    plain = QuantileBudget(made_lengths(), prices=LOCAL).expected_bills(Request(prompt_tokens=50))
    assert plain.continued < plain.restarted
    dear = CostRegime("dear", 4.0, 4.0, 1.0)
    bills = QuantileBudget(made_lengths(), 512, dear, 0).expected_bills(Request(prompt_tokens=0))
    assert bills.restarted < bills.continued


def test_the_first_prompt_is_part_of_the_bill() -> None:
    """A prompt of 400 tokens at a quarter each is 100 output tokens; unknown, it is estimated."""
    budget = QuantileBudget(made_lengths(), prices=CostRegime("once", 0.25, 0.0, 1.0))
    without = budget.expected_bills(Request(prompt_tokens=0)).continued
    assert budget.expected_bills(Request(prompt_tokens=400)).continued == without + 100
    assert budget.expected_bills(Request(prompt="x" * 1600)).continued == without + 100
    assert budget.expected_bills(Request(context="x" * 1600)).continued == without + 100


def test_a_request_that_seems_long_is_granted_more() -> None:
    """The grant follows the request."""
    budget = QuantileBudget(made_lengths(slope=0.05), 512, LOCAL)
    short = budget(Request(question="Who?"), Ledger())
    long = budget(Request(question="Explain in 9 steps how tea is made; list 12 names."), Ledger())
    assert short is not None
    assert long is not None
    assert short < long


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"ceiling": 0}, r"ceiling must be an integer in \[1, inf\), got 0"),
        ({"ceiling": 1.5}, r"ceiling must be an integer in \[1, inf\), got 1.5"),
        ({"ceiling": True}, r"ceiling must be an integer in \[1, inf\), got True"),
        ({"attempts": 0}, r"attempts must be an integer in \[1, inf\), got 0"),
        ({"attempts": None}, r"attempts must be an integer in \[1, inf\), got None"),
        ({"attempts": True}, r"attempts must be an integer in \[1, inf\), got True"),
        ({"call_cost": "x"}, r"call_cost must be in \[0, inf\), got 'x'"),
        ({"call_cost": None}, r"call_cost must be in \[0, inf\), got None"),
        ({"call_cost": True}, r"call_cost must be in \[0, inf\), got True"),
        ({"call_cost": -1.0}, r"call_cost must be in \[0, inf\), got -1.0"),
        ({"call_cost": math.nan}, r"call_cost must be in \[0, inf\), got nan"),
        ({"natural": made_lengths([1], levels=[0.5])}, r"natural must have the levels of lengths"),
    ],
)
def test_arguments_are_validated(changes: dict[str, Any], message: str) -> None:
    """What is out of its interval is refused with name, interval and value."""
    with pytest.raises(ValueError, match=message):
        QuantileBudget(made_lengths(), **changes)
