"""HALT-CoT: stop when the model's distribution over answers is sharp."""

from __future__ import annotations

import math
from typing import ClassVar, Literal, Self

from stopping_core.policies.baselines.probing import Judging
from stopping_core.types import Boundary, Need, Probe


class HaltCot(Judging):
    """Stops when the entropy of the answer is below a threshold.

    Rule: after every step of the reasoning compute the entropy of the predicted answers; stop when
    it is below ``threshold``. Needs probes with logprobs.

    From description: all but the rule itself; no threshold was to be had. The entropy over a set of
    candidate answers is known where the task lists them, which free answers do not. Two readings
    stand for it: the entropy over the first token of the answer, which is exact where that token
    tells answers apart, and the surprisal of the whole greedy answer, minus the sum of its
    logprobs: the min-entropy over answers, which is at most their entropy. A step is a line.

    Args:
        threshold: Nats, > 0.
        at: Where to ask: boundaries of this kind, or every so many tokens.
        over: What the entropy is taken over.

    References:
        HALT-CoT (2025), 4th MusIML workshop at ICML 2025, openreview.net/forum?id=CX5c7C1CZa.
    """

    title: ClassVar[str] = "HALT-CoT"
    reason = "halt-cot"

    def __init__(
        self,
        threshold: float = 0.5,
        at: Boundary | int = Boundary.LINE,
        over: Literal["first token", "answer"] = "first token",
    ) -> None:
        if not threshold > 0:
            raise ValueError(f"threshold must be > 0, got {threshold}")
        if over not in ("first token", "answer"):
            raise ValueError(f"over must be 'first token' or 'answer', got {over!r}")
        super().__init__(at)
        self.threshold = threshold
        self.over = over

    @classmethod
    def grid(cls) -> tuple[Self, ...]:
        """Return thresholds from 0.01 to 1 nat, both readings, at lines, sentences, 16 tokens."""
        return tuple(
            cls(threshold, at, over)
            for over in ("first token", "answer")
            for at in (Boundary.LINE, Boundary.SENTENCE, 16)
            for threshold in (0.5, 0.01, 0.05, 0.1, 0.2, 1.0)
        )

    def needs(self) -> frozenset[Need]:
        own: Need = "top_logprobs" if self.over == "first token" else "logprobs"
        return super().needs() | {own}

    def _judge(self, probe: Probe) -> bool:
        if self.over == "first token":
            return probe.entropy is not None and probe.entropy < self.threshold
        return len(probe.logprobs) > 0 and -math.fsum(probe.logprobs) < self.threshold

    def __repr__(self) -> str:
        return f"HaltCot({self.threshold}, at={self._place()}, over={self.over!r})"
