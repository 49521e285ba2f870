"""What was proven of a learned policy, for which requests it holds, and where it does not."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar, Protocol, Self, TypeVar

from stopping_core.budgets import LengthModel
from stopping_core.certificates.fitted import Origin, lengths_of
from stopping_core.certificates.plain_file import between, read_file, texts, write_file
from stopping_core.certificates.scope import Scope
from stopping_core.completeness import default_check, fast_part
from stopping_core.plain_data import finite, listed, members, whole_number
from stopping_core.policies import Never, Policy
from stopping_core.policies.learned import LearnedStopping, LossModel
from stopping_core.protocols import CompletenessCheck
from stopping_core.sampling import other_sampling
from stopping_core.types import Request, Step

_DEFAULT = default_check()
_KIND = "stopping certificate"


@dataclass(frozen=True, slots=True)
class CertifiedLevel:
    """One level of risk that was proven.

    Args:
        risk: At most this share of the requests loses an answer that the full run has right.
        threshold: Of the policy that keeps it.
        runs: Independent runs that it was tested on.
        lost: How many of them it lost.
        bound: Upper bound of its risk, at most ``risk``.
        saving: Share of the generated tokens that it saved of them.
        needed: Quantiles of the tokens that a request needs under it, calibrated on those runs:
            nearly, not exactly, exchangeable, as they chose its threshold too. None where they were
            not fitted.
    """

    risk: float
    threshold: float
    runs: int
    lost: int
    bound: float
    saving: float
    needed: LengthModel | None = None

    @classmethod
    def from_dict(cls, data: Any, key: str) -> Self:
        """Take what ``to_dict`` gave, after a way through JSON.

        Raises:
            ValueError: Names the key that is missing, unknown or wrong, and its value.
        """
        held = members(data, [one.name for one in fields(cls)], key)
        runs = whole_number(held["runs"], f"{key}.runs", 1)
        risk = between(held["risk"], f"{key}.risk", 0, 1)
        return cls(
            risk,
            finite(held["threshold"], f"{key}.threshold"),
            runs,
            int(between(whole_number(held["lost"], f"{key}.lost"), f"{key}.lost", 0, runs)),
            between(held["bound"], f"{key}.bound", 0, risk),
            between(held["saving"], f"{key}.saving", -1, 1),
            lengths_of(held["needed"], f"{key}.needed"),
        )

    def to_dict(self) -> dict[str, Any]:
        """The level as JSON has it."""
        own = {one.name: getattr(self, one.name) for one in fields(self)}
        return own | {"needed": None if self.needed is None else self.needed.to_dict()}


class Level(Protocol):
    """A level of risk that was proven."""

    @property
    def risk(self) -> float: ...


LevelT = TypeVar("LevelT", bound=Level)


def check_rising(levels: Sequence[Level]) -> None:
    """Refuse levels that do not rise in risk.

    Raises:
        ValueError: They do not, or there is none.
    """
    risks = [level.risk for level in levels]
    if not risks or any(high <= low for low, high in pairwise(risks)):
        raise ValueError(f"levels must rise in risk, one or more, got {risks}")


def largest_level(levels: Sequence[LevelT], risk: float) -> LevelT:
    """Return the largest of rising levels that is at most ``risk``.

    Raises:
        ValueError: There is none.
    """
    for level in reversed(levels):
        if level.risk <= risk:
            return level
    known = ", ".join(f"{level.risk:g}" for level in levels)
    raise ValueError(f"risk must be at least a certified level, one of {known}, got {risk:g}")


@dataclass(frozen=True, slots=True)
class Certificate:
    """A learned policy with the risks that it was proven to keep, all of them at once.

    With probability ``confidence`` over the runs that were drawn, each level keeps its risk for
    requests of the same kind: questions drawn as those runs were, the same model, template,
    completeness check and places to look. ``stopping certify`` makes it; by
    ``AdaptiveStopping.load`` a session holds each request against it.

    Args:
        levels: Rising in risk, at least one.
        confidence: That all of them hold.
        model: The model of the policy.
        scope: What has to hold for a request.
        graders: Names of those that said which answers were right.
        fitted: The runs that the model was fitted on.
        certified: The runs that the levels were tested on; they share no family with those.
        natural: Quantiles of the tokens to which the model goes if nothing cuts it, calibrated on
            these runs; None where they were not fitted.

    Attributes:
        fingerprint: What tells certificates apart: 16 hex digits.

    Raises:
        ValueError: What it holds does not go together.
    """

    levels: tuple[CertifiedLevel, ...]
    confidence: float
    model: LossModel
    scope: Scope
    graders: tuple[str, ...]
    fitted: Origin
    certified: Origin
    natural: LengthModel | None = None
    fingerprint: str = field(init=False, repr=False, compare=False)
    of_requests: ClassVar[bool] = True  # its levels are of single requests

    def __post_init__(self) -> None:
        said = self.model.fingerprint, self.levels, self.scope, self.certified, self.confidence
        name = hashlib.sha256(repr(said).encode()).hexdigest()[:16]
        object.__setattr__(self, "fingerprint", name)
        check_rising(self.levels)
        thresholds = [level.threshold for level in self.levels]
        if any(high < low for low, high in pairwise(thresholds)):
            raise ValueError(f"levels must not fall in threshold, got {thresholds}")
        for place, level in enumerate(self.levels):
            if level.lost > level.bound * level.runs:
                raise ValueError(
                    f"levels[{place}].bound must be at least what was lost, "
                    f"{level.lost} of {level.runs}, got {level.bound}"
                )
        if not 0 < self.confidence < 1:
            raise ValueError(f"confidence must be in (0, 1), got {self.confidence}")
        if self.model.channel != self.scope.channel:
            raise ValueError(
                f"scope.channel must be the model's, {self.model.channel!r}, "
                f"got {self.scope.channel!r}"
            )
        for name in ("families", "passages"):
            fitted, certified = (set(getattr(one, name)) for one in (self.fitted, self.certified))
            if shared := sorted(fitted & certified):
                raise ValueError(f"certified.{name} must not have been fitted on, got {shared}")

    def policy(self, risk: float) -> LearnedStopping:
        """Return the policy of the largest level that is at most ``risk``.

        Raises:
            ValueError: There is none.
        """
        return LearnedStopping(self.level(risk).threshold, self.model, self.scope.look_every)

    def level(self, risk: float) -> CertifiedLevel:
        """Return the largest level that is at most ``risk``.

        Raises:
            ValueError: There is none.
        """
        return largest_level(self.levels, risk)

    def risk_of(self, policy: Policy) -> float | None:
        """Return the level that a policy is certified for, None where it is not of them.

        The least, where several have one threshold.
        """
        if not isinstance(policy, LearnedStopping):
            return None
        if policy.model is not self.model and policy.model != self.model:
            return None
        same = (level for level in self.levels if level.threshold == policy.threshold)
        return next((level.risk for level in same), None)

    def differences(
        self,
        request: Request,
        *,
        policy: Policy,
        other: Policy,
        completeness: CompletenessCheck,
        every: int,
        tags: tuple[str, str],
        probe: tuple[str, int],
    ) -> dict[str, str]:
        """Say how a request and its settings differ from what was certified.

        Args:
            request: The request. An unknown model counts as another one.
            policy: That of the certified channel.
            other: That of the other channel, which must not stop anything.
            completeness: The check; what counts is what is asked before a cut.
            every: Tokens between two checkpoints.
            tags: Of the reasoning.
            probe: The words that ask for the answer, and the most tokens of a probe.

        Returns:
            What is so and what should be, by kind; empty where nothing differs.
        """
        scope, found = self.scope, dict[str, str]()
        if not scope.is_model(request.model):
            asked = repr(request.model) if request.model else "unknown"
            found["model"] = f"the model is {asked}, certified is {scope.model!r}"
        elif request.model_fingerprint not in ("", scope.model_fingerprint):
            found["model"] = (
                f"weights, quantisation or engine of {request.model!r} are others: their "
                f"fingerprint is {request.model_fingerprint}, certified is "
                f"{scope.model_fingerprint}; or another version has recorded the runs"
            )
        if changed := other_sampling(request.sampling, scope.temperature):
            found["sampling"] = changed
        if scope.read(request) is None:
            found["template"] = (
                f"what is sent is not what the template {scope.template.name!r} "
                f"({scope.template.fingerprint}) makes of a question: load_template(...).messages()"
            )
            if request.beside:
                found["template"] += f": there is more beside it, {', '.join(request.beside)}"
        if not self._is_certified(policy):
            found["policy"] = f"the policy on the {scope.channel} is {policy!r}"
        elif not isinstance(other, Never):
            found["policy"] = f"beside the policy on the {scope.channel} there is {other!r}"
        if _before_cut(completeness) != _parts(_DEFAULT):
            found["completeness"] = (
                f"the check before a cut is {completeness!r}, certified is the default one"
            )
        if every != scope.every:
            found["settings"] = f"checkpoint_every is {every}, certified is {scope.every}"
        elif scope.reasoning_tags not in (None, tags):
            found["settings"] = f"reasoning_tags is {tags}, certified is {scope.reasoning_tags}"
        elif scope.channel == "reasoning" and probe != (scope.template.probe, scope.probe_tokens):
            certified = scope.template.probe, scope.probe_tokens
            found["settings"] = f"probe and probe_tokens are {probe}, certified is {certified}"
        return found

    def not_covered(self, step: Step) -> str:
        """Say why a stream that brings such a step is not of the kind that was certified.

        Where a chunk holds several tokens, the places between them can only be guessed, and a
        policy that reads logprobs says something else where there are none. Several words are
        several tokens, whatever is counted.

        Returns:
            ``""`` where the step is as those of the recorded runs.
        """
        if not step.text:
            return ""
        if step.channel != self.scope.channel and self.scope.reasoning_tags is None:
            thinks = step.channel == "reasoning"
            return "the model reasons, and the recorded runs did not" if thinks else ""
        if step.channel == "reasoning" and self.scope.channel == "answer":
            return ""  # beside the text, where the recorded runs had it in tags
        words = len(step.text.split())
        if step.tokens > 1 or (step.tokens and words > 1):
            held = f"{step.tokens} tokens" if step.tokens > 1 else f"{words} words"
            return f"a chunk held {held}, certified is one token at a time"
        if self.model.tier != "text" and step.tokens and step.logprob is None:
            return "a token came without the logprob that the policy reads"
        return ""

    def write(self, path: str | Path) -> None:
        """Write it as JSON.

        Raises:
            OSError: The file cannot be written.
        """
        content = {
            "levels": [level.to_dict() for level in self.levels],
            "confidence": self.confidence,
            "scope": self.scope.to_dict(),
            "graders": list(self.graders),
            "fitted": asdict(self.fitted),
            "certified": asdict(self.certified),
            "model": self.model.to_dict(),
            "natural": None if self.natural is None else self.natural.to_dict(),
        }
        write_file(path, _KIND, content)

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read what ``write`` wrote.

        Raises:
            ValueError: It is no certificate, or damaged; the message names the file and the key.
            OSError: It cannot be read.
        """
        return read_file(path, _KIND, cls._made)

    @classmethod
    def _made(cls, content: Mapping[str, Any]) -> Self:
        held = members(content, [one.name for one in fields(cls) if one.init], "file")
        levels = tuple(
            CertifiedLevel.from_dict(one, f"levels[{place}]")
            for place, one in enumerate(listed(held["levels"], "levels"))
        )
        return cls(
            levels,
            between(held["confidence"], "confidence", 0, 1),
            LossModel.from_dict(held["model"]),
            Scope.from_dict(held["scope"]),
            texts(held["graders"], "graders"),
            Origin.from_dict(held["fitted"], "fitted"),
            Origin.from_dict(held["certified"], "certified"),
            lengths_of(held["natural"], "natural"),
        )

    def _is_certified(self, policy: Policy) -> bool:
        """Whether a policy is that of one of the levels, or one that never stops."""
        if isinstance(policy, Never):
            return True
        return (
            type(policy) is LearnedStopping
            and (policy.model is self.model or policy.model == self.model)
            and policy.every == self.scope.look_every
            and policy.threshold in [level.threshold for level in self.levels]
        )


def _before_cut(check: CompletenessCheck) -> tuple[CompletenessCheck, ...]:
    """What a session asks before a cut, one by one: of a slow check what of it takes no time.

    A wrapper that an integration puts around a check says by ``stands_for`` which one it is.
    """
    fast = fast_part(getattr(check, "stands_for", check))
    return () if fast is None else _parts(fast)


def _parts(check: CompletenessCheck) -> tuple[CompletenessCheck, ...]:
    """The checks that an ``all_of`` is made of, or the check itself."""
    if type(check) is not type(_DEFAULT):
        return (check,)
    return tuple(part for one in getattr(check, "checks", ()) for part in _parts(one))
