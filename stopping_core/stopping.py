"""The one object that says what to do; every integration takes it."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, fields, replace
from numbers import Real
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self, TypeAlias, get_args

from stopping_core.budgets import GeometricBudget, QuantileBudget
from stopping_core.completeness import default_check
from stopping_core.errors import MissingPackage
from stopping_core.policies import LoopGuard, Never, Policy
from stopping_core.profiles import careful
from stopping_core.profiles import profile as find_profile
from stopping_core.protocols import BudgetSchedule, CompletenessCheck, Hook, Steer
from stopping_core.types import Mode, Request

if TYPE_CHECKING:
    from stopping_core.certificates import Certificate, CertifiedLevel

Difference: TypeAlias = Literal[
    "model",
    "template",
    "sampling",
    "policy",
    "completeness",
    "settings",
    "budget",
    "size",
    "stream",
    "vote",
]
"""How a request may differ from those that a certificate holds for."""


@dataclass(frozen=True, slots=True)
class AdaptiveStopping:
    """When to cut a generation, when an answer is complete, and what to do when it is not.

    Immutable and shared: one object serves any number of requests and threads. The defaults are
    careful: only what is certainly waste is cut (text after a closed JSON answer, after a finished
    final answer, inside a loop), only what is certainly unfinished is continued.

    Args:
        policy: When the answer is done.
        completeness: Whether it is complete; a cut is only made where this passes.
        budget: Output tokens to grant, call by call.
        up_front: Limits ``budget`` where the provider goes on and bills after a hang-up: what a cut
            leaves of a grant is billed there unseen, so grants begin small. The last call has all
            that ``budget`` grants.
        attempts: Calls in all, >= 1, transport errors included. What the inner client tries again
            by itself comes on top, in each of them: set its max_retries to 0.
        mode: ``active`` cuts; ``shadow`` decides and records but leaves the call and its text
            alone; ``off`` does nothing.
        audit: Share of the requests, in [0, 1), whose stops are only noted in mode ``active``: the
            call goes on to its end, unseen by the user, and ``Completion.audit``
            holds what the stop would have left beside what came. Forced stops are
            made all the same, and the end of reasoning is audited only where the model can be asked
            in the middle of a call.
        max_total_tokens: Output tokens billed over all calls, >= 1, or None.
        max_seconds: Seconds over all calls and waits, > 0, or None.
        stall_seconds: Seconds without a step after which a call counts as broken, > 0, or None. It
            is then continued, as after a lost connection. The wait for the first step counts, and
            models that think unseen, or do not stream, are silent for minutes: the default is that
            of OpenAI's client. Where the inner client tries again by itself, the waits add up: set
            its max_retries to 0.
        reasoning: When to end the reasoning. By default only where it loops.
        reasoning_tags: Tags that mark reasoning in plain text, and that are used to give it back.
        probe: Words that ask for the answer now: of a policy that probes, and after reasoning that
            was ended, where they hold the closing tag. What follows the tag is then the beginning
            of the answer. ``""`` closes reasoning with its tag alone.
        probe_tokens: The most tokens that a probe may take, >= 1.
        checkpoint_every: Tokens between two checkpoints inside a sentence, >= 1.
        backoff: First and largest wait after a transport error, seconds; waits are jittered.
        on_exhausted: ``return`` the best there is, marked incomplete, or ``raise`` BudgetExhausted.
        hooks: Told about every finished request.
        certificate: What each request is held against before its first call; see :meth:`load`.
        trust: Kinds of differences from the certificate that are accepted.
        otherwise: What becomes of a request that the certificate does not hold for, in mode
            ``active``: ``refuse`` it with NotCertified, or answer it in ``shadow``, as after a
            model was swapped.
        challenger: A rule for answers that is tried beside ``policy`` and changes nothing. On
            requests that are drawn for an audit, and in shadow, ``Completion.trial`` says what it
            would have left.
        steer: Chooses the certified level of each request, and its share of audits, in mode
            ``active``; it needs a certificate.

    Raises:
        ValueError: An argument is out of its interval.
        TypeError: An argument is of the wrong kind.

    Examples:
        >>> AdaptiveStopping.from_profile("high_stakes").attempts
        4
        >>> AdaptiveStopping(attempts=0)
        Traceback (most recent call last):
        ...
        ValueError: attempts must be a whole number >= 1, got 0
    """

    policy: Policy = field(default_factory=careful)
    completeness: CompletenessCheck = field(default_factory=default_check)
    budget: BudgetSchedule = field(default_factory=GeometricBudget)
    up_front: BudgetSchedule = field(default_factory=lambda: GeometricBudget(first=64))
    attempts: int = 3
    mode: Mode = "active"
    audit: float = 0.0
    max_total_tokens: int | None = None
    max_seconds: float | None = None
    stall_seconds: float | None = 600.0
    reasoning: Policy = field(default_factory=LoopGuard)
    reasoning_tags: tuple[str, str] = ("<think>", "</think>")
    probe: str = ""
    probe_tokens: int = 20
    checkpoint_every: int = 16
    backoff: tuple[float, float] = (0.5, 8.0)
    on_exhausted: Literal["return", "raise"] = "return"
    hooks: tuple[Hook, ...] = ()
    certificate: Certificate | None = None
    trust: tuple[Difference, ...] = ()
    otherwise: Literal["refuse", "shadow"] = "refuse"
    challenger: Policy | None = None
    steer: Steer | None = None

    def __post_init__(self) -> None:
        for name in ("policy", "reasoning"):
            _check_policy(name, getattr(self, name), self.probe)
        _check_challenger(self.challenger)
        for name in ("completeness", "budget", "up_front"):
            _check_callable(name, getattr(self, name))
        _check_hooks(self.hooks)
        for name in ("attempts", "checkpoint_every", "probe_tokens"):
            _check_whole(name, getattr(self, name))
        if self.max_total_tokens is not None:
            _check_whole("max_total_tokens", self.max_total_tokens)
        for name in ("max_seconds", "stall_seconds"):
            seconds = getattr(self, name)
            if seconds is not None and not 0 < seconds < math.inf:
                raise ValueError(f"{name} must be in (0, inf), got {seconds}")
        if len(self.backoff) != 2 or not 0 <= self.backoff[0] <= self.backoff[1] < math.inf:
            raise ValueError(f"backoff must hold 0 <= first <= largest < inf, got {self.backoff}")
        _check_share("audit", self.audit)
        if "probes" in self.reasoning.needs() and self.reasoning_tags[1] not in self.probe:
            raise ValueError(
                f"probe must hold the tag that closes the reasoning, {self.reasoning_tags[1]!r}, "
                f"for reasoning={self.reasoning!r}, got {self.probe!r}"
            )
        if self.mode not in get_args(Mode):
            raise ValueError(f"mode must be one of {get_args(Mode)}, got {self.mode!r}")
        _check_choice("on_exhausted", self.on_exhausted, ("return", "raise"))
        _check_choice("otherwise", self.otherwise, ("refuse", "shadow"))
        if len(self.reasoning_tags) != 2 or not all(self.reasoning_tags):
            raise ValueError(
                f"reasoning_tags must be two non-empty strings, got {self.reasoning_tags!r}"
            )
        _check_steer(self.steer, self.audit, self.certificate)
        object.__setattr__(self, "trust", tuple(self.trust))
        if unknown := sorted(set(self.trust) - set(get_args(Difference))):
            raise ValueError(f"trust must hold some of {get_args(Difference)}, got {unknown}")

    @classmethod
    def from_profile(cls, profile: str, **changes: Any) -> Self:
        """Make the hand-set configuration for a use case, with any field changed.

        What it loses is not known: see :meth:`load` for what is proven on recorded runs.

        Args:
            profile: ``realtime_chat``, ``balanced``, ``high_stakes`` or ``batch``.
            changes: Fields to set differently.

        Raises:
            ValueError: No such profile.
        """
        known = find_profile(profile)
        made = {"policy": known.by_hand(), "budget": known.budget, "attempts": known.attempts}
        return cls(**{**made, **changes})

    @classmethod
    def load(
        cls,
        path: str | Path,
        risk: float | None = None,
        *,
        profile: str = "balanced",
        **changes: Any,
    ) -> Self:
        """Make the configuration of a certificate, as ``stopping certify`` wrote it.

        Its policy is that of the largest certified level that is at most ``risk``. Where a hang-up
        does not end the bill, grants are planned by the lengths that the certified runs needed
        (:class:`~stopping_core.budgets.QuantileBudget`); elsewhere one grant is as large as the
        recorded runs were.

        Before the first call of each request the session looks whether the certificate holds for
        it: the same model (by its name, an unknown one counts as another; a local one also by its
        weights), a prompt made from the same template and nothing else, the same temperature and
        plain sampling, the certified policy, the default completeness check before a cut, the same
        checkpoints, and room for as many tokens as the recorded runs had. If not, the request is
        refused with :class:`~stopping_core.errors.NotCertified` before anything is sent; in mode
        ``shadow`` it is only logged.

        What is uncommon or only shows in the stream keeps the policy from cutting, which loses
        nothing: a question or a context that is longer or shorter than any that was recorded, a
        chunk that holds several tokens, none of the logprobs that the policy reads, an answer that
        is sampled anew. It is logged, and :attr:`~stopping_core.results.Completion.uncertified`
        says so.

        Args:
            path: The certificate, JSON.
            risk: How many of the answers that the full run has right may be lost, as a share of
                all requests. None for the profile's: 0.05 for ``realtime_chat``, 0.02 for
                ``balanced``, 0.01 for ``batch``, 0.005 for ``high_stakes``.
            profile: The use case: its risk, what its waiting costs, and how many calls it may take.
            changes: Fields to set differently. ``trust=("model", "template")`` accepts requests
                that differ in these ways: without the promise. With ``"size"`` and ``"stream"``
                what would only not be cut is cut as well.

        Raises:
            ValueError: The file is no certificate or damaged, or has no such level, or there is no
                such profile.
            OSError: It cannot be read.
            MissingPackage: numpy is not installed.
        """
        try:
            from stopping_core.certificates import Certificate
        except ModuleNotFoundError as error:
            raise MissingPackage(error.name or "numpy", "traces") from error
        return cls.certified(Certificate.load(path), risk, profile=profile, **changes)

    @classmethod
    def certified(
        cls,
        certificate: Certificate,
        risk: float | None = None,
        *,
        profile: str = "balanced",
        **changes: Any,
    ) -> Self:
        """Make the configuration of a certificate, as :meth:`load` does of its file.

        Raises:
            ValueError: It has no such level, or there is no such profile.
        """
        known = find_profile(profile)
        scope = certificate.scope
        level = _level(certificate, known.risk if risk is None else risk, profile, risk is None)
        policy = certificate.policy(level.risk)
        made: dict[str, Any] = {
            "certificate": certificate,
            "checkpoint_every": scope.every,
            "budget": _whole_runs(scope.max_tokens),
            "attempts": changes.get("attempts", known.attempts),
        }
        if level.needed is not None:
            made["up_front"] = QuantileBudget(
                level.needed,
                call_cost=known.call_cost,
                natural=certificate.natural,
                attempts=made["attempts"],
            )
        if scope.channel == "answer":
            made |= {"policy": policy, "reasoning": Never()}
        else:
            made |= {"policy": Never(), "reasoning": policy, "probe": scope.template.probe}
            made |= {"probe_tokens": scope.probe_tokens, "up_front": made["budget"]}
            if scope.reasoning_tags is not None:
                made["reasoning_tags"] = scope.reasoning_tags
        return cls(**{**made, **changes})

    def steered(self, request: Request) -> Self:
        """Return the settings for one request: as ``steer`` chooses, or these.

        Raises:
            ValueError: It chose a risk that is not certified.
        """
        certificate = self.certificate
        if self.steer is None or certificate is None or self.mode != "active":
            return self
        chosen = self.steer(request, certificate)
        known = [level.risk for level in certificate.levels]
        if chosen.risk not in known:
            raise ValueError(f"steer must choose a certified level, one of {known}, got {chosen}")
        name = "policy" if certificate.scope.channel == "answer" else "reasoning"
        changes: dict[str, Any] = {
            "audit": chosen.audit,
            "mode": "active" if chosen.cut else "shadow",
        }
        if not isinstance(getattr(self, name), Never):  # else nothing is cut in such a call
            changes[name] = certificate.policy(chosen.risk)
        return self.replace(**changes)

    @property
    def risk(self) -> float | None:
        """The certified level of the policy, None where there is none."""
        if self.certificate is None:
            return None
        answers = self.certificate.scope.channel == "answer"
        return self.certificate.risk_of(self.policy if answers else self.reasoning)

    def closing_words(self, *, prefill: bool) -> str:
        """What closes reasoning that was ended, and leads to the answer.

        Args:
            prefill: Whether the model continues a prefix as its own text, and so goes on from them.
        """
        closing = self.reasoning_tags[1]
        return self.probe if prefill and closing in self.probe else f"{closing}\n\n"

    def replace(self, **changes: Any) -> Self:
        """Return a copy with fields changed."""
        known = {f.name for f in fields(self)}
        if unknown := sorted(set(changes) - known):
            raise ValueError(f"no such field: {unknown}; fields are {sorted(known)}")
        return replace(self, **changes)


def _level(certificate: Certificate, risk: Any, profile: str, of_profile: bool) -> CertifiedLevel:
    """Find the largest certified level that is no more than a risk."""
    wanted = float(risk) if isinstance(risk, Real) else math.nan
    if not 0 < wanted < 1:
        raise ValueError(f"risk must be in (0, 1), got {risk!r}")
    try:
        return certificate.level(wanted)
    except ValueError as error:
        if not of_profile:
            raise
        known = ", ".join(f"{level.risk:g}" for level in certificate.levels)
        raise ValueError(
            f"profile {profile!r} asks for a risk of at most {risk:g}, certified are {known}: name "
            f"one of them by risk, or another profile"
        ) from error


def _whole_runs(tokens: int) -> GeometricBudget:
    """Grants what the recorded runs had at once, and more where that is not enough."""
    return GeometricBudget(first=tokens, ceiling=max(GeometricBudget().ceiling, 4 * tokens))


def _check_policy(name: str, value: object, probe: object) -> None:
    if not isinstance(value, Policy):
        raise TypeError(f"{name} must be a Policy, got {value!r}")
    if not isinstance(probe, str) or (not probe and "probes" in value.needs()):
        raise ValueError(f"probe must be the words that ask, for {name}={value!r}, got {probe!r}")


def _check_choice(name: str, value: object, known: tuple[str, str]) -> None:
    if value not in known:
        raise ValueError(f"{name} must be {known[0]!r} or {known[1]!r}, got {value!r}")


def _check_share(name: str, value: object) -> None:
    if not (isinstance(value, Real) and 0 <= float(value) < 1):
        raise ValueError(f"{name} must be in [0, 1), got {value!r}")


def _check_whole(name: str, value: object) -> None:
    if not isinstance(value, int) or value < 1:
        raise ValueError(f"{name} must be a whole number >= 1, got {value!r}")


def _check_challenger(value: object) -> None:
    if value is None:
        return
    _check_policy("challenger", value, "none")
    if isinstance(value, Policy) and "probes" in value.needs():
        raise ValueError(f"challenger must not need probes, got {value!r}")


def _check_steer(steer: object, audit: float, certificate: Certificate | None) -> None:
    if audit and certificate is not None and not certificate.of_requests:
        raise ValueError(f"audit must be 0 where levels are those of votes, got {audit}")
    if steer is None:
        return
    _check_callable("steer", steer)
    if certificate is None:
        raise ValueError("certificate must be given for steer to choose its levels, got None")
    if not certificate.of_requests:
        raise ValueError(f"steer must be None where the levels are those of votes, got {steer!r}")


def _check_hooks(hooks: object) -> None:
    if not isinstance(hooks, tuple | list):
        raise TypeError(f"hooks must be a tuple of functions, got {hooks!r}")
    for hook in hooks:
        _check_callable("hooks", hook)


def _check_callable(name: str, value: object) -> None:
    if not callable(value) or isinstance(value, type):
        raise TypeError(f"{name} must be callable and no class, got {value!r}")
