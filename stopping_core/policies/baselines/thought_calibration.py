"""Thought Calibration: a probe on hidden states, with a tested threshold."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, ClassVar, Self

import numpy as np

from stopping_core.policies.baselines.baseline import Tier
from stopping_core.policies.baselines.binomial import binomial_cdf
from stopping_core.policies.policy import Policy
from stopping_core.protocols import Signal
from stopping_core.types import CONTINUE, Boundary, Checkpoint, Decision, Need, Request, Step

if TYPE_CHECKING:
    from stopping_core.traces.columns import Columns, Mask, Stops

_THRESHOLDS = tuple(i / 100 for i in range(99, 0, -1))  # from the careful end


class SmoothedScore:
    """Mean of the last ``window`` scores that a probe gave, in [0, 1].

    Args:
        score: Reads a step, its ``raw`` chunk with the hidden state as a rule; None where no step
            of thought ends. Without one the signal never has a reading.
        window: Scores that are averaged, >= 1; fewer at the start.
    """

    def __init__(
        self, score: Callable[[Step], float | None] | None = None, window: int = 10
    ) -> None:
        if window < 1:
            raise ValueError(f"window must be >= 1, got {window}")
        self.score = score
        self.window = window
        hidden: frozenset[Need] = frozenset({"hidden_states"})
        self.needs: frozenset[Need] = (
            hidden if score is None else getattr(score, "needs", frozenset())
        )
        self._scores: deque[float] = deque(maxlen=window)

    def reset(self, request: Request) -> None:
        self._scores.clear()

    def update(self, step: Step) -> None:
        score = None if self.score is None else self.score(step)
        if score is not None and not math.isnan(score):
            self._scores.append(score)

    @property
    def value(self) -> float | None:
        """The reading now."""
        return math.fsum(self._scores) / len(self._scores) if self._scores else None


class ThoughtCalibration(Policy):
    """Stops at the end of a step of thought where a probe is sure that more adds nothing.

    Rule: after each step, a linear probe on the mean hidden state of its tokens gives the
    probability that the answer now is consistent with the one after all thinking; the mean of the
    last 10 is held against a threshold, the lowest that Learn-then-Test certifies: fixed-sequence
    testing from the careful end, exact binomial p-values, risk and delta as asked. Where nothing is
    certified it never stops.

    From description: the window of 10, delta 0.1, the thresholds that are tested (0.99 down to
    0.01). The loss is ours: the answer was right at the end and is wrong at the stop. Needs hidden
    states, which no recorded run holds, or a ``score`` that reads something else of a step. Nothing
    of the probe is trained here.

    Args:
        threshold: In (0, 1], or infinity to never stop; None until it is fitted.
        risk: Share of answers that may be lost, in (0, 1).
        delta: Chance that the certificate is wrong, in (0, 1).
        window: As of :class:`SmoothedScore`.
        score: Likewise.
        at: What ends a step.

    References:
        Wu, Zhou, Bates and Jaakkola (2025), Thought calibration: Efficient and confident test-time
        scaling. arXiv:2505.18404. Angelopoulos, Bates, Candes, Jordan and Lei (2021), Learn then
        Test, section 3. arXiv:2110.01052.
    """

    title: ClassVar[str] = "Thought Calibration"
    tier: ClassVar[Tier] = "logprobs"

    def __init__(
        self,
        threshold: float | None = None,
        risk: float = 0.1,
        delta: float = 0.1,
        window: int = 10,
        score: Callable[[Step], float | None] | None = None,
        at: Boundary = Boundary.LINE | Boundary.PARAGRAPH,
    ) -> None:
        if threshold is not None and not (0.0 < threshold <= 1.0 or threshold == math.inf):
            raise ValueError(f"threshold must be in (0, 1] or inf, got {threshold}")
        if not 0.0 < risk < 1.0:
            raise ValueError(f"risk must be in (0, 1), got {risk}")
        if not 0.0 < delta < 1.0:
            raise ValueError(f"delta must be in (0, 1), got {delta}")
        self.threshold = threshold
        self.risk = risk
        self.delta = delta
        self.at = at
        self.scores = SmoothedScore(score, window)

    @classmethod
    def grid(cls) -> tuple[Self, ...]:
        """Return risks to certify; not fitted."""
        return tuple(cls(risk=risk) for risk in (0.1, 0.01, 0.02, 0.05, 0.2))

    def fit(self, columns: Columns, right: Mask, full: Mask) -> Self:
        """Return a copy with the lowest threshold that is certified on these runs."""
        scores, here = columns.reading(self.scores), columns.at(self.at)
        runs = np.flatnonzero(np.diff(columns.starts))
        at_end = right[columns.starts[runs + 1] - 1]
        threshold = math.inf
        for candidate in _THRESHOLDS:
            row = columns.first(here & (scores >= candidate))[runs]
            lost = (row >= 0) & at_end & ~right[row]
            if binomial_cdf(int(lost.sum()), len(runs), self.risk) > self.delta:
                break
            threshold = candidate
        settings = (self.risk, self.delta, self.scores.window, self.scores.score, self.at)
        return type(self)(threshold, *settings)

    def reset(self, request: Request) -> None:
        self._fitted()

    def decide(self, checkpoint: Checkpoint) -> Decision:
        score = self.scores.value
        if score is None or not checkpoint.boundary & self.at or score < self._fitted():
            return CONTINUE
        return Decision(True, "thought calibration")

    def signals(self) -> tuple[Signal, ...]:
        return (self.scores,)

    def stops(self, columns: Columns) -> Stops:
        sure = columns.reading(self.scores) >= self._fitted()
        return columns.stops(sure & columns.at(self.at))

    def _fitted(self) -> float:
        if self.threshold is None:
            raise ValueError(f"threshold must be fitted first, by fit(), got None: {self!r}")
        return self.threshold

    def __repr__(self) -> str:
        settings = f"{self.threshold}, {self.risk}, {self.delta}, {self.scores.window}"
        return f"ThoughtCalibration({settings}, {self.scores.score!r}, at={self.at.name})"
