"""EAT: stop when the entropy after the end of the reasoning has settled."""

from __future__ import annotations

import math
from typing import ClassVar, Self

from stopping_core.policies.baselines.probing import Judging
from stopping_core.types import Boundary, Need, Probe


class Eat(Judging):
    r"""Stops when the entropy of the first token after ``</think>`` no longer varies.

    The entropy of what the model would answer falls as it reasons and then stays; what it stays at
    does not matter. One token a probe, so it is the cheapest of the rules that probe. It sees
    nothing where the model begins every answer with the same words: the words that ask have to lead
    up to the answer itself, as the authors' own "Final answer:" does.

    Rule: at each blank line, with x the entropy in nats,

        M <- (1 - alpha) M + alpha x
        V <- (1 - alpha) V + alpha (x - M)^2

    stop when V < delta, after 4 / alpha steps. Defaults: alpha 0.2, delta 1e-4, so 20 steps; blank
    lines. Outputs of a few hundred tokens have no 20 blank lines: the sweep tries fewer and others.
    Needs probes with the entropy over their first token; a probe without one is no step.

    From description: where M and V begin. Here M begins at the first reading and V at 0.

    Args:
        alpha: Weight of the newest reading, in (0, 1].
        delta: Bound on the variance, nats squared, > 0.
        steps: Readings before it may stop, >= 1. By default 4 / alpha, rounded up.
        at: Where to ask: boundaries of this kind, or every so many tokens.

    References:
        Wang et al. (2025), Entropy After </Think> for reasoning model early exiting.
        arXiv:2509.26522.
    """

    title: ClassVar[str] = "EAT"
    reason = "eat"

    def __init__(
        self,
        alpha: float = 0.2,
        delta: float = 1e-4,
        steps: int | None = None,
        at: Boundary | int = Boundary.PARAGRAPH,
    ) -> None:
        if not 0 < alpha <= 1:
            raise ValueError(f"alpha must be in (0, 1], got {alpha}")
        if not delta > 0:
            raise ValueError(f"delta must be > 0, got {delta}")
        if steps is not None and steps < 1:
            raise ValueError(f"steps must be >= 1, got {steps}")
        super().__init__(at)
        self.alpha = alpha
        self.delta = delta
        self.steps = math.ceil(4 / alpha) if steps is None else steps
        self._forget()

    @classmethod
    def grid(cls) -> tuple[Self, ...]:
        """Return the published setting, then others for outputs of 20 to 400 tokens."""
        places = (Boundary.LINE, Boundary.PARAGRAPH, 16)
        return cls(), *(
            cls(0.2, delta, steps, at)
            for at in places
            for steps in (20, 5, 3)
            for delta in (1e-4, 1e-3, 1e-2, 1e-1)
            if (delta, steps, at) != (1e-4, 20, Boundary.PARAGRAPH)
        )

    def needs(self) -> frozenset[Need]:
        return super().needs() | {"top_logprobs"}

    def _judge(self, probe: Probe) -> bool:
        if probe.entropy is None or not math.isfinite(probe.entropy):
            return False
        self._seen += 1
        if self._seen == 1:
            self._mean = probe.entropy
        self._mean += self.alpha * (probe.entropy - self._mean)
        self._variance += self.alpha * ((probe.entropy - self._mean) ** 2 - self._variance)
        return self._seen >= self.steps and self._variance < self.delta

    def _forget(self) -> None:
        self._seen = 0
        self._mean = 0.0
        self._variance = 0.0

    def __repr__(self) -> str:
        return f"Eat({self.alpha}, {self.delta}, {self.steps}, at={self._place()})"
