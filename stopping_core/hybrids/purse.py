"""One budget for all that is generated for a question: tokens, seconds, cost and risk."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import partial
from typing import Any

from stopping_core.costs import CostRegime
from stopping_core.hybrids.vote_certificate import SampleCertificate
from stopping_core.hybrids.voting import Vote, current_vote
from stopping_core.protocols import Hook
from stopping_core.results import Completion
from stopping_core.stopping import AdaptiveStopping
from stopping_core.types import Request, Usage


@dataclass(frozen=True, slots=True)
class Spent:
    """What was spent of a purse.

    Args:
        tokens: Output tokens: generated, probed, and billed unseen after a hang-up.
        seconds: Since the purse was opened.
        cost: Of all that was billed, input included, in the unit of the prices; 0 without them.
        risk: Sum of the certified levels at which something was cut.
        requests: How many were booked.
    """

    tokens: int = 0
    seconds: float = 0.0
    cost: float = 0.0
    risk: float = 0.0
    requests: int = 0


@dataclass(frozen=True, slots=True)
class Limits:
    """What may be spent; None for no limit. As of :class:`Purse`."""

    tokens: int | None = None
    seconds: float | None = None
    cost: float | None = None
    risk: float | None = None

    @property
    def named(self) -> dict[str, float | None]:
        """The limits by name."""
        return {one.name: getattr(self, one.name) for one in fields(self)}


class Purse:
    """What may be spent on one question, over all of its samples, beams and rounds.

    A hook books each request once: ``AdaptiveStopping(hooks=(purse,))``, or what
    :meth:`settings` returns. It does not interrupt: who spends asks :attr:`empty` before the next
    request, and :meth:`settings` gives it limits that keep to what is left.

    Risks add up: a chance of at most ``r`` in each of ``k`` requests is one of at most ``k r`` in
    any of them. That of a certified vote is of all of its samples, and is booked once.

    One object serves all threads of the question.

    Args:
        tokens: Most output tokens, >= 1, or None.
        seconds: Most seconds, > 0, or None.
        cost: Most cost, in the unit of ``prices``, > 0, or None.
        risk: Largest sum of levels, in (0, 1), or None.
        prices: Of tokens, for ``cost``.
        clock: Seconds, monotonic; it begins with the purse.

    Raises:
        ValueError: An argument is out of its interval.

    Examples:
        >>> purse = Purse(tokens=100)
        >>> purse.book(Usage(generated=60))
        >>> purse.tokens_left, purse.empty
        (40, False)
    """

    def __init__(
        self,
        *,
        tokens: int | None = None,
        seconds: float | None = None,
        cost: float | None = None,
        risk: float | None = None,
        prices: CostRegime | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if tokens is not None and tokens < 1:
            raise ValueError(f"tokens must be >= 1, got {tokens}")
        for name, value in (("seconds", seconds), ("cost", cost)):
            if value is not None and not 0 < value < math.inf:
                raise ValueError(f"{name} must be in (0, inf), got {value}")
        if risk is not None and not 0 < risk < 1:
            raise ValueError(f"risk must be in (0, 1), got {risk}")
        if cost is not None and prices is None:
            raise ValueError("prices must be given for a limit on the cost, got None")
        self.limits = Limits(tokens, seconds, cost, risk)
        self._prices = prices
        self._clock = clock
        self._start = clock()
        self._lock = threading.Lock()
        self._votes: list[Vote] = []  # whose risk is booked
        self._tokens = self._requests = 0
        self._cost = self._risk = 0.0

    def __call__(self, request: Request, completion: Completion, /) -> None:
        """Book a request: a :class:`~stopping_core.protocols.Hook`."""
        self.book(completion.usage, risk=_risk(completion))

    def book(self, usage: Usage, risk: float = 0.0) -> None:
        """Book what a request has cost.

        Args:
            usage: Its bill.
            risk: The certified level at which it could be cut, 0 for none.
        """
        cost = 0.0 if self._prices is None else self._prices.cost(usage)
        with self._lock:
            self._tokens += usage.generated + usage.probed + usage.unseen
            self._cost += cost
            self._risk += risk
            self._requests += 1

    @property
    def spent(self) -> Spent:
        """What was spent so far."""
        with self._lock:
            passed = self._clock() - self._start
            return Spent(self._tokens, passed, self._cost, self._risk, self._requests)

    @property
    def tokens_left(self) -> int | None:
        """Output tokens that are left, or None for no limit."""
        limit = self.limits.tokens
        return None if limit is None else max(0, limit - self.spent.tokens)

    @property
    def empty(self) -> bool:
        """Whether tokens, seconds or money have run out. Risk never ends a question."""
        spent = self.spent
        return any(
            limit is not None and getattr(spent, name) >= limit
            for name, limit in self.limits.named.items()
            if name != "risk"
        )

    def settings(self, stopping: AdaptiveStopping) -> AdaptiveStopping:
        """Return settings for the next request, within what is left, that book it here.

        Where its certified level is more than the risk that is left, it is not cut. A sample of a
        certified vote is of one risk with those before it; what its rule does is left to the rule.

        Raises:
            ValueError: Nothing is left.
        """
        if self.empty:
            raise ValueError(f"the purse is empty: {self.spent} of {self.limits}")
        spent = self.spent
        changes: dict[str, Any] = {}
        if (tokens := self.tokens_left) is not None:
            changes["max_total_tokens"] = min(tokens, stopping.max_total_tokens or tokens)
        if self.limits.seconds is not None:
            left = self.limits.seconds - spent.seconds
            changes["max_seconds"] = min(left, stopping.max_seconds or left)
        vote = current_vote() if isinstance(stopping.certificate, SampleCertificate) else None
        risk = 0.0 if vote in self._votes else stopping.risk or 0.0
        if self.limits.risk is not None and risk > self.limits.risk - spent.risk:
            changes["mode"] = "shadow" if stopping.mode == "active" else stopping.mode
        book: Hook = self if vote is None else partial(self._book_sample, vote)
        hooks = (*(one for one in stopping.hooks if one is not self), book)
        return stopping.replace(hooks=hooks, **changes)

    def _book_sample(self, vote: Vote, request: Request, completion: Completion, /) -> None:
        """Book a sample of a certified vote, and with the first the risk of the vote."""
        with self._lock:
            known = vote in self._votes
            if not known:
                self._votes.append(vote)
        self.book(completion.usage, risk=0.0 if known else _risk(completion))


def _risk(completion: Completion) -> float:
    """The certified level at which a request could be cut, 0 for none."""
    return completion.risk or 0.0 if completion.mode == "active" else 0.0
