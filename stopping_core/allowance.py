"""What a request may still have: calls, tokens, seconds, and the budget of its next call."""

from __future__ import annotations

from copy import copy
from dataclasses import replace

from stopping_core.budgets import cap
from stopping_core.completeness import is_truncated
from stopping_core.ledger import Ledger
from stopping_core.protocols import BudgetSchedule
from stopping_core.stopping import AdaptiveStopping
from stopping_core.types import Request


class Allowance:
    """Holds one request to its limits, as far as its ledger has used them up.

    Args:
        stopping: The limits.
        ledger: What was used; the session keeps it up to date.
        hang_up_ends_bill: As in :class:`~stopping_core.session.Session`.
        audited: Whether calls go on behind a stop: then nothing is kept small.

    Attributes:
        grant: Output tokens that the answer may have by the end of the call, None before the first
            grant and in modes that set no budget.
        room: Output tokens that the current call may still bring, whatever its grant; None for no
            limit.
    """

    def __init__(
        self,
        stopping: AdaptiveStopping,
        ledger: Ledger,
        *,
        hang_up_ends_bill: bool,
        audited: bool = False,
    ) -> None:
        self.grant: int | None = None
        self.room: int | None = None
        self._stopping = stopping
        self._ledger = ledger
        self._hang_up_ends_bill = hang_up_ends_bill
        self._audited = audited
        self._active = stopping.mode == "active"
        self._own: list[int] = []  # what the budget alone had granted, call by call

    def grant_next(self, request: Request) -> bool:
        """Grant the next call its tokens: more of them only where the last grant was too small.

        ``up_front`` only keeps grants small, and never ends a request: where it has no more to
        give, and in the last call, after which nothing could complete the answer, all that the
        budget grants holds.
        """
        if not self._active:
            return True
        ledger = self._ledger if self._hang_up_ends_bill else self._without_up_front()
        grant = self._capped(self._stopping.budget, request, ledger)
        if grant is None:
            return False
        self._own.append(grant)
        last = len(self._ledger) == self._stopping.attempts - 1
        if not self._hang_up_ends_bill and not last and not self._audited:
            limit = self._capped(self._stopping.up_front, request, self._ledger)
            if limit is not None:
                grant = min(grant, limit)
        self.grant = grant
        return True

    def begin(self, request: Request) -> int | None:
        """Begin a call: how many tokens to ask for. None leaves the caller's own setting alone."""
        self.room = self._left(request)
        if self.grant is None:
            return None
        limits = [self.grant - self._ledger.kept, self.room]
        return max(1, min(limit for limit in limits if limit is not None))

    def passed(self, tokens: int, seconds: float) -> str:
        """Which limit a call that goes on has passed, or ``""``.

        Args:
            tokens: What came of the call.
            seconds: Seconds since the request began.
        """
        limit = self._stopping.max_seconds
        if limit is not None and seconds >= limit:
            return "deadline"
        return "max tokens" if self.room is not None and tokens > self.room else ""

    def patience(self, seconds: float) -> float | None:
        """Seconds to wait for the next step, until the call stalls or is too late; or None.

        Args:
            seconds: Seconds since the request began.
        """
        if not self._active:
            return None
        limit, stall = self._stopping.max_seconds, self._stopping.stall_seconds
        if limit is None:
            return stall
        left = max(0.0, limit - seconds)
        return left if stall is None else min(stall, left)

    def exhausted(self, request: Request) -> bool:
        """Whether attempts, tokens or seconds have run out."""
        seconds, room = self._stopping.max_seconds, self._left(request)
        return (
            len(self._ledger) >= self._stopping.attempts
            or (room is not None and room < 1)
            or (seconds is not None and self._ledger.seconds >= seconds)
        )

    def _left(self, request: Request) -> int | None:
        left: list[int] = []
        if self._stopping.max_total_tokens is not None:
            left.append(self._stopping.max_total_tokens - self._ledger.billed)
        if request.max_tokens is not None:
            left.append(request.max_tokens - self._ledger.generated)
        return min(left, default=None)

    def _capped(self, schedule: BudgetSchedule, request: Request, ledger: Ledger) -> int | None:
        attempts = ledger.attempts
        must_grow = not attempts or is_truncated(attempts[-1].finish_reason)
        return cap(schedule(request, ledger), request, ledger, must_grow=must_grow)

    def _without_up_front(self) -> Ledger:
        """The ledger as the budget alone had left it: the next grant grows from its own last."""
        ledger = copy(self._ledger)
        ledger.attempts = [
            replace(attempt, budget=own)
            for attempt, own in zip(self._ledger.attempts, self._own, strict=True)
        ]
        return ledger
