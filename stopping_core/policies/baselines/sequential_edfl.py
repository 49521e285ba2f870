"""Sequential-EDFL: stop when what the model knows beyond a weakened one is beyond doubt."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, ClassVar, Self

from stopping_core.policies.baselines.baseline import Tier
from stopping_core.policies.policy import Policy
from stopping_core.protocols import Signal
from stopping_core.types import CONTINUE, Boundary, Checkpoint, Decision, Need, Request, Step

if TYPE_CHECKING:
    from stopping_core.traces.columns import Columns, Stops

_BETS = (0.05, 0.1, 0.2, 0.4, 0.8)


class LiftEvidence:
    """Evidence that the lift is above zero: logarithm of an e-process, highest so far, nats.

    The lift of a token is its logprob under the model minus that under the skeleton, clipped. With
    x the lift scaled to [0, 1], each bet b multiplies its wealth by exp(b (x - 1/2) - psi(b) (x -
    m)^2), m the mean of the x before and psi(b) = -log(1 - b) - b; the process is the mean over
    the bets. If lifts are at most zero on average, given what came before, the chance that it ever
    comes to 1 / delta is at most delta.

    Args:
        skeleton: Logprob of a step's tokens, their mean, under the weakened model; None if unknown.
        bound: Lifts are clipped to plus and minus this, nats, > 0. What is clipped above is lost
            as evidence; a lift that is clipped below voids the guarantee.
    """

    def __init__(self, skeleton: Callable[[Step], float | None], bound: float = 4.0) -> None:
        if not 0.0 < bound < math.inf:
            raise ValueError(f"bound must be in (0, inf), got {bound}")
        self.skeleton = skeleton
        self.bound = bound
        extra: frozenset[Need] = getattr(skeleton, "needs", frozenset())
        own: frozenset[Need] = frozenset({"logprobs"})
        self.needs = own | extra
        self.reset(Request())

    def reset(self, request: Request) -> None:
        self._wealth = [0.0] * len(_BETS)  # logarithms
        self._sum, self._tokens = 0.5, 1
        self._highest: float | None = None

    def update(self, step: Step) -> None:
        if step.tokens == 0 or step.logprob is None or not math.isfinite(step.logprob):
            return
        weak = self.skeleton(step)
        if weak is None or math.isnan(weak):
            return
        lift = min(max(step.logprob - weak, -self.bound), self.bound)
        for _ in range(step.tokens):
            self._bet(0.5 + lift / (2.0 * self.bound))

    @property
    def value(self) -> float | None:
        """The reading now."""
        return self._highest

    def _bet(self, x: float) -> None:
        spread = (x - self._sum / self._tokens) ** 2
        for i, bet in enumerate(_BETS):
            self._wealth[i] += bet * (x - 0.5) + (math.log1p(-bet) + bet) * spread
        self._sum += x
        self._tokens += 1
        top = max(self._wealth)
        mean = top + math.log(math.fsum(math.exp(w - top) for w in self._wealth) / len(_BETS))
        self._highest = mean if self._highest is None else max(self._highest, mean)


class SequentialEdfl(Policy):
    """Stops at a sentence end once the e-process of the lift has come to 1 / delta.

    The guarantee is about the lift over the skeleton, not about the answer: its authors find 10.9%
    of the stopped answers wrong.

    Rule: stop when the mixture e-process >= 1 / delta; the gate only delays stops, to sentence
    ends. Published: delta 0.1, self-normalised empirical Bernstein, mixture of bets, gate of
    sentence ends and a verifier. From description: the bets, the bound of 4 nats, and the centre,
    which is the running mean. Left out: the verifier, and the resets under drift.

    Needs ``logprobs``, and those of a skeleton (a distilled part of the model, or one with noise on
    its logits), which only the caller can give: no recorded run holds them, so the grid is empty.

    Args:
        skeleton: As of :class:`LiftEvidence`.
        delta: In (0, 1).
        bound: As of :class:`LiftEvidence`.
        at: Where it may stop.

    References:
        Akter, Shihab and Sharma (2025), Anytime-Valid Answer Sufficiency Certificates for LLM
        Generation via Sequential Information Lift. arXiv:2510.06478. Howard, Ramdas, McAuliffe and
        Sekhon (2021), Time-uniform, nonparametric, nonasymptotic confidence sequences, theorem 4,
        for the e-process. arXiv:1810.08240.
    """

    title: ClassVar[str] = "Sequential-EDFL"
    tier: ClassVar[Tier] = "logprobs"

    def __init__(
        self,
        skeleton: Callable[[Step], float | None],
        delta: float = 0.1,
        bound: float = 4.0,
        at: Boundary = Boundary.SENTENCE,
    ) -> None:
        if not 0.0 < delta < 1.0:
            raise ValueError(f"delta must be in (0, 1), got {delta}")
        self.delta = delta
        self.at = at
        self.evidence = LiftEvidence(skeleton, bound)

    @classmethod
    def grid(cls) -> tuple[Self, ...]:
        """Return nothing: a skeleton has to be given."""
        return ()

    def decide(self, checkpoint: Checkpoint) -> Decision:
        evidence = self.evidence.value
        if evidence is None or not checkpoint.boundary & self.at:
            return CONTINUE
        return Decision(True, "edfl") if evidence >= -math.log(self.delta) else CONTINUE

    def signals(self) -> tuple[Signal, ...]:
        return (self.evidence,)

    def stops(self, columns: Columns) -> Stops:
        enough = columns.reading(self.evidence) >= -math.log(self.delta)
        return columns.stops(enough & columns.at(self.at))

    def __repr__(self) -> str:
        settings = f"{self.evidence.skeleton!r}, {self.delta}, {self.evidence.bound}"
        return f"SequentialEdfl({settings}, at={self.at.name})"
