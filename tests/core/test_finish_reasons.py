"""When a finish reason is believed: some providers say one on every chunk of the stream."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Generator, Sequence
from typing import Any

import pytest

from stopping_core import (
    AdaptiveStopping,
    Call,
    Completion,
    Request,
    Session,
    Step,
    Usage,
    arun,
    run,
)
from stopping_core.policies import Never, Threshold
from stopping_core.signals import Sentences
from stopping_core.testing import FakeClock, words

ONE_SENTENCE = Threshold(Sentences(), at_least=1, reason="sentence")
RESET = ConnectionError("reset")


def stops(text: str) -> list[Step]:
    """The text as chunks that all say that they are the last."""
    return [Step(word, finish_reason="STOP") for word in words(text)]


def go(*scripts: Sequence[Step | Exception], **settings: Any) -> Completion:
    """Run one request on a provider that a hang-up does not stop; it says what is scripted."""
    clock, calls = FakeClock(), iter(scripts)

    def backend(call: Call) -> Generator[Step, None, None]:
        for item in next(calls):
            if isinstance(item, Exception):
                raise item
            yield item

    session = Session(AdaptiveStopping(**settings), Request(), hang_up_ends_bill=False)
    return run(session, backend, clock=clock, sleep=clock.sleep)


def test_an_answer_whose_every_chunk_is_the_last_is_complete() -> None:
    """It ends where the stream does."""
    done = go(stops("It is Paris."), policy=Never())
    assert ("It is Paris.", True, "STOP") == (done.text, done.complete, done.finish_reason)


def test_text_that_an_error_takes_is_missed() -> None:
    """The answer is continued, and what the provider may have gone on to is booked."""
    done = go([*stops("It is"), RESET], [Step(" Paris.", finish_reason="STOP")], policy=Never())
    assert ("It is Paris.", True, 2) == (done.text, done.complete, len(done.attempts))
    assert (62, None) == (done.attempts[0].unseen, done.attempts[0].finish_reason)


def test_an_error_after_a_finish_reason_of_its_own_is_none() -> None:
    """A chunk without text is the end, also where the chunks before it said so."""
    end = Step("", tokens=0, finish_reason="STOP")
    done = go([*stops("It is Paris."), end, RESET], policy=Never())
    assert ("It is Paris.", True, 1) == (done.text, done.complete, len(done.attempts))


def test_a_cut_books_the_rest_of_the_call() -> None:
    """The model had not ended, whatever the chunks said."""
    done = go(stops("It is Paris. France is a country."), policy=ONE_SENTENCE)
    assert ("It is Paris.", 4, 60) == (done.text, done.usage.generated, done.usage.unseen)


def test_the_limits_hold() -> None:
    """A provider that ignores the limit is stopped, whatever it says on the way."""
    done = go(stops("word " * 500), policy=Never(), max_total_tokens=50)
    assert (51, "max tokens") == (done.usage.generated, done.reason)


def test_a_limit_that_is_met_after_the_end_is_no_cut() -> None:
    """Only the count of tokens comes then, however late."""
    session = Session(AdaptiveStopping(max_seconds=3.0), Request())
    session.next_call(0.0)
    session.feed(Step("Paris."), 1.0)
    session.feed(Step("", tokens=0, finish_reason="stop"), 2.9)
    usage = Usage(prompt=9, generated=3, estimated=False)
    assert not session.feed(Step("", tokens=0, usage=usage), 3.1).stop
    session.end(3.2)
    done = session.completion
    assert ("stop", True, 3) == (done.finish_reason, done.complete, done.usage.generated)


@pytest.mark.parametrize(
    ("settings", "steps", "expected"),
    [
        ({}, [Step("Paris.")], 600.0),
        ({}, [Step("Paris."), Step("", tokens=0, finish_reason="stop")], 5.0),
        ({"stall_seconds": None}, [Step("", tokens=0, finish_reason="stop")], 5.0),
        ({"stall_seconds": 2.0}, [Step("", tokens=0, finish_reason="stop")], 2.0),
        ({}, [Step("It is", finish_reason="STOP")], 600.0),
        ({}, [Step("It is"), Step("", tokens=0, finish_reason="")], 600.0),
        ({}, [Step("", tokens=0, finish_reason="stop"), Step(" and")], 600.0),
        ({"mode": "shadow"}, [Step("", tokens=0, finish_reason="stop")], None),
    ],
)
def test_how_long_the_end_of_the_stream_is_waited_for(
    settings: dict[str, Any], steps: list[Step], expected: float | None
) -> None:
    """Not long after the model's last word; as ever where more may come. The next call is new."""
    session = Session(AdaptiveStopping(policy=Never(), **settings), Request())
    assert session.next_call(0.0).timeout == session.patience(0.0)
    for step in steps:
        session.feed(step, 0.0)
    assert expected == session.patience(0.0)


def test_the_next_call_waits_as_long_as_the_first() -> None:
    """The end of the call before it says nothing of its own."""
    session = Session(AdaptiveStopping(policy=Never()), Request())
    session.next_call(0.0)
    session.feed(Step("It is"), 0.0)
    session.feed(Step("", tokens=0, finish_reason="length"), 0.0)
    session.end(0.0)
    assert (600.0, 600.0) == (session.next_call(0.0).timeout, session.patience(0.0))


async def test_a_stream_that_is_not_closed_is_a_normal_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """The answer is there: no error, and no second call."""
    monkeypatch.setattr("stopping_core.session._LINGERING", 0.03)
    calls: list[Call] = []

    async def backend(call: Call) -> AsyncGenerator[Step, None]:
        calls.append(call)
        yield Step("Paris.")
        yield Step("", tokens=0, finish_reason="stop")
        await asyncio.Event().wait()

    done = await asyncio.wait_for(arun(Session(AdaptiveStopping(), Request()), backend), 30)
    assert ("Paris.", True, "stop", "") == (
        done.text,
        done.complete,
        done.finish_reason,
        done.attempts[0].error,
    )
    assert 1 == len(calls)
