"""The base of the rules that stop where something in the text ends."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import numpy as np
from numpy.typing import NDArray

from stopping_core.policies.policy import Policy
from stopping_core.types import CONTINUE, Boundary, Checkpoint, Decision, Request

if TYPE_CHECKING:
    from stopping_core.traces.columns import Columns, Stops


class Ends(Policy):
    """Stops where the ``count``-th boundary of one kind ends, on the channel that it is asked on.

    Args:
        count: Ends to wait for, >= 1.
    """

    kind: ClassVar[Boundary]
    reason: ClassVar[str]

    def __init__(self, count: int = 1) -> None:
        if count < 1:
            raise ValueError(f"count must be >= 1, got {count}")
        self.count = count
        self._seen = 0

    def reset(self, request: Request) -> None:
        self._seen = 0

    def decide(self, checkpoint: Checkpoint) -> Decision:
        if not checkpoint.boundary & self.kind:
            return CONTINUE
        self._seen += 1
        return Decision(True, self.reason) if self._seen >= self.count else CONTINUE

    def stops(self, columns: Columns) -> Stops:
        here = columns.at(self.kind)
        seen: NDArray[np.int_] = np.cumsum(here)
        first = columns.starts[columns.run]
        earlier = seen[first] - here[first]  # in other runs
        return columns.stops(here & (seen - earlier >= self.count))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.count})"
