"""A threshold on the probability of the end."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Self

from stopping_core.policies.baselines.baseline import EVERY_TOKEN, Tier
from stopping_core.policies.policy import Policy
from stopping_core.protocols import Signal
from stopping_core.types import CONTINUE, Checkpoint, Decision, Need, Request, Step

if TYPE_CHECKING:
    from stopping_core.traces.columns import Columns, Stops


class HighestEnd:
    """Highest probability that the model had of ending, in the text so far, in [0, 1].

    None until a token came with one: local models know it, APIs mostly do not.

    Examples:
        >>> signal = HighestEnd()
        >>> for p in (0.1, 0.4, 0.2):
        ...     signal.update(Step(" a", end_probability=p))
        >>> signal.value
        0.4
    """

    needs: ClassVar[frozenset[Need]] = frozenset({"end_probability"})

    def __init__(self) -> None:
        self._highest: float | None = None

    def reset(self, request: Request) -> None:
        self._highest = None

    def update(self, step: Step) -> None:
        reading = step.end_probability
        if reading is not None and 0.0 <= reading <= 1.0:
            self._highest = max(self._highest or 0.0, reading)

    @property
    def value(self) -> float | None:
        """The reading now."""
        return self._highest


class EndProbability(Policy):
    """Stops where the model would have ended with a probability of at least ``at_least``.

    The model's own view of whether it is done, which greedy decoding ignores until it is the most
    likely token of all. The probability before a token is known when that token comes, so the
    stopped text ends with one token too many; in-process it could be left out. Where that token is
    white space, which is settled by what follows it, they are two or three. Models that were not
    trained to end (the raw template) put next to nothing on their end, and the rule is silent.
    Inside reasoning no model ends, so that a comparison on that channel leaves the rule out.

    Rule: after each token, stop if P(end of sequence) >= threshold; after 4096 tokens at ordinary
    checkpoints, up to so many tokens late as lie between two of them. No published default; 0.5 is
    where ending is more likely than all else together. Needs ``end_probability``.
    Source: folklore, no paper (from description).

    Args:
        at_least: The threshold, in (0, 1].
    """

    title: ClassVar[str] = "EOS probability"
    tier: ClassVar[Tier] = "logprobs"

    def __init__(self, at_least: float = 0.5) -> None:
        if not 0.0 < at_least <= 1.0:
            raise ValueError(f"at_least must be in (0, 1], got {at_least}")
        self.at_least = at_least
        self.highest = HighestEnd()

    @classmethod
    def grid(cls) -> tuple[Self, ...]:
        """Return thresholds, evenly in their logarithm up to 0.1, then every 0.025 up to a half."""
        low = (float(f"{10 ** (step / 6 - 5):.2g}") for step in range(24))
        middle = (step / 40 for step in range(4, 20))
        return cls(), *(cls(t) for t in (*low, *middle, 0.55, 0.6, 0.65, 0.7, 0.8, 0.9))

    def decide(self, checkpoint: Checkpoint) -> Decision:
        highest = self.highest.value
        if highest is not None and highest >= self.at_least:
            return Decision(True, "end probability")
        return CONTINUE

    def signals(self) -> tuple[Signal, ...]:
        return (self.highest,)

    def marks(self) -> tuple[int, ...]:
        return EVERY_TOKEN

    def stops(self, columns: Columns) -> Stops:
        return columns.stops(columns.reading(self.highest) >= self.at_least)

    def __repr__(self) -> str:
        return f"EndProbability({self.at_least})"
