"""DeepConf without stopping: the most confident samples vote."""

from __future__ import annotations

from typing import ClassVar, Self

import numpy as np

from stopping_core.policies.baselines.group_confidence import lowest_group
from stopping_core.policies.baselines.probed_answers import Key
from stopping_core.policies.baselines.samples import (
    Sample,
    SampleRule,
    confidences_of,
    tally,
)
from stopping_core.types import Need


class DeepConfOffline(SampleRule):
    """Draws ``samples`` runs to their end, and lets the most confident of them vote by weight.

    The variant that saves nothing and asks what the confidence is worth.

    Rule: the confidence of a sample is its lowest group confidence, as in
    :class:`~stopping_core.policies.baselines.DeepConf`; the top ``keep`` share of the samples vote,
    with it as their weight. Defaults as published: 512 samples, top 10%, window 2048. The paper
    also has the tail and the lowest tenth of the groups for the confidence; they are left out.
    Needs samples with ``top_logprobs``.

    Args:
        samples: >= 1.
        keep: In (0, 1].
        window: As in :class:`~stopping_core.policies.baselines.DeepConf`.

    References:
        As of :class:`~stopping_core.policies.baselines.DeepConf`, section 3.
    """

    title: ClassVar[str] = "DeepConf offline"

    def __init__(self, samples: int = 512, keep: float = 0.1, window: int = 2048) -> None:
        if samples < 1:
            raise ValueError(f"samples must be >= 1, got {samples}")
        if not 0.0 < keep <= 1.0:
            raise ValueError(f"keep must be in (0, 1], got {keep}")
        if window < 1:
            raise ValueError(f"window must be >= 1, got {window}")
        super().__init__()
        self.samples = self.most = samples
        self.keep = keep
        self.window = window
        self._lowest: list[float] = []

    @classmethod
    def grid(cls) -> tuple[Self, ...]:
        """Return the top 10%, 50%, 90% and all, over windows for short outputs too."""
        return (
            cls(),
            cls(keep=0.9),
            *(cls(n, k, w) for n in (8, 16) for k in (0.1, 0.5, 0.9, 1.0) for w in (16, 64)),
        )

    def needs(self) -> frozenset[Need]:
        return frozenset({"samples", "top_logprobs"})

    def more(self) -> bool:
        return len(self.taken) < self.samples

    def batch(self) -> int:
        return self.samples - len(self.taken)

    def take(self, sample: Sample) -> int:
        """Take the next sample; return the output tokens that were generated of it.

        Raises:
            ValueError: It holds no confidences.
        """
        self._lowest.append(lowest_group(confidences_of(sample, self), self.window))
        return super().take(sample)

    def vote(self) -> Key:
        least = np.quantile(self._lowest, 1.0 - self.keep) if self._lowest else 0.0
        voters = zip(self.taken, self._lowest, strict=True)
        totals = tally((s.answer, low) for s, low in voters if low >= least)
        totals = totals or tally((sample.answer, 1.0) for sample in self.taken)
        return max(totals, key=totals.__getitem__, default="")

    def __repr__(self) -> str:
        return f"DeepConfOffline({self.samples}, {self.keep}, {self.window})"
