"""What a completion shows of its level's stops: whether there is one, and what it saves."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from stopping_core.policies.learned import LearnedStopping
from stopping_core.results import Completion


@dataclass(frozen=True, slots=True)
class Sighting:
    """What is known of one request that ended as it should.

    Args:
        stops: Whether the policy stops it.
        drawn: Whether its stop was only noted; what would have come behind it is then known, or its
            audit has failed.
        share: Probability with which a stop of it is only noted, in (0, 1].
        saved: Tokens that the stop saves, where it was only noted; 0 where there is none, and where
            the audit has failed.
        whole: Tokens of the answer, the full one unless it was cut.
    """

    stops: bool
    drawn: bool
    share: float
    saved: float
    whole: float

    @classmethod
    def of(cls, completion: Completion) -> Self | None:
        """Return what a completion shows, None where that is nothing of the certified policy."""
        attempts, usage = completion.attempts, completion.usage
        active = completion.mode == "active"
        share = completion.audit_share if active else 1.0
        if completion.uncertified or not attempts or attempts[-1].error or share <= 0:
            return None
        audit = completion.audit
        drawn = audit is not None or completion.audit_failed
        made = any(one.reason == LearnedStopping.reason for one in attempts)
        stops = drawn or (made if active else completion.would_stop is not None)
        saved = 0
        if audit is not None:
            early = audit.channel == "reasoning"  # its answer was asked for by a probe
            more = usage.probed if early else sum(one.reasoning for one in attempts)
            saved = max(0, usage.generated - audit.checkpoint.tokens - more)
        return cls(stops, stops and (drawn or not active), share, saved, usage.generated)

    @property
    def complete(self) -> bool:
        """Whether the full answer is known."""
        return self.drawn or not self.stops

    @property
    def weight(self) -> float:
        """1 over the probability with which the full answer of such a request is known."""
        return 1 / self.share if self.stops else 1.0
