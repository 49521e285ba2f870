"""DEER: stop when a trial answer, given where the model would turn round, is sure."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, ClassVar, Literal, Self

import numpy as np

from stopping_core.policies.baselines.marker_words import MarkerWords
from stopping_core.policies.baselines.probing import Judging, rises
from stopping_core.protocols import Signal
from stopping_core.types import Boundary, Checkpoint, Need, Probe, Request

if TYPE_CHECKING:
    from stopping_core.traces.columns import Columns, Mask

TRIAL_TOKENS = 20
"""Tokens of a trial answer that count."""


class Deer(Judging):
    """Stops when the mean probability of a trial answer's tokens exceeds a threshold.

    Between two thoughts a model says "Wait". There the rule has it try an answer instead; if it is
    sure of that, the next thought is not needed.

    Rule: at each transition word ask for an answer of at most 20 tokens; stop when the mean
    probability of its tokens, the first left out, is > 0.95; ask at most 10 times. Needs probes
    with logprobs. An answer of one token leaves nothing to average, and never stops.

    Where it asks: the original takes the word back and asks right before it. A policy sees the
    word only when it has come and takes nothing back, so it asks at the next line end or regular
    checkpoint, up to 16 tokens later, once for all transitions since the last one; sentence ends
    in between are passed over. ``at`` asks at a kind of boundary instead, before it is known
    whether the model turns round there: the exact place, for more probes.

    From description: the list of words, of which "Wait" is the one always named, and whether the
    mean is arithmetic (the default) or geometric, on which accounts of the rule differ.

    Args:
        threshold: Probability, in (0, 1).
        words: Transition words, as written.
        at: Where to ask in place of transitions: boundaries of this kind, or every so many tokens.
        mean: How to average the probabilities.
        checks: The most probes a stream, >= 1.
        keep_first: Whether the first token counts too. It is left out because with the original's
            probe it opens the answer's box; where the probe ends in "The answer is" it is the
            answer's first digit, or its only one.

    References:
        Yang et al. (2025), Dynamic Early Exit in Reasoning Models. arXiv:2504.15895.
    """

    title: ClassVar[str] = "DEER"
    reason = "deer"

    def __init__(
        self,
        threshold: float = 0.95,
        words: tuple[str, ...] = ("Wait",),
        at: Boundary | int | None = None,
        mean: Literal["arithmetic", "geometric"] = "arithmetic",
        checks: int = 10,
        keep_first: bool = False,
    ) -> None:
        if not 0 < threshold < 1:
            raise ValueError(f"threshold must be in (0, 1), got {threshold}")
        if mean not in ("arithmetic", "geometric"):
            raise ValueError(f"mean must be 'arithmetic' or 'geometric', got {mean!r}")
        if checks < 1:
            raise ValueError(f"checks must be >= 1, got {checks}")
        super().__init__(Boundary.LINE if at is None else at)
        self.threshold = threshold
        self.transitions = MarkerWords(words) if at is None else None
        self.mean = mean
        self.checks = checks
        self.keep_first = keep_first
        self._checked = 0
        self._turns_seen = 0.0

    @classmethod
    def grid(cls) -> tuple[Self, ...]:
        """Return both means and thresholds from 0.8 to 0.999, at transitions and at boundaries.

        At lines also with the first token kept.
        """
        thresholds = (0.95, 0.8, 0.9, 0.98, 0.99, 0.999)
        wider = ("Wait", "Alternatively", "Hmm", "But")
        return (
            *(cls(threshold) for threshold in thresholds),
            *(cls(threshold, wider) for threshold in thresholds),
            *(cls(threshold, mean="geometric") for threshold in thresholds),
            *(
                cls(threshold, at=at)
                for at in (Boundary.PARAGRAPH, Boundary.LINE, 16)
                for threshold in thresholds
            ),
            *(cls(threshold, at=Boundary.LINE, keep_first=True) for threshold in thresholds),
        )

    def reset(self, request: Request) -> None:
        super().reset(request)
        self._checked = 0
        self._turns_seen = 0.0

    def signals(self) -> tuple[Signal, ...]:
        return () if self.transitions is None else (self.transitions,)

    def marks(self) -> tuple[int, ...]:
        return super().marks() if self.transitions is None else ()

    def needs(self) -> frozenset[Need]:
        return super().needs() | {"logprobs"}

    def asks(self, columns: Columns) -> Mask:
        due = super().asks(columns) if self.transitions is None else self._turns(columns)
        count = np.cumsum(due)
        first = columns.starts[columns.run]
        return due & (count - (count[first] - due[first]) <= self.checks)

    def _turns(self, columns: Columns) -> Mask:
        """Where transition words came since the last row at which it might have asked."""
        turns = columns.nowhere()
        if self.transitions is not None:
            rows = np.flatnonzero((columns.boundary == 0) | columns.at(Boundary.LINE))
            turns[rows] = rises(columns.reading(self.transitions)[rows], columns.run[rows])
        return turns

    def _is_due(self, checkpoint: Checkpoint) -> bool:
        due = super()._is_due(checkpoint) if self.transitions is None else self._turned(checkpoint)
        if not due or self._checked >= self.checks:
            return False
        self._checked += 1
        return True

    def _turned(self, checkpoint: Checkpoint) -> bool:
        """Say whether transition words came since the last place at which it might have asked."""
        only_other_ends = checkpoint.boundary and not checkpoint.boundary & Boundary.LINE
        if self.transitions is None or only_other_ends:
            return False
        before, self._turns_seen = self._turns_seen, self.transitions.value or 0.0
        return self._turns_seen > before

    def _judge(self, probe: Probe) -> bool:
        logprobs = probe.logprobs[0 if self.keep_first else 1 : TRIAL_TOKENS]
        if not logprobs:
            return False
        if self.mean == "geometric":
            return math.exp(math.fsum(logprobs) / len(logprobs)) > self.threshold
        return math.fsum(map(math.exp, logprobs)) / len(logprobs) > self.threshold

    def __repr__(self) -> str:
        where = (
            f"{self.transitions.words}" if self.transitions is not None else f"at={self._place()}"
        )
        kept = ", keep_first=True" if self.keep_first else ""
        return f"Deer({self.threshold}, {where}, mean={self.mean!r}, checks={self.checks}{kept})"
