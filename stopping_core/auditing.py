"""Whether a request is audited, and what that has shown."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from stopping_core.answer import Answer
from stopping_core.completeness import is_truncated
from stopping_core.policies import LoopGuard, Never, Policy
from stopping_core.protocols import Prober
from stopping_core.results import Audit, Draft, Trial
from stopping_core.stopping import AdaptiveStopping
from stopping_core.types import Step


class Auditing:
    """Draws whether a request's stop is only noted, and keeps what came behind it.

    Args:
        stopping: The settings.
        prober: Asks the model what it would answer now; None where nobody can.
        draw: Draws from [0, 1).

    Attributes:
        share: Probability with which a stop of this request is audited; 0 where none can be.
        drawn: Whether this one is.
        broken: Whether the current call was cut off behind a stop that was noted.
        failed: Whether what would have come behind a stop is not known.
    """

    def __init__(
        self, stopping: AdaptiveStopping, prober: Prober | None, draw: Callable[[], float]
    ) -> None:
        share = {"active": stopping.audit, "shadow": 1.0}.get(stopping.mode, 0.0)
        self.share = share if _can_audit(stopping, prober) else 0.0
        active = stopping.mode == "active"
        self.drawn = active and self.share > 0 and draw() < self.share
        self.broken = False
        self.failed = False
        self._active = active
        self._certificate = stopping.certificate
        self._audit: Audit | None = None
        self._trial: Trial | None = None
        seen_whole = self.drawn or stopping.mode == "shadow"
        self._keeps = seen_whole and any(map(wants_steps, stopping.hooks))
        self._calls = 0
        self._steps: list[Step] = []
        self._seen: tuple[Step, ...] = ()

    @property
    def trial(self) -> Trial | None:
        """What the challenger would have left."""
        return None if self.failed else self._trial

    @property
    def seen(self) -> tuple[Step, ...]:
        """The stream of the first call, where it went to its end and a hook wants it."""
        return self._seen

    def begin_call(self) -> None:
        """Get ready for a call; those after the first are no run of their own."""
        self.broken = False
        self._keeps = self._keeps and not self._calls
        self._calls += 1

    def take(self, step: Step) -> None:
        """Take a step before anything is made of it."""
        if self._keeps:
            self._steps.append(step)

    def end_call(self, answer: Answer, finish_reason: str | None, granted: int | None) -> None:
        """Take what the call that ends has shown.

        Args:
            answer: The answer.
            finish_reason: Of the call.
            granted: Output tokens that the answer might have by its end, None for no limit.
        """
        audit: Audit | None = None
        hung_up = answer.decision.stop and not answer.overran
        if self._keeps and not self.broken and not hung_up:
            self._seen = tuple(self._steps)
        if not self.broken:
            self._trial = answer.trial(finish_reason)
            audit = answer.audit(finish_reason)
        if audit is not None and self._certificate is not None and granted is not None:
            whole = granted >= self._certificate.scope.max_tokens
            if is_truncated(finish_reason) and not whole:  # a certified run would have had more
                audit = None
        if audit is not None:
            self._audit = audit
        elif answer.overran or answer.unheard:
            self.failed = True

    def with_answer(self, draft: Draft) -> Audit | None:
        """The audit; of reasoning that went on, with the answer that came in the end."""
        audit = self._audit
        if audit is None or audit.channel == "answer" or not self._active:
            return audit
        return replace(audit, full=draft.text, finish_reason=draft.finish_reason)


def check_prober(stopping: AdaptiveStopping, prober: Prober | None) -> None:
    """Refuse policies that probe where there is no prober.

    Raises:
        ValueError: Names the policy.
    """
    for name in ("policy", "reasoning"):
        policy: Policy = getattr(stopping, name)
        if prober is None and stopping.mode != "off" and "probes" in policy.needs():
            raise ValueError(
                f"{name} must not need probes where the model cannot be asked in the middle of a "
                f"call, as a local one can that generates a single answer, got {policy!r}"
            )


def wants_steps(hook: object) -> bool:
    """Whether a hook reads ``Completion.seen``."""
    return bool(getattr(hook, "wants_steps", False))


def _can_audit(stopping: AdaptiveStopping, prober: Prober | None) -> bool:
    """Whether every stop that is not forced can be audited; of reasoning only by asking."""
    if isinstance(stopping.reasoning, Never | LoopGuard):
        return True
    return prober is not None and stopping.reasoning_tags[1] in stopping.probe
