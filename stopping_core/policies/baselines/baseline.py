"""What every published rule says of itself, so that a bench finds and sweeps them all."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal, Protocol, Self, TypeAlias, runtime_checkable

from stopping_core.types import Need

if TYPE_CHECKING:
    from stopping_core.traces.columns import Columns, Mask

Tier: TypeAlias = Literal["text", "logprobs", "probes", "samples"]
"""What evidence a rule lives on: two rules of one tier can stand in for each other."""

EVERY_TOKEN: tuple[int, ...] = tuple(range(1, 4097))
"""Marks of a rule that its authors apply after every token, for outputs of up to 4096 tokens.

After that it is asked at the ordinary checkpoints, and so decides up to as many tokens late as lie
between two of them.
"""


class Baseline(Protocol):
    """A published rule: its name, the evidence it lives on, and the settings that a sweep tries."""

    title: ClassVar[str]
    tier: ClassVar[Tier]

    @classmethod
    def grid(cls) -> tuple[Self, ...]:
        """Return the settings to try, the published ones first.

        Empty where it needs something that only its caller can give.
        """

    def needs(self) -> frozenset[Need]:
        """Return what it needs beyond the text."""


@runtime_checkable
class Fitted(Protocol):
    """A rule with parameters that come from recorded runs with known answers."""

    def fit(self, columns: Columns, right: Mask, full: Mask) -> Self:
        """Return a copy of the rule with its parameters chosen on these runs.

        Args:
            columns: The checkpoints of the runs.
            right: Whether the answer at each of them would have been right.  # (n,)
            full: Whether the full answer of each run is right.  # (runs,)
        """
