"""DeepConf: end samples that lose confidence, and weigh the votes of the others."""

from __future__ import annotations

import math
from typing import ClassVar, Self

import numpy as np

from stopping_core.policies.baselines.group_confidence import groups, lowest_group
from stopping_core.policies.baselines.low_group_confidence import LowGroupConfidence
from stopping_core.policies.baselines.probed_answers import Key
from stopping_core.policies.baselines.samples import Sample, SampleRule, confidences_of, tally
from stopping_core.types import Need


class DeepConf(SampleRule):
    """Learns from complete samples what low confidence is, and ends later samples that fall to it.

    Rule: the confidence of a token is minus the mean logprob of its k most likely candidates
    (k = 20), that of a group the mean over a sliding ``window`` of tokens. ``warmup`` samples run
    to their end; s is the (1 - ``keep``) quantile of their lowest group confidences. Each further
    sample is ended as soon as a full window falls below s, and does not vote. Of the complete ones
    those vote whose lowest group is at least s, with it as their weight. Sampling stops once the
    leading answer has ``consensus`` of the weight of all complete ones, at most ``most`` samples.

    Defaults as published: 16 warm-up samples, window 2048, consensus 0.95, 512 samples, and
    DeepConf-high: it keeps 90%, so that s is the 10th percentile. DeepConf-low keeps 10%. From
    description: that the lowest group is also the weight, and that warm-up samples below s, which
    do not vote, count for the consensus. Needs samples with ``top_logprobs``; how many candidates
    they hold is up to the recording.

    On outputs of 20 to 400 tokens the published window never fills: nothing is ended, and as the
    lowest group of a short sample stands its mean, as with the authors. The sweep has windows that
    fill. With fewer samples than the warm-up wants, all vote by weight.

    Args:
        warmup: Samples that run to their end, >= 1.
        keep: Share of the warm-up samples that would have been kept, in (0, 1).
        window: Tokens of a group, >= 1.
        consensus: Share of the weight that decides the vote, in (0.5, 1]; None always draws
            ``most``, as the authors' online example does.
        most: Samples at most, >= ``warmup``.

    In a live vote a :class:`~stopping_core.policies.baselines.LowGroupConfidence` ends samples, at
    checkpoints where the original looks at every token. Reasoning has windows of its own; where it
    is ended the answer is still asked for, and does not vote. Samples that are begun ahead, before
    the warm-up is over, run to their end.

    Attributes:
        least: s, nats; minus infinity until the warm-up is over.

    References:
        Fu, Wang, Tian and Zhao (2025), Deep Think with Confidence, sections 3 and 4.
        arXiv:2508.15260.
    """

    title: ClassVar[str] = "DeepConf"
    ending: ClassVar[bool] = True

    def __init__(
        self,
        warmup: int = 16,
        keep: float = 0.9,
        window: int = 2048,
        consensus: float | None = 0.95,
        most: int = 512,
    ) -> None:
        if warmup < 1:
            raise ValueError(f"warmup must be >= 1, got {warmup}")
        if not 0.0 < keep < 1.0:
            raise ValueError(f"keep must be in (0, 1), got {keep}")
        if window < 1:
            raise ValueError(f"window must be >= 1, got {window}")
        if consensus is not None and not 0.5 < consensus <= 1.0:
            raise ValueError(f"consensus must be in (0.5, 1], got {consensus}")
        if most < warmup:
            raise ValueError(f"most must be >= warmup = {warmup}, got {most}")
        super().__init__()
        self.warmup = warmup
        self.keep = keep
        self.window = window
        self.consensus = consensus
        self.most = most
        self._lowest: list[float] = []
        self._complete: list[bool] = []
        self.least = -math.inf  # s, nats

    @classmethod
    def grid(cls) -> tuple[Self, ...]:
        """Return DeepConf-high and -low as published, and settings for 16 samples and short ones.

        4 or 8 samples of warm-up leave others to end, and windows of 8 to 64 fill.
        """
        short = (
            cls(warmup, keep, window, most=16)
            for warmup in (4, 8)
            for keep in (0.9, 0.5, 0.1)
            for window in (8, 16, 32, 64)
        )
        return cls(), cls(keep=0.1), *short

    def needs(self) -> frozenset[Need]:
        return frozenset({"samples", "top_logprobs"})

    def more(self) -> bool:
        if len(self.taken) < self.warmup:
            return True
        if len(self.taken) >= self.most:
            return False
        if self.consensus is None:
            return True
        complete = zip(self.taken, self._lowest, self._complete, strict=True)
        weights = tally((s.answer, low) for s, low, whole in complete if whole).values()
        return not weights or max(weights) < self.consensus * sum(weights)

    def batch(self) -> int:
        return max(1, self.warmup - len(self.taken))

    def complete(self) -> list[bool]:
        return self._complete

    def take(self, sample: Sample) -> int:
        """Take the next sample; return the output tokens that were generated of it.

        Raises:
            ValueError: It holds no confidences.
        """
        confidences = confidences_of(sample, self)
        super().take(sample)
        self._lowest.append(lowest_group(confidences, self.window))
        if len(self.taken) == self.warmup and (known := self._known()):
            self.least = float(np.quantile(known, 1.0 - self.keep))
        means, ends = groups(confidences, self.window)
        watched = len(self.taken) > self.warmup
        below = ends[(means < self.least) & watched]
        self._complete.append(not below.size)
        return int(below[0]) if below.size else sample.tokens

    def ends(self) -> LowGroupConfidence | None:
        if len(self.taken) < self.warmup or math.isinf(self.least):
            return None
        return LowGroupConfidence(self.least, self.window)

    def vote(self) -> Key:
        voters = zip(self.taken, self._lowest, strict=True)
        totals = tally((s.answer, low) for s, low in voters if low >= self.least)
        if not totals:
            complete = zip(self.taken, self._complete, strict=True)
            totals = tally((sample.answer, 1.0) for sample, whole in complete if whole)
        return max(totals, key=totals.__getitem__, default="")

    def _known(self) -> list[float]:
        """The lowest group confidences of the samples that have any: of a failed one is none."""
        pairs = zip(self.taken, self._lowest, strict=True)
        return [low for one, low in pairs if one.confidences is not None and one.confidences.size]

    def __repr__(self) -> str:
        settings = (self.warmup, self.keep, self.window, self.consensus, self.most)
        return f"DeepConf{settings}"
