"""Stop strings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar, Self

from stopping_core.policies.baselines.baseline import EVERY_TOKEN, Tier
from stopping_core.policies.policy import Policy
from stopping_core.protocols import Signal
from stopping_core.types import CONTINUE, Channel, Checkpoint, Decision, Request, Step

if TYPE_CHECKING:
    from stopping_core.traces.columns import Columns, Stops


class Seen:
    r"""1.0 once one of some strings has stood in the text, 0.0 before; no unit.

    A string that begins in the reasoning and ends in the answer does not count.

    Args:
        strings: What to look for, none of them empty.

    Examples:
        >>> signal = Seen("\nQ:")
        >>> for text in ("Paris.", "\n", "Q", ": Who"):
        ...     signal.update(Step(text))
        >>> signal.value
        1.0
    """

    def __init__(self, *strings: str) -> None:
        if not strings or "" in strings:
            raise ValueError(f"strings must hold at least one, none of them empty, got {strings}")
        self.strings = strings
        self.reset(Request())

    def reset(self, request: Request) -> None:
        self._tail = ""
        self._seen = False
        self._channel: Channel | None = None

    def update(self, step: Step) -> None:
        if self._seen or not step.text:
            return
        if step.channel != self._channel:
            self._channel, self._tail = step.channel, ""
        text = self._tail + step.text
        self._seen = any(string in text for string in self.strings)
        self._tail = text[-max(map(len, self.strings)) :]

    @property
    def value(self) -> float | None:
        """The reading now."""
        return float(self._seen)


class StopString(Policy):
    r"""Stops once the text holds one of some strings: the ``stop`` of every API.

    The usual cure for models that go on with the next question of their own making. The text keeps
    the stop string, and the whole token that ended it, as servers have it on request. White space
    is settled by what follows it: where a string ends in blanks, or in the token that ends it
    blanks follow it, it decides one or two tokens later than a server.

    Rule: after each token, stop if a string stands in the text; after 4096 tokens at ordinary
    checkpoints, up to so many tokens late as lie between two of them. No published default: blank
    lines and the head of a next question are what evaluation harnesses set. Needs text alone.
    Source: common practice (from description); as "stop sequences" in the OpenAI API.

    Args:
        strings: As of :class:`Seen`.
    """

    title: ClassVar[str] = "stop string"
    tier: ClassVar[Tier] = "text"

    def __init__(self, strings: Sequence[str] = ("\n\n", "\nQuestion:", "\nQ:")) -> None:
        self.seen = Seen(*strings)

    @classmethod
    def grid(cls) -> tuple[Self, ...]:
        """Return the strings that harnesses set, alone and together."""
        return (
            cls(),
            cls(("\n",)),
            cls(("\n\n",)),
            cls(("\n\n\n",)),
            cls(("\nQuestion:", "\nQ:", "\nContext:", "\nPassage:", "\nAnswer:")),
            cls((". ",)),
            cls((".",)),
            cls((", ", ". ", "\n")),
        )

    def decide(self, checkpoint: Checkpoint) -> Decision:
        return Decision(True, "stop string") if self.seen.value else CONTINUE

    def signals(self) -> tuple[Signal, ...]:
        return (self.seen,)

    def marks(self) -> tuple[int, ...]:
        return EVERY_TOKEN

    def stops(self, columns: Columns) -> Stops:
        return columns.stops(columns.reading(self.seen) > 0)

    def __repr__(self) -> str:
        return f"StopString({self.seen.strings!r})"
