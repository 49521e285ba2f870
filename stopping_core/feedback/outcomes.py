"""Outcomes and feedback: one finished request, and one judgement of its answer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal, TypeAlias, get_args
from uuid import uuid4

from stopping_core.feedback import checked
from stopping_core.results import Completion
from stopping_core.types import Mode, Request, Usage

Arm: TypeAlias = Literal["active", "shadow", "audit", "off"]
"""How a request was treated: ``audit`` was let run on, at random, to measure what cuts lose."""

FeedbackKind: TypeAlias = Literal["em", "judge", "agreement", "thumbs", "regenerated", "edited"]
"""Where a judgement comes from: the gold answer, a model, another answer, or what people did."""

_MODES: tuple[str, ...] = get_args(Mode)
_ARMS: tuple[str, ...] = get_args(Arm)
_KINDS: tuple[str, ...] = get_args(FeedbackKind)

_WORDS = (
    "user",
    "tenant",
    "use_case",
    "model",
    "model_fingerprint",
    "template",
    "certificate",
    "reason",
    "uncertified",
)
_COUNTS = (
    "prompt_tokens",
    "generated",
    "reread",
    "retried",
    "discarded",
    "avoided",
    "unseen",
    "probed",
    "attempts",
)


def _new_id() -> str:
    return uuid4().hex


def _now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class Outcome:
    """One finished request: who asked, what was decided, what it took.

    Texts are None unless the user asked to keep them, and no part of the ``repr``: that ends up in
    logs.

    Args:
        request_id: What feedback names it by. Of two outcomes with one id a store keeps the first.
        time: When it ended, aware.
        user: Who asked, ``""`` where unknown.
        tenant: For which customer, likewise.
        use_case: For what, likewise.
        model: As in :class:`~stopping_core.types.Request`.
        model_fingerprint: Likewise.
        template: Fingerprint of the prompt template, or ``""``.
        certificate: Fingerprint of the certificate that it was held against, or ``""``.
        risk: The certified level in use, in (0, 1), or None.
        mode: As configured.
        arm: How this request was treated.
        reason: Why the policy stopped it, or ``""``.
        would_stop_tokens: In an audit and in shadow mode, the output tokens after which the policy
            would have stopped it.
        audit_share: Probability, in [0, 1], with which a stop was audited.
        loss: What the stop of an audited request lost, in [0, 1], or None where not known.
        audit_failed: Whether it was to be audited, and what would have come is not known. Nothing
            can grade it later, unlike an audit that only nobody has graded.
        complete: Whether the completeness check passed.
        finish_reason: As in :class:`~stopping_core.results.Draft`.
        uncertified: Why the certificate's promise does not hold, or ``""``.
        prompt_tokens: ``prompt`` of :class:`~stopping_core.types.Usage`, as are the next ones.
        generated: Output tokens of all calls.
        reread: Input tokens of probes and of all calls after the first.
        retried: Output tokens of all calls after the first.
        discarded: Output tokens whose text was thrown away.
        avoided: Estimate of the output tokens that the cut saved.
        unseen: Estimate of the output tokens that were billed after a hang-up.
        probed: Output tokens of probes.
        estimated: True where a count is ours and not the provider's.
        attempts: Calls that were made.
        seconds: From the first call to the end, >= 0.
        cost: USD, >= 0, or None where no price is known.
        features: What is known of the request as numbers, finite.
        prompt: The prompt, where texts are kept.
        text: The answer, where texts are kept.

    Raises:
        ValueError: An argument is out of its interval or of the wrong kind.
    """

    request_id: str = field(default_factory=_new_id)
    time: datetime = field(default_factory=_now)
    user: str = ""
    tenant: str = ""
    use_case: str = ""
    model: str = ""
    model_fingerprint: str = ""
    template: str = ""
    certificate: str = ""
    risk: float | None = None
    mode: Mode = "active"
    arm: Arm = "active"
    reason: str = ""
    would_stop_tokens: int | None = None
    audit_share: float = 0.0
    loss: float | None = None
    audit_failed: bool = False
    complete: bool = True
    finish_reason: str | None = None
    uncertified: str = ""
    prompt_tokens: int = 0
    generated: int = 0
    reread: int = 0
    retried: int = 0
    discarded: int = 0
    avoided: int = 0
    unseen: int = 0
    probed: int = 0
    estimated: bool = True
    attempts: int = 1
    seconds: float = 0.0
    cost: float | None = None
    features: Mapping[str, float] = field(default_factory=dict)
    prompt: str | None = field(default=None, repr=False)
    text: str | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        checked.identifier("request_id", self.request_id)
        object.__setattr__(self, "time", checked.utc("time", self.time))
        for name in _WORDS:
            checked.text(name, getattr(self, name))
        for name in ("finish_reason", "prompt", "text"):
            if getattr(self, name) is not None:
                checked.text(name, getattr(self, name))
        for name in _COUNTS:
            checked.count(name, getattr(self, name))
        if self.would_stop_tokens is not None:
            checked.count("would_stop_tokens", self.would_stop_tokens)
        checked.choice("mode", self.mode, _MODES)
        checked.choice("arm", self.arm, _ARMS)
        for name in ("audit_failed", "complete", "estimated"):
            checked.flag(name, getattr(self, name))
        if self.risk is not None and not 0 < checked.number("risk", self.risk) < 1:
            raise ValueError(f"risk must be in (0, 1), got {self.risk}")
        checked.share("audit_share", self.audit_share)
        if self.loss is not None:
            checked.share("loss", self.loss)
        object.__setattr__(self, "seconds", checked.amount("seconds", self.seconds))
        if self.cost is not None:
            object.__setattr__(self, "cost", checked.amount("cost", self.cost))
        object.__setattr__(self, "features", checked.numbers("features", self.features))

    @property
    def usage(self) -> Usage:
        """The tokens as one value, as a :class:`~stopping_core.costs.CostRegime` prices them."""
        return Usage(
            self.prompt_tokens,
            self.generated,
            self.reread,
            self.retried,
            self.discarded,
            self.avoided,
            self.unseen,
            self.probed,
            self.estimated,
        )


@dataclass(frozen=True, slots=True)
class Feedback:
    """One judgement of an answer.

    Args:
        request_id: Of the request that was answered. It may come before its outcome, or without.
        kind: Where it comes from.
        value: In [0, 1]; 1 is good.
        time: When it was given, aware.
        note: Anything else, kept as it is.
        feedback_id: Its own, so that it counts once, however often it is written.

    Raises:
        ValueError: An argument is out of its interval or of the wrong kind.

    Examples:
        >>> Feedback("17", "thumbs", 1.5)
        Traceback (most recent call last):
        ValueError: value must be in [0, 1], got 1.5
    """

    request_id: str
    kind: FeedbackKind
    value: float
    time: datetime = field(default_factory=_now)
    note: str = field(default="", repr=False)
    feedback_id: str = field(default_factory=_new_id)

    def __post_init__(self) -> None:
        checked.identifier("request_id", self.request_id)
        checked.identifier("feedback_id", self.feedback_id)
        checked.choice("kind", self.kind, _KINDS)
        object.__setattr__(self, "value", checked.share("value", self.value))
        object.__setattr__(self, "time", checked.utc("time", self.time))
        checked.text("note", self.note)


def outcome_of(
    request: Request,
    completion: Completion,
    *,
    time: datetime | None = None,
    template: str = "",
    loss: float | None = None,
    price: Callable[[Usage], float] | None = None,
    features: Mapping[str, float] | None = None,
    keep_texts: bool = False,
) -> Outcome:
    """Make the outcome of a request that has ended.

    Of ``request.metadata`` the keys ``user``, ``tenant`` and ``use_case`` are read, and nothing
    else. A request that was drawn for an audit has the arm ``audit``, also where that failed.

    Args:
        request: What was asked.
        completion: What came of it.
        time: When it ended, aware; None for now.
        template: Fingerprint of the prompt template.
        loss: What its stop lost, where it was audited, in [0, 1].
        price: What a bill comes to, USD: ``CostRegime.cost`` will do, with its prices in USD.
        features: Finite numbers beside ``question_words`` and ``context_words``.
        keep_texts: Whether prompt and answer are kept.

    Raises:
        ValueError: An argument is out of its interval.
    """
    usage, known, audit = completion.usage, request.metadata, completion.audit
    place = completion.would_stop if audit is None else audit.checkpoint
    audited = completion.mode == "active" and (audit is not None or completion.audit_failed)
    texts = {"question_words": request.question, "context_words": request.context}
    counted = {name: _words(text) for name, text in texts.items() if text}
    return Outcome(
        request_id=completion.request_id or _new_id(),
        time=time or _now(),
        user=_named(known, "user"),
        tenant=_named(known, "tenant"),
        use_case=_named(known, "use_case"),
        model=request.model,
        model_fingerprint=request.model_fingerprint,
        template=template,
        certificate=completion.certificate,
        risk=completion.risk,
        mode=completion.mode,
        arm="audit" if audited else completion.mode,
        reason=completion.reason,
        would_stop_tokens=None if place is None else place.tokens,
        audit_share=completion.audit_share,
        loss=loss,
        audit_failed=completion.audit_failed,
        complete=completion.complete,
        finish_reason=completion.finish_reason,
        uncertified=completion.uncertified,
        prompt_tokens=usage.prompt,
        generated=usage.generated,
        reread=usage.reread,
        retried=usage.retried,
        discarded=usage.discarded,
        avoided=usage.avoided,
        unseen=usage.unseen,
        probed=usage.probed,
        estimated=usage.estimated,
        attempts=len(completion.attempts),
        seconds=completion.seconds,
        cost=None if price is None else price(usage),
        features=counted | dict(features or {}),
        prompt=request.prompt if keep_texts else None,
        text=completion.text if keep_texts else None,
    )


def _named(metadata: Mapping[str, Any], key: str) -> str:
    value = metadata.get(key)
    return "" if value is None else str(value)


def _words(text: str) -> float:
    """How many words a text has, about: white space of one kind parts them."""
    return float(1 + text.count(" ") + text.count("\n"))
