"""A threshold on the probability of the last tokens."""

from __future__ import annotations

import math
from typing import ClassVar, Self

from stopping_core.policies.baselines.baseline import Tier
from stopping_core.policies.threshold import Threshold
from stopping_core.signals import MeanLogprob


class Confidence(MeanLogprob):
    """Geometric mean probability of the last ``window`` tokens, in (0, 1].

    None until that many tokens had a logprob. One unlikely token pulls it down: it is the
    exponential of a mean logarithm.

    Args:
        window: Tokens that are averaged, >= 1.

    Examples:
        >>> from stopping_core.types import Step
        >>> signal = Confidence(window=2)
        >>> for p in (0.9, 0.4):
        ...     signal.update(Step(" a", logprob=math.log(p)))
        >>> round(signal.value, 4)  # the square root of 0.36
        0.6
    """

    @property
    def value(self) -> float | None:
        """The reading now."""
        mean = super().value
        return None if mean is None else math.exp(mean)


class HighConfidence(Threshold):
    """Stops where the last tokens had a geometric mean probability of at least ``at_least``.

    Twin of :class:`~stopping_core.policies.baselines.LowEntropy` for providers that give no more
    than the logprob of the token they chose. It has the same blind spots.

    Rule: at each checkpoint, exp(mean logprob of the last ``window`` tokens) >= threshold. No
    published default; 0.95 is the one that DEER has for its trial answers. Needs ``logprobs``.
    Source: folklore (from description).

    Args:
        at_least: The threshold, in (0, 1].
        window: Tokens that are averaged, >= 1.
    """

    title: ClassVar[str] = "high confidence"
    tier: ClassVar[Tier] = "logprobs"

    def __init__(self, at_least: float = 0.95, window: int = 8) -> None:
        if not 0.0 < at_least <= 1.0:
            raise ValueError(f"at_least must be in (0, 1], got {at_least}")
        self.window = window
        super().__init__(Confidence(window), at_least=at_least, reason="high confidence")

    @classmethod
    def grid(cls) -> tuple[Self, ...]:
        """Return thresholds from 0.02 to almost certain, over windows of 1 to 32 tokens."""
        low = (0.02, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.5)
        high = (0.6, 0.7, 0.8, 0.85, 0.9, 0.95, 0.98, 0.99, 0.995, 0.999)
        settings = ((t, w) for w in (1, 2, 4, 8, 16, 32) for t in (*low, *high))
        return cls(), *(cls(t, w) for t, w in settings if (t, w) != (0.95, 8))

    def __repr__(self) -> str:
        return f"HighConfidence({self.at_least}, {self.window})"
