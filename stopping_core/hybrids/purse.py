"""One budget for all that is generated for a question: tokens, seconds, cost and risk."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any

from stopping_core.costs import CostRegime
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
    request, and :meth:`settings` gives it limits that keep to what is left. Requests that run side
    by side each have a :meth:`part`, so that together they keep to the tokens; seconds and cost are
    looked at before each.

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
        self._parts: list[Part] = []  # that are open
        self._tokens = self._requests = 0
        self._cost = self._risk = 0.0

    def __call__(self, request: Request, completion: Completion, /) -> None:
        """Book a request: a :class:`~stopping_core.protocols.Hook`."""
        risk = completion.risk or 0.0 if completion.mode == "active" else 0.0
        if risk and self._is_booked(completion.certificate):
            risk = 0.0
        self.book(completion.usage, risk=risk)

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
        """Output tokens that are left and given to nobody, or None for no limit."""
        limit = self.limits.tokens
        if limit is None:
            return None
        with self._lock:
            return max(0, limit - self._tokens - sum(part.left or 0 for part in self._parts))

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
        certified vote is of one risk with those before it; where it is not cut, all are drawn.

        Raises:
            ValueError: Nothing is left.
        """
        tokens = self.tokens_left
        if self.empty or tokens == 0:
            raise ValueError(f"the purse is empty: {self.spent} of {self.limits}")
        return self.within(stopping, tokens, self)

    def part(self, stopping: AdaptiveStopping, most: int | None = None) -> Part | None:
        """Set tokens aside for a request that runs beside others, or return None.

        As many as it may have at most, as far as its settings tell: by ``max_total_tokens``, or by
        a certificate, whose runs are not begun with less. Where nothing tells, it is all that is
        left, and no other request has a part until its own is closed.

        Args:
            stopping: Its settings.
            most: Tokens that it may have, as its caller knows, or None.
        """
        if self.empty:
            return None
        certificate = stopping.certificate if stopping.mode == "active" else None
        least = 1 if certificate is None else certificate.scope.max_tokens
        asked = [one for one in (most, stopping.max_total_tokens) if one is not None]
        wanted = max(least, min(asked)) if asked else None if certificate is None else least
        left = self.tokens_left
        if left is not None and left < least:
            return None  # for now, or for good
        part = Part(self, stopping, left if wanted is None or left is None else min(wanted, left))
        with self._lock:
            self._parts.append(part)
        return part

    def close(self, part: Part) -> None:
        """Give back what a part has left."""
        with self._lock:
            if part in self._parts:
                self._parts.remove(part)

    def within(
        self, stopping: AdaptiveStopping, tokens: int | None, book: Hook
    ) -> AdaptiveStopping:
        """Return settings that keep to the limits and book by a hook.

        Args:
            stopping: The settings.
            tokens: That are left for it, or None.
            book: The hook.
        """
        spent = self.spent
        changes: dict[str, Any] = {}
        if tokens is not None:
            changes["max_total_tokens"] = min(tokens, stopping.max_total_tokens or tokens)
        if self.limits.seconds is not None:
            left = max(self.limits.seconds - spent.seconds, 1e-3)
            changes["max_seconds"] = min(left, stopping.max_seconds or left)
        certificate = stopping.certificate
        risk = stopping.risk or 0.0
        if certificate is not None and not certificate.of_requests and self._is_booked():
            risk = 0.0
        if self.limits.risk is not None and risk > self.limits.risk - spent.risk:
            changes["mode"] = "shadow" if stopping.mode == "active" else stopping.mode
        hooks = (*(one for one in stopping.hooks if one is not self), book)
        return stopping.replace(hooks=hooks, **changes)

    def _is_booked(self, certificate: str | None = None) -> bool:
        """Whether the risk of the vote that we are in is booked; with a certificate, it is now."""
        vote = current_vote()
        if vote is None or certificate not in (None, vote.certificate):
            return False
        with self._lock:
            known = vote in self._votes
            if certificate and not known:
                self._votes.append(vote)
        return known


class Part:
    """What one request may spend of a purse, while others run beside it: a hook.

    Args:
        purse: The purse, in which it is booked as well.
        stopping: The settings of the request.
        tokens: Set aside for it, or None for no limit.

    Attributes:
        spent: Output tokens that it has taken.
        requests: How many were booked on it.
        settings: Its settings, within what is set aside, that book it.
    """

    def __init__(self, purse: Purse, stopping: AdaptiveStopping, tokens: int | None) -> None:
        self._purse = purse
        self._tokens = tokens
        self.spent = self.requests = 0
        self.settings = purse.within(stopping, tokens, self)

    def __call__(self, request: Request, completion: Completion, /) -> None:
        usage = completion.usage
        self._purse(request, completion)
        self.spent += usage.generated + usage.probed + usage.unseen
        self.requests += 1

    @property
    def left(self) -> int | None:
        """Tokens that are set aside and not spent, or None."""
        return None if self._tokens is None else max(0, self._tokens - self.spent)

    def close(self) -> None:
        """Give back what is left."""
        self._purse.close(self)
