"""Budgets that are tried one after another: what a run costs that had to be made again."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import TYPE_CHECKING, ClassVar

from stopping_core.policies.baselines.baseline import Tier
from stopping_core.types import Need, Usage

if TYPE_CHECKING:
    from stopping_core.traces.run import Run


class Schedule(ABC):
    """Calls a model with one budget after another, from scratch, until it ends by itself.

    It stops nothing, so that its answer is the full run's and so is its grade; what it is about is
    how few tokens need be asked for up front. A run that came to its own cap is never complete: the
    schedule goes on until the budget is no smaller than the cap and then gives up, with that run.
    """

    tier: ClassVar[Tier] = "text"

    @abstractmethod
    def budgets(self) -> Iterator[int]:
        """Yield the budgets in order, rising without end, tokens."""

    def needs(self) -> frozenset[Need]:
        """Return what it needs beyond the text."""
        return frozenset()

    def usage(self, run: Run) -> Usage:
        """Book what a recorded run would have cost, every truncated attempt included.

        A greedy run is repeated as it is; of a sampled one the length is taken to repeat. The end
        of sequence takes one token of the budget, and is not counted, as in the run.

        Args:
            run: The run to its natural end, or to its cap.
        """
        length = len(run)
        wanted = length if run.finish_reason == "length" else length + 1
        thrown = []
        for budget in self.budgets():
            if budget >= wanted:
                break
            thrown.append(budget)
        prompt, wasted = run.prompt_tokens or 0, sum(thrown)
        return Usage(
            prompt=prompt,
            generated=wasted + length,
            reread=prompt * len(thrown),
            retried=wasted + length - thrown[0] if thrown else 0,
            discarded=wasted,
            estimated=False,
        )
