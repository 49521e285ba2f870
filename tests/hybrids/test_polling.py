"""Live samples: in their order, cancelled when decided, with nothing left behind."""

from __future__ import annotations

import asyncio
import math
import threading
import time
from typing import Any

import pytest

from stopping_core import AdaptiveStopping
from stopping_core.costs import LOCAL
from stopping_core.hybrids import (
    BestOf,
    Decided,
    DecidedVote,
    Poll,
    Purse,
    apoll,
    check_scorer,
    poll,
)
from stopping_core.policies.baselines import AdaptiveConsistency, Esc, Sample, VoteOfN, draw
from stopping_core.results import Completion, Verdict
from stopping_core.types import Request, Usage

ANSWERS = ["a", "a", "b", "a", "a", "a", "b", "a"] * 2
RULES = [DecidedVote(0.95, 16), AdaptiveConsistency(0.95, 16), Esc(3, 16), VoteOfN(5)]


class Model:
    """Answers by number, some later than others; counts what was begun, ended and cancelled."""

    def __init__(self, answers: list[Any], seconds: float = 0.01) -> None:
        self.answers, self.seconds = answers, seconds
        self.begun: list[int] = []
        self.ended: list[int] = []
        self.cancelled: list[int] = []
        self.most = 0  # under way at once
        self._lock = threading.Lock()

    def begin(self, number: int) -> None:
        with self._lock:
            self.begun.append(number)
            self.most = max(self.most, len(self.begun) - len(self.ended) - len(self.cancelled))

    def said(self, number: int) -> str:
        answer = self.answers[number]
        if isinstance(answer, BaseException):
            raise answer
        with self._lock:
            self.ended.append(number)
        return str(answer)

    def ask(self, number: int, decided: threading.Event, settings: AdaptiveStopping) -> str:
        self.begin(number)
        for _ in range(1 + (number * 7) % 3):
            time.sleep(self.seconds)
            if decided.is_set():
                self.cancelled.append(number)
                raise Decided
        return self.said(number)

    async def aask(self, number: int, settings: AdaptiveStopping) -> str:
        self.begin(number)
        try:
            await asyncio.sleep(self.seconds * (1 + (number * 7) % 3))
        except asyncio.CancelledError:
            self.cancelled.append(number)
            raise
        return self.said(number)


def read(answer: str) -> Sample:
    return Sample(answer, 10)


def go(model: Model, rule: Any, *, asynchronous: bool, **changes: Any) -> Poll[str]:
    threads = threading.active_count()

    async def run() -> Poll[str]:
        made = await apoll(rule, model.aask, read, **changes)
        assert {asyncio.current_task()} == asyncio.all_tasks()
        return made

    made = asyncio.run(run()) if asynchronous else poll(rule, model.ask, read, **changes)
    assert asynchronous or threads == threading.active_count()
    return made


@pytest.mark.parametrize("asynchronous", [False, True])
@pytest.mark.parametrize("ahead", [0, 3])
@pytest.mark.parametrize("rule", RULES, ids=repr)
def test_it_is_the_vote_of_the_recorded_samples(rule: Any, ahead: int, asynchronous: bool) -> None:
    """In their order, however they end; without running ahead none is begun in vain."""
    model = Model(ANSWERS)
    made = go(model, rule, asynchronous=asynchronous, ahead=ahead)
    wanted = draw(rule, [read(answer) for answer in ANSWERS])
    assert (wanted.answer, wanted.samples) == (made.answer, len(made.votes))
    assert (made.answer, tuple(ANSWERS[: wanted.samples])) == (made.winner, made.samples)
    assert made.cancelled >= len(model.begun) - wanted.samples
    assert ahead or not made.cancelled
    assert not rule.taken


@pytest.mark.parametrize("asynchronous", [False, True])
def test_what_runs_when_it_is_decided_is_cancelled(asynchronous: bool) -> None:
    """Not waited for to its end."""
    model = Model(["a"] * 16, seconds=0.05)
    made = go(model, DecidedVote(0.9, 16), asynchronous=asynchronous, at_once=16, ahead=12)
    assert made.cancelled
    assert set(model.begun) == {*model.ended, *model.cancelled}


