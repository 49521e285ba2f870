"""A challenger against the rule in use, on the same requests, before it is promoted."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Literal, TypeAlias

from stopping_core.faults import unquoted
from stopping_core.monitoring import ConfidenceSequence, RiskMonitor
from stopping_core.results import Audit, Completion
from stopping_core.steering.losses import knows
from stopping_core.types import Request

_log = logging.getLogger(__name__)

Finding: TypeAlias = Literal["promote", "keep", "undecided"]


class Comparison:
    """Compares what two rules save and lose of the same full runs.

    The finding may be looked at after every run. With probability ``1 - delta``, ever: it says
    ``promote`` only where the challenger's risk is below ``risk``, and it saves more of the average
    answer or the risk of the rule in use is above; and ``keep`` only where the challenger's risk is
    above, or it saves less than a rule in use whose risk is below.

    Args:
        risk: That is to be kept, in (0, 1).
        delta: Chance of any wrong finding, in (0, 1).

    Raises:
        ValueError: An argument is out of its interval.

    Attributes:
        requests: How many were compared.
    """

    def __init__(self, risk: float, delta: float = 0.05) -> None:
        each = delta / 5
        self._ours, self._theirs = (
            (RiskMonitor(risk, each, direction="below"), RiskMonitor(risk, each)) for _ in range(2)
        )
        self._gain = ConfidenceSequence(each)
        self.requests = 0

    def compare(self, ours: tuple[float, int], theirs: tuple[float, int], whole: int) -> None:
        """Take what both rules make of one full run.

        Args:
            ours: What the rule in use loses of it, in [0, 1], and the tokens that are generated
                under it, at most ``whole``.
            theirs: Likewise of the challenger.
            whole: Tokens of the full run, >= 1.
        """
        self.requests += 1
        for tests, (lost, _) in ((self._ours, ours), (self._theirs, theirs)):
            for test in tests:
                test.update(lost)
        self._gain.update(0.5 + (ours[1] - theirs[1]) / (2 * whole))

    @property
    def gain(self) -> tuple[float, float]:
        """By which share of an answer the challenger saves more, on average: from and to."""
        return 2 * self._gain.lower - 1, 2 * self._gain.upper - 1

    @property
    def finding(self) -> Finding:
        """What is known of the challenger."""
        (ours_below, ours_above), (below, above) = self._ours, self._theirs
        low, high = self.gain
        if above.alarm or (high < 0 and ours_below.alarm):
            return "keep"
        better = low > 0 or ours_above.alarm
        return "promote" if below.alarm and better else "undecided"


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
        if trial is None or trial.tokens < 1 or not knows(self._loss, request):
            return
        whole = trial.tokens
        places = None if audit is None else audit.checkpoint, trial.checkpoint
        challenged = None
        if trial.checkpoint is not None:
            challenged = Audit(
                trial.checkpoint, "answer", trial.text, trial.full, trial.finish_reason
            )
        ours, theirs = (
            (self._lost(request, made), whole if at is None else min(at.tokens, whole))
            for made, at in zip((audit, challenged), places, strict=True)
        )
        self.compare(ours, theirs, whole)

    def _lost(self, request: Request, made: Audit | None) -> float:
        """What a stop has lost; what is not known to be nothing is all."""
        if made is None:
            return 0.0
        try:
            loss = self._loss(request, made)
            return 1.0 if loss is None or not 0 <= loss <= 1 else loss
        except Exception as error:
            _log.error("loss failed: %r: %s", self._loss, unquoted(error))
            return 1.0
