"""The end of a loop."""

from __future__ import annotations

from typing import TYPE_CHECKING

from stopping_core.policies.policy import Policy
from stopping_core.protocols import Signal
from stopping_core.signals import Loop
from stopping_core.types import CONTINUE, Checkpoint, Decision

if TYPE_CHECKING:
    from stopping_core.traces.columns import Columns, Stops


class LoopGuard(Policy):
    """Ends a text that runs in a loop, complete or not, and says which part of it to keep.

    The first copy is kept; the session drops the others and has the model go on from there, with
    another seed. What counts as a loop, and what is mistaken for one, :class:`Loop` says.

    Args:
        min_repeats: As of :class:`~stopping_core.signals.Loop`.
        max_period: Likewise.
    """

    def __init__(self, min_repeats: int = 3, max_period: int = 64) -> None:
        self.loop = Loop(min_repeats, max_period)

    def decide(self, checkpoint: Checkpoint) -> Decision:
        start = self.loop.loop_start
        return CONTINUE if start is None else Decision(True, "loop", forced=True, keep=start)

    def stops(self, columns: Columns) -> Stops:
        where = columns.reading(self.loop) > 0
        return columns.stops(where, where)

    def signals(self) -> tuple[Signal, ...]:
        return (self.loop,)

    def __repr__(self) -> str:
        return f"LoopGuard({self.loop.min_repeats}, {self.loop.max_period})"
