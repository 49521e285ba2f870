"""The base of the rules that wait for equal answers in a row."""

from __future__ import annotations

from stopping_core.policies.baselines.probed_answers import Streak
from stopping_core.policies.baselines.probing import Judging
from stopping_core.types import Boundary, Probe


class StableAnswer(Judging):
    """Stops when ``k`` answers in a row are equal.

    Args:
        k: Answers in a row that have to agree, >= 2.
        at: Where to ask: boundaries of this kind, or every so many tokens.
    """

    def __init__(self, k: int, at: Boundary | int) -> None:
        if k < 2:
            raise ValueError(f"k must be >= 2, got {k}")
        super().__init__(at)
        self.k = k
        self._forget()

    def _judge(self, probe: Probe) -> bool:
        return self._streak.add(probe.text) >= self.k

    def _forget(self) -> None:
        self._streak = Streak()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.k}, at={self._place()})"
