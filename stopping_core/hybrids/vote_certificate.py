"""What was proven of a vote over samples that may be ended early, and when it is decided."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, ClassVar, NoReturn, Self

from stopping_core.certificates import Certificate, CertifiedLevel, Scope
from stopping_core.certificates.certificate import check_rising, largest_level
from stopping_core.certificates.fitted import Origin
from stopping_core.certificates.plain_file import between, read_file, texts, write_file
from stopping_core.hybrids.decided_vote import DecidedVote
from stopping_core.hybrids.voting import current_vote
from stopping_core.plain_data import finite, listed, members, whole_number
from stopping_core.policies.baselines.samples import vote_key
from stopping_core.policies.learned import LossModel
from stopping_core.results import Completion
from stopping_core.stopping import AdaptiveStopping
from stopping_core.types import Request

_KIND = "stopping vote certificate"


@dataclass(frozen=True, slots=True)
class VoteLevel:
    """One level of risk that was proven of a vote.

    Args:
        risk: At most this share of the questions loses an answer that the full vote has right.
        threshold: Of the policy that ends single samples.
        confidence: At which :class:`DecidedVote` ends the sampling.
        questions: Independent ones that it was tested on.
        lost: How many of them it lost.
        bound: Upper bound of its risk, at most ``risk``.
        saving: Share of the output tokens of the full votes that it saved.
    """

    risk: float
    threshold: float
    confidence: float
    questions: int
    lost: int
    bound: float
    saving: float

    @classmethod
    def from_dict(cls, data: Any, key: str) -> Self:
        """Take what ``dataclasses.asdict`` gave, after a way through JSON.

        Raises:
            ValueError: Names the key that is missing, unknown or wrong, and its value.
        """
        held = members(data, [one.name for one in fields(cls)], key)
        questions = whole_number(held["questions"], f"{key}.questions", 1)
        risk = between(held["risk"], f"{key}.risk", 0, 1)
        return cls(
            risk,
            finite(held["threshold"], f"{key}.threshold"),
            between(held["confidence"], f"{key}.confidence", 0, 1),
            questions,
            int(between(whole_number(held["lost"], f"{key}.lost"), f"{key}.lost", 0, questions)),
            between(held["bound"], f"{key}.bound", 0, risk),
            between(held["saving"], f"{key}.saving", -math.inf, 1),
        )


@dataclass(frozen=True, slots=True)
class VoteCertificate:
    """Votes with the risks that they were proven to keep, all of them at once.

    The loss is against the vote of ``most`` whole samples: an answer that it has right and the
    vote that was cut short has not. With probability ``confidence`` over the questions that were
    drawn, each level keeps its risk for questions of the same kind. ``stopping certify-vote``
    makes it. Rule and settings of a level go together:

        certificate = VoteCertificate.load("vote.json")
        AdaptiveVote(
            AdaptiveChatModel(inner=chat, stopping=certificate.stopping(0.02)),
            certificate.rule(0.02),
        )

    Args:
        levels: Rising in risk, at least one.
        most: Samples of the full vote, >= 2.
        confidence: That all levels hold.
        model: The model of the policy that ends samples.
        scope: What has to hold for a request.
        graders: Names of those that said which answers were right.
        fitted: The runs that the model was fitted on.
        certified: The samples that the levels were tested on; they share no family with those.

    Raises:
        ValueError: What it holds does not go together.
    """

    levels: tuple[VoteLevel, ...]
    most: int
    confidence: float
    model: LossModel
    scope: Scope
    graders: tuple[str, ...]
    fitted: Origin
    certified: Origin

    def __post_init__(self) -> None:
        check_rising(self.levels)
        if self.most < 2:
            raise ValueError(f"most must be >= 2, got {self.most}")
        for level in self.levels:
            self._of_sample(level)

    def level(self, risk: float) -> VoteLevel:
        """Return the largest level that is at most ``risk``.

        Raises:
            ValueError: There is none.
        """
        return largest_level(self.levels, risk)

    def rule(self, risk: float) -> DecidedVote:
        """Return the rule that ends the sampling at a level.

        Raises:
            ValueError: As of :meth:`level`.
        """
        return DecidedVote(self.level(risk).confidence, self.most)

    def stopping(self, risk: float, **changes: Any) -> AdaptiveStopping:
        """Return the settings of each sample at a level.

        They hold each request against the certificate, as those of
        :meth:`~stopping_core.AdaptiveStopping.load` do, and refuse one that is no sample of a vote
        by :meth:`rule` of the same level that compares the usual key. Where a sample is not
        covered, as one on a longer context, neither is the vote: it draws all of its samples. They
        can neither be steered nor audited, as the level is not one of single samples.

        Args:
            risk: How many of the answers that the full vote has right may be lost.
            changes: As of :meth:`~stopping_core.AdaptiveStopping.load`.

        Raises:
            ValueError: As of :meth:`level`.
        """
        hooks = (_note, *changes.pop("hooks", ()))
        sample = self._of_sample(self.level(risk))
        return AdaptiveStopping.certified(sample, risk, hooks=hooks, **changes)

    def write(self, path: str | Path) -> None:
        """Write it as JSON.

        Raises:
            OSError: The file cannot be written.
        """
        content = {
            "levels": [asdict(level) for level in self.levels],
            "most": self.most,
            "confidence": self.confidence,
            "scope": self.scope.to_dict(),
            "graders": list(self.graders),
            "fitted": asdict(self.fitted),
            "certified": asdict(self.certified),
            "model": self.model.to_dict(),
        }
        write_file(path, _KIND, content)

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read what ``write`` wrote.

        Raises:
            ValueError: It is no such certificate, or damaged; the message names the file and the
                key.
            OSError: It cannot be read.
        """
        return read_file(path, _KIND, cls._made)

    @classmethod
    def _made(cls, content: Mapping[str, Any]) -> Self:
        held = members(content, [one.name for one in fields(cls)], "file")
        levels = tuple(
            VoteLevel.from_dict(one, f"levels[{place}]")
            for place, one in enumerate(listed(held["levels"], "levels"))
        )
        return cls(
            levels,
            whole_number(held["most"], "most", 2),
            between(held["confidence"], "confidence", 0, 1),
            LossModel.from_dict(held["model"]),
            Scope.from_dict(held["scope"]),
            texts(held["graders"], "graders"),
            Origin.from_dict(held["fitted"], "fitted"),
            Origin.from_dict(held["certified"], "certified"),
        )

    def _of_sample(self, level: VoteLevel) -> SampleCertificate:
        tested = level.risk, level.threshold, level.questions, level.lost, level.bound, level.saving
        return SampleCertificate(
            (CertifiedLevel(*tested),),
            self.confidence,
            self.model,
            self.scope,
            self.graders,
            self.fitted,
            self.certified,
            vote=DecidedVote(level.confidence, self.most),
        )


