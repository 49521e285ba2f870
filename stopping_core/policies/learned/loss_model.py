"""How probable it is that a stop here loses an answer that the full run has right."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Literal, Self, TypeAlias, get_args

import numpy as np
from numpy.typing import NDArray

from stopping_core.plain_data import finite, members
from stopping_core.policies.learned.answer import AnswerEvidence
from stopping_core.policies.learned.evidence import Evidence
from stopping_core.policies.learned.logistic import Logistic
from stopping_core.policies.learned.salience import WIDTH
from stopping_core.types import Channel

if TYPE_CHECKING:
    from stopping_core.policies.learned.forest import Forest

Tier: TypeAlias = Literal["text", "logprobs", "probes"]
"""What a model reads: the text alone, the logprobs of its tokens too, or beside these also what the
model would answer now."""

TIERS: Mapping[Channel, tuple[Tier, ...]] = {
    "answer": ("text",),
    "reasoning": ("text", "logprobs", "probes"),
}
"""What models of each channel may read. In answers logprobs were found to add nothing, and what is
probed in an answer is thrown away."""

_FLOOR = 1e-4  # of the probability, under the logarithm


@dataclass(frozen=True, slots=True)
class LossModel:
    """A model of the loss that a stop would bring, as plain numbers.

    It says, at a place of a stream, how probable it is that the full run is right and a stop here
    is not. Its score puts the tokens spent against that, so that one threshold does for early and
    for late places: log(p + 0.0001) - exponent * log(tokens); the lower, the better a place to
    stop.

    A probe costs tokens. So in the tier ``"probes"`` a place is first scored without one, and the
    model is asked for its answer only where that score less the margin is low enough to stop. The
    score with the probe then decides.

    Args:
        tier: What it reads: ``"text"``, ``"logprobs"`` or ``"probes"``.
        channel: Where it stops: in the ``"answer"`` or in the ``"reasoning"``. Each has features
            of its own.
        scorer: Turns features into the probability.
        exponent: Of the tokens, >= 0.
        salience: Weighs the words of the context by how likely they are part of the answer, for
            the features of the answer; None where nothing was to be learned of it.
        probed: Turns the features with those of a probe into the probability; None in the other
            tiers.
        margin: By how much a probe may lower the score, >= 0, for one to be bought.
    """

    tier: Tier
    channel: Channel
    scorer: Logistic | Forest
    exponent: float = 0.0
    salience: Logistic | None = None
    probed: Logistic | Forest | None = None
    margin: float = 0.0

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self  # nothing in it changes, and every stream copies its policy

    def score(
        self, features: NDArray[np.float64], tokens: NDArray[np.int64]
    ) -> NDArray[np.float64]:
        """Return the score of each place.

        Args:
            features: As of :meth:`probability`.  # (n, d)
            tokens: Output tokens up to the place.  # (n,)
        """
        spent = np.log(np.maximum(tokens, 1))
        score: NDArray[np.float64] = np.log(self.probability(features) + _FLOOR)
        return score - self.exponent * spent

    def probability(self, features: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return how probable it is that a stop at each place loses the answer.

        Args:
            features: One row a place, as ``evidence`` gives them; where they hold those of a probe,
                it is known.  # (n, d)
        """
        return self._scorer(features.shape[1]).probability(features)

    def score_of(self, row: Sequence[float], tokens: int) -> float:
        """Return the score of one place, to the bit as among others, and faster.

        Args:
            row: As ``evidence`` gives it, with a probe or without.  # (d,)
            tokens: Output tokens up to the place.
        """
        score = float(np.log(self._scorer(len(row)).probability_of(row) + _FLOOR))
        return score - self.exponent * float(np.log(float(max(tokens, 1))))

    def _scorer(self, width: int) -> Logistic | Forest:
        """What reads so many features."""
        probed = self.probed
        return probed if probed is not None and width == len(probed) else self.scorer

    def evidence(self) -> Evidence:
        """Make what turns a stream into the features, as new."""
        return evidence_for(self.channel, self.tier, self.salience)

    @property
    def fingerprint(self) -> str:
        """What tells models apart: 16 hex digits of the SHA-256 of their canonical JSON."""
        text = json.dumps(self.to_dict(), sort_keys=True, separators=(",", ":"), allow_nan=False)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def to_dict(self) -> dict[str, Any]:
        """The model as JSON has it; ``from_dict`` gives the same bits back."""
        return {
            "tier": self.tier,
            "channel": self.channel,
            "scorer": _plain(self.scorer),
            "exponent": self.exponent,
            "salience": None if self.salience is None else self.salience.to_dict(),
            "probed": None if self.probed is None else _plain(self.probed),
            "margin": self.margin,
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """Take what ``to_dict`` gave.

        Raises:
            ValueError: Names the key that is missing, unknown or wrong, and its value.
        """
        held = members(data, [one.name for one in fields(cls)], "model")
        for name, known in (("tier", get_args(Tier)), ("channel", get_args(Channel))):
            if held[name] not in known:
                raise ValueError(f"model.{name} must be one of {known}, got {held[name]!r}")
        exponent, margin = (_size(held[name], f"model.{name}") for name in ("exponent", "margin"))
        salience = None
        if held["salience"] is not None:
            salience = Logistic.from_dict(held["salience"], "model.salience")
            if len(salience) != WIDTH:
                raise ValueError(f"model.salience must read {WIDTH} features, got {len(salience)}")
        evidence = evidence_for(held["channel"], held["tier"], salience)
        width, probed = len(evidence.names), None
        if (held["probed"] is not None) != (held["tier"] == "probes"):
            raise ValueError(
                f"model.probed must go with the tier 'probes', got the tier {held['tier']!r}"
            )
        if held["probed"] is not None:
            wider = width + len(evidence.probe_names)
            probed = _scorer(held["probed"], wider, "model.probed")
        scorer = _scorer(held["scorer"], width, "model.scorer")
        return cls(held["tier"], held["channel"], scorer, exponent, salience, probed, margin)


def evidence_for(channel: Channel, tier: Tier, salience: Logistic | None = None) -> Evidence:
    """Make what turns a stream into features.

    Args:
        channel: Where the model stops.
        tier: What it reads.
        salience: As of :class:`LossModel`.

    Raises:
        ValueError: There is no such evidence.
    """
    if tier not in TIERS[channel]:
        known = " or ".join(map(repr, TIERS[channel]))
        raise ValueError(f"tier must be {known} on the channel {channel!r}, got {tier!r}")
    if channel == "answer":
        return AnswerEvidence(salience)
    from stopping_core.policies.learned.thinking import ThinkingEvidence

    return ThinkingEvidence("text" if tier == "text" else "logprobs")


def _size(data: Any, key: str) -> float:
    number = finite(data, key)
    if number < 0:
        raise ValueError(f"{key} must be >= 0, got {number}")
    return number


def _plain(scorer: Logistic | Forest) -> dict[str, Any]:
    kind = "logistic" if isinstance(scorer, Logistic) else "forest"
    return {"kind": kind, **scorer.to_dict()}


def _scorer(data: Any, width: int, key: str) -> Logistic | Forest:
    """Read a scorer of so many features."""
    kind = data.get("kind") if isinstance(data, Mapping) else None
    if kind not in ("logistic", "forest"):
        raise ValueError(f"{key}.kind must be 'logistic' or 'forest', got {kind!r}")
    numbers = {name: value for name, value in data.items() if name != "kind"}
    scorer: Logistic | Forest
    if kind == "logistic":
        scorer = Logistic.from_dict(numbers, key)
    else:
        from stopping_core.policies.learned.forest import Forest

        scorer = Forest.from_dict(numbers, key)
    if len(scorer) != width:
        raise ValueError(f"{key} must read {width} features, got {len(scorer)}")
    return scorer
