"""Samples of a live model, several at a time, and none any more once the vote is decided."""

from __future__ import annotations

import asyncio
import contextvars
import copy
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from stopping_core.hybrids.purse import Purse
from stopping_core.hybrids.voting import voting
from stopping_core.policies.baselines.probed_answers import Key
from stopping_core.policies.baselines.samples import Sample, SampleRule, vote_key
from stopping_core.results import Completion

T = TypeVar("T")


class Decided(Exception):
    """Raised by a sample that ends because the vote is decided without it."""


@dataclass(frozen=True, slots=True)
class Poll(Generic[T]):
    """What came of the samples of one question.

    Args:
        answer: The answer that won the vote, as votes compare it; ``""`` where no sample gave one.
        winner: The sample that stands for it, or None.
        samples: The samples that voted, in order.
        votes: Their answers, in order.
        cancelled: How many were under way when the vote was decided.
        failed: How many failed; they do not vote.
        short: Whether the budget ended before the vote was decided.
        scores: What a scorer says of each, in order; None where it says nothing finite.
    """

    answer: Key
    winner: T | None
    samples: tuple[T, ...]
    votes: tuple[Key, ...]
    cancelled: int = 0
    failed: int = 0
    short: bool = False
    scores: tuple[float | None, ...] = ()

    @property
    def report(self) -> dict[str, Any]:
        """How the vote went, as JSON has it, for a response's metadata.

        ``scores`` stand beside ``votes`` where there are any.
        """
        told = {
            "answer": str(self.answer),
            "votes": [str(answer) for answer in self.votes],
            "samples": len(self.votes),
            "cancelled": self.cancelled,
            "failed": self.failed,
            "decided": not self.short,
        }
        if any(score is not None for score in self.scores):
            told["scores"] = list(self.scores)
        return told


def poll(
    rule: SampleRule,
    ask: Callable[[int, threading.Event], T],
    read: Callable[[T], Sample],
    *,
    at_once: int = 8,
    ahead: int = 0,
    purse: Purse | None = None,
) -> Poll[T]:
    """Draw samples in threads until the rule has enough.

    Samples vote in the order in which they were begun, not in that in which they end: short ones
    would else decide, and a live vote would not be the one that was recorded.

    Args:
        rule: Says whether to go on; it is not changed.
        ask: Draws one sample, given its number from 0. It looks at the event at each step, and
            raises :class:`Decided` where that is set, after it has closed its stream.
        read: What a sample is to the vote.
        at_once: Samples under way at most, >= 1.
        ahead: How many more may be begun than are surely wanted, >= 0: they shorten the wait, and
            cost tokens where the vote is decided without them.
        purse: Ends the sampling where it is empty.

    Raises:
        ValueError: ``at_once`` or ``ahead`` is out of its interval.
        Exception: That of the first sample, where none could be drawn.
    """
    state = Polling(rule, read, at_once, ahead, purse)
    decided = threading.Event()
    running: dict[Future[T], int] = {}
    threads = ThreadPoolExecutor(max_workers=at_once, thread_name_prefix="stopping-sample")
    with voting(rule), threads:
        try:
            while state.more():
                for number in state.begin(len(running)):
                    context = contextvars.copy_context()
                    running[threads.submit(context.run, ask, number, decided)] = number
                if not running:
                    break
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    state.end(running.pop(future), future.result, future.exception())
        finally:
            decided.set()
            for future in running:
                future.cancel()
    return state.result(cancelled=len(running))


async def apoll(
    rule: SampleRule,
    ask: Callable[[int], Awaitable[T]],
    read: Callable[[T], Sample],
    *,
    at_once: int = 8,
    ahead: int = 0,
    purse: Purse | None = None,
) -> Poll[T]:
    """Draw samples in tasks as :func:`poll` does in threads.

    ``ask`` is cancelled where the vote is decided without it. When this returns or raises, no task
    of it is left.
    """
    state = Polling(rule, read, at_once, ahead, purse)
    running: dict[asyncio.Future[T], int] = {}
    with voting(rule):
        try:
            while state.more():
                for number in state.begin(len(running)):
                    running[asyncio.ensure_future(ask(number))] = number
                if not running:
                    break
                for task in (await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED))[0]:
                    state.end(running.pop(task), task.result, task.exception())
        finally:
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)
    return state.result(cancelled=len(running))


class Polling(Generic[T]):
    """Which samples are to be begun, and what those that have ended say in their order."""

    def __init__(
        self,
        rule: SampleRule,
        read: Callable[[T], Sample],
        at_once: int,
        ahead: int,
        purse: Purse | None,
    ) -> None:
        if at_once < 1:
            raise ValueError(f"at_once must be >= 1, got {at_once}")
        if ahead < 0:
            raise ValueError(f"ahead must be >= 0, got {ahead}")
        self._rule = copy.deepcopy(rule)
        self._read = read
        self._at_once, self._ahead = at_once, ahead
        self._purse = purse
        self._begun = self._wanted = 0
        self._ended: dict[int, tuple[Sample, T | None]] = {}
        self._samples: list[T | None] = []
        self._errors: list[BaseException] = []

    def more(self) -> bool:
        """Whether the vote is open."""
        return self._rule.more()

    def begin(self, running: int) -> range:
        """The numbers of the samples to begin now."""
        if self._wanted <= len(self._samples):
            self._wanted = len(self._samples) + self._rule.batch()
        until = min(self._wanted + self._ahead, self._rule.most)
        until = min(until, self._begun + self._at_once - running)
        if self._purse is not None and self._purse.empty:
            until = self._begun
        numbers = range(self._begun, max(self._begun, until))
        self._begun = numbers.stop
        return numbers

    def end(self, number: int, result: Callable[[], T], error: BaseException | None) -> None:
        """Take a sample that has ended; those vote that have none before them under way."""
        if error is None:
            value = result()
            self._ended[number] = self._read(value), value
        elif isinstance(error, Exception):
            self._errors.append(error)
            self._ended[number] = Sample("", 0), None
        else:
            raise error
        while self._rule.more() and (known := self._ended.pop(len(self._samples), None)):
            self._rule.take(known[0])
            self._samples.append(known[1])

    def result(self, cancelled: int) -> Poll[T]:
        """What came of it all.

        Raises:
            Exception: That of the first sample that failed, where no other was drawn.
        """
        drawn = tuple(one for one in self._samples if one is not None)
        if self._errors and not drawn:
            raise self._errors[0]
        taken, winner = self._rule.taken, self._rule.winner()
        return Poll(
            self._rule.vote(),
            None if winner is None else self._samples[winner],
            drawn,
            tuple(sample.answer for sample in taken),
            cancelled + len(self._ended),
            len(self._errors),
            self._rule.more(),
            tuple(sample.worth for sample in taken),
        )


def vote_of(completion: Completion) -> Sample:
    """Return what a completion is to a vote; one that is not complete gives no answer."""
    usage = completion.usage
    answer = vote_key(completion.text) if completion.complete and completion.text.strip() else ""
    return Sample(answer, usage.generated + usage.probed + usage.unseen, usage.prompt)
