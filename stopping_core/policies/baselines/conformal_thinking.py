"""Conformal Thinking: stop when sure, give up when stuck, at a risk that was asked for."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from stopping_core.policies.baselines.baseline import Tier
from stopping_core.policies.baselines.binomial import hoeffding_bentkus
from stopping_core.policies.baselines.high_confidence import Confidence
from stopping_core.policies.policy import Policy
from stopping_core.protocols import Signal
from stopping_core.types import CONTINUE, Checkpoint, Decision, Request

if TYPE_CHECKING:
    from stopping_core.traces.columns import Columns, Mask, Stops

_UPPERS = 101  # candidates, at equal shares of the readings
_SLOPES = (4.0, 8.0, 16.0, 32.0)  # times the budget
_MIDDLES = (0.25, 0.5, 0.75)  # of the budget


@dataclass(frozen=True, slots=True)
class Thresholds:
    """An upper threshold, and a lower one that rises with the tokens spent.

    Args:
        upper: At this reading the model counts as sure; infinity for never.
        slope: How fast the lower threshold rises, 1 / tokens, > 0; 0.0 for no lower threshold.
        middle: Where it has come half way, tokens.
        high: Where it ends; it begins at 0.
    """

    upper: float
    slope: float = 0.0
    middle: float = 0.0
    high: float = 0.0

    def lower(self, tokens: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return the lower threshold at some numbers of tokens; -inf where there is none."""
        if self.slope == 0.0:
            return np.full(tokens.shape, -math.inf)
        half = np.tanh(self.slope * (tokens - self.middle) / 2.0)  # a logistic that cannot overflow
        lower: NDArray[np.float64] = self.high * (1.0 + half) / 2.0
        return lower

    def __repr__(self) -> str:
        return f"Thresholds({self.upper:.4g}, {self.slope:g}, {self.middle:g}, {self.high:.4g})"


class ConformalThinking(Policy):
    """Stops where a confidence is above an upper threshold, or below a rising lower one.

    Below the lower one the model is taken to be stuck: it is ended though it has no answer. Both
    thresholds come from recorded runs, for a share of wrong stops and a share of given-up answers.

    Rule: stop at s(t) >= upper, give up at s(t) <= lower(w) = high / (1 + exp(-slope (w - middle)))
    with w the tokens spent. ``fit`` takes the upper threshold first: of those whose share of wrong
    stops is at most ``risk`` with confidence 1 - ``delta``, the one that wastes least after the
    first right answer; then the lower one: of those whose mean share of right answers from the stop
    on is at most ``give_up`` in the same sense, the one that spends least on wrong answers. delta
    0.1 is published. From description: the bound (Hoeffding-Bentkus), the candidates, that the
    lower threshold ends at the upper one.

    What the original promises it does not prove: many thresholds are tried without a correction,
    and wrong stops need not fall as the threshold rises. Both are reproduced, as they are the rule.

    Needs what the signal needs: ``logprobs`` for the default.

    Args:
        risk: Share of runs that may be stopped with a wrong answer, in (0, 1). Runs that are wrong
            to their end count too, as published.
        give_up: Share of right answers that giving up may cost, in (0, 1).
        delta: In (0, 1).
        signal: A confidence, higher where the model is surer, >= 0. By default the geometric mean
            probability of the last 8 tokens.
        thresholds: What ``fit`` found; None until then.

    References:
        Wang, Suresh, Zhang, More, Jurayj, Van Durme, Farajtabar, Khashabi and Nalisnick (2026),
        Conformal Thinking: Risk Control for Reasoning on a Compute Budget. arXiv:2602.03814.
    """

    title: ClassVar[str] = "Conformal Thinking"
    tier: ClassVar[Tier] = "logprobs"

    def __init__(
        self,
        risk: float = 0.1,
        give_up: float = 0.05,
        delta: float = 0.1,
        signal: Signal | None = None,
        thresholds: Thresholds | None = None,
    ) -> None:
        for name, share in (("risk", risk), ("give_up", give_up), ("delta", delta)):
            if not 0.0 < share < 1.0:
                raise ValueError(f"{name} must be in (0, 1), got {share}")
        self.risk = risk
        self.give_up = give_up
        self.delta = delta
        self.signal: Signal = Confidence(8) if signal is None else signal
        self.thresholds = thresholds

    @classmethod
    def grid(cls) -> tuple[Self, ...]:
        """Return risks to hold, from a twentieth to six tenths of the runs; not fitted."""
        risks = (0.1, 0.05, 0.15, 0.2, 0.3, 0.4, 0.5, 0.6)
        return tuple(cls(risk, give_up) for give_up in (0.05, 0.02) for risk in risks)

    def fit(self, columns: Columns, right: Mask, full: Mask) -> Self:
        """Return a copy with both thresholds chosen on these runs."""
        key = "ConformalThinking", columns.key(self.signal), right.tobytes()
        search = columns.once(key, lambda asked: _Search(asked, right, asked.reading(self.signal)))
        upper = search.upper(self.risk, self.delta)
        found = search.lower(upper, self.give_up, self.delta)
        return type(self)(self.risk, self.give_up, self.delta, self.signal, found)

    def reset(self, request: Request) -> None:
        self._fitted()

    def decide(self, checkpoint: Checkpoint) -> Decision:
        reading, thresholds = self.signal.value, self._fitted()
        if reading is None:
            return CONTINUE
        if reading >= thresholds.upper:
            return Decision(True, "sure")
        if reading <= thresholds.lower(np.array([checkpoint.tokens]))[0]:
            return Decision(True, "stuck", forced=True)
        return CONTINUE

    def signals(self) -> tuple[Signal, ...]:
        return (self.signal,)

    def stops(self, columns: Columns) -> Stops:
        reading, thresholds = columns.reading(self.signal), self._fitted()
        sure = reading >= thresholds.upper
        stuck = (reading <= thresholds.lower(columns.tokens)) & ~sure
        return columns.stops(sure | stuck, stuck)

    def _fitted(self) -> Thresholds:
        if self.thresholds is None:
            raise ValueError(f"thresholds must be fitted first, by fit(), got None: {self!r}")
        return self.thresholds

    def __repr__(self) -> str:
        settings = f"{self.risk}, {self.give_up}, {self.delta}, {type(self.signal).__name__}"
        return f"ConformalThinking({settings}, {self.thresholds!r})"


