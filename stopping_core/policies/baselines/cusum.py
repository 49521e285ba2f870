"""CUSUM on the entropy: the moment at which a model becomes sure."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, ClassVar, Self

from stopping_core.policies.baselines.baseline import Tier
from stopping_core.policies.policy import Policy
from stopping_core.protocols import Signal
from stopping_core.signals import TopKEntropy
from stopping_core.types import CONTINUE, Channel, Checkpoint, Decision, Step

if TYPE_CHECKING:
    from stopping_core.traces.columns import Columns, Stops

_LEAST_SPREAD = 0.05  # nats; a model that was sure from the start has nothing to come down from


class EntropyCusum(TopKEntropy):
    """Highest cumulative sum of how far the entropy lies below its start, standard deviations.

    Mean and deviation are those of the first ``warmup`` tokens. The highest so far and not the last
    one, so that a change between two checkpoints is not missed. None until a token came after the
    warm-up. It begins anew where the stream goes from reasoning to the answer.

    Args:
        warmup: Tokens that say what the entropy was before the change, >= 2.
        drift: What is taken off at each token, standard deviations, >= 0: half the change that is
            looked for.

    Examples:
        >>> signal = EntropyCusum(warmup=2, drift=0.5)
        >>> for entropy in (3.0, 1.0, 0.5, 0.5):  # mean 2, deviation 1
        ...     signal.update(Step(" a", entropy=entropy))
        >>> signal.value
        2.0
    """

    def __init__(self, warmup: int = 16, drift: float = 0.5) -> None:
        if warmup < 2:
            raise ValueError(f"warmup must be >= 2, got {warmup}")
        if not (0.0 <= drift < math.inf):
            raise ValueError(f"drift must be in [0, inf), got {drift}")
        self.warmup = warmup
        self.drift = drift
        super().__init__(window=1)

    def update(self, step: Step) -> None:
        if step.tokens == 0:
            return
        if step.channel != self._channel:
            self._clear(step.channel)
        entropy = self._read(step)
        if entropy is not None:
            for _ in range(step.tokens):
                self._take(entropy)

    @property
    def value(self) -> float | None:
        """The reading now."""
        return self._highest

    def _clear(self, channel: Channel | None) -> None:
        super()._clear(channel)
        self._first: list[float] = []
        self._mean = 0.0
        self._deviation = 0.0
        self._cumulated = 0.0
        self._highest: float | None = None

    def _take(self, entropy: float) -> None:
        if len(self._first) < self.warmup:
            self._first.append(entropy)
            if len(self._first) == self.warmup:
                self._mean = math.fsum(self._first) / self.warmup
                variance = math.fsum((x - self._mean) ** 2 for x in self._first) / self.warmup
                self._deviation = max(math.sqrt(variance), _LEAST_SPREAD)
            return
        fall = (self._mean - entropy) / self._deviation - self.drift
        self._cumulated = max(0.0, self._cumulated + fall)
        self._highest = max(self._highest or 0.0, self._cumulated)


class Cusum(Policy):
    """Stops once the entropy has come down for good, by a cumulative sum over a threshold.

    Its authors see two phases in a chain of thought, uncertain and then confident with a sharp turn
    between them, and detect the turn as a change point. It is tuned by how long a false alarm may
    take to come, not by accuracy, and has nothing to detect where a model is sure from its first
    token on.

    Rule: W(t) = max(0, W(t-1) + (m - H(t)) / s - k), stop at W(t) >= h, with m and s the mean and
    deviation of the entropy before the change. From description: we know the published rule by its
    abstract and by accounts of it. k = 0.5 and h = 5 are the textbook's values for a change of one
    deviation; that m and s come from the first 16 tokens is ours. Asked at checkpoints. Needs
    ``top_logprobs``, or the full entropy.

    Args:
        threshold: h, standard deviations, > 0.
        drift: k, as of :class:`EntropyCusum`.
        warmup: Likewise.

    References:
        Xu, He, Lu, Sun, Li, Lam and Hao (2026), Unveiling the Entropy Dynamics of Chain-of-Thought
        Reasoning. arXiv:2606.02020. Page (1954), Continuous Inspection Schemes, Biometrika 41.
        Montgomery, Introduction to Statistical Quality Control, on the tabular CUSUM (k, h).
    """

    title: ClassVar[str] = "CUSUM on entropy"
    tier: ClassVar[Tier] = "logprobs"

    def __init__(self, threshold: float = 5.0, drift: float = 0.5, warmup: int = 16) -> None:
        if not (0.0 < threshold < math.inf):
            raise ValueError(f"threshold must be in (0, inf), got {threshold}")
        self.threshold = threshold
        self.cusum = EntropyCusum(warmup, drift)

    @classmethod
    def grid(cls) -> tuple[Self, ...]:
        """Return thresholds from 1 to 80, and drifts and warm-ups for outputs of 20 to 400."""
        low = (1.0, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 10.0)
        high = (12.0, 14.0, 17.0, 20.0, 24.0, 28.0, 33.0, 40.0, 47.0, 56.0, 67.0, 80.0)
        starts = ((0.5, 16), (0.25, 16), (0.0, 16), (0.5, 8), (0.25, 8))
        first = cls()
        rest = ((t, *start) for start in starts for t in (*low, *high))
        return first, *(cls(*setting) for setting in rest if setting != (5.0, 0.5, 16))

    def decide(self, checkpoint: Checkpoint) -> Decision:
        reading = self.cusum.value
        return Decision(True, "cusum") if (reading or 0.0) >= self.threshold else CONTINUE

    def signals(self) -> tuple[Signal, ...]:
        return (self.cusum,)

    def stops(self, columns: Columns) -> Stops:
        return columns.stops(columns.reading(self.cusum) >= self.threshold)

    def __repr__(self) -> str:
        return f"Cusum({self.threshold}, {self.cusum.drift}, {self.cusum.warmup})"
