"""Binomial tails, exact, and what risk control makes of them."""

from __future__ import annotations

import math
from functools import lru_cache


def binomial_cdf(k: int, n: int, p: float) -> float:
    """Return P(X <= k) for X ~ Bin(n, p), summed term by term.

    Args:
        k: Any whole number; 0 below 0, 1 from n on.
        n: Trials, >= 0.
        p: Probability, in (0, 1).

    Examples:
        >>> round(binomial_cdf(1, 3, 0.5), 12)
        0.5
    """
    if k >= n:
        return 1.0
    yes, no = math.log(p), math.log1p(-p)
    whole = math.lgamma(n + 1)
    terms = (
        math.exp(whole - math.lgamma(i + 1) - math.lgamma(n - i + 1) + i * yes + (n - i) * no)
        for i in range(k + 1)
    )
    return min(1.0, math.fsum(terms))


def beta_above_half(a: int, b: int) -> float:
    """Return the mass of Beta(a + 1, b + 1) above one half, exactly: a binomial sum.

    With n = a + b + 1 it is P(Bin(n, 1/2) <= a).

    Args:
        a: Count for, >= 0.
        b: Count against, >= 0.

    Examples:
        >>> beta_above_half(4, 0), beta_above_half(2, 2)
        (0.96875, 0.5)
    """
    n = a + b + 1
    above: int = sum(math.comb(n, i) for i in range(a + 1))
    return above / (1 << n)


@lru_cache(maxsize=65536)
def hoeffding_bentkus(mean: float, n: int, risk: float) -> float:
    """Return a p-value of "the risk is above ``risk``" from the mean of n losses in [0, 1].

    The smaller of Hoeffding's and Bentkus' bounds: valid for any loss in [0, 1], however it is
    distributed, as long as the n are independent and alike.

    Args:
        mean: Their mean, in [0, 1].
        n: Their number, >= 1.
        risk: In (0, 1).

    References:
        Bates, Angelopoulos, Lei, Malik and Jordan (2021), Distribution-Free, Risk-Controlling
        Prediction Sets, section 3.1. arXiv:2101.02703. Angelopoulos et al. (2021), Learn then Test,
        proposition 5. arXiv:2110.01052.
    """
    low = min(mean, risk)
    divergence = (1.0 - low) * (math.log1p(-low) - math.log1p(-risk))
    if low > 0.0:
        divergence += low * math.log(low / risk)
    bentkus = math.e * binomial_cdf(math.ceil(round(n * mean, 9)), n, risk)
    return min(1.0, math.exp(-n * divergence), bentkus)