@pytest.mark.parametrize("asynchronous", [False, True])
def test_no_more_run_at_once_than_may(asynchronous: bool) -> None:
    """However many are wanted."""
    model = Model(["a"] * 16)
    go(model, VoteOfN(16), asynchronous=asynchronous, at_once=3)
    assert 16 == len(model.ended)
    assert 3 == model.most


@pytest.mark.parametrize("asynchronous", [False, True])
def test_one_that_fails_does_not_vote(asynchronous: bool) -> None:
    """The others do; where none can be drawn its error is raised."""
    some = Model([ConnectionError("reset"), *ANSWERS[:15]])
    made = go(some, AdaptiveConsistency(0.95, 16), asynchronous=asynchronous)
    assert ("a", 1) == (made.answer, made.failed)
    assert "" == made.votes[0]
    none: list[Any] = [ConnectionError("reset")] * 4
    with pytest.raises(ConnectionError, match="reset"):
        go(Model(none), VoteOfN(4), asynchronous=asynchronous)


SCORES = {"a": 0.25, "b": 0.75, "c": 1.0, "d": math.nan}


def judged(answer: str) -> Sample:
    return Sample(answer, 10, score=SCORES[answer])


def best(model: Model, rule: BestOf, *, asynchronous: bool, **changes: Any) -> Poll[str]:
    if asynchronous:
        return asyncio.run(apoll(rule, model.aask, judged, **changes))
    return poll(rule, model.ask, judged, **changes)


@pytest.mark.parametrize("asynchronous", [False, True])
@pytest.mark.parametrize("ahead", [0, 3])
@pytest.mark.parametrize("rule", [BestOf(8), BestOf(8, enough=1.0), BestOf(8, price=0.1)], ids=repr)
def test_the_best_is_that_of_the_recorded_samples(
    rule: BestOf, ahead: int, asynchronous: bool
) -> None:
    """However they end; its scores stand beside the answers."""
    said = ["a", "a", "b", "d", "c", "a", "c", "a"]
    made = best(Model(said), rule, asynchronous=asynchronous, ahead=ahead)
    wanted = draw(rule, [judged(answer) for answer in said])
    assert (wanted.answer, wanted.samples) == (made.winner, len(made.votes))
    scores = [None if answer == "d" else SCORES[answer] for answer in said[: wanted.samples]]
    assert (scores, list(made.votes)) == (made.report["scores"], made.report["votes"])


@pytest.mark.parametrize("asynchronous", [False, True])
def test_one_that_fails_is_not_the_best(asynchronous: bool) -> None:
    """It has no score; without any there is nothing to tell."""
    made = best(Model([OSError("reset"), "d", "b", "a"]), BestOf(4), asynchronous=asynchronous)
    assert ("b", 1, [None, None, 0.75, 0.25]) == (made.winner, made.failed, made.report["scores"])
    none = best(Model(["d"] * 4), BestOf(4), asynchronous=asynchronous)
    assert ("", None, False) == (none.answer, none.winner, "scores" in none.report)


@pytest.mark.parametrize("asynchronous", [False, True])
def test_what_runs_when_one_is_good_enough_is_cancelled(asynchronous: bool) -> None:
    """Not waited for to its end."""
    model = Model(["a", "c", *["a"] * 14], seconds=0.05)
    rule = BestOf(16, enough=1.0)
    made = best(model, rule, asynchronous=asynchronous, at_once=16, ahead=14)
    assert ("c", 2, False) == (made.winner, len(made.votes), made.short)
    assert made.cancelled
    assert set(model.begun) == {*model.ended, *model.cancelled}


@pytest.mark.parametrize("asynchronous", [False, True])
def test_an_empty_purse_ends_it(asynchronous: bool) -> None:
    """Before the next sample is begun; those that there are vote."""
    purse = Purse(tokens=25)

    def booked(answer: str) -> Sample:
        purse.book(Usage(generated=10))
        return read(answer)

    model = Model(ANSWERS)
    asked: dict[str, Any] = {"at_once": 1, "purse": purse}
    if asynchronous:
        made = asyncio.run(apoll(VoteOfN(16), model.aask, booked, **asked))
    else:
        made = poll(VoteOfN(16), model.ask, booked, **asked)
    assert (3, True, "a") == (len(made.samples), made.short, made.answer)


