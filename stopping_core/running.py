"""One call as it runs: what came of it, what the provider counted, and how it ended."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from stopping_core.types import Step, Usage


@dataclass(slots=True)
class RunningCall:
    """What is known of the call under way.

    Args:
        start: When it began, seconds.
        is_open: Whether it is under way, and not booked yet.
        tokens: What came, as we count it.
        usage: The provider's own count so far, or None.
        finish_reason: As far as it can be believed, or None.
        ended: How the finish reason came; ``""`` where there was none, or text came after it.
        unsent: Whether the call is known to have failed before it was sent.
    """

    start: float = 0.0
    is_open: bool = False
    tokens: int = 0
    usage: Usage | None = None
    finish_reason: str | None = None
    ended: Literal["", "with text", "alone"] = ""
    unsent: bool = False
    _premature: bool = False  # whether text came after a finish reason

    def take(self, step: Step) -> None:
        """Take the next step: its tokens, its usage, and a finish reason where it is the end."""
        self.tokens += step.tokens
        self.usage = step.usage or self.usage
        if step.text and self.ended:
            self.ended, self._premature = "", True
        if not step.finish_reason:
            return
        self.finish_reason = step.finish_reason
        if not step.text:
            self.ended = "alone"
        elif not self._premature:
            self.ended = "with text"

    def still_billed(self, *, hung_up: bool) -> bool:
        """Whether the model may have gone on after we left."""
        return hung_up and not self.ended and not self.unsent

    def generated(self, *, hung_up: bool) -> tuple[int, bool]:
        """Output tokens that were billed, and whether the provider counted them.

        What a provider says on the way is not the sum, where we left it.
        """
        if self.usage is None:
            return self.tokens, False
        counted = self.usage.generated
        if self.still_billed(hung_up=hung_up) and counted < self.tokens:
            return self.tokens, False
        return counted, True
