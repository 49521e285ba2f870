"""A challenger against the rule in use, on the same requests, before it is promoted."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, TypeAlias

from stopping_core.monitoring import ConfidenceSequence, RiskMonitor
from stopping_core.results import Audit, Completion
from stopping_core.types import Request

Finding: TypeAlias = Literal["promote", "keep", "undecided"]


class Comparison:
    """Compares what two rules save and lose of the same full runs.

    The finding may be looked at after every run. With probability ``1 - delta``, ever: it says
    ``promote`` only where the challenger's risk is below ``risk`` and it saves more of the average
    answer, and ``keep`` only where it is above, or saves less.

    Args:
        risk: That the challenger has to keep, in (0, 1).
        delta: Chance of any wrong finding, in (0, 1).

    Raises:
        ValueError: An argument is out of its interval.

    Attributes:
        requests: How many were compared.
    """

    def __init__(self, risk: float, delta: float = 0.05) -> None:
        self._below = RiskMonitor(risk, delta / 3, direction="below")
        self._above = RiskMonitor(risk, delta / 3)
        self._gain = ConfidenceSequence(delta / 3)
        self.requests = 0

    def compare(self, lost: float, ours: int, theirs: int, whole: int) -> None:
        """Take what both rules make of one full run.

        Args:
            lost: What the challenger loses of it, in [0, 1].
            ours: Tokens that are generated under the rule in use, at most ``whole``.
            theirs: Likewise under the challenger.
            whole: Tokens of the full run, >= 1.
        """
        self.requests += 1
        self._below.update(lost)
        self._above.update(lost)
        self._gain.update(0.5 + (ours - theirs) / (2 * whole))

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


class Duel(Comparison):
    """Compares a challenger with the rule in use on requests that were seen to their ends.

    A hook: ``AdaptiveStopping(policy=..., challenger=..., audit=0.1, hooks=(duel.take,))``.
    Requests that are drawn for an audit count, whether or not anything was stopped in them, and so
    do all in shadow mode: both rules are then judged on the same full run.

    Audits that break off are left out: where they break because of what the rules do, this is void.

    Args:
        loss: As of :class:`~stopping_core.steering.Pilot`, with its ``knows``.
        risk: As of :class:`Comparison`.
        delta: Likewise.

    Raises:
        ValueError: An argument is out of its interval.
    """

    def __init__(
        self,
        loss: Callable[[Request, Audit], float | None],
        risk: float,
        delta: float = 0.05,
    ) -> None:
        super().__init__(risk, delta)
        self._loss = loss

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
        self.compare(lost, ours, theirs, trial.tokens)