def test_who_is_cancelled_leaves_nothing_behind() -> None:
    """Neither a task nor a sample that runs on."""
    model = Model(["a"] * 8, seconds=5.0)

    async def run() -> None:
        task = asyncio.ensure_future(apoll(VoteOfN(8), model.aask, read))
        await asyncio.sleep(0.05)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert {asyncio.current_task()} == asyncio.all_tasks()

    asyncio.run(run())
    assert model.begun == model.cancelled


@pytest.mark.parametrize(("name", "value"), [("at_once", 0), ("ahead", -1)])
def test_wrong_arguments_are_named(name: str, value: int) -> None:
    with pytest.raises(ValueError, match=f"{name} must be >= "):
        go(Model(["a"]), VoteOfN(2), asynchronous=False, **{name: value})


def test_wrong_kinds_are_named() -> None:
    """What makes a purse, as LangChain's vote takes it, is none; nor is a number a rule."""
    with pytest.raises(TypeError, match="purse must be a Purse, got <class"):
        go(Model(["a"]), VoteOfN(2), asynchronous=False, purse=Purse)
    with pytest.raises(
        TypeError, match=r"rule must be a SampleRule such as DecidedVote, got 0\.95"
    ):
        check_scorer(0.95, None)  # type: ignore[arg-type]  # the mistake


def test_a_purse_adds_up_and_limits() -> None:
    """Tokens and cost; settings keep to what is left."""
    purse = Purse(tokens=100, cost=50.0, risk=0.05, prices=LOCAL)
    purse.book(Usage(generated=30, probed=5, unseen=5), risk=0.02)
    assert (40, 40.0, 0.02, 1) == (
        purse.spent.tokens,
        purse.spent.cost,
        purse.spent.risk,
        purse.spent.requests,
    )
    assert (60, False) == (purse.tokens_left, purse.empty)
    purse.book(Usage(generated=10))
    assert purse.empty


@pytest.mark.parametrize("asynchronous", [False, True])
def test_samples_side_by_side_keep_to_the_tokens(asynchronous: bool) -> None:
    """Each has its part set aside; as many run at once as there are tokens for."""
    limits = []

    class Booking(Model):
        def book(self, settings: AdaptiveStopping) -> None:
            limits.append(settings.max_total_tokens)
            completion = Completion(
                "a", "", True, Verdict(True), "stop", "", Usage(generated=10), (), 0.0, "active"
            )
            for hook in settings.hooks:
                hook(Request(), completion)

        def ask(self, number: int, decided: threading.Event, settings: AdaptiveStopping) -> str:
            said = super().ask(number, decided, settings)
            self.book(settings)
            return said

        async def aask(self, number: int, settings: AdaptiveStopping) -> str:
            said = await super().aask(number, settings)
            self.book(settings)
            return said

    model, purse = Booking(ANSWERS), Purse(tokens=40)
    made = go(
        *(model, VoteOfN(16)),
        asynchronous=asynchronous,
        at_once=16,
        purse=purse,
        stopping=AdaptiveStopping(max_total_tokens=20),
    )
    assert 2 == model.most
    assert all(limit is not None and limit <= 20 for limit in limits)
    assert (True, len(made.samples)) == (made.short, len(limits))
    assert purse.spent.tokens == made.tokens == 10 * len(limits) <= 40
    assert 40 - made.tokens == purse.tokens_left


@pytest.mark.parametrize(
    ("answer", "told"), [(["4"], "key must give what can be hashed, got list")]
)
def test_what_cannot_be_counted_is_told(answer: Any, told: str) -> None:
    """At once; what is None is no answer."""
    with pytest.raises(TypeError, match=told):
        poll(VoteOfN(2), Model(["a"] * 2).ask, lambda text: Sample(answer, 1))
    none: Any = None
    made = poll(VoteOfN(2), Model(["a"] * 2).ask, lambda text: Sample(none, 1))
    assert ("", None) == (made.answer, made.winner)


def test_a_sample_that_its_client_cancels_has_failed() -> None:
    """It does not cancel the vote."""

    async def ask(number: int, settings: AdaptiveStopping) -> str:
        if number == 0:
            raise asyncio.CancelledError
        return "a"

    made = asyncio.run(apoll(VoteOfN(3), ask, read))
    assert (1, "a", 2) == (made.failed, made.answer, len(made.samples))
