"""Adaptive-Consistency: sample until the vote is decided."""

from __future__ import annotations

from typing import ClassVar, Self

from stopping_core.policies.baselines.binomial import beta_above_half
from stopping_core.policies.baselines.samples import SampleRule, tally


class AdaptiveConsistency(SampleRule):
    """Draws until the leading answer will in all likelihood stay ahead of the second.

    Rule: after each sample, with a and b the counts of the two leading answers (b = 0 where there
    is one), stop if the mass of Beta(a + 1, b + 1) above 1/2 is at least ``confidence``; at most
    ``most`` samples; plurality. Defaults as published: 0.95 and 40. Needs samples.

    Four equal answers are the least that it stops at (0.969). Samples without an answer count for
    neither side, which the paper leaves open. The original integrates numerically; the mass is a
    binomial sum and is computed exactly here.

    Args:
        confidence: In (0.5, 1).
        most: Samples at most, >= 1.

    References:
        Aggarwal, Madaan, Yang and Mausam (2023), Let's Sample Step by Step: Adaptive-Consistency
        for Efficient Reasoning and Coding with LLMs, section 3. arXiv:2305.11860.
    """

    title: ClassVar[str] = "Adaptive-Consistency"

    def __init__(self, confidence: float = 0.95, most: int = 40) -> None:
        if not 0.5 < confidence < 1.0:
            raise ValueError(f"confidence must be in (0.5, 1), got {confidence}")
        if most < 1:
            raise ValueError(f"most must be >= 1, got {most}")
        super().__init__()
        self.confidence = confidence
        self.most = most

    @classmethod
    def grid(cls) -> tuple[Self, ...]:
        """Return confidences from 0.7 (one sample) to 0.999, with 40 samples and with 16."""
        levels = (0.95, 0.7, 0.8, 0.85, 0.9, 0.97, 0.98, 0.99, 0.999)
        return tuple(cls(level, most) for most in (40, 16) for level in levels)

    def more(self) -> bool:
        if len(self.taken) >= self.most:
            return False
        counts = sorted(tally((s.answer, 1.0) for s in self.taken).values(), reverse=True)
        first, second = (int(count) for count in (*counts, 0, 0)[:2])
        return beta_above_half(first, second) < self.confidence

    def __repr__(self) -> str:
        return f"AdaptiveConsistency({self.confidence}, {self.most})"
