"""DeepConf's end of one live sample."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from stopping_core.policies.baselines.group_confidence import GroupConfidence
from stopping_core.policies.policy import Policy
from stopping_core.protocols import Signal
from stopping_core.types import CONTINUE, Checkpoint, Decision

if TYPE_CHECKING:
    from stopping_core.traces.columns import Columns, Stops


class LowGroupConfidence(Policy):
    """Ends a stream that is not worth its tokens: its group confidence fell below a threshold.

    The part of :class:`~stopping_core.policies.baselines.DeepConf` that works on one stream. What
    it ends gives no answer, so that it belongs under a vote over several streams and is no baseline
    by itself. The stop is forced: going on is useless. Asked at checkpoints, where the original is
    asked at every token.

    Args:
        threshold: Nats; ``least`` of a :class:`~stopping_core.policies.baselines.DeepConf` that is
            through its warm-up on the same question.
        window: As of :class:`~stopping_core.policies.baselines.group_confidence.GroupConfidence`.
    """

    def __init__(self, threshold: float, window: int = 2048) -> None:
        if not math.isfinite(threshold):
            raise ValueError(f"threshold must be finite, got {threshold}")
        self.threshold = threshold
        self.confidence = GroupConfidence(window)

    def decide(self, checkpoint: Checkpoint) -> Decision:
        confidence = self.confidence.value
        if confidence is not None and confidence < self.threshold:
            return Decision(True, "low confidence", forced=True)
        return CONTINUE

    def signals(self) -> tuple[Signal, ...]:
        return (self.confidence,)

    def stops(self, columns: Columns) -> Stops:
        where = columns.reading(self.confidence) < self.threshold
        return columns.stops(where, where)

    def __repr__(self) -> str:
        return f"LowGroupConfidence({self.threshold}, {self.confidence.window})"
