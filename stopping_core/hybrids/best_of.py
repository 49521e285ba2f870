"""Sample until a better one than the best so far is not worth its price."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar, Self

from stopping_core.plain_data import whole_number
from stopping_core.policies.baselines.probed_answers import Key
from stopping_core.policies.baselines.samples import SampleRule


class BestOf(SampleRule):
    """Draws until a sample is good enough, or one more would hardly be better; takes the best.

    Rule: stop once a score is at least ``enough``; once ``least`` samples have a score and one more
    is expected to raise the best of them by no more than ``price``; and after ``most`` samples. The
    answer is that of the sample with the highest score, of equals the first. Samples without an
    answer, or without a finite score, are drawn, count for nothing and never win.

    The second is Weitzman's rule (Pandora's) for boxes that are all alike and may be returned to:
    where their distribution is known, it is optimal for the highest score minus the price of all
    samples. Here it is approximate, for the distribution is learned on the way: scores are taken as
    normal with the mean and the variance of those so far, the variance times 1 + 1/n for n of them
    as the mean is not known either. Tails heavier than that, such as those of few good samples
    among many bad ones, end it too early; a scale that ends somewhere, which the normal does not
    know, too late: there ``enough`` is the top of the scale. What a further sample would teach is
    not counted. A verifier that says 0 or 1 wants ``enough`` and no price: few zeros in a row say
    that nothing better comes.

    Args:
        most: Samples at most, >= 1.
        enough: A score that needs no better one, finite, such as a verifier's 1.0; None for none.
        price: What a sample costs, finite, >= 0, in the unit of the score; at 0 none is too many.
        least: Scores before the price counts, >= 2.

    Raises:
        ValueError: An argument is out of its interval, or no number.

    References:
        Weitzman (1979), Optimal Search for the Best Alternative. Econometrica 47(3), 641-654.

    Examples:
        >>> from stopping_core.policies.baselines import Sample, draw
        >>> samples = [Sample(str(s), 10, score=s) for s in (0.5, 0.7, 0.6, 0.9, 0.6, 0.5)]
        >>> drawn = draw(BestOf(price=0.03), samples)
        >>> drawn.answer, drawn.samples
        ('0.7', 3)
        >>> draw(BestOf(price=0.01, enough=0.9), samples).answer
        '0.9'
    """

    title: ClassVar[str] = "best of"
    scored: ClassVar[bool] = True

    def __init__(
        self, most: int = 16, *, enough: float | None = None, price: float = 0.0, least: int = 3
    ) -> None:
        if enough is not None and not (_is_number(enough) and -math.inf < enough < math.inf):
            raise ValueError(f"enough must be finite or None, got {enough!r}")
        if not (_is_number(price) and 0.0 <= price < math.inf):
            raise ValueError(f"price must be in [0, inf), got {price!r}")
        super().__init__()
        self.most = whole_number(most, "most", 1)
        self.enough = enough
        self.price = price
        self.least = whole_number(least, "least", 2)

    @classmethod
    def grid(cls) -> tuple[Self, ...]:
        """Return prices from 0 to 0.1, for scores from 0 to 1, with 40 samples and with 16."""
        prices = (0.0, 0.003, 0.01, 0.03, 0.1)
        return tuple(cls(most, price=price) for most in (40, 16) for price in prices)

    def more(self) -> bool:
        if len(self.taken) >= self.most:
            return False
        scores = list(self._scores().values())
        if self.enough is not None and scores and max(scores) >= self.enough:
            return False
        if self.price == 0.0 or len(scores) < self.least:
            return True
        return expected_improvement(scores) > self.price

    def batch(self) -> int:
        """Return how many samples it takes at least: one where any may be good enough."""
        if self.enough is not None:
            return 1
        left = self.most - len(self.taken)
        wanted = left if self.price == 0.0 else self.least - len(self._scores())
        return max(1, min(wanted, left))

    def vote(self) -> Key:
        """Return the answer of the sample with the highest score; ``""`` where there is none."""
        winner = self.winner()
        return "" if winner is None else self.taken[winner].answer

    def winner(self) -> int | None:
        """Return the place of the sample with the highest score, of equals the first; or None."""
        scores = self._scores()
        return max(scores, key=scores.__getitem__, default=None)

    def _scores(self) -> dict[int, float]:
        """The scores of the samples that may win, by place."""
        return {
            place: sample.worth
            for place, sample in enumerate(self.taken)
            if sample.answer != "" and sample.worth is not None
        }

    def __repr__(self) -> str:
        settings = f"enough={self.enough}, price={self.price}, least={self.least}"
        return f"BestOf({self.most}, {settings})"


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def expected_improvement(scores: Sequence[float]) -> float:
    """Return by how much one more score is expected to raise the best, in their unit, >= 0.

    The next is taken as normal, with the mean m of the scores and s^2 (1 + 1/n) for its variance,
    where s^2 is theirs (of n - 1). With d its standard deviation, z = (best - m) / d, phi the
    normal density and Phi its distribution, it is d (phi(z) - z (1 - Phi(z))).

    Args:
        scores: Finite. It is infinite where they are fewer than two, or wider than floats reach.

    Examples:
        >>> round(expected_improvement([0.5, 0.7, 0.6]), 4)
        0.0123
        >>> expected_improvement([0.7, 0.7])
        0.0
    """
    count = len(scores)
    if count < 2:
        return math.inf
    best = max(scores)
    gaps = [best - score for score in scores]
    gap = math.fsum(one / count for one in gaps)
    spread = math.hypot(*(one - gap for one in gaps)) * math.sqrt((1 + 1 / count) / (count - 1))
    if not math.isfinite(spread):
        return math.inf
    if spread == 0.0:
        return 0.0
    z = gap / spread
    density = math.exp(-z * z / 2) / math.sqrt(2 * math.pi)
    return spread * (density - z * math.erfc(z / math.sqrt(2)) / 2)
