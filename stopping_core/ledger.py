"""Every billed token of one request: generated, re-read, retried, thrown away."""

from __future__ import annotations

from dataclasses import replace

from stopping_core.results import Attempt
from stopping_core.types import Usage


class Ledger:
    """The attempts of one request, in order. Budget schedules read it, the session writes it.

    Args:
        seconds: Seconds since the request began; the session keeps it up to date.
    """

    def __init__(self) -> None:
        self.attempts: list[Attempt] = []
        self.seconds = 0.0
        self.estimated = True

    def __len__(self) -> int:
        return len(self.attempts)

    @property
    def generated(self) -> int:
        """Output tokens that came so far, over all attempts."""
        return sum(a.generated for a in self.attempts)

    @property
    def billed(self) -> int:
        """Output tokens billed so far, at most, probes included: an upper bound after hang-ups."""
        return sum(a.generated + a.unseen + a.probed for a in self.attempts)

    @property
    def kept(self) -> int:
        """Output tokens that came so far and whose text still stands."""
        return sum(a.generated - a.discarded for a in self.attempts)

    @property
    def granted(self) -> int:
        """The largest budget granted so far; 0 before the first call."""
        return max((a.budget or 0 for a in self.attempts), default=0)

    def discard(self, share: float, *, thoughts: bool) -> None:
        """Book that text is dropped.

        Args:
            share: The share of the text that is dropped, in [0, 1].
            thoughts: Whether the reasoning counts as text here.
        """
        for i, attempt in enumerate(self.attempts):
            standing = attempt.generated - attempt.discarded
            standing -= 0 if thoughts else attempt.reasoning
            dropped = round(standing * share)
            if dropped > 0:
                self.attempts[i] = replace(attempt, discarded=attempt.discarded + dropped)

    def usage(self) -> Usage:
        """The sum over all attempts."""
        first, later = self.attempts[:1], self.attempts[1:]
        return Usage(
            prompt=sum(a.prompt_tokens or 0 for a in first),
            generated=self.generated,
            reread=sum(a.prompt_tokens or 0 for a in later) + sum(a.reread for a in self.attempts),
            retried=sum(a.generated for a in later),
            discarded=sum(a.discarded for a in self.attempts),
            avoided=sum(a.avoided for a in self.attempts),
            unseen=sum(a.unseen for a in self.attempts),
            probed=sum(a.probed for a in self.attempts),
            estimated=self.estimated,
        )
