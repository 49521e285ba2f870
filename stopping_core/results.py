"""What becomes of a request: calls, drafts and verdicts on the way, and all that came of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from stopping_core.types import CONTINUE, Channel, Checkpoint, Decision, Mode, Step, Usage

CallKind = Literal["first", "continue", "reseed", "close_reasoning", "restart"]


@dataclass(frozen=True, slots=True)
class Draft:
    """The answer so far, as a completeness check sees it.

    Args:
        text: The answer, without reasoning.
        reasoning: The reasoning before it.
        finish_reason: ``"cut"`` where our policy stopped it, ``"stop"`` and ``"length"`` where the
            model or its budget did, the provider's own word otherwise, None where there was none.
        decision: The policy's decision, where it stopped the text.
    """

    text: str
    reasoning: str = ""
    finish_reason: str | None = None
    decision: Decision = CONTINUE


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a completeness check says of a draft: complete or not, and why not."""

    complete: bool
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Call:
    """One call to the model that the session asks its driver to make.

    Args:
        kind: ``first``; ``continue`` the prefix; ``reseed`` after a dropped loop;
            ``close_reasoning`` and ask for the answer; ``restart`` from nothing.
        attempt: 1 for the first call.
        max_tokens: Output tokens to ask for. None leaves the caller's own setting alone.
        prefix: Answer text that is kept and must not be generated again.
        prefill: What the last assistant message has to hold: the prefix, and before it the
            reasoning in its tags where the model goes on in the same message.
        words: The end of the prefill where it closes reasoning that was ended, as it was not the
            model that wrote it; else ``""``.
        turn: What to ask a model that takes no prefill, in a user turn after the prefill; ``""`` at
            a call that begins anew.
        resample: True where the same greedy run would only fail again: sample, with another seed.
        timeout: Seconds without a step after which the call counts as broken, or None. Async
            drivers watch it themselves; a sync backend has to hand it to its client, so that after
            the finish reason it waits as long for the end of the stream, and an async driver does
            not. If the client itself tries again, it waits that often: set its max_retries to 0.
    """

    kind: CallKind
    attempt: int
    max_tokens: int | None
    prefix: str = ""
    prefill: str = ""
    words: str = ""
    turn: str = ""
    resample: bool = False
    timeout: float | None = None

    @property
    def greedy(self) -> bool:
        """Whether to decode greedily, whatever the temperature of the request.

        What stands behind reasoning that was ended only reads off what was thought, as a probe
        does; so it is the answer that a recording has there, for sampled runs as well.
        """
        return self.kind == "close_reasoning"


@dataclass(frozen=True, slots=True)
class Attempt:
    """The ledger's line for one call.

    Args:
        kind: As in :class:`Call`.
        budget: Output tokens the whole answer was allowed by the end of this call, or None.
        generated: Output tokens that this call was billed, reasoning included.
        reasoning: Those of them that were reasoning.
        prompt_tokens: Input tokens of this call, prefix included. None where unknown.
        seconds: Seconds from the call to its end.
        finish_reason: As in :class:`Draft`.
        reason: Why the policy stopped it, or ``""``.
        verdict: The completeness verdict, None where none was reached.
        discarded: Generated tokens whose text was thrown away (a restart, a dropped loop).
        avoided: Estimate of the tokens that the cut saved: what was left of the budget, so an upper
            bound. 0 where nothing was cut, and where a hang-up does not end the bill.
        unseen: Estimate of the tokens that were billed after we had hung up: what was left of the
            budget, so an upper bound. 0 where a hang-up ends the bill.
        probed: Output tokens of the probes that were made during it; not in ``generated``.
        reread: Input tokens of these probes; not in ``prompt_tokens``.
        error: The transport error that ended it, or ``""``.
    """

    kind: CallKind
    budget: int | None
    generated: int
    reasoning: int
    prompt_tokens: int | None
    seconds: float
    finish_reason: str | None
    reason: str = ""
    verdict: Verdict | None = None
    discarded: int = 0
    avoided: int = 0
    unseen: int = 0
    probed: int = 0
    reread: int = 0
    error: str = ""


