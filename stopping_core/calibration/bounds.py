"""What some observed losses prove about the risk, without assuming how losses are distributed.

All of it holds for independent draws from the questions that one wants to speak of. A loss is 0 or
1 for the exact binomial, and anything in [0, 1] for Hoeffding-Bentkus, which pays for that with up
to a factor of e in the p-value.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from stopping_core.errors import MissingPackage

_MANY = 1e12  # runs: more than anybody will record


def binomial_p_value(lost: int, n: int, alpha: float) -> float:
    """Return the exact p-value of "the risk is above alpha" from losses of 0 or 1.

    It is P(X <= lost) for X ~ Bin(n, alpha): the chance of so few losses at the boundary, where the
    hypothesis is hardest to refute.

    Args:
        lost: Losses among the draws, in [0, n].
        n: Independent draws, >= 1.
        alpha: Risk level, in (0, 1).

    Raises:
        ValueError: An argument is out of its interval.
        MissingPackage: scipy is not installed.

    Examples:
        >>> round(binomial_p_value(0, 149, 0.02), 4)
        0.0493

    References:
        Angelopoulos, Bates, Candès, Jordan and Lei (2021), Learn then Test: Calibrating Predictive
        Algorithms to Achieve Risk Control, section 2.1. arXiv:2110.01052.
    """
    _check_lost(lost, n)
    _check_inside("alpha", alpha)
    return _binomial_cdf(lost, n, alpha)


def hoeffding_bentkus_p_value(mean: float, n: int, alpha: float) -> float:
    """Return a p-value of "the risk is above alpha" from the mean of losses in [0, 1].

    The smaller of Hoeffding's bound in its form with the relative entropy, exp(-n kl(mean, alpha)),
    and of Bentkus' bound, e P(Bin(n, alpha) <= ceil(n mean)). Valid for every distribution on
    [0, 1]. Where no loss was seen it is as sharp as the exact binomial.

    Args:
        mean: Mean loss of the draws, in [0, 1].
        n: Independent draws, >= 1.
        alpha: Risk level, in (0, 1).

    Raises:
        ValueError: An argument is out of its interval.
        MissingPackage: scipy is not installed.

    Examples:
        >>> round(hoeffding_bentkus_p_value(0.005, 400, 0.02), 4)
        0.0357

    References:
        Bates, Angelopoulos, Lei, Malik and Jordan (2021), Distribution-Free, Risk-Controlling
        Prediction Sets, section 3.1. arXiv:2101.02703. Angelopoulos et al. (2021), Learn then Test,
        proposition 5. arXiv:2110.01052.
    """
    _check_mean(mean, n)
    _check_inside("alpha", alpha)
    hoeffding = math.exp(-n * _divergence(min(mean, alpha), alpha))
    bentkus = math.e * _binomial_cdf(_ceil(n * mean), n, alpha)
    return min(1.0, hoeffding, bentkus)


def binomial_upper_bound(lost: int, n: int, delta: float) -> float:
    """Return the least alpha that :func:`binomial_p_value` refutes at delta.

    The risk is below it with confidence 1 - delta: the upper end of Clopper and Pearson.

    Args:
        lost: Losses among the draws, in [0, n].
        n: Independent draws, >= 1.
        delta: 1 - confidence, in (0, 1).

    Returns:
        In (0, 1]; 1.0 where every draw was lost.

    Raises:
        ValueError: An argument is out of its interval.
        MissingPackage: scipy is not installed.

    Examples:
        >>> round(binomial_upper_bound(0, 149, 0.05), 4)
        0.0199

    References:
        Clopper and Pearson (1934), The Use of Confidence or Fiducial Limits Illustrated in the Case
        of the Binomial. Biometrika 26.
    """
    _check_lost(lost, n)
    _check_inside("delta", delta)
    return _binomial_bound(lost, n, delta)


def hoeffding_bentkus_upper_bound(mean: float, n: int, delta: float) -> float:
    """Return the least alpha that :func:`hoeffding_bentkus_p_value` refutes at delta.

    Args:
        mean: Mean loss of the draws, in [0, 1].
        n: Independent draws, >= 1.
        delta: 1 - confidence, in (0, 1).

    Returns:
        In (0, 1]; 1.0 where nothing below is refuted.

    Raises:
        ValueError: An argument is out of its interval.
        MissingPackage: scipy is not installed.

    Examples:
        >>> round(hoeffding_bentkus_upper_bound(0.005, 400, 0.05), 4)
        0.0189
    """
    _check_mean(mean, n)
    _check_inside("delta", delta)
    bentkus = _binomial_bound(_ceil(n * mean), n, delta / math.e)
    return min(bentkus, _hoeffding_bound(mean, n, delta))


def runs_needed(
    alpha: float, delta: float, expected: float, *, exact: bool = True, beyond: int = 0
) -> int | None:
    """Return how many draws are enough to claim "the risk is at most alpha".

    The smallest number at which the test refutes a risk above alpha, if the loss observed is then
    what is expected. Losses come whole: the exact test counts ``expected`` times the draws, rounded
    down. It is a size to plan with and no promise. The loss of new draws varies, and about half of
    all such data sets lose more than expected.

    Args:
        alpha: Risk level, in (0, 1).
        delta: 1 - confidence, in (0, 1).
        expected: Mean loss that the draws will show, in [0, 1].
        exact: Losses of 0 or 1 and the exact binomial; else Hoeffding-Bentkus.
        beyond: More draws than these: those that were not enough, >= 0.

    Returns:
        None where no number is enough: ``expected`` is alpha or more. Also where it is so near that
        more than 10^12 draws could be needed.

    Raises:
        ValueError: An argument is out of its interval.
        MissingPackage: scipy is not installed.

    Examples:
        >>> runs_needed(0.02, 0.05, 0.0), runs_needed(0.02, 0.05, 0.01)
        (149, 386)
        >>> runs_needed(0.02, 0.05, 0.01, exact=False)
        880
    """
    _check_inside("alpha", alpha)
    _check_inside("delta", delta)
    if not 0 <= expected <= 1:
        raise ValueError(f"expected must be in [0, 1], got {expected}")
    if beyond < 0:
        raise ValueError(f"beyond must be >= 0, got {beyond}")
    if expected >= alpha:
        return None
    rate = _divergence(expected, alpha)
    if -math.log(delta) > _MANY * rate:
        return None
    if exact:
        return _fewest(alpha, delta, expected, _floor, beyond)
    hoeffding = max(beyond + 1, math.ceil(-math.log(delta) / rate))
    return min(hoeffding, _fewest(alpha, delta / math.e, expected, _ceil, beyond))


def _fewest(
    alpha: float, delta: float, expected: float, whole: Callable[[float], int], beyond: int
) -> int:
    """Smallest n > beyond with P(Bin(n, alpha) <= whole(n expected)) <= delta.

    As n grows the count of losses rises in steps. Within a step the probability falls: it is enough
    to find the first count for which the n that makes it unlikely enough still belongs to it.
    """
    special = _scipy().special

    def unlikely(count: int) -> float:
        """The real n from which on so few losses are unlikely enough."""
        return float(special.btdtria(delta, count + 1, 1 - alpha)) + count

    first = whole((beyond + 1) * expected)
    last = first
    while whole(unlikely(last) * expected) > last:
        last = 2 * last + 1
    while first < last:
        middle = (first + last) // 2
        if whole(unlikely(middle) * expected) > middle:
            first = middle + 1
        else:
            last = middle
    while True:
        n = max(beyond + 1, first + 1, math.floor(unlikely(first)))
        while _binomial_cdf(first, n, alpha) > delta:
            n += 1
        if whole(n * expected) <= first:
            return n
        first += 1


def _binomial_cdf(count: int, n: int, p: float) -> float:
    """P(Bin(n, p) <= count) for count >= 0."""
    return 1.0 if count >= n else float(_scipy().special.betaincc(count + 1, n - count, p))


def _binomial_bound(count: int, n: int, delta: float) -> float:
    """The p at which P(Bin(n, p) <= count) is delta."""
    if count >= n:
        return 1.0
    return float(_scipy().special.betainccinv(count + 1, n - count, delta))


def _hoeffding_bound(mean: float, n: int, delta: float) -> float:
    """The alpha above the mean at which exp(-n kl(mean, alpha)) is delta."""
    wanted, highest = -math.log(delta) / n, math.nextafter(1.0, 0.0)
    if mean >= highest or _divergence(mean, highest) <= wanted:
        return 1.0
    if mean == 0.0:
        return -math.expm1(-wanted)
    return float(
        _scipy().optimize.brentq(
            lambda alpha: _divergence(mean, alpha) - wanted, mean, highest, xtol=1e-15
        )
    )


def _divergence(low: float, high: float) -> float:
    """Relative entropy of two coins, nats; low <= high < 1."""
    divergence = (1 - low) * (math.log1p(-low) - math.log1p(-high))
    return divergence + low * math.log(low / high) if low > 0 else divergence


def _floor(number: float) -> int:
    """Round down; a whole number stays what it is, in spite of the last bits of a product."""
    return math.floor(round(number, 9))


def _ceil(number: float) -> int:
    """Round up; a whole number stays what it is, in spite of the last bits of a product."""
    return math.ceil(round(number, 9))


def _check_inside(name: str, value: float) -> None:
    if not 0 < value < 1:
        raise ValueError(f"{name} must be in (0, 1), got {value}")


def _check_lost(lost: int, n: int) -> None:
    _check_draws(n)
    if not 0 <= lost <= n:
        raise ValueError(f"lost must be in [0, n], n = {n}, got {lost}")


def _check_mean(mean: float, n: int) -> None:
    _check_draws(n)
    if not 0 <= mean <= 1:
        raise ValueError(f"mean must be in [0, 1], got {mean}")


def _check_draws(n: int) -> None:
    if n < 1:
        raise ValueError(f"n must be >= 1, got {n}")


def _scipy() -> Any:
    try:
        import scipy.optimize
        import scipy.special
    except ImportError as error:
        raise MissingPackage("scipy", "certify") from error
    return scipy
