"""The plain vote."""

from __future__ import annotations

from typing import ClassVar, Self

from stopping_core.policies.baselines.samples import SampleRule


class VoteOfN(SampleRule):
    """Draws ``samples`` runs and takes the answer that most of them give: self-consistency.

    What the adaptive rules are measured against, each at the number of samples that they may draw.

    Rule: plurality of N. Default: 40, as published. Needs samples.

    Args:
        samples: N, >= 1.

    References:
        Wang et al. (2022), Self-Consistency Improves Chain of Thought Reasoning in Language Models,
        section 2. arXiv:2203.11171.
    """

    title: ClassVar[str] = "vote of N"

    def __init__(self, samples: int = 40) -> None:
        if samples < 1:
            raise ValueError(f"samples must be >= 1, got {samples}")
        super().__init__()
        self.samples = self.most = samples

    @classmethod
    def grid(cls) -> tuple[Self, ...]:
        """Return votes of 1 to 40."""
        return tuple(cls(n) for n in (40, 1, 2, 3, 4, 5, 6, 8, 10, 12, 16, 20, 24, 32))

    def more(self) -> bool:
        return len(self.taken) < self.samples

    def batch(self) -> int:
        return self.samples - len(self.taken)

    def __repr__(self) -> str:
        return f"VoteOfN({self.samples})"
