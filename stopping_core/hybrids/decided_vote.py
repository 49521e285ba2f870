"""Sample until it is known, as well as need be, which answer a vote of all samples would give."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import ClassVar, Self

from stopping_core.plain_data import whole_number
from stopping_core.policies.baselines.probed_answers import Key
from stopping_core.policies.baselines.samples import SampleRule, tally


class DecidedVote(SampleRule):
    """Draws until the leading answer will hardly be overtaken in the samples that are left.

    Rule: with a votes for the leading answer, b for another, and m samples left, how many of the m
    go to the leader and not to that other one is beta-binomial, with a uniform prior on its share:
    BetaBin(m, a + 1, b + 1). Stop once the chances of all others to end ahead, added up, are at
    most 1 - ``confidence``; an answer that nobody gave yet is one of them, with b = 0. At most
    ``most`` samples; plurality, ties to the answer that came first.

    Two things tell it from Adaptive-Consistency, which asks whether the leader's share is the
    larger one: what counts is the vote of ``most`` samples and not of infinitely many, so that a
    vote that can no longer change ends it for certain; and all other answers count, not the second
    alone. Samples without an answer are drawn and vote for none.

    With few samples the prior decides much: the first of four keeps its lead with a chance of 0.9,
    as nine in ten shares leave it one more vote, and 0.9 then draws no second sample.

    Args:
        confidence: In (0, 1).
        most: Samples at most, >= 1.

    Raises:
        ValueError: An argument is out of its interval, or no number.

    Examples:
        >>> rule = DecidedVote(0.95, most=5)
        >>> rule.certainty(["4", "4", "4"])
        1.0
        >>> round(rule.certainty(["4", "4", "5"]), 2)
        0.8
        >>> round(DecidedVote(0.9, most=4).certainty(["4"]), 2)
        0.9
    """

    title: ClassVar[str] = "decided vote"

    def __init__(self, confidence: float = 0.95, most: int = 16) -> None:
        if not (isinstance(confidence, int | float) and 0.0 < confidence < 1.0):
            raise ValueError(f"confidence must be in (0, 1), got {confidence!r}")
        super().__init__()
        self.confidence = confidence
        self.most = whole_number(most, "most", 1)

    @classmethod
    def grid(cls) -> tuple[Self, ...]:
        """Return confidences from 0.5 to 0.999, with 40 samples and with 16."""
        levels = (0.95, 0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.97, 0.98, 0.99, 0.995, 0.999)
        return tuple(cls(level, most) for most in (40, 16) for level in levels)

    def more(self) -> bool:
        answers = [sample.answer for sample in self.taken]
        return len(answers) < self.most and self.certainty(answers) < self.confidence

    def batch(self) -> int:
        """Return how many samples it takes at least, should all go to the leader."""
        answers = [sample.answer for sample in self.taken]
        counts = tally((answer, 1.0) for answer in answers)
        leader = max(counts, key=counts.__getitem__, default="first")
        left = self.most - len(answers)
        return next(
            (
                number
                for number in range(1, left)
                if self.certainty([*answers, *[leader] * number]) >= self.confidence
            ),
            max(1, left),
        )

    def certainty(self, answers: Sequence[Key]) -> float:
        """Return how sure it is that the leader stays ahead, at least; 0 where nobody leads.

        Args:
            answers: As votes compare them, in the order in which they came; ``""`` for none.
        """
        counts = tally((answer, 1.0) for answer in answers)
        if not counts:
            return 0.0
        leader = max(counts, key=counts.__getitem__)
        ahead, left = int(counts[leader]), max(0, self.most - len(answers))
        names = list(counts)
        place = names.index(leader)
        rivals = [(int(counts[name]), before < place) for before, name in enumerate(names)]
        rivals[place] = (0, False)  # one that nobody gave yet
        overtaken = math.fsum(_overtaken(ahead, *rival, left) for rival in rivals)
        return max(0.0, 1.0 - overtaken)

    def __repr__(self) -> str:
        return f"DecidedVote({self.confidence}, {self.most})"


@lru_cache(maxsize=65536)
def _overtaken(a: int, b: int, ties: bool, left: int) -> float:
    """Return the chance that a rival with b votes ends ahead of a leader with a.

    Args:
        a: Votes of the leader.
        b: Of the rival.
        ties: Whether a tie is the rival's.
        left: Samples that are left, each for one of the two.
    """
    reach = [x for x in range(left + 1) if a + x < b + left - x + ties]
    return min(1.0, math.fsum(_beta_binomial(x, left, a + 1, b + 1) for x in reach))


def _beta_binomial(x: int, n: int, alpha: float, beta: float) -> float:
    """Return P(X = x) for X ~ BetaBin(n, alpha, beta)."""
    return math.comb(n, x) * math.exp(_log_beta(x + alpha, n - x + beta) - _log_beta(alpha, beta))


def _log_beta(a: float, b: float) -> float:
    return math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b)