class _Search:
    """The runs that thresholds are chosen on; runs without a checkpoint are left out."""

    def __init__(self, columns: Columns, right: Mask, reading: NDArray[np.float64]) -> None:
        self.columns = columns
        self.right = right
        self.reading = reading
        self.runs = np.flatnonzero(np.diff(columns.starts))
        self.ends = columns.starts[self.runs + 1] - 1
        self.totals = columns.tokens[self.ends]
        spent = np.diff(columns.tokens, prepend=0)
        begins = columns.starts[self.runs]
        spent[begins] = columns.tokens[begins]
        self.wrongly = np.cumsum(np.where(right, 0, spent))  # tokens spent while wrong
        self.before = self.wrongly[begins] - np.where(right, 0, spent)[begins]
        self.rights = np.cumsum(right)

    def upper(self, risk: float, delta: float) -> float:
        best, least = math.inf, math.inf
        for candidate, wrong, waste in self.candidates:
            held = hoeffding_bentkus(wrong, len(self.runs), risk) <= delta
            if held and waste <= least:
                best, least = candidate, waste
        return best

    @cached_property
    def candidates(self) -> list[tuple[float, float, float]]:
        """Upper thresholds, each with its share of wrong stops and its waste; falling."""
        known = self.reading[~np.isnan(self.reading)]
        if not known.size:
            return []
        begun = self.columns.first(self.right)[self.runs]
        first_right = np.where(begun >= 0, self.columns.tokens[begun], self.totals)
        shares = np.linspace(0.0, 1.0, _UPPERS)
        found = []
        for candidate in np.unique(np.quantile(known, shares, method="higher"))[::-1].tolist():
            row = self.columns.first(self.reading >= candidate)[self.runs]
            wrong = (row >= 0) & ~self.right[row]
            stop = np.where(row >= 0, self.columns.tokens[row], self.totals)
            waste = np.maximum(0, stop - first_right) / self.totals
            found.append((candidate, float(wrong.mean()), float(waste.mean())))
        return found

    def lower(self, upper: float, give_up: float, delta: float) -> Thresholds:
        best = Thresholds(upper)
        least, _ = self._given_up(best)
        if not self.runs.size:
            return best
        budget = float(self.totals.max())
        high = min(upper, float(np.nanmax(self.reading, initial=0.0)))
        for slope in _SLOPES:
            for middle in _MIDDLES:
                candidate = Thresholds(upper, slope / budget, middle * budget, high)
                spent, loss = self._given_up(candidate)
                if hoeffding_bentkus(loss, len(self.runs), give_up) <= delta and spent < least:
                    best, least = candidate, spent
        return best

    def _given_up(self, thresholds: Thresholds) -> tuple[float, float]:
        """Mean share of the tokens spent while wrong, and of right answers that were given up."""
        if not self.runs.size:
            return 0.0, 0.0
        sure = self.reading >= thresholds.upper
        stuck = (self.reading <= thresholds.lower(self.columns.tokens)) & ~sure
        row = self.columns.first(sure | stuck)[self.runs]
        stop = np.where(row >= 0, row, self.ends)
        spent = (self.wrongly[stop] - self.before) / self.totals
        to_come = self.rights[self.ends] - self.rights[stop] + self.right[stop]
        loss = np.where((row >= 0) & stuck[stop], to_come / (self.ends - stop + 1), 0.0)
        return float(spent.mean()), float(loss.mean())
