"""A call that falls silent, is cancelled or left: it ends in time, and nothing of it is lost."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Iterable
from contextlib import suppress
from typing import Any

import pytest

from stopping_core import (
    AdaptiveStopping,
    BudgetExhausted,
    Call,
    Completion,
    Draft,
    Emission,
    Request,
    Session,
    Step,
    TransportFailed,
    Verdict,
    arun,
    astream,
    run,
    stream,
)
from stopping_core.budgets import GeometricBudget
from stopping_core.completeness import AnswerPresent
from stopping_core.policies import Never
from stopping_core.testing import FakeClock, ScriptedModel, words

RESET = ConnectionError("reset")
SILENCE = "silence"


class Silent:
    """A model that falls silent where its script says so, and notes how its streams ended.

    Args:
        scripts: Texts, one step each, and ``SILENCE``; one script a call.
    """

    def __init__(self, *scripts: Iterable[str]) -> None:
        self.scripts = [list(script) for script in scripts]
        self.calls: list[Call] = []
        self.ended: list[str] = []

    async def backend(self, call: Call) -> AsyncGenerator[Step, None]:
        """Make one call."""
        self.calls.append(call)
        end = "closed"
        try:
            for item in self.scripts[len(self.calls) - 1]:
                if item == SILENCE:
                    await asyncio.Event().wait()
                yield Step(item)
            yield Step("", tokens=0, finish_reason="stop")
            end = "read"
        except asyncio.CancelledError:
            end = "cancelled"
            raise
        finally:
            self.ended.append(end)


async def no_wait(seconds: float) -> None:
    """Stand in for ``asyncio.sleep``."""


IMPATIENT = AdaptiveStopping(policy=Never(), stall_seconds=0.03)


@pytest.mark.parametrize("script", [["It is ", "Par", SILENCE], [SILENCE]])
async def test_a_call_that_stalls_is_broken_off_and_continued(script: list[str]) -> None:
    """In the middle or before its first word; the stream is closed before the next call."""
    model = Silent(script, ["It is Paris."[len("".join(script[:-1])) :]])
    session = Session(IMPATIENT, Request())
    done = await arun(session, model.backend, sleep=no_wait)
    assert ("It is Paris.", True) == (done.text, done.complete)
    assert ["cancelled", "read"] == model.ended
    assert done.attempts[0].error.startswith("TimeoutError")
    assert [0.03, 0.03] == [call.timeout for call in model.calls]


async def test_a_model_that_stays_silent_ends_in_an_error_with_the_text() -> None:
    """After the last attempt; every call was closed."""
    model = Silent(["It is ", SILENCE], ["Par", SILENCE], [SILENCE])
    with pytest.raises(TransportFailed) as caught:
        await arun(Session(IMPATIENT, Request()), model.backend, sleep=no_wait)
    assert "It is Par" == caught.value.completion.text
    assert isinstance(caught.value.__cause__, TimeoutError)
    assert ["cancelled"] * 3 == model.ended


@pytest.mark.parametrize("answer", ["an error of its own", "an end"])
async def test_a_backend_may_hide_that_it_was_cancelled(answer: str) -> None:
    """The call has stalled all the same, and is made again."""
    calls: list[Call] = []

    async def backend(call: Call) -> AsyncGenerator[Step, None]:
        calls.append(call)
        if call.prefix:
            yield Step("Paris.", finish_reason="stop")
            return
        yield Step("It is ")
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError as error:
            if answer == "an end":
                return
            raise RuntimeError("the stream was closed") from error

    done = await arun(Session(IMPATIENT, Request()), backend, sleep=no_wait)
    assert ("It is Paris.", True, 2) == (done.text, done.complete, len(calls))
    assert "TimeoutError: no step came for too long" == done.attempts[0].error


async def test_a_slow_reader_is_no_silent_model() -> None:
    """Only the waiting for the model counts."""
    session = Session(IMPATIENT, Request())
    texts = []
    async for emission in astream(session, Silent(words("a b c d.")).backend):
        texts.append(emission.text)
        await asyncio.sleep(0.04)
    assert "a b c d." == "".join(texts)
    assert 1 == len(session.completion.attempts)


async def test_a_reader_that_goes_on_in_another_task_is_served() -> None:
    """The time-out belongs to the task that waits, step by step."""
    emissions = astream(Session(IMPATIENT, Request()), Silent(words("a b c.")).backend)
    texts = []
    with suppress(StopAsyncIteration):
        while True:
            nxt: Awaitable[Emission] = emissions.__anext__()
            texts.append((await asyncio.ensure_future(nxt)).text)
    assert "a b c." == "".join(texts)


async def test_silence_at_the_end_of_the_time_is_the_deadline() -> None:
    """The answer so far is given, as where a step had come too late."""
    stopping = AdaptiveStopping(policy=Never(), max_seconds=0.05)
    model = Silent(["It is ", SILENCE])
    done = await arun(Session(stopping, Request()), model.backend)
    assert ("It is ", "deadline", False, "cut") == (
        done.text,
        done.reason,
        done.complete,
        done.finish_reason,
    )
    assert 0.04 <= done.seconds < 5
    strict = Session(stopping.replace(on_exhausted="raise"), Request())
    with pytest.raises(BudgetExhausted) as caught:
        await arun(strict, Silent(["It is ", SILENCE]).backend)
    assert "It is " == caught.value.completion.text


def test_the_clients_time_out_at_the_end_of_the_time_is_the_deadline() -> None:
    """Sync drivers learn of it from the client's library."""
    clock = FakeClock()

    def backend(call: Call) -> Generator[Step, None, None]:
        assert 3.0 == call.timeout
        yield Step("It is")
        clock.advance(3.0)
        raise type("ReadTimeout", (type("TimeoutException", (Exception,), {}),), {})

    stopping = AdaptiveStopping(policy=Never(), max_seconds=3.0)
    done = run(Session(stopping, Request()), backend, clock=clock, sleep=clock.sleep)
    assert ("It is", "deadline", False) == (done.text, done.reason, done.complete)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, [600.0, 600.0]),
        ({"stall_seconds": None}, [None, None]),
        ({"stall_seconds": 9.0, "max_seconds": 30.0}, [9.0, 9.0]),
        ({"stall_seconds": 28.0, "max_seconds": 30.0}, [28.0, 26.0]),
        ({"stall_seconds": None, "max_seconds": 30.0}, [30.0, 26.0]),
        ({"mode": "shadow"}, [None]),
        ({"mode": "off", "max_seconds": 30.0}, [None]),
    ],
)
def test_what_a_call_is_told_to_wait(settings: dict[str, Any], expected: list[float]) -> None:
    """A stall's time or what is left of all of it; modes that leave calls alone say nothing."""
    clock = FakeClock()
    model = ScriptedModel(words("a b c d e f g h"), [" i."], clock=clock, seconds_per_token=1.0)
    stopping = AdaptiveStopping(
        **{"policy": Never(), "budget": GeometricBudget(first=4), **settings}
    )
    run(Session(stopping, Request()), model.backend, clock=clock, sleep=clock.sleep)
    assert expected == [call.timeout for call in model.calls]


