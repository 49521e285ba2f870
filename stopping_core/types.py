"""The values that pass between a model, the engine and the user: frozen, slotted, inert."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntFlag
from typing import Any, Literal

Channel = Literal["answer", "reasoning"]
Mode = Literal["off", "shadow", "active"]
CallKind = Literal["first", "continue", "reseed", "close_reasoning", "restart"]
Need = Literal[
    "logprobs",
    "top_logprobs",
    "end_probability",
    "seconds",
    "probes",
    "samples",
    "hidden_states",
    "rounds",
]
"""What a rule may ask of a stream beyond its text."""

_ONE_TOKEN = 16  # characters that one token may have
_ONE_LONG = re.compile(r"\s*[A-Za-z]{1,32}|\s+|(\W)\1*")


def estimate_tokens(text: str) -> int:
    """Estimate how many tokens a chunk held, where the provider does not say.

    Chunks of up to 16 characters are taken for one token, as streams mostly send them, and so are
    one long word, a run of blanks and a row of one mark; longer ones for a token every 4
    characters, as in English.

    Examples:
        >>> [estimate_tokens(text) for text in (" word", " responsibilities", "-" * 40)]
        [1, 1, 1]
        >>> estimate_tokens(" of several words")
        5
    """
    if len(text) <= _ONE_TOKEN or _ONE_LONG.fullmatch(text):
        return 1
    return math.ceil(len(text) / 4)


class Boundary(IntFlag):
    """What ends at a place in the text; several things may end at once."""

    NONE = 0
    SENTENCE = 1
    LINE = 2
    PARAGRAPH = 4
    JSON = 8
    FENCE = 16
    LIST = 32


@dataclass(frozen=True, slots=True)
class Usage:
    """Every token that was billed for one request, summed over its attempts.

    Args:
        prompt: Input tokens of the first call; 0 where unknown.
        generated: Output tokens of all calls.
        reread: Input tokens of probes and of all calls after the first, prefixes included.
        retried: Output tokens of all calls after the first.
        discarded: Output tokens whose text was thrown away.
        avoided: Estimate (an upper bound) of the output tokens that the cut saved.
        unseen: Estimate (an upper bound) of the output tokens that were billed after we had hung
            up, where a hang-up does not end the bill. Not in ``generated``.
        probed: Output tokens of probes. Not in ``generated``; their input is in ``reread``.
        estimated: True where a count is ours and not the provider's.
    """

    prompt: int = 0
    generated: int = 0
    reread: int = 0
    retried: int = 0
    discarded: int = 0
    avoided: int = 0
    unseen: int = 0
    probed: int = 0
    estimated: bool = True


@dataclass(frozen=True, slots=True)
class Step:
    """What one streamed chunk brings.

    One step per token where the provider says so; else a chunk may hold several tokens, or half a
    word. Nothing but the count of tokens may depend on how a text is chunked: the segmenter cuts
    every step at the boundaries inside it, so that signals and policies see the same pieces.

    Args:
        text: The new characters, possibly none.
        tokens: Number of tokens in the chunk, >= 0.
        logprob: Mean logprob of the chunk's tokens, nats, <= 0. None where the provider gives none.
        top_logprobs: Logprobs of the k most likely tokens at its last position, nats.  # (k,)
        entropy: Entropy of the full next-token distribution, nats, where a local model knows it.
        margin: Probability of the best token minus that of the second, in [0, 1], likewise.
        end_probability: Probability that the model had ended before this token, in [0, 1],
            likewise.
        channel: ``"reasoning"`` for text inside the thinking part.
        finish_reason: The provider's word for why it ended, on the last chunk only. Text after it
            takes it back: some say it on every chunk, and there from the second chunk on only one
            without text counts as the end. That the first was none cannot be told: an error right
            after it passes for the end of the answer.
        usage: The provider's own count of tokens for this call so far; the last one stands.
        boundary: What ends here. Set by the segmenter, on steps without text; backends leave it.
        raw: The provider's own chunk, passed through untouched.
    """

    text: str
    tokens: int = 1
    logprob: float | None = None
    top_logprobs: tuple[float, ...] | None = None
    entropy: float | None = None
    margin: float | None = None
    end_probability: float | None = None
    channel: Channel = "answer"
    finish_reason: str | None = None
    usage: Usage | None = None
    boundary: Boundary = Boundary.NONE
    raw: Any = field(default=None, compare=False, repr=False)

    def __post_init__(self) -> None:
        if self.tokens < 0:
            raise ValueError(f"tokens must be >= 0, got {self.tokens}")


@dataclass(frozen=True, slots=True)
class Request:
    """What is known about a request before its first token.

    Args:
        prompt: The prompt as text, as far as it is known. Used as evidence, never sent from here.
        question: The user's question alone, where the caller can tell it from the context.
        context: Retrieved passages, where there are any.
        expects: The form of the answer, where the caller knows it.
        prompt_tokens: Length of the prompt, tokens. None where unknown.
        max_tokens: The caller's own limit on output tokens that come, over all attempts. What may
            be billed unseen after a hang-up is not held against it, but against the limits on the
            bill: ``AdaptiveStopping.max_total_tokens`` and ``CostCeiling``.
        max_output_tokens: The model's limit on output tokens.
        context_window: The model's limit on prompt plus output, tokens.
        metadata: Anything else: user, tenant, use case.
        model: Name of the model that is asked; ``""`` where unknown.
        model_fingerprint: Of its weights, quantisation and engine, as a recording names them;
            ``""`` where unknown, as behind an endpoint.
        sampling: Settings of the sampler, by :func:`~stopping_core.sampling.sampling_of`.
        chat: Whether it is sent as messages; False for a raw prompt, None where unknown.
        beside: What is sent beside these texts, a word each: ``"image_url"``, ``"tools"``,
            ``"earlier turns"``.
    """

    prompt: str = ""
    question: str = ""
    context: str = ""
    expects: Literal["text", "json", "code"] | None = None
    prompt_tokens: int | None = None
    max_tokens: int | None = None
    max_output_tokens: int | None = None
    context_window: int | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    model: str = ""
    model_fingerprint: str = ""
    sampling: Mapping[str, Any] = field(default_factory=dict)
    chat: bool | None = None
    beside: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name in ("max_tokens", "max_output_tokens", "context_window"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name} must be >= 1, got {value}")
        if self.prompt_tokens is not None and self.prompt_tokens < 0:
            raise ValueError(f"prompt_tokens must be >= 0, got {self.prompt_tokens}")


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A place in the stream where a policy is asked.

    Args:
        offset: Characters of text up to here.
        tokens: Output tokens of this answer up to here, over all its attempts.
        seconds: Seconds since the request began.
        boundary: What ends here; ``Boundary.NONE`` at a checkpoint that only counts tokens.
    """

    offset: int
    tokens: int
    seconds: float
    boundary: Boundary