@dataclass(frozen=True, slots=True)
class Setting:
    """How one request is treated, within what a certificate allows.

    Args:
        risk: Certified level whose policy decides.
        cut: Whether its stops are made; else they are only noted, as in mode ``shadow``.
        audit: As of :class:`~stopping_core.AdaptiveStopping`.
    """

    risk: float
    cut: bool = True
    audit: float = 0.0


@dataclass(frozen=True, slots=True)
class Audit:
    """One request that ran to its end although the policy would have stopped it.

    It is the only unbiased view of what stops lose, once they are made. The user of a stream does
    not see it, save that the stream ends later: what came after the stop is not shown. Where the
    stop would have ended the reasoning, the full run is the answer.

    Args:
        checkpoint: Where it would have stopped.
        channel: There, in the answer or in the reasoning.
        cut: The answer that the stop leaves.
        full: The answer of the full run.
        finish_reason: Of the full run.
    """

    checkpoint: Checkpoint
    channel: Channel
    cut: str
    full: str
    finish_reason: str | None


@dataclass(frozen=True, slots=True)
class Trial:
    """What a challenger would have left of an answer that was seen to its end.

    Args:
        checkpoint: Where it would have stopped, or None.
        text: The answer that it leaves.
        full: The answer of the full run.
        tokens: Output tokens of the full run's answer.
        finish_reason: Of the full run.
    """

    checkpoint: Checkpoint | None
    text: str
    full: str
    tokens: int
    finish_reason: str | None


@dataclass(frozen=True, slots=True)
class Completion:
    """What came of a request.

    Args:
        text: The answer.
        reasoning: The reasoning before it.
        complete: Whether the completeness check passed. True where none was asked for.
        verdict: The last verdict.
        finish_reason: As in :class:`Draft`.
        reason: Why the policy stopped it, or ended its reasoning; ``""`` where it did neither.
        usage: The sum of the ledger.
        attempts: The ledger.
        seconds: From the first call to the end.
        mode: As configured.
        would_stop: In shadow mode, the checkpoint at which ``active`` would have cut the answer, or
            else ended the reasoning; else None.
        hang_up_ends_bill: Whether closing a stream ended the bill. If not, the budgets were set up
            front.
        uncertified: Why the certificate's promise does not hold for this request, or ``""``: what
            was trusted, or what kept the stream from being cut.
        audit: What the stop would have lost, where the request was one of the audit share, or in
            shadow mode, and the policy would have stopped it; else None.
        audit_share: Probability with which such a stop is audited; 0 where none can be.
        audit_failed: Whether it was to be audited, and what would have come is not known.
        drawn: Whether the request was drawn for an audit, whatever came of it.
        trial: What the challenger would have made of it, in requests that were drawn for an audit
            whatever came, and in shadow mode; else None.
        seen: The stream of the first call, in requests that were drawn for an audit whatever came,
            and in shadow mode, where that call went to its end; else empty. Only kept where a hook
            ``wants_steps``.
        request_id: By which later feedback names the request.
        risk: Certified level of the policy that decided, or None.
        certificate: Fingerprint of the certificate, or ``""``.
    """

    text: str
    reasoning: str
    complete: bool
    verdict: Verdict
    finish_reason: str | None
    reason: str
    usage: Usage
    attempts: tuple[Attempt, ...]
    seconds: float
    mode: Mode = "active"
    would_stop: Checkpoint | None = None
    hang_up_ends_bill: bool = True
    uncertified: str = ""
    audit: Audit | None = None
    audit_share: float = 0.0
    audit_failed: bool = False
    drawn: bool = False
    trial: Trial | None = None
    seen: tuple[Step, ...] = field(default=(), repr=False)
    request_id: str = ""
    risk: float | None = None
    certificate: str = ""
