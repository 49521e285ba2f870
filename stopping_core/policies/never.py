"""The policy that never stops."""

from __future__ import annotations

from typing import TYPE_CHECKING

from stopping_core.policies.policy import Policy
from stopping_core.types import CONTINUE, Checkpoint, Decision

if TYPE_CHECKING:
    from stopping_core.traces.columns import Columns, Stops


class Never(Policy):
    """Lets every generation run to its end: the reference, and a way to only check and retry."""

    def decide(self, checkpoint: Checkpoint) -> Decision:
        return CONTINUE

    def stops(self, columns: Columns) -> Stops:
        return columns.stops(columns.nowhere())

    def __repr__(self) -> str:
        return "Never()"
