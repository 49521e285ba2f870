"""Patience: agreement over several checkpoints."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any, Self

from stopping_core.policies.policy import Policy, own
from stopping_core.protocols import Signal
from stopping_core.types import CONTINUE, Checkpoint, Decision, Need, Probe, Request

if TYPE_CHECKING:
    from stopping_core.traces.columns import Columns, Mask, Stops


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
        return self._count(self.policy.decide(checkpoint))

    def weigh(self, checkpoint: Checkpoint, probe: Probe) -> Decision:
        return self._count(self.policy.weigh(checkpoint, probe))

    def _count(self, decision: Decision) -> Decision:
        if decision.probe:
            return decision
        self._streak = self._streak + 1 if decision.stop else 0
        return decision if decision.forced or self._streak >= self.k else CONTINUE

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        twin = copy.copy(self)
        twin.policy = own(self.policy, memo)
        return twin

    def reset(self, request: Request) -> None:
        self._streak = 0
        self.policy.reset(request)

    def signals(self) -> tuple[Signal, ...]:
        return self.policy.signals()

    def marks(self) -> tuple[int, ...]:
        return self.policy.marks()

    def needs(self) -> frozenset[Need]:
        return self.policy.needs()

    def stops(self, columns: Columns) -> Stops:
        stops = self.policy.stops(columns)
        patient = columns.streak(stops.where) >= self.k
        return columns.stops(stops.forced | patient, stops.forced)

    def asks(self, columns: Columns) -> Mask:
        return self.policy.asks(columns)

    def __repr__(self) -> str:
        return f"Patience({self.policy!r}, k={self.k})"
