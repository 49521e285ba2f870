"""LearnStop: stop when a classifier holds the answer so far for right."""

from __future__ import annotations

import math
from collections import Counter
from typing import TYPE_CHECKING, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from stopping_core.policies.baselines.marker_words import MarkerWords
from stopping_core.policies.baselines.probed_answers import Key, Streak, answer_key
from stopping_core.policies.baselines.probing import Probing
from stopping_core.policies.learned.logistic import Logistic
from stopping_core.protocols import Signal
from stopping_core.types import CONTINUE, Boundary, Checkpoint, Decision, Need, Probe, Request

if TYPE_CHECKING:
    from stopping_core.traces.columns import Columns, Mask, Stops

_TURNS = ("wait", "hmm", "actually", "alternatively", "but", "no", "again", "recheck", "mistake")
BACKTRACKING = tuple(form for word in _TURNS for form in (word, word.capitalize()))
"""Words that count as backtracking."""

FEATURES = 7
"""Features of a probe, in the order in which :class:`LearnStop` lists them."""


class LearnStop(Probing):
    """Stops when the probability that the answer so far is right reaches a threshold.

    The other rules threshold one signal; this learns how to weigh several. Its authors find that it
    helps where many questions are solved early and no single signal shows it, on free-form
    arithmetic above all, and not on multiple choice.

    Rule: at checkpoints of fixed distance ask for a short answer; a classifier of "this answer is
    right" reads the features below; stop when its probability is at least ``threshold``. Needs
    probes with logprobs, and to be fitted on runs with known answers, which must not be those that
    it is reported on.

    - confidence: geometric mean probability of the answer's tokens
    - entropy: over its first token, nats
    - vote share: of the answers asked for so far, how many say what this one says
    - stability: logarithm of the number of answers in a row, up to this one, that say the same
    - backtracking: share of the words so far that take something back
    - whether there is an answer at all, and the logarithm of the tokens so far

    From description: only the names of the first five were to be had. Their formulas, the last two,
    the list of words, the classifier (a logistic regression), the threshold and the distance of the
    checkpoints are ours. Answers are compared after normalisation, numbers as numbers.

    Args:
        threshold: Probability, in (0, 1).
        at: Where to ask: every so many tokens, or boundaries of this kind.
        model: The classifier; None before :meth:`fit`.

    References:
        Dong, Qin and Shah (2026), When Does Learning to Stop Help? A Cost-Aware Study of Early
        Exits in Reasoning Models. arXiv:2606.30852.
    """

    title: ClassVar[str] = "LearnStop"
    reason = "learnstop"

    def __init__(
        self,
        threshold: float = 0.9,
        at: Boundary | int = 64,
        model: Logistic | None = None,
    ) -> None:
        if not 0 < threshold < 1:
            raise ValueError(f"threshold must be in (0, 1), got {threshold}")
        super().__init__(at)
        self.threshold = threshold
        self.model = model
        self.backtracking = MarkerWords(BACKTRACKING, share=True)
        self._trajectory = _Trajectory()

    @classmethod
    def grid(cls) -> tuple[Self, ...]:
        """Return thresholds from 0.5 to 0.99, every 16 to 64 tokens and at lines; not fitted."""
        return tuple(
            cls(threshold, at)
            for at in (64, 32, 16, Boundary.LINE)
            for threshold in (0.9, 0.5, 0.6, 0.7, 0.8, 0.95, 0.98, 0.99)
        )

    def fit(self, columns: Columns, right: Mask, full: Mask) -> Self:
        """Return a copy whose classifier was fitted on these runs.

        Args:
            columns: The checkpoints of the runs.
            right: Whether the answer at each of them would have been right.  # (n,)
            full: Not used.

        Raises:
            MissingPackage: scikit-learn is not installed.
            ValueError: All answers are right where it asks, or all are wrong, or one was not
                recorded.
        """
        key = "LearnStop", self._place(), right.tobytes()
        model = columns.once(key, lambda asked: self._learn(asked, right))
        return type(self)(self.threshold, self.at, model)

    def _learn(self, columns: Columns, right: Mask) -> Logistic:
        rows, features = self._features(columns)
        if not columns.has_probe[rows].all():
            raise ValueError(
                f"columns must hold a probe wherever {self!r} asks, got none at "
                f"{(~columns.has_probe[rows]).sum()} of {len(rows)} places"
            )
        labels = np.asarray(right, dtype=bool)[rows]
        if labels.all() or not labels.any():
            raise ValueError(
                f"right must hold True and False where the rule asks, got {labels.sum()} True "
                f"of {len(labels)}"
            )
        return Logistic.fit(features, labels, "bench", max_iter=1000)

    def reset(self, request: Request) -> None:
        self._fitted()
        super().reset(request)
        self._trajectory = _Trajectory()

    def signals(self) -> tuple[Signal, ...]:
        return (self.backtracking,)

    def needs(self) -> frozenset[Need]:
        return super().needs() | {"logprobs"}

    def weigh(self, checkpoint: Checkpoint, probe: Probe) -> Decision:
        features = self._trajectory.add(probe, checkpoint.tokens, self.backtracking.value)
        probability = self._fitted().probability(np.array([features]))[0]
        return Decision(True, self.reason) if probability >= self.threshold else CONTINUE

    def stops(self, columns: Columns) -> Stops:
        rows, features = self._features(columns)
        where = columns.nowhere()
        where[rows] = self._fitted().probability(features) >= self.threshold
        return columns.stops(where)

    def _fitted(self) -> Logistic:
        if self.model is None:
            raise ValueError(f"model must be fitted first, by fit(), got None: {self!r}")
        return self.model

    def _features(self, columns: Columns) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
        """The rows at which it asks, and the features there.  # (m,), (m, d)."""
        rows = np.flatnonzero(self.asks(columns))
        return rows, columns.once(("LearnStop", self._place()), self._trajectories)[rows]

    def _trajectories(self, columns: Columns) -> NDArray[np.float64]:
        """The features at the rows at which it asks, NaN elsewhere.  # (n, d)."""
        rows = np.flatnonzero(self.asks(columns))
        probes, runs = columns.probes_at(rows), columns.run[rows].tolist()
        tokens = columns.tokens[rows].tolist()
        backtracking = columns.reading(self.backtracking)[rows].tolist()
        found, trajectory, last = [], _Trajectory(), -1
        for run, *evidence in zip(runs, probes, tokens, backtracking, strict=True):
            if run != last:
                trajectory, last = _Trajectory(), run
            found.append(trajectory.add(*evidence))
        features = np.full((len(columns), FEATURES), np.nan)
        features[rows] = np.array(found).reshape(-1, FEATURES)
        return features

    def __repr__(self) -> str:
        return f"LearnStop({self.threshold}, at={self._place()}{self._model()})"

    def _model(self) -> str:
        """How the classifier is written in ``repr``: what each feature weighs."""
        if self.model is None:
            return ""
        weights = ", ".join(f"{weight:.3g}" for weight in self.model.weights)
        return f", intercept={self.model.intercept:.3g}, weights=({weights})"


class _Trajectory:
    """The answers of one stream so far."""

    def __init__(self) -> None:
        self._votes: Counter[Key] = Counter()
        self._streak = Streak()

    def add(self, probe: Probe, tokens: int, backtracking: float | None) -> tuple[float, ...]:
        """Take the next answer and return its features, NaN where one is not known."""
        key = answer_key(probe.text)
        self._votes[key] += 1
        answered = key != ""
        logprobs = probe.logprobs
        return (
            math.exp(math.fsum(logprobs) / len(logprobs)) if logprobs else math.nan,
            math.nan if probe.entropy is None else probe.entropy,
            self._votes[key] / self._votes.total() if answered else 0.0,
            math.log1p(self._streak.add(probe.text)),
            math.nan if backtracking is None else backtracking,
            float(answered),
            math.log1p(tokens),
        )
