"""Budget schedules, and the limits that cap them."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stopping_core import AdaptiveStopping, Session
from stopping_core.budgets import CostCeiling, DeadlineBudget, FixedBudget, GeometricBudget, cap
from stopping_core.ledger import Ledger
from stopping_core.protocols import BudgetSchedule
from stopping_core.results import Attempt
from stopping_core.types import Request

tokens = st.integers(1, 10_000)
NOTHING: Any = None
limits = st.one_of(st.none(), tokens)


def book(
    ledger: Ledger,
    budget: int | None,
    generated: int,
    *,
    prompt: int | None = 0,
    discarded: int = 0,
    seconds: float = 1.0,
) -> None:
    """Write one call into the ledger."""
    ledger.attempts.append(
        Attempt("continue", budget, generated, 0, prompt, seconds, "length", discarded=discarded)
    )
    ledger.seconds += seconds


def grants(schedule: BudgetSchedule, request: Request, *, seconds: float = 1.0) -> list[int]:
    """What a schedule grants to an answer that always needs more."""
    ledger, granted = Ledger(), []
    while (grant := cap(schedule(request, ledger), request, ledger)) is not None:
        granted.append(grant)
        prompt = (request.prompt_tokens or 0) + ledger.kept
        book(ledger, grant, grant - ledger.kept, prompt=prompt, seconds=seconds)
        assert len(granted) < 1000, "the schedule never ends"
    return granted


@given(
    grant=tokens,
    max_tokens=limits,
    max_output=limits,
    window=limits,
    prompt=st.one_of(st.none(), st.integers(0, 10_000)),
    last=tokens,
)
def test_cap_exceeds_no_limit(
    *,
    grant: int,
    max_tokens: int | None,
    max_output: int | None,
    window: int | None,
    prompt: int | None,
    last: int,
) -> None:
    """A capped grant is above the last one and within every limit, or there is none."""
    request = Request(
        max_tokens=max_tokens,
        max_output_tokens=max_output,
        context_window=window,
        prompt_tokens=prompt,
    )
    ledger = Ledger()
    book(ledger, last, last)
    capped = cap(grant, request, ledger)
    room = math.inf if window is None else window - (prompt or 0)
    least = min(grant, max_tokens or math.inf, max_output or math.inf, room)
    assert capped == (least if least > last else None)


def test_cap_of_nothing_is_nothing() -> None:
    """No grant stays no grant, and a prompt that fills the window leaves room for none."""
    assert cap(None, Request(), Ledger()) is None
    assert cap(0, Request(), Ledger()) is None
    assert cap(64, Request(prompt_tokens=4096, context_window=4096), Ledger()) is None


@pytest.mark.parametrize("grant", ["300", 300.0, 255.5, math.inf, math.nan, True, [300]])
def test_a_schedule_that_grants_no_whole_number_is_told_so(grant: Any) -> None:
    """With what it gave, wherever its grant is capped."""
    message = f"budget must grant a whole number of tokens or None, got {grant!r}"
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        cap(grant, Request(max_tokens=64), Ledger())
    session = Session(AdaptiveStopping(budget=lambda request, ledger: grant), Request())
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        session.next_call(0.0)


def test_whole_numbers_of_any_kind_are_grants() -> None:
    """Those of numpy too, and what is asked for is a plain one, as JSON has it."""
    capped = cap(np.int64(300), Request(), Ledger())  # type: ignore[arg-type]  # no int
    assert (300, int) == (capped, type(capped))


def test_fixed_budget_is_granted_once() -> None:
    """A fixed budget has no second call."""
    assert grants(FixedBudget(100), Request()) == [100]


def test_geometric_budget_doubles_up_to_its_ceiling() -> None:
    """Grants grow by the factor and end with the ceiling."""
    assert grants(GeometricBudget(128, 2.0, 1000), Request()) == [128, 256, 512, 1000]
    assert grants(GeometricBudget(), Request(max_tokens=300)) == [128, 256, 300]


@given(tokens, st.floats(1.0, 1e308, exclude_min=True), st.integers(0, 500), limits)
def test_grants_increase_up_to_the_least_limit(
    first: int, growth: float, more: int, limit: int | None
) -> None:
    """However slow or fast they grow, grants strictly increase and reach the limit."""
    schedule = GeometricBudget(first, growth, first + more)
    granted = grants(schedule, Request(max_tokens=limit))
    assert granted == sorted(set(granted))
    assert granted[-1] == min(first + more, limit or math.inf)


def test_growth_goes_on_from_what_was_kept() -> None:
    """A call without a budget, or one that overshot it, does not shrink the next grant."""
    ledger = Ledger()
    book(ledger, None, 300)
    assert GeometricBudget(128, 2.0, 4096)(Request(), ledger) == 600


def test_deadline_limits_by_the_measured_rate() -> None:
    """After a call at 50 tokens a second, three seconds leave room for 150 more."""
    budget = DeadlineBudget(5.0, GeometricBudget(100, 10.0, 4096))
    ledger = Ledger()
    assert budget(Request(), ledger) == 100
    book(ledger, 100, 100, seconds=2.0)
    assert budget(Request(), ledger) == 250
    book(ledger, 250, 150, seconds=3.0)
    assert budget(Request(), ledger) is None


def test_deadline_keeps_a_reserve() -> None:
    """The reserve is not spent, and a given rate limits the first call too."""
    budget = DeadlineBudget(5.0, FixedBudget(4096), tokens_per_second=10.0, reserve=1.0)
    assert budget(Request(), Ledger()) == 40


def test_deadline_ignores_calls_that_brought_nothing() -> None:
    """A call without a token, or one that took no time, is no measurement."""
    ledger = Ledger()
    book(ledger, None, 0, seconds=1.0)
    book(ledger, None, 40, seconds=0.0)
    assert DeadlineBudget(9.0, GeometricBudget(64))(Request(), ledger) == 80


@given(st.floats(0.1, 1e6), st.floats(1e-6, 1e308), st.floats(1e-3, 10.0))
def test_deadline_is_met_at_its_rate(seconds: float, rate: float, step: float) -> None:
    """Every grant could be generated in time at the given rate, however extreme."""
    budget = DeadlineBudget(seconds, GeometricBudget(), tokens_per_second=rate)
    ledger = Ledger()
    book(ledger, None, 10, seconds=step)
    grant = budget(Request(), ledger)
    if grant is not None:
        assert grant > 10
        assert (grant - 10) / rate <= (seconds - step) * (1 + 1e-9)


@given(
    usd=st.floats(1e-6, 1.0),
    prices=st.tuples(st.floats(0.0, 100.0), st.floats(0.0, 100.0)),
    prompt=st.integers(0, 5000),
    first=st.integers(1, 500),
    growth=st.floats(1.1, 4.0),
)
def test_cost_never_exceeds_its_ceiling(
    usd: float, prices: tuple[float, float], prompt: int, first: int, growth: float
) -> None:
    """Continuing until no more is granted, the exact sum of all calls is within the ceiling."""
    schedule = CostCeiling(usd, *prices, GeometricBudget(first, growth, 4096))
    granted = grants(schedule, Request(prompt_tokens=prompt))
    assert granted == sorted(set(granted))
    kept = [0, *granted[:-1]]
    read = sum(prompt + before for before in kept) if granted else 0
    written = granted[-1] if granted else 0
    cost = read * Fraction(str(prices[0])) + written * Fraction(str(prices[1]))
    assert cost <= Fraction(str(usd)) * 1_000_000


def test_cost_counts_what_was_thrown_away() -> None:
    """Discarded tokens were paid for, though the answer no longer holds them."""
    budget = CostCeiling(0.001, 0.0, 1.0, GeometricBudget(500, 4.0, 4096))
    ledger = Ledger()
    book(ledger, 500, 500, discarded=500)
    request = Request(prompt_tokens=10)
    assert budget(request, ledger) == 500
    assert cap(budget(request, ledger), request, ledger) is None
    ledger = Ledger()
    book(ledger, 400, 400, discarded=400)
    assert budget(Request(prompt_tokens=10), ledger) == 600


def test_cost_grants_no_crumbs() -> None:
    """Seven affordable tokens are worth no call, unless no more are asked for."""
    request = Request(prompt_tokens=0)
    assert CostCeiling(7e-6, 1.0, 1.0, FixedBudget(100))(request, Ledger()) is None
    assert CostCeiling(8.5e-6, 1.0, 1.0, FixedBudget(100))(request, Ledger()) == 8
    assert CostCeiling(7.5e-6, 1.0, 1.0, FixedBudget(5))(request, Ledger()) == 5


def test_cost_of_an_unknown_prompt_is_estimated_high() -> None:
    """A prompt of unknown length counts a token for every three bytes, surrogates included."""
    budget = CostCeiling(1e-4, 1.0, 1.0, FixedBudget(100))
    assert budget(Request(prompt="a" * 240), Ledger()) == 20
    assert budget(Request(prompt="\ud800" * 80), Ledger()) == 20
    ledger = Ledger()
    book(ledger, 10, 10, prompt=None)
    growing = CostCeiling(1e-4, 1.0, 1.0, GeometricBudget(10, 10.0, 4096))
    # 30 read and 10 written, 40 to be read: 20 are left
    assert growing(Request(prompt="a" * 90), ledger) == 30


def test_cost_ends_when_the_prompt_alone_is_too_dear() -> None:
    """Free output does not help where the prompt cannot be read once more."""
    budget = CostCeiling(1e-6, 1.0, 0.0, FixedBudget(10))
    assert budget(Request(prompt_tokens=1), Ledger()) == 10
    assert budget(Request(prompt_tokens=2), Ledger()) is None


@pytest.mark.parametrize("value", [0, -1, math.nan, math.inf])
@pytest.mark.parametrize(
    ("name", "make"),
    [
        ("tokens", FixedBudget),
        ("first", lambda x: GeometricBudget(first=x)),
        ("growth", lambda x: GeometricBudget(growth=x)),
        ("ceiling", lambda x: GeometricBudget(ceiling=x)),
        ("seconds", lambda x: DeadlineBudget(x, FixedBudget(1))),
        ("tokens_per_second", lambda x: DeadlineBudget(1.0, FixedBudget(1), x)),
        ("usd", lambda x: CostCeiling(x, 1.0, 1.0, FixedBudget(1))),
    ],
)
def test_arguments_are_validated(
    name: str, make: Callable[[float], BudgetSchedule], value: float
) -> None:
    """Zero, negative, NaN and infinite settings are refused with name, interval and value."""
    with pytest.raises(ValueError, match=rf"{name} must be (an integer )?in [\[(].* got {value}"):
        make(value)


@pytest.mark.parametrize("value", [1.5, 64.0, "64", None])
@pytest.mark.parametrize(
    ("name", "make"),
    [
        ("tokens", FixedBudget),
        ("first", lambda x: GeometricBudget(first=x)),
        ("ceiling", lambda x: GeometricBudget(first=1, ceiling=x)),
    ],
)
def test_tokens_are_whole(name: str, make: Callable[[Any], BudgetSchedule], value: object) -> None:
    """A count of tokens that is no integer is refused with name, interval and value."""
    message = f"{name} must be an integer in [1, inf), got {value!r}"
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        make(value)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: CostCeiling(1.0, -1.0, 1.0, FixedBudget(1)), r"input_price must be in \[0, inf\)"),
        (lambda: CostCeiling(1.0, 1.0, math.nan, FixedBudget(1)), r"output_price must be in \[0"),
        (
            lambda: DeadlineBudget(1.0, FixedBudget(1), reserve=1.0),
            r"reserve must be in \[0, 1.0\)",
        ),
        (lambda: DeadlineBudget(1.0, NOTHING), r"inner must be callable, got None"),
        (lambda: CostCeiling(1.0, 1.0, 1.0, NOTHING), r"inner must be callable, got None"),
    ],
)
def test_other_arguments_are_validated(make: Callable[[], object], message: str) -> None:
    """Prices may be zero but not negative, a reserve ends before the deadline."""
    with pytest.raises(ValueError, match=message):
        make()
