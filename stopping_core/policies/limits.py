"""Limits on position and time."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from stopping_core.policies.policy import Policy
from stopping_core.types import CONTINUE, Checkpoint, Decision, Need

if TYPE_CHECKING:
    from stopping_core.traces.columns import Columns, Stops


class MinTokens(Policy):
    """Agrees to stop from ``tokens`` on; with ``&`` it keeps another policy from cutting early.

    Args:
        tokens: Output tokens, >= 0.
    """

    def __init__(self, tokens: int) -> None:
        if tokens < 0:
            raise ValueError(f"tokens must be >= 0, got {tokens}")
        self.tokens = tokens

    def decide(self, checkpoint: Checkpoint) -> Decision:
        return Decision(True) if checkpoint.tokens >= self.tokens else CONTINUE

    def marks(self) -> tuple[int, ...]:
        return (self.tokens,)

    def stops(self, columns: Columns) -> Stops:
        return columns.stops(columns.tokens >= self.tokens)

    def __repr__(self) -> str:
        return f"MinTokens({self.tokens})"


class MaxTokens(Policy):
    """Ends the answer at ``tokens``, complete or not: the fixed budget everybody uses today.

    Args:
        tokens: Output tokens, >= 1.
    """

    def __init__(self, tokens: int) -> None:
        if tokens < 1:
            raise ValueError(f"tokens must be >= 1, got {tokens}")
        self.tokens = tokens

    def decide(self, checkpoint: Checkpoint) -> Decision:
        if checkpoint.tokens >= self.tokens:
            return Decision(True, "max tokens", forced=True)
        return CONTINUE

    def marks(self) -> tuple[int, ...]:
        return (self.tokens,)

    def stops(self, columns: Columns) -> Stops:
        where = columns.tokens >= self.tokens
        return columns.stops(where, where)

    def __repr__(self) -> str:
        return f"MaxTokens({self.tokens})"


class Deadline(Policy):
    """Ends the answer once the request has lasted ``seconds``, complete or not.

    Time is looked at where the policy is asked, at checkpoints: a stalled stream brings none, and
    needs the timeout of its transport.

    Args:
        seconds: Seconds since the request began, > 0.
    """

    def __init__(self, seconds: float) -> None:
        if not (seconds > 0 and math.isfinite(seconds)):
            raise ValueError(f"seconds must be in (0, inf), got {seconds}")
        self.seconds = seconds

    def decide(self, checkpoint: Checkpoint) -> Decision:
        if checkpoint.seconds >= self.seconds:
            return Decision(True, "deadline", forced=True)
        return CONTINUE

    def needs(self) -> frozenset[Need]:
        return frozenset({"seconds"})

    def stops(self, columns: Columns) -> Stops:
        where = columns.seconds >= self.seconds
        return columns.stops(where, where)

    def __repr__(self) -> str:
        return f"Deadline({self.seconds})"