@pytest.mark.parametrize("name", ["stall_seconds", "max_seconds"])
@pytest.mark.parametrize("value", [0, -1.0, float("inf"), float("nan")])
def test_a_time_that_is_none_is_refused(name: str, value: float) -> None:
    """With its name, its interval and its value."""
    with pytest.raises(ValueError, match=rf"{name} must be in \(0, inf\), got {value}"):
        AdaptiveStopping().replace(**{name: value})


# -- nothing is lost


def told_to() -> tuple[list[Completion], Callable[[Request, Completion], None]]:
    """A list, and a hook that adds to it."""
    told: list[Completion] = []
    return told, lambda request, completion: told.append(completion)


async def test_a_task_that_is_cancelled_leaves_what_it_had() -> None:
    """In the completion and with the hooks; the call was closed and is booked."""
    told, hook = told_to()
    model = Silent(["It is ", "Par", SILENCE])
    session = Session(AdaptiveStopping(policy=Never(), hooks=(hook,)), Request())
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await arun(session, model.backend)
    assert ["cancelled"] == model.ended
    (completion,) = told
    assert session.completion == completion
    assert ("It is Par", 2) == (completion.text, completion.usage.generated)
    assert "abandoned: CancelledError" == completion.attempts[0].error


@pytest.mark.parametrize("lost", ["with its result", "at an end"])
async def test_a_cancellation_that_the_backend_loses_is_one(lost: str) -> None:
    """As ``asyncio.wait_for`` loses one that comes with its result: nothing is read after it."""
    calls: list[Call] = []
    task = asyncio.current_task()
    assert task is not None

    async def backend(call: Call) -> AsyncGenerator[Step, None]:
        calls.append(call)
        came = asyncio.get_running_loop().create_future()
        yield Step("It is ")
        asyncio.get_running_loop().call_soon(came.set_result, "Par")
        asyncio.get_running_loop().call_soon(task.cancel)
        try:
            text = await asyncio.wait_for(came, 1)
        except asyncio.CancelledError:
            text = came.result()
        if lost == "at an end":
            return
        yield Step(text)
        yield Step("is", finish_reason="stop")

    session = Session(AdaptiveStopping(policy=Never()), Request())
    with pytest.raises(asyncio.CancelledError):
        await arun(session, backend)
    task.uncancel()
    (attempt,) = session.completion.attempts
    assert ("It is ", "abandoned: CancelledError", 1) == (
        session.completion.text,
        attempt.error,
        len(calls),
    )


