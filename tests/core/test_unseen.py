"""Providers that go on and bill after a hang-up: what is booked, and that every limit holds it."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import suppress
from typing import Any

import httpx
import openai
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stopping_core import (
    AdaptiveStopping,
    Call,
    Completion,
    Request,
    Session,
    Step,
    StoppingError,
    Usage,
    report,
    run,
    stream,
)
from stopping_core.budgets import CostCeiling, FixedBudget, GeometricBudget, QuantileBudget
from stopping_core.policies import Never, Threshold
from stopping_core.protocols import BudgetSchedule
from stopping_core.signals import Sentences
from stopping_core.testing import FakeClock, ScriptedModel, words
from tests.core.made_lengths import made_lengths

ONE_SENTENCE = Threshold(Sentences(), at_least=1, reason="sentence")
RAMBLING = words("It is Paris. France is a country in Europe, and so on and on and on and on.")
RESET = ConnectionError("reset")


def go(model: ScriptedModel, *, ends: bool = False, **settings: Any) -> Completion:
    """Run one request on a provider whose bill a hang-up does not end, or does."""
    clock = FakeClock()
    session = Session(AdaptiveStopping(**settings), Request(), hang_up_ends_bill=ends)
    return run(session, model.backend, clock=clock, sleep=clock.sleep)


def test_a_cut_saves_nothing_there_and_the_rest_is_booked() -> None:
    """The rest of the call's budget may be billed; where a hang-up ends the bill it is saved."""
    done = go(ScriptedModel(RAMBLING), policy=ONE_SENTENCE)
    assert ("It is Paris.", True) == (done.text, done.complete)
    assert (4, 60, 0) == (done.usage.generated, done.usage.unseen, done.usage.avoided)
    assert [60] == [attempt.unseen for attempt in done.attempts]
    plain = go(ScriptedModel(RAMBLING), policy=ONE_SENTENCE, ends=True)
    assert (4, 0, 124) == (plain.usage.generated, plain.usage.unseen, plain.usage.avoided)


def test_the_budget_is_set_up_front() -> None:
    """It begins small and grows where that was too little; an answer that fits leaves nothing."""
    pieces = [f" {number}" for number in range(400)]
    model = ScriptedModel(pieces, pieces[64:], pieces[128:])
    done = go(model, policy=Never())
    assert [64, 64, 384] == [call.max_tokens for call in model.calls]
    assert (400, 0) == (done.usage.generated, done.usage.unseen)
    assert done.complete


def test_the_last_call_has_all_that_the_budget_would_have_grown_to() -> None:
    """Beginning small must not make an answer fail that fits where a hang-up ends the bill."""
    for attempts, expected in ((1, [128]), (2, [64, 192]), (3, [64, 64, 384])):
        scripts = [[f" {number}" for number in range(999)]] * attempts
        model = ScriptedModel(*scripts)
        done = go(model, policy=Never(), attempts=attempts)
        assert expected == [call.max_tokens for call in model.calls]
        whole = go(ScriptedModel(*scripts), policy=Never(), attempts=attempts, ends=True)
        assert whole.attempts[-1].budget == done.attempts[-1].budget == sum(expected)


@pytest.mark.parametrize("profile", ["balanced", "high_stakes"])
def test_planned_grants_that_were_all_too_small_do_not_end_the_request(profile: str) -> None:
    """The first is the ceiling of the plan, and what the budget grants holds from there."""
    pieces = [f" {number}" for number in range(400)]
    model = ScriptedModel(pieces, pieces[256:])
    stopping = AdaptiveStopping.from_profile(
        profile, policy=Never(), budget=GeometricBudget(first=256)
    )
    lengths = made_lengths(cap=256)
    planned = QuantileBudget(lengths, natural=lengths, attempts=stopping.attempts)
    stopping = stopping.replace(up_front=planned)
    session = Session(stopping, Request(prompt_tokens=5000), hang_up_ends_bill=False)
    done = run(session, model.backend)
    assert [256, 512] == [attempt.budget for attempt in done.attempts]
    assert (True, "".join(pieces)) == (done.complete, done.text)


@pytest.mark.parametrize("up_front", [FixedBudget(16), lambda request, ledger: None])
def test_what_has_no_more_to_give_up_front_is_no_limit(up_front: BudgetSchedule) -> None:
    """It keeps grants small and ends nothing: that is for the budget, and its limits."""
    scripts = [[f" {number}" for number in range(99)]] * 3
    model = ScriptedModel(*scripts)
    done = go(model, policy=Never(), up_front=up_front, max_total_tokens=99)
    assert 99 == done.usage.generated == sum(call.max_tokens or 0 for call in model.calls)
    ended = go(ScriptedModel(*scripts), policy=Never(), up_front=up_front, budget=FixedBudget(40))
    assert 40 >= ended.usage.generated


