"""Samples of a live model, several at a time, and none any more once the vote is decided."""

from __future__ import annotations

import asyncio
import contextvars
import copy
import threading
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, replace
from typing import Any, Generic, TypeVar

import numpy as np

from stopping_core.errors import NotCertified
from stopping_core.hybrids.purse import Part, Purse
from stopping_core.hybrids.voting import Vote, outside_votes, voting
from stopping_core.policies.baselines.group_confidence import Overheard
from stopping_core.policies.baselines.probed_answers import Key
from stopping_core.policies.baselines.samples import Sample, SampleRule, vote_key
from stopping_core.results import Completion
from stopping_core.stopping import AdaptiveStopping

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
        tokens: Output tokens of all samples, as far as they book themselves: cancelled ones too.
        uncertified: Why the promise of the certificate does not hold for this vote, ``""`` where it
            does; None where there is no certificate.
    """

    answer: Key
    winner: T | None
    samples: tuple[T, ...]
    votes: tuple[Key, ...]
    cancelled: int = 0
    failed: int = 0
    short: bool = False
    scores: tuple[float | None, ...] = ()
    tokens: int = 0
    uncertified: str | None = None

    @property
    def report(self) -> dict[str, Any]:
        """How the vote went, as JSON has it, for a response's metadata.

        ``scores`` stand beside ``votes`` where there are any.
        """
        told: dict[str, Any] = {
            "answer": str(self.answer),
            "votes": [str(answer) for answer in self.votes],
            "samples": len(self.votes),
            "cancelled": self.cancelled,
            "failed": self.failed,
            "decided": not self.short,
            "tokens": self.tokens,
        }
        if self.uncertified is not None:
            told["uncertified"] = self.uncertified
        if any(score is not None for score in self.scores):
            told["scores"] = list(self.scores)
        return told


def poll(
    rule: SampleRule,
    ask: Callable[[int, threading.Event, AdaptiveStopping], T],
    read: Callable[[T], Sample],
    *,
    stopping: AdaptiveStopping | None = None,
    at_once: int = 8,
    ahead: int = 0,
    purse: Purse | None = None,
    key: Callable[[str], Any] | None = None,
) -> Poll[T]:
    """Draw samples in threads until the rule has enough.

    Samples vote in the order in which they were begun, not in that in which they end: short ones
    would else decide, and a live vote would not be the one that was recorded. Those of a
    certified vote draw on to the last where one of them is not covered, or fails.

    A thread cannot be interrupted: a sample that waits for its next token when the vote is decided
    is waited for until that comes. :func:`apoll` does not wait.

    Args:
        rule: Says whether to go on; it is not changed.
        ask: Draws one sample, given its number from 0, and its settings. It looks at the event at
            each step, and raises :class:`Decided` where that is set, after it has closed its
            stream.
        read: What a sample is to the vote.
        stopping: Settings of the samples; each gets them with a hook that books it.
        at_once: Samples under way at most, >= 1.
        ahead: How many more may be begun than are surely wanted, >= 0: they shorten the wait, and
            cost tokens where the vote is decided without them.
        purse: Ends the sampling where it has nothing left for another sample. Samples run side by
            side as far as it has tokens for each: ``max_total_tokens`` in ``stopping`` says how
            many that are.
        key: By which ``read`` compares answers, for certified votes.

    Raises:
        ValueError: ``at_once`` or ``ahead`` is out of its interval; the rule ends samples, and
            ``stopping`` does not let it, or the model tells no logprobs.
        NotCertified: A sample is refused by its certificate.
        TypeError: The answer of a sample cannot be hashed.
        Exception: That of the first sample, where none could be drawn.
    """
    decided = threading.Event()
    running: dict[Future[T], int] = {}
    threads = ThreadPoolExecutor(max_workers=max(1, at_once), thread_name_prefix="stopping-sample")
    with voting(rule, key) as vote:
        state = Polling(rule, read, at_once, ahead, purse, vote, stopping)
        with threads:
            try:
                while state.more():
                    for number, settings in state.begin(len(running)):
                        context = contextvars.copy_context()
                        future = threads.submit(context.run, ask, number, decided, settings)
                        running[future] = number
                    if not running:
                        break
                    for future in wait(running, return_when=FIRST_COMPLETED).done:
                        state.end(running.pop(future), future.result, future.exception())
            finally:
                decided.set()
                for future in running:
                    future.cancel()
                state.close()
    return state.result(cancelled=len(running))


async def apoll(
    rule: SampleRule,
    ask: Callable[[int, AdaptiveStopping], Awaitable[T]],
    read: Callable[[T], Sample],
    *,
    stopping: AdaptiveStopping | None = None,
    at_once: int = 8,
    ahead: int = 0,
    purse: Purse | None = None,
    key: Callable[[str], Any] | None = None,
) -> Poll[T]:
    """Draw samples in tasks as :func:`poll` does in threads.

    ``ask`` is cancelled where the vote is decided without it. When this returns or raises, no task
    of it is left.
    """
    running: dict[asyncio.Future[T], int] = {}
    with voting(rule, key) as vote:
        state = Polling(rule, read, at_once, ahead, purse, vote, stopping)
        try:
            while state.more():
                for number, settings in state.begin(len(running)):
                    running[asyncio.ensure_future(ask(number, settings))] = number
                if not running:
                    break
                for task in (await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED))[0]:
                    state.end(running.pop(task), task.result, _error(task))
        finally:
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)
            state.close()
    return state.result(cancelled=len(running))


def _error(task: asyncio.Future[Any]) -> BaseException | None:
    """What ended a task; one that its own client has cancelled has failed like any other."""
    return ConnectionError("the sample was cancelled") if task.cancelled() else task.exception()


class Polling(Generic[T]):
    """Which samples are to be begun, and what those that have ended say in their order.

    Arguments as of :func:`poll`.

    Args:
        vote: The vote that the samples are drawn for.
        most: Tokens that a sample may have, as far as known, or None.
    """

    def __init__(
        self,
        rule: SampleRule,
        read: Callable[[T], Sample],
        at_once: int,
        ahead: int,
        purse: Purse | None,
        vote: Vote,
        stopping: AdaptiveStopping | None = None,
        most: int | None = None,
    ) -> None:
        if at_once < 1:
            raise ValueError(f"at_once must be >= 1, got {at_once}")
        if ahead < 0:
            raise ValueError(f"ahead must be >= 0, got {ahead}")
        if purse is not None and not isinstance(purse, Purse):
            raise TypeError(f"purse must be a Purse, got {purse!r}")
        self._rule = copy.deepcopy(rule)
        self._read = read
        self._at_once, self._ahead = at_once, ahead
        self._purse = Purse() if purse is None else purse
        self._vote = vote
        self._stopping = AdaptiveStopping() if stopping is None else stopping
        self._most = most
        self._hears = "top_logprobs" in rule.needs()
        _check_rule(rule, self._stopping)
        self._overheard: dict[int, Overheard] = {}  # by number
        self._begun = self._wanted = 0
        self._parts: list[Part] = []  # by number
        self._ended: dict[int, tuple[Sample, T | None]] = {}
        self._samples: list[T | None] = []
        self._errors: list[BaseException] = []

    def more(self) -> bool:
        """Whether the vote is open."""
        if self._vote.uncertified and len(self._samples) < self._rule.most:
            return True
        return self._rule.more()

    def begin(self, running: int) -> Iterator[tuple[int, AdaptiveStopping]]:
        """The numbers of the samples to begin now, each with its settings."""
        if self._wanted <= len(self._samples):
            self._wanted = len(self._samples) + self._rule.batch()
        until = min(self._wanted + self._ahead, self._rule.most)
        until = min(until, self._begun + self._at_once - running)
        while self._begun < until:
            part = self._purse.part(self._stopping, self._most)
            if part is None:
                return
            self._parts.append(part)
            self._begun += 1
            yield self._begun - 1, self._watched(self._begun - 1, part.settings)

    def end(self, number: int, result: Callable[[], T], error: BaseException | None) -> None:
        """Take a sample that has ended; those vote that have none before them under way."""
        self._parts[number].close()
        if error is None:
            value = result()
            with outside_votes():
                self._ended[number] = self._heard(number, _checked(self._read(value))), value
        elif isinstance(error, Exception) and not isinstance(error, NotCertified):
            self._errors.append(error)
            self._ended[number] = Sample("", 0, confidences=np.empty(0)), None
            if self._vote.certificate:
                self._vote.uncertified.append(f"a sample failed: {type(error).__name__}")
        else:
            raise error
        while self.more() and (known := self._ended.pop(len(self._samples), None)):
            self._rule.take(known[0])
            self._samples.append(known[1])

    def close(self) -> None:
        """Give back to the purse what was set aside for samples that are under way."""
        for part in self._parts:
            part.close()

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
            self.more(),
            tuple(sample.worth for sample in taken),
            sum(part.spent for part in self._parts),
            self._uncertified(),
        )

    def _watched(self, number: int, settings: AdaptiveStopping) -> AdaptiveStopping:
        """Settings of a sample, under which the rule hears of its confidence, and may end it."""
        if not self._hears:
            return settings
        overheard = self._overheard[number] = Overheard()
        ends = self._rule.ends()
        more = overheard if ends is None else overheard | ends
        return settings.replace(policy=settings.policy | more, reasoning=settings.reasoning | more)

    def _heard(self, number: int, sample: Sample) -> Sample:
        """A sample with its confidences, where the rule wants them and the model tells them."""
        if not self._hears:
            return sample
        confidences = np.array(self._overheard[number].confidences, dtype=np.float64)
        return replace(sample, confidences=None if np.isnan(confidences).all() else confidences)

    def _uncertified(self) -> str | None:
        if not self._vote.certificate:
            return None
        told = list(dict.fromkeys(self._vote.uncertified))
        return "; ".join([*told, *(["the budget has ended it"] if self.more() else [])])


def vote_of(
    completion: Completion, key: Callable[[str], Any] = vote_key, score: float | None = None
) -> Sample:
    """Return what a completion is to a vote; one that is not complete gives no answer.

    Args:
        completion: The sample.
        key: What votes compare of an answer.
        score: What a scorer says of it.
    """
    usage = completion.usage
    answer = key(completion.text) if completion.complete and completion.text.strip() else ""
    tokens = usage.generated + usage.probed + usage.unseen
    return Sample(answer, tokens, usage.prompt, score=score)


def _check_rule(rule: SampleRule, stopping: AdaptiveStopping) -> None:
    """Refuse a rule that wants of the samples what they cannot give."""
    if others := sorted(rule.needs() - {"samples", "top_logprobs"}):
        raise ValueError(
            f"rule must need nothing but samples and logprobs, {rule!r} needs {others}"
        )
    if "top_logprobs" in rule.needs() and stopping.certificate is not None:
        raise ValueError(f"certificate must be None for {rule!r}, which has a policy of its own")
    if rule.ending and stopping.mode != "active":
        raise ValueError(
            f"mode must be 'active' for {rule!r}, which ends samples, got {stopping.mode!r}: a "
            "plain model has to be wrapped"
        )


def _checked(sample: Sample) -> Sample:
    """A sample whose answer can be counted; one that is None is none."""
    if sample.answer is None:
        return replace(sample, answer="")
    try:
        hash(sample.answer)
    except TypeError as error:
        said = f"key must give what can be hashed, got {type(sample.answer).__name__}"
        raise TypeError(said) from error
    return sample
