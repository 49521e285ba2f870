"""The drivers: how long they wait between calls, and whom they tell of the next."""

from __future__ import annotations

import asyncio
from email.utils import formatdate
from typing import Any

import pytest
from tenacity import RetryCallState

from stopping_core import (
    AdaptiveStopping,
    Request,
    Session,
    TransportFailed,
    arun,
    run,
    stream,
)
from stopping_core.budgets import GeometricBudget
from stopping_core.policies import Never
from stopping_core.testing import FakeClock, ScriptedModel, words

RESET = ConnectionError("reset")


class Busy(Exception):
    """HTTP 429 as client libraries raise it."""

    def __init__(self, **headers: str) -> None:
        super().__init__("busy")
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        self.response = type("Response", (), {"status_code": 429, "headers": named})()


def waits(error: Exception, **settings: Any) -> list[float]:
    """The waits before an answer, after one such error."""
    clock = FakeClock()
    session = Session(AdaptiveStopping(**settings), Request())
    run(session, ScriptedModel([error], ["Paris."]).backend, clock=clock, sleep=clock.sleep)
    return clock.slept


@pytest.mark.parametrize(
    ("header", "least", "most"),
    [
        ({"Retry_After": "20"}, 20.0, 20.0),
        ({"Retry_After": "60"}, 60.0, 60.0),
        ({"retry_after_ms": "1500"}, 1.5, 1.5),
        ({"Retry_After": "soon"}, 0.0, 0.5),
        ({"Retry_After": "0"}, 0.0, 0.5),
        ({"Retry_After": formatdate(0, usegmt=True)}, 0.0, 0.5),
        ({}, 0.0, 0.5),
    ],
)
def test_the_server_says_how_long_to_wait(
    header: dict[str, str], least: float, most: float
) -> None:
    """At least so long; where it says nothing that can be read, as ever."""
    (slept,) = waits(Busy(**header))
    assert least <= slept <= most


def test_the_jittered_wait_stays_where_it_is_longer() -> None:
    """Many clients told "0.001" at once would otherwise come back at once."""
    longest = max(waits(Busy(Retry_After="0.001"), backoff=(8.0, 8.0))[0] for _ in range(20))
    assert longest > 0.001


@pytest.mark.parametrize("header", ["61", "86400", formatdate(4e9, usegmt=True)])
def test_a_server_that_asks_for_too_long_is_not_called_again(header: str) -> None:
    """Nobody waits for minutes; where nothing came yet, its own error goes up at once."""
    clock, model = FakeClock(), ScriptedModel([Busy(Retry_After=header)])
    with pytest.raises(Busy):
        run(
            Session(AdaptiveStopping(), Request()),
            model.backend,
            clock=clock,
            sleep=clock.sleep,
        )
    assert ([], 1) == (clock.slept, len(model.calls))


@pytest.mark.parametrize("text", ["It is Par", "It is "])
def test_giving_up_on_a_busy_server_keeps_the_text(text: str) -> None:
    """What was held back of it is shown as well: white space at its end."""
    clock, model = FakeClock(), ScriptedModel([text, Busy(Retry_After="90")])
    session = Session(AdaptiveStopping(policy=Never()), Request(), streaming=True)
    shown: list[str] = []
    emissions = stream(session, model.backend, clock=clock, sleep=clock.sleep)
    with pytest.raises(TransportFailed) as caught:
        shown.extend(emission.text for emission in emissions)
    assert text == "".join(shown) == caught.value.completion.text


def test_a_wait_that_would_end_too_late_is_not_begun() -> None:
    """``max_seconds`` holds against the server's wish as well."""
    clock, model = FakeClock(), ScriptedModel([Busy(Retry_After="30")])
    session = Session(AdaptiveStopping(max_seconds=10.0), Request())
    with pytest.raises(Busy):
        run(session, model.backend, clock=clock, sleep=clock.sleep)
    assert [] == clock.slept


# -- who is told of a further call


def outcome(state: RetryCallState) -> object:
    """What came of the call, as a tracer reads it."""
    assert state.outcome is not None
    return state.outcome.exception() or state.outcome.result()


def three_calls() -> ScriptedModel:
    """A model that breaks, then runs into its budget, then answers."""
    return ScriptedModel(["one", RESET], words(" two three four five"), [" six."])


BUDGET = AdaptiveStopping(policy=Never(), budget=GeometricBudget(first=4))


def test_every_further_call_is_told_of() -> None:
    """With the error after a failed call, False after an incomplete answer, and the wait."""
    clock, told = FakeClock(), []

    def on_retry(state: RetryCallState) -> None:
        told.append((state.attempt_number, outcome(state), len(model.calls), len(clock.slept)))
        assert state.next_action is not None
        assert state.next_action.sleep == state.upcoming_sleep

    model = three_calls()
    done = run(
        Session(BUDGET, Request()),
        model.backend,
        clock=clock,
        sleep=clock.sleep,
        on_retry=on_retry,
    )
    assert "one two three four six." == done.text
    assert [(1, RESET, 1, 0), (2, False, 2, 1)] == told


async def test_async_drivers_await_it() -> None:
    """It is a coroutine function there, and the next call waits for it."""
    told: list[object] = []

    async def on_retry(state: RetryCallState) -> None:
        await asyncio.sleep(0)
        told.append((outcome(state), len(model.calls)))

    model, clock = three_calls(), FakeClock()
    await arun(
        Session(BUDGET, Request()),
        model.abackend,
        clock=clock,
        sleep=clock.asleep,
        on_retry=on_retry,
    )
    assert [(RESET, 1), (False, 2)] == told


def test_nobody_is_told_of_a_call_that_is_not_made() -> None:
    """Neither after a complete answer nor after the last attempt."""
    told: list[RetryCallState] = []
    run(Session(BUDGET, Request()), ScriptedModel(["Paris."]).backend, on_retry=told.append)
    last = Session(BUDGET.replace(attempts=1), Request())
    run(last, ScriptedModel(words("a b c d e f")).backend, on_retry=told.append)
    assert [] == told


async def test_a_watcher_that_fails_loses_no_answer(caplog: pytest.LogCaptureFixture) -> None:
    """It is logged, sync and async."""

    def broken(state: RetryCallState) -> None:
        raise RuntimeError("no disk")

    async def abroken(state: RetryCallState) -> None:
        raise RuntimeError("no network")

    clock = FakeClock()
    first = run(
        Session(BUDGET, Request()),
        three_calls().backend,
        clock=clock,
        sleep=clock.sleep,
        on_retry=broken,
    )
    second = await arun(
        Session(BUDGET, Request()),
        three_calls().abackend,
        clock=clock,
        sleep=clock.asleep,
        on_retry=abroken,
    )
    assert "one two three four six." == first.text == second.text
    assert 4 == caplog.text.count("on_retry failed")
