"""Think Just Enough: the entropy of the whole sequence so far."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, ClassVar, Self

import numpy as np

from stopping_core.policies.baselines.baseline import Tier
from stopping_core.policies.policy import Policy
from stopping_core.protocols import Signal
from stopping_core.types import (
    CONTINUE,
    Boundary,
    Channel,
    Checkpoint,
    Decision,
    Need,
    Request,
    Step,
)

if TYPE_CHECKING:
    from stopping_core.traces.columns import Columns, Mask, Stops

_HIGHEST = 100.0  # nats; more than the entropy of any vocabulary


class SequenceEntropy:
    """Mean entropy of all tokens of the channel so far, bits.

    Of the top logprobs, scaled to sum to one, as published; of the full distribution where a local
    model gives that and no top logprobs. None until a token came with either.

    Examples:
        >>> signal = SequenceEntropy()
        >>> signal.update(Step("a", top_logprobs=(math.log(0.25), math.log(0.25))))
        >>> signal.update(Step("b", top_logprobs=(0.0,)))
        >>> signal.value  # one bit, then none
        0.5
    """

    needs: ClassVar[frozenset[Need]] = frozenset({"top_logprobs"})

    def __init__(self) -> None:
        self._clear(None)

    def reset(self, request: Request) -> None:
        self._clear(None)

    def update(self, step: Step) -> None:
        if step.tokens == 0:
            return
        if step.channel != self._channel:
            self._clear(step.channel)
        entropy = _entropy(step)
        if entropy is not None:
            self._sum += entropy * step.tokens
            self._tokens += step.tokens

    @property
    def value(self) -> float | None:
        """The reading now."""
        return self._sum / self._tokens if self._tokens else None

    def _clear(self, channel: Channel | None) -> None:
        self._channel = channel
        self._sum = 0.0
        self._tokens = 0


class ThinkJustEnough(Policy):
    """Stops at the end of a step where the sequence so far had low entropy on average.

    Published for thinking in steps: after each, the mean entropy of its tokens is held against a
    threshold; if it is below, the answer stands, else the model thinks on. A step is a paragraph
    here, or a line. Its authors found the signal in models trained to reason by reinforcement, and
    none in a plain instruction-tuned one.

    Rule: H = mean over tokens of -sum p log2 p, p from the top 20 logprobs scaled to sum to 1; stop
    if H <= tau; tau = mean H of runs that were right ("entropy mean", the conservative of four
    ways). Thresholds were published per model, so there is no number to keep: ``fit`` takes it
    from recorded runs, unless it is given. That H runs over all steps so far, and what ends a step,
    is from description. Needs ``top_logprobs``.

    Args:
        at_most: tau, bits, >= 0; None until it is fitted.
        at: What ends a step.

    References:
        Sharma and Chopra (2025), Think Just Enough: Sequence-Level Entropy as a Confidence Signal
        for LLM Reasoning. arXiv:2510.08146.
    """

    title: ClassVar[str] = "Think Just Enough"
    tier: ClassVar[Tier] = "logprobs"

    def __init__(
        self,
        at_most: float | None = None,
        at: Boundary = Boundary.LINE | Boundary.PARAGRAPH,
    ) -> None:
        if at_most is not None and not (0.0 <= at_most < math.inf):
            raise ValueError(f"at_most must be in [0, inf), got {at_most}")
        self.at_most = at_most
        self.at = at
        self.entropy = SequenceEntropy()

    @classmethod
    def grid(cls) -> tuple[Self, ...]:
        """Return the fitted threshold and fixed ones up to 4 bits, at lines and at sentences."""
        low = (0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
        high = (1.1, 1.2, 1.35, 1.5, 1.65, 1.8, 2.0, 2.2, 2.5, 3.0, 4.0)
        ends = (Boundary.LINE | Boundary.PARAGRAPH, Boundary.SENTENCE)
        return tuple(cls(threshold, at) for at in ends for threshold in (None, *low, *high))

    def fit(self, columns: Columns, right: Mask, full: Mask) -> Self:
        """Return a copy with tau set to the mean entropy of the runs that were right at their end.

        A rule whose threshold is given is returned as it is.

        Raises:
            ValueError: No run was right, or none has a reading.
        """
        if self.at_most is not None:
            return self
        ends = columns.starts[1:][np.diff(columns.starts) > 0] - 1
        reading = columns.reading(self.entropy)[ends]
        known = reading[right[ends] & ~np.isnan(reading)]
        if not known.size:
            raise ValueError("right must hold at the end of a run with an entropy, got none")
        return type(self)(float(known.mean()), self.at)

    def reset(self, request: Request) -> None:
        self._fitted()

    def decide(self, checkpoint: Checkpoint) -> Decision:
        entropy, at_most = self.entropy.value, self._fitted()
        if checkpoint.boundary & self.at and entropy is not None and entropy <= at_most:
            return Decision(True, "low entropy")
        return CONTINUE

    def signals(self) -> tuple[Signal, ...]:
        return (self.entropy,)

    def stops(self, columns: Columns) -> Stops:
        low = columns.reading(self.entropy) <= self._fitted()
        return columns.stops(low & columns.at(self.at))

    def _fitted(self) -> float:
        if self.at_most is None:
            raise ValueError(f"at_most must be fitted first, by fit(), got None: {self!r}")
        return self.at_most

    def __repr__(self) -> str:
        at_most = None if self.at_most is None else float(f"{self.at_most:.4g}")
        return f"ThinkJustEnough({at_most}, at={self.at.name})"


def _entropy(step: Step) -> float | None:
    known = [math.exp(min(x, 0.0)) for x in step.top_logprobs or () if math.isfinite(x)]
    total = math.fsum(known)
    if total > 0.0:
        return -math.fsum(p / total * math.log2(p / total) for p in known if p > 0.0) + 0.0
    if step.entropy is not None and 0.0 <= step.entropy < _HIGHEST:
        return step.entropy / math.log(2.0)
    return None