@dataclass(frozen=True, slots=True)
class Decision:
    """What a policy says at a checkpoint.

    Args:
        stop: Whether the text up to the checkpoint is enough.
        reason: Why, in one or two words: ``"sentence"``, ``"json"``, ``"loop"``, ``"deadline"``.
        forced: True where going on is useless or not allowed (a loop, a deadline), so that the
            stop holds even though the answer is not complete.
        keep: Where the end of the text is waste (a loop), the characters before it; else None.
        probe: True where the policy cannot say before it knows what the model would answer now:
            it is then asked again, by ``weigh``, with a :class:`Probe`.
    """

    stop: bool
    reason: str = ""
    forced: bool = False
    keep: int | None = None
    probe: bool = False


CONTINUE = Decision(stop=False)
PROBE = Decision(stop=False, probe=True)


@dataclass(frozen=True, slots=True)
class Probe:
    """What the model would answer now: asked at a place inside its answer, and thrown away.

    Args:
        text: The answer. Of the words that asked for it only those that belong to it: what follows
            the tag that closes the reasoning.
        tokens: Output tokens it took, >= 0.
        reread: Input tokens it took: prompt, text so far and the words that asked.
        logprobs: Of its tokens, nats; empty where they are not known.
        entropy: Of the distribution over its first token, nats, or None.
    """

    text: str
    tokens: int
    reread: int
    logprobs: tuple[float, ...] = ()
    entropy: float | None = None


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
        trial: What the challenger would have made of it, in requests that were drawn for an audit
            whatever came, and in shadow mode; else None.
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
    trial: Trial | None = None
    request_id: str = ""
    risk: float | None = None
    certificate: str = ""
