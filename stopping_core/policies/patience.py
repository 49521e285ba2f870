"""Patience: agreement over several checkpoints."""

from __future__ import annotations

from stopping_core.policies.policy import Policy
from stopping_core.protocols import Signal
from stopping_core.types import CONTINUE, Checkpoint, Decision, Request


class Patience(Policy):
    """Stops where the inner policy says stop at ``k`` checkpoints in a row.

    A single reading may be an accident; forced stops are not readings and pass at once.

    Args:
        policy: The policy to wait for.
        k: Checkpoints in a row, >= 1.
    """

    def __init__(self, policy: Policy, k: int) -> None:
        if k < 1:
            raise ValueError(f"k must be >= 1, got {k}")
        self.policy = policy
        self.k = k
        self._streak = 0

    def decide(self, checkpoint: Checkpoint) -> Decision:
        decision = self.policy.decide(checkpoint)
        self._streak = self._streak + 1 if decision.stop else 0
        return decision if decision.forced or self._streak >= self.k else CONTINUE

    def reset(self, request: Request) -> None:
        self._streak = 0
        self.policy.reset(request)

    def signals(self) -> tuple[Signal, ...]:
        return self.policy.signals()

    def marks(self) -> tuple[int, ...]:
        return self.policy.marks()

    def __repr__(self) -> str:
        return f"Patience({self.policy!r}, k={self.k})"
