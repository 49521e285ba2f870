"""The base of the rules that ask, at certain places, what the model would answer now."""

from __future__ import annotations

import copy
from abc import abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from stopping_core.policies.baselines.baseline import Tier
from stopping_core.policies.policy import Policy
from stopping_core.types import (
    CONTINUE,
    PROBE,
    Boundary,
    Checkpoint,
    Decision,
    Need,
    Probe,
    Request,
)

if TYPE_CHECKING:
    from stopping_core.traces.columns import Columns, Mask, Stops

HORIZON = 4096
"""Output tokens up to which a rule that probes every few tokens is asked right there. After that it
probes at the first of the engine's own checkpoints that comes after each of its places."""


class Probing(Policy):
    """Asks for the answer at its places.

    The published rules of this kind end the reasoning, and take the answer that the model then
    gives. So does a stop on the channel ``"reasoning"``. On ``"answer"`` a stop keeps the text up
    to there and throws the probe's answer away: it saves the rest of the text and changes nothing
    of what was said, so that an answer which only the probe gave is lost.

    Args:
        at: The kind of boundary at which to ask, or the number of tokens between two questions,
            >= 1. A place where two things end is asked about once.
    """

    tier: ClassVar[Tier] = "probes"
    reason: ClassVar[str]

    def __init__(self, at: Boundary | int) -> None:
        if at < 1:
            raise ValueError(f"at must be a boundary or >= 1 token, got {at!r}")
        self.at = at
        self._last = 0

    def reset(self, request: Request) -> None:
        self._last = 0

    def decide(self, checkpoint: Checkpoint) -> Decision:
        return PROBE if self._is_due(checkpoint) else CONTINUE

    def marks(self) -> tuple[int, ...]:
        return () if isinstance(self.at, Boundary) else tuple(range(self.at, HORIZON, self.at))

    def needs(self) -> frozenset[Need]:
        return super().needs() | {"probes"}

    def asks(self, columns: Columns) -> Mask:
        if not isinstance(self.at, Boundary):
            return rises(columns.tokens // self.at, columns.run)
        rows = np.flatnonzero(columns.at(self.at))
        asks = columns.nowhere()
        asks[rows] = rises(columns.tokens[rows], columns.run[rows])
        return asks

    def _is_due(self, checkpoint: Checkpoint) -> bool:
        if not isinstance(self.at, Boundary):
            here = checkpoint.tokens // self.at
        elif checkpoint.boundary & self.at:
            here = checkpoint.tokens
        else:
            return False
        before, self._last = self._last, here
        return here > before

    def _place(self) -> str:
        """How ``at`` is written in ``repr``."""
        return f"{self.at.name}" if isinstance(self.at, Boundary) else f"{self.at}"


class Judging(Probing):
    """Judges each answer that it gets, knowing those before."""

    def reset(self, request: Request) -> None:
        super().reset(request)
        self._forget()

    def weigh(self, checkpoint: Checkpoint, probe: Probe) -> Decision:
        return Decision(True, self.reason) if self._judge(probe) else CONTINUE

    def stops(self, columns: Columns) -> Stops:
        """Judge the probes of each run in order, by the code that a live stream is judged by."""
        rule, where, judged, last = copy.copy(self), columns.nowhere(), [], -1
        rows = np.flatnonzero(self.asks(columns))
        for run, probe in zip(columns.run[rows].tolist(), columns.probes_at(rows), strict=True):
            if run != last:
                rule._forget()
            judged.append(rule._judge(probe))
            last = run
        where[rows] = judged
        return columns.stops(where)

    @abstractmethod
    def _judge(self, probe: Probe) -> bool:
        """Say whether to stop, given the next answer."""

    def _forget(self) -> None:
        """Forget the answers so far."""


def rises(count: NDArray[Any], run: NDArray[Any]) -> Mask:
    """Where a count is higher than one place before in its run, or above 0 at the first place."""
    before = np.zeros_like(count)
    before[1:] = np.where(run[1:] == run[:-1], count[:-1], 0)
    return np.asarray(count > before)