def test_a_consumer_that_goes_away_is_told_to_the_hooks() -> None:
    """In the middle of the answer, and between its last word and its end."""
    told, hook = told_to()
    stopping = AdaptiveStopping(policy=Never(), hooks=(hook,))
    emissions = stream(Session(stopping, Request()), ScriptedModel(words("a b c")).backend)
    next(emissions)
    emissions.close()
    last = stream(Session(stopping, Request()), ScriptedModel(words("a b c ")).backend)
    while next(last).text.strip():
        pass
    last.close()
    assert [("a", False), ("a b c ", True)] == [(c.text, c.complete) for c in told]
    assert [1, 1] == [len(c.attempts) for c in told]


def test_an_error_of_the_users_check_loses_no_text() -> None:
    """It goes up as it is; the text is in the completion, booked once, and with the hooks."""
    told, hook = told_to()

    def check(request: Request, draft: Draft) -> Verdict:
        raise KeyError("bug")

    session = Session(AdaptiveStopping(completeness=check, hooks=(hook,)), Request())
    with pytest.raises(KeyError, match="bug"):
        run(session, ScriptedModel(["Paris."]).backend)
    assert ["Paris."] == [c.text for c in told] == [session.completion.text]
    assert ["abandoned: KeyError"] == [a.error for a in session.completion.attempts]


def test_thoughts_survive_a_restart_that_fails() -> None:
    """The error carries what the first call had thought, where that is all there is."""
    clock = FakeClock()
    model = ScriptedModel([Step("hm, well", channel="reasoning"), RESET], [RESET], [RESET])
    with pytest.raises(TransportFailed) as caught:
        run(
            Session(AdaptiveStopping(), Request()),
            model.backend,
            clock=clock,
            sleep=clock.sleep,
        )
    assert ("", "hm, well") == (
        caught.value.completion.text,
        caught.value.completion.reasoning,
    )


def test_the_fullest_of_several_drafts_is_kept() -> None:
    """Two restarts after it, one of them without a word, do not lose the first."""
    clock = FakeClock()
    model = ScriptedModel(["I do not know this one."], [RESET], ["No."], [RESET])
    stopping = AdaptiveStopping(completeness=AnswerPresent(), attempts=4)
    done = run(Session(stopping, Request()), model.backend, clock=clock, sleep=clock.sleep)
    assert ("I do not know this one.", False) == (done.text, done.complete)


def test_text_that_counts_no_tokens_is_not_lost() -> None:
    """An error after it carries it, whatever the provider said it costs."""
    with pytest.raises(TransportFailed) as caught:
        run(
            Session(AdaptiveStopping(), Request()),
            ScriptedModel([Step("Par", tokens=0), ValueError("bad")]).backend,
        )
    assert "Par" == caught.value.completion.text
