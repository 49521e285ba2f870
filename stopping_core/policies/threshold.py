"""The threshold on one signal."""

from __future__ import annotations

import inspect
import math
from typing import TYPE_CHECKING

from stopping_core.policies.policy import Policy
from stopping_core.protocols import Signal
from stopping_core.types import CONTINUE, Boundary, Checkpoint, Decision

if TYPE_CHECKING:
    from stopping_core.traces.columns import Columns, Stops


class Threshold(Policy):
    """Stops where a signal's reading is at least, or at most, a threshold.

    A missing reading (None or NaN) is no evidence and never stops anything.

    Args:
        signal: The signal to read.
        at_least: Stop where the reading is >= this, in the signal's unit.
        at_most: Stop where the reading is <= this. Exactly one of the two is given.
        at: Kinds of boundary at which to look; ``Boundary.NONE``, the default, is every checkpoint.
        reason: What to call such a stop. The signal's class name by default.
        forced: Whether the stop holds even though the answer is not complete.

    Examples:
        >>> from stopping_core.signals import Sentences
        >>> Threshold(Sentences(), at_least=2) | Threshold(Sentences(), at_least=1, reason="one")
        (Threshold(Sentences, >= 2) | Threshold(Sentences, >= 1))
    """

    def __init__(
        self,
        signal: Signal,
        *,
        at_least: float | None = None,
        at_most: float | None = None,
        at: Boundary = Boundary.NONE,
        reason: str = "",
        forced: bool = False,
    ) -> None:
        if (at_least is None) == (at_most is None):
            raise ValueError(
                f"give exactly one of at_least and at_most, got {at_least} and {at_most}"
            )
        bound = at_least if at_least is not None else at_most
        if bound is None or math.isnan(bound):
            name = "at_least" if at_least is not None else "at_most"
            raise ValueError(f"{name} must be a number, got {bound}")
        self.signal = signal
        self.at_least = at_least
        self.at_most = at_most
        self.at = at
        self._stop = Decision(True, reason or type(signal).__name__.lower(), forced)

    def decide(self, checkpoint: Checkpoint) -> Decision:
        if self.at and not self.at & checkpoint.boundary:
            return CONTINUE
        reading = self.signal.value
        if reading is None:
            return CONTINUE
        # A NaN compares false with everything, so it falls through to CONTINUE.
        if self.at_least is not None:
            return self._stop if reading >= self.at_least else CONTINUE
        if self.at_most is not None:
            return self._stop if reading <= self.at_most else CONTINUE
        return CONTINUE

    def signals(self) -> tuple[Signal, ...]:
        return (self.signal,)

    def stops(self, columns: Columns) -> Stops:
        reading = columns.reading(self.signal)
        low = -math.inf if self.at_least is None else self.at_least
        high = math.inf if self.at_most is None else self.at_most
        where = (reading >= low) & (reading <= high)
        if self.at:
            where &= columns.at(self.at)
        return columns.stops(where, where if self._stop.forced else None)

    def __repr__(self) -> str:
        bound = f">= {self.at_least}" if self.at_least is not None else f"<= {self.at_most}"
        where = f", at {self.at.name}" if self.at else ""
        return f"Threshold({_named(self.signal)}, {bound}{where})"


def _named(signal: Signal) -> str:
    """Print a signal's class, with those of its settings that are not the default."""
    told = [
        f"{name}={getattr(signal, name)!r}"
        for name, setting in inspect.signature(type(signal)).parameters.items()
        if setting.default is not setting.empty
        and repr(getattr(signal, name, setting.default)) != repr(setting.default)
    ]
    return f"{type(signal).__name__}({', '.join(told)})" if told else type(signal).__name__
