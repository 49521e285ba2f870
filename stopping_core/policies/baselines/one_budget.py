"""One budget that is large enough for everything."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from typing import ClassVar, Self

from stopping_core.policies.baselines.schedule import Schedule


class OneBudget(Schedule):
    """Asks once, for more than any answer needs: nothing is ever made again.

    The other end of the trade of :class:`~stopping_core.policies.baselines.Doubling`, and the full
    run itself. Its cost in tokens is the least of all schedules; what it costs is the runaway,
    which is paid to the cap, and the latency that has to be planned for.

    Rule: one budget, that of the recording. Needs text alone. Source: common practice.
    """

    title: ClassVar[str] = "one large budget"

    @classmethod
    def grid(cls) -> tuple[Self, ...]:
        """Return the one setting there is."""
        return (cls(),)

    def budgets(self) -> Iterator[int]:
        return count(2**31)

    def __repr__(self) -> str:
        return "OneBudget()"