@dataclass(frozen=True, slots=True)
class SampleCertificate(Certificate):
    """What each sample of a certified vote is held against: its level is that of the whole vote.

    Args:
        vote: The rule of the vote; there has to be one.
    """

    vote: DecidedVote | None = None
    of_requests: ClassVar[bool] = False

    def __post_init__(self) -> None:
        Certificate.__post_init__(self)
        name = hashlib.sha256(f"{self.fingerprint} {self.vote!r}".encode()).hexdigest()[:16]
        object.__setattr__(self, "fingerprint", name)

    def differences(self, request: Request, **settings: Any) -> dict[str, str]:
        """Say how a request differs from what was certified; one that is no such sample does."""
        found = Certificate.differences(self, request, **settings)
        vote = current_vote()
        if vote is None:
            asked = "no sample of a vote"
        elif type(vote.rule) is not DecidedVote or repr(vote.rule) != repr(self.vote):
            asked = f"a sample of a vote by {vote.rule!r}"
        elif vote.key is not vote_key:
            asked = f"a sample of a vote that compares {vote.key!r}, and not vote_key"
        else:
            vote.certificate = self.fingerprint
            return found
        found["vote"] = f"the request is {asked}, certified is one by {self.vote!r}"
        return found

    def write(self, path: str | Path) -> NoReturn:
        """Refuse: the vote's certificate is what is written.

        Raises:
            TypeError: Always.
        """
        raise TypeError("write the VoteCertificate: that of a sample holds for no request alone")


def _note(request: Request, completion: Completion, /) -> None:
    """Tell the vote of a sample that was not covered: a hook."""
    vote = current_vote()
    if vote is None or vote.certificate != completion.certificate:
        return
    if completion.uncertified:
        vote.uncertified.append(completion.uncertified)
    elif completion.mode != "active":
        vote.uncertified.append(f"a sample was drawn in mode {completion.mode}")
