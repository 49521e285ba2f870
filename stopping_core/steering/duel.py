"""A challenger against the rule in use, on the same requests, before it is promoted."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, TypeAlias

from stopping_core.monitoring import ConfidenceSequence, RiskMonitor
from stopping_core.results import Audit, Completion
from stopping_core.types import Request

Finding: TypeAlias = Literal["promote", "keep", "undecided"]


class Duel:
    """Compares what two rules save and lose on requests that were seen to their ends.

    A hook: ``AdaptiveStopping(policy=..., challenger=..., audit=0.1, hooks=(duel.take,))``.
    Requests that are drawn for an audit count, whether or not anything was stopped in them, and so
    do all in shadow mode: both rules are then judged on the same full run. The finding may be
    looked at after every request. With probability ``1 - delta``, ever: it says ``promote`` only
    where the challenger's risk is below ``risk`` and it saves more of the average answer, and
    ``keep`` only where it is above, or saves less.

    Audits that break off are left out: where they break because of what the rules do, this is void.

    Args:
        loss: As of :class:`~stopping_core.steering.Pilot`, with its ``knows``.
        risk: That the challenger has to keep, in (0, 1).
        delta: Chance of any wrong finding, in (0, 1).

    Raises:
        ValueError: An argument is out of its interval.

    Attributes:
        requests: How many were compared.
    """

    def __init__(
        self,
        loss: Callable[[Request, Audit], float | None],
        risk: float,
        delta: float = 0.05,
    ) -> None:
        self._loss = loss
        self._below = RiskMonitor(risk, delta / 3, direction="below")
        self._above = RiskMonitor(risk, delta / 3)
        self._gain = ConfidenceSequence(delta / 3)
        self.requests = 0

    def take(self, request: Request, completion: Completion) -> None:
        """Take what came of a request: a :class:`~stopping_core.protocols.Hook`."""
        trial, audit = completion.trial, completion.audit
        knows = getattr(self._loss, "knows", None)
        if trial is None or trial.tokens < 1 or (callable(knows) and not knows(request)):
            return
        loss: float | None = 0.0
        place = trial.checkpoint
        if place is not None:
            made = Audit(place, "answer", trial.text, trial.full, trial.finish_reason)
            loss = self._loss(request, made)
        lost = 1.0 if loss is None or not 0 <= loss <= 1 else loss  # not known to be none
        ours, theirs = (
            trial.tokens if one is None else min(one.tokens, trial.tokens)
            for one in (None if audit is None else audit.checkpoint, place)
        )
        self.requests += 1
        self._below.update(lost)
        self._above.update(lost)
        self._gain.update(0.5 + (ours - theirs) / (2 * trial.tokens))

    @property
    def gain(self) -> tuple[float, float]:
        """By which share of an answer the challenger saves more, on average: from and to."""
        return 2 * self._gain.lower - 1, 2 * self._gain.upper - 1

    @property
    def finding(self) -> Finding:
        """What is known of the challenger."""
        low, high = self.gain
        if self._above.alarm or high < 0:
            return "keep"
        return "promote" if self._below.alarm and low > 0 else "undecided"
