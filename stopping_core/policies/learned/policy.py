"""The rule that stops where a stop is held to lose nothing."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, ClassVar, Self

import numpy as np

from stopping_core.policies.learned.loss_model import LossModel, Tier, evidence_for
from stopping_core.policies.policy import Policy
from stopping_core.protocols import Signal
from stopping_core.types import (
    CONTINUE,
    PROBE,
    Boundary,
    Channel,
    Checkpoint,
    Decision,
    Need,
    Probe,
    Request,
)

if TYPE_CHECKING:
    from stopping_core.traces.columns import Columns, Mask, Readings, Stops

_LONGEST = 4096  # tokens up to which it is asked at its own distance
_CAREFUL: Mapping[Channel, float] = {"answer": -8.5, "reasoning": -6.0}  # of a grid's thresholds
_STEP = 0.15
_EVERY = 2  # tokens between two looks, unless told otherwise


@lru_cache(8)
def _every(tokens: int) -> tuple[int, ...]:
    """The counts at which it is asked; the same object for every engine."""
    return tuple(range(tokens, _LONGEST + 1, tokens))


class LearnedStopping(Policy):
    """Stops where a learned model holds it for unlikely that a stop loses the answer.

    Rule: stop where the score of the :class:`LossModel` is at most ``threshold``. Thresholds are a
    path from careful to aggressive: the higher, the earlier every stream is stopped. The stop is
    not forced, so that the completeness check may refuse it. A model of the tier ``"probes"`` is
    asked twice: where its score without a probe allows for a stop, a probe is bought, and the score
    with it decides.

    Answers are looked at every few tokens, and wherever something ends; reasoning only at the ends
    of its lines.

    Args:
        threshold: Of the score, from about -8 (careful) to -3 (aggressive) in answers, and from
            -5 to -1 in reasoning.
        model: The model; None before :meth:`fit`.
        every: Tokens between two looks at an answer, >= 1.
        tier: What a model that is to be fitted reads; that of ``model`` where there is one.
        channel: Where it is to stop; likewise.
    """

    title: ClassVar[str] = "learned (this library)"
    reason: ClassVar[str] = "learned"

    def __init__(
        self,
        threshold: float,
        model: LossModel | None = None,
        every: int = _EVERY,
        tier: Tier = "text",
        channel: Channel = "answer",
    ) -> None:
        if not np.isfinite(threshold):
            raise ValueError(f"threshold must be a finite number, got {threshold}")
        if every < 1:
            raise ValueError(f"every must be >= 1, got {every}")
        self.threshold = threshold
        self.model = model
        self.every = every
        self.tier: Tier = tier if model is None else model.tier
        self.channel: Channel = channel if model is None else model.channel
        self._evidence = evidence_for(channel, tier) if model is None else model.evidence()

    @classmethod
    def grid(cls, tier: Tier = "text", channel: Channel = "answer") -> tuple[Self, ...]:
        """Return 40 thresholds, from careful to aggressive; not fitted.

        Args:
            tier: What to read.
            channel: Where to stop.
        """
        thresholds = (round(_CAREFUL[channel] + _STEP * step, 2) for step in range(40))
        return tuple(cls(threshold, tier=tier, channel=channel) for threshold in thresholds)

    def fit(self, columns: Columns, right: Mask, full: Mask) -> Self:
        """Return a copy whose model was fitted on these runs.

        Args:
            columns: The places of the runs.
            right: Whether the answer at each of them would have been right.  # (n,)
            full: Whether the full answer of each run is right.  # (runs,)

        Raises:
            MissingPackage: scikit-learn is not installed.
            ValueError: A stop loses an answer everywhere, or nowhere.
        """
        key = "LearnedStopping", self.tier, self.channel, right.tobytes(), full.tobytes()
        model = columns.once(key, lambda asked: self._learn(asked, right, full))
        return type(self)(self.threshold, model, self.every)

    def _learn(self, columns: Columns, right: Mask, full: Mask) -> LossModel:
        if self.channel == "answer":
            from stopping_core.policies.learned.fitting import fit_answer

            return fit_answer(columns, right, full)
        from stopping_core.policies.learned.fitting_thinking import fit_thinking

        return fit_thinking(columns, right, full, self.tier)

    def reset(self, request: Request) -> None:
        self._fitted()

    def signals(self) -> tuple[Signal, ...]:
        return (self._evidence,)

    def needs(self) -> frozenset[Need]:
        needs = self._evidence.needs
        return needs | {"probes"} if self.tier == "probes" else needs

    def marks(self) -> tuple[int, ...]:
        if self.channel == "reasoning":
            return ()
        return _every(self.every)

    def decide(self, checkpoint: Checkpoint) -> Decision:
        model = self._fitted()
        if not self._looks(checkpoint.boundary):
            return CONTINUE
        score = model.score_of(self._evidence.row(), checkpoint.tokens) - model.margin
        if score > self.threshold:
            return CONTINUE
        return Decision(True, self.reason) if model.probed is None else PROBE

    def weigh(self, checkpoint: Checkpoint, probe: Probe) -> Decision:
        row = (*self._evidence.row(), *self._evidence.of_probe(probe))
        score = self._fitted().score_of(row, checkpoint.tokens)
        return Decision(True, self.reason) if score <= self.threshold else CONTINUE

    def stops(self, columns: Columns) -> Stops:
        return columns.stops(self.scores(columns)[0] <= self.threshold)

    def asks(self, columns: Columns) -> Mask:
        if self._fitted().probed is None:
            return columns.nowhere()
        asks: Mask = self.scores(columns)[1] <= self.threshold
        return asks

    def scores(self, columns: Columns) -> tuple[Readings, Readings]:
        """The lowest thresholds at which it stops at each place, and at which it would probe there.

        NaN where it does not look. Without probes both are its score.  # (n,), (n,).
        """
        model = self._fitted()
        key = "LearnedStopping", self.channel, model.fingerprint
        return columns.once(key, lambda asked: self._scores(asked, model))

    def _scores(self, columns: Columns, model: LossModel) -> tuple[Readings, Readings]:
        looks, evidence = self.looks(columns), model.evidence()
        tokens, scores = columns.tokens[looks], np.full((2, len(columns)), np.nan)
        first = model.score(columns.rows_of(evidence, looks)[looks], tokens) - model.margin
        scores[:, looks] = first
        if model.probed is not None:
            rows = columns.rows_of(evidence, looks, probed=True)[looks]
            scores[0, looks] = np.maximum(first, model.score(rows, tokens))
        return scores[0], scores[1]

    def looks(self, columns: Columns) -> Mask:
        """The places at which it looks.  # (n,)."""
        return columns.at(Boundary.LINE) if self.channel == "reasoning" else ~columns.nowhere()

    def _looks(self, boundary: Boundary) -> bool:
        return self.channel == "answer" or Boundary.LINE in boundary

    def _fitted(self) -> LossModel:
        if self.model is None:
            raise ValueError(f"model must be fitted first, by fit(), got None: {self!r}")
        return self.model

    def __repr__(self) -> str:
        if self.model is not None:
            about = f"model={self.model.fingerprint}"
        else:
            about = f"tier={self.tier!r}, channel={self.channel!r}"
        looks = "" if self.every == _EVERY else f", every={self.every}"
        return f"LearnedStopping({self.threshold:g}, {about}{looks})"
