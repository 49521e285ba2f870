"""A threshold on the entropy of the last tokens."""

from __future__ import annotations

import math
from typing import ClassVar, Self

from stopping_core.policies.baselines.baseline import Tier
from stopping_core.policies.threshold import Threshold
from stopping_core.signals import TopKEntropy


class LowEntropy(Threshold):
    """Stops where the mean entropy of the last tokens is at most ``at_most``.

    The rule that everybody tries first: a model that is sure has found its answer. It also is sure
    of set phrases, copied passages and loops, and knows no answer from a preamble.

    Rule: at each checkpoint, mean of H(t) over the last ``window`` tokens <= threshold, nats. No
    published default that holds across models. Needs ``top_logprobs``, or the full entropy.
    Source: folklore (from description). The rule of the same kind that was published is
    :class:`~stopping_core.policies.baselines.ThinkJustEnough`.

    Args:
        at_most: The threshold, nats, >= 0.
        window: Tokens that are averaged, >= 1.
    """

    title: ClassVar[str] = "low entropy"
    tier: ClassVar[Tier] = "logprobs"

    def __init__(self, at_most: float = 0.3, window: int = 8) -> None:
        if not (0.0 <= at_most < math.inf):
            raise ValueError(f"at_most must be in [0, inf), got {at_most}")
        self.window = window
        super().__init__(TopKEntropy(window), at_most=at_most, reason="low entropy")

    @classmethod
    def grid(cls) -> tuple[Self, ...]:
        """Return thresholds from almost certain to 4 nats, over windows of 1 to 32 tokens."""
        low = (0.01, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.6)
        high = (0.7, 0.85, 1.0, 1.2, 1.5, 1.8, 2.2, 2.7, 3.3, 4.0)
        settings = ((t, w) for w in (1, 2, 4, 8, 16, 32) for t in (*low, *high))
        return cls(), *(cls(t, w) for t, w in settings if (t, w) != (0.3, 8))

    def __repr__(self) -> str:
        return f"LowEntropy({self.at_most}, {self.window})"