def test_a_lost_connection_does_not_grow_the_grant() -> None:
    """Neither that of the schedule for such providers nor that of the budget behind it."""
    model = ScriptedModel(["It ", RESET], ["is ", RESET], ["Paris."])
    done = go(model, policy=Never())
    assert [64, 63, 126] == [call.max_tokens for call in model.calls]
    assert [64, 64, 128] == [attempt.budget for attempt in done.attempts]


@pytest.mark.parametrize("script", [["It ", "is ", RESET], [TimeoutError()]])
def test_the_callers_limit_is_held_against_what_came(script: list[Any]) -> None:
    """Not against what may have been billed unseen: one lost connection would else be final."""
    clock, model = FakeClock(), ScriptedModel(script, ["Paris."])
    session = Session(
        AdaptiveStopping(policy=Never()), Request(max_tokens=64), hang_up_ends_bill=False
    )
    done = run(session, model.backend, clock=clock, sleep=clock.sleep)
    came = len(script) - 1
    assert (True, [64, 64 - came]) == (done.complete, [call.max_tokens for call in model.calls])
    assert 64 - came == done.usage.unseen


@pytest.mark.parametrize(
    ("budget", "up_front", "expected"),
    [
        (FixedBudget(40), GeometricBudget(first=64), 40),
        (FixedBudget(40), FixedBudget(16), 16),
        (CostCeiling(0.00001, 0.0, 1.0, FixedBudget(100)), FixedBudget(64), 10),
        (lambda request, ledger: 1000, lambda request, ledger: 8, 8),
    ],
)
def test_the_callers_own_budget_still_holds(budget: Any, up_front: Any, expected: int) -> None:
    """The lesser of the two is granted: a ceiling of cost is none if it can be passed by."""
    model = ScriptedModel(["Paris."])
    go(model, budget=budget, up_front=up_front)
    assert [expected] == [call.max_tokens for call in model.calls]


def test_what_has_no_schedule_of_its_own_is_refused() -> None:
    """As for the budget."""
    with pytest.raises(TypeError, match="up_front must be callable and no class, got 64"):
        AdaptiveStopping(up_front=64)  # type: ignore[arg-type]  # the mistake


def test_unseen_tokens_count_against_the_total() -> None:
    """After a loop that was cut, only what is certainly left is asked for."""
    once = "The cat sat on the mat today."
    model = ScriptedModel(words(" ".join([once] * 6)), words(" Then it left."))
    done = go(model, max_total_tokens=80)
    first, second = done.attempts
    assert 64 == first.generated + first.unseen
    assert [64, 16] == [call.max_tokens for call in model.calls]
    assert (3, 0) == (second.generated, second.unseen)


def test_no_call_is_made_for_which_nothing_is_certainly_left() -> None:
    """The rest of the first call may have used up the total."""
    once = "The cat sat on the mat today."
    model = ScriptedModel(words(" ".join([once] * 6)))
    done = go(model, max_total_tokens=64)
    assert (False, 1) == (done.complete, len(done.attempts))


REQUEST = httpx.Request("POST", "http://127.0.0.1/v1/chat/completions")


def caused(error: Exception, cause: Exception) -> Exception:
    """The error as it is raised from its cause."""
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        (["It ", "is ", RESET], 62),
        (["It ", "is ", TimeoutError()], 62),
        ([TimeoutError()], 64),
        ([RESET], 0),
        ([httpx.ConnectTimeout("no route")], 0),
        ([httpx.PoolTimeout("busy")], 0),
        ([caused(openai.APITimeoutError(REQUEST), httpx.ConnectTimeout("no route"))], 0),
        ([caused(openai.APITimeoutError(REQUEST), httpx.ReadTimeout("silent"))], 64),
        (["It ", httpx.ConnectTimeout("on another connection")], 63),
        ([Step("It is", finish_reason="length"), RESET], 0),
    ],
)
def test_what_a_failed_call_may_have_cost(script: list[Any], expected: int) -> None:
    """The rest, where the provider was at work; nothing where it refused, ended or knew nothing."""
    done = go(ScriptedModel(script, ["Paris."]), policy=Never())
    assert expected == done.attempts[0].unseen


def test_a_call_that_had_not_left_at_the_deadline_cost_nothing() -> None:
    """The time ran out, and the provider knows nothing of it."""
    clock = FakeClock()

    def backend(call: Call) -> Generator[Step, None, None]:
        clock.advance(3.0)
        raise httpx.ConnectTimeout("no route")
        yield

    session = Session(AdaptiveStopping(max_seconds=3.0), Request(), hang_up_ends_bill=False)
    done = run(session, backend, clock=clock, sleep=clock.sleep)
    assert ("deadline", 0) == (done.reason, done.usage.unseen)


def test_a_consumer_that_goes_away_does_not_end_the_bill() -> None:
    """The rest of the call is booked then too."""
    session = Session(AdaptiveStopping(), Request(), hang_up_ends_bill=False)
    emissions = stream(session, ScriptedModel(RAMBLING).backend)
    next(emissions)
    emissions.close()
    assert (1, 63) == (session.completion.usage.generated, session.completion.usage.unseen)


def test_a_chunk_that_holds_the_end_leaves_nothing_to_avoid() -> None:
    """The model had ended: a cut inside its last chunk neither saves nor costs."""
    chunk = Step("It is Paris. And more.", tokens=6, finish_reason="stop")
    for ends in (True, False):
        usage = go(ScriptedModel([chunk]), policy=ONE_SENTENCE, ends=ends).usage
        assert (6, 0, 0) == (usage.generated, usage.unseen, usage.avoided)


def test_a_count_from_the_beginning_of_the_stream_is_not_the_sum() -> None:
    """Some providers send a first count, then the real one at an end that a cut never sees."""
    early = Step("", tokens=0, usage=Usage(prompt=9, generated=1, estimated=False))
    done = go(ScriptedModel([early, *RAMBLING]), policy=ONE_SENTENCE, ends=True)
    assert (9, 4, True) == (done.usage.prompt, done.usage.generated, done.usage.estimated)
    exact = Step(" France", usage=Usage(prompt=9, generated=7, estimated=False))
    done = go(ScriptedModel([*RAMBLING[:3], exact]), policy=ONE_SENTENCE, ends=True)
    assert (7, False) == (done.usage.generated, done.usage.estimated)


def test_the_report_says_so_in_plain_words() -> None:
    """With the upper bound; no word where it is 0, or a hang-up ends the bill."""
    told = report(go(ScriptedModel(RAMBLING), policy=ONE_SENTENCE))
    assert 60 == told["tokens"]["unseen"] == told["attempts"][0]["unseen"]
    assert (
        "a hang-up does not end the bill with this provider, so the budget was set up front; up to "
        "60 tokens were billed unseen"
    ) == told["note"]
    assert "" == report(go(ScriptedModel(["Paris."])))["note"]
    assert "" == report(go(ScriptedModel(RAMBLING), ends=True))["note"]
    assert "" == report(go(ScriptedModel(RAMBLING), mode="shadow"))["note"]


class GoesOn:
    """A provider that generates and bills the whole answer, whoever still reads.

    Args:
        text: What it would say in every call.
        breaks: Tokens after which the connection breaks, call by call; 0 for never.
    """

    def __init__(self, text: list[str], breaks: list[int]) -> None:
        self.text = text
        self.breaks = breaks
        self.billed = 0

    def backend(self, call: Call) -> Generator[Step, None, None]:
        """Make one call."""
        limit = len(self.text) if call.max_tokens is None else call.max_tokens
        self.billed += min(limit, len(self.text))
        broken = self.breaks.pop(0) if self.breaks else 0
        for number, piece in enumerate(self.text[:limit], 1):
            yield Step(piece)
            if number == broken:
                raise RESET
        yield Step("", tokens=0, finish_reason="length" if limit < len(self.text) else "stop")


@given(
    text=st.lists(st.sampled_from([" a", " b", ".", " The", "\n\n", " again"]), max_size=60),
    breaks=st.lists(st.integers(0, 20), max_size=5),
    first=st.integers(1, 40),
    total=st.integers(1, 120),
)
def test_the_bill_is_never_above_what_was_booked(
    text: list[str], breaks: list[int], first: int, total: int
) -> None:
    """Nor above the limits on tokens and on cost, however often a call breaks or is cut."""
    provider = GoesOn(text, breaks)
    ceiling = CostCeiling(total / 1e6, 0.0, 1.0, GeometricBudget(first=first))
    for limits in ({"max_total_tokens": total}, {"budget": ceiling}):
        provider.billed, provider.breaks = 0, list(breaks)
        clock = FakeClock()
        stopping = AdaptiveStopping(
            policy=ONE_SENTENCE, up_front=GeometricBudget(first=first), attempts=5, **limits
        )
        request = Request(prompt_tokens=0)
        session = Session(stopping, request, hang_up_ends_bill=False)
        with suppress(StoppingError):
            run(session, provider.backend, clock=clock, sleep=clock.sleep)
        usage = session.completion.usage
        assert provider.billed <= usage.generated + usage.unseen <= total
