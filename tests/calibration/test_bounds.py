"""P-values, bounds and sizes: against scipy's own tests, by hand, and against brute force."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from stopping_core.calibration.bounds import (
    binomial_p_value,
    binomial_upper_bound,
    hoeffding_bentkus_p_value,
    hoeffding_bentkus_upper_bound,
    runs_needed,
)
from stopping_core.errors import MissingPackage

counts = st.integers(1, 500)
shares = st.floats(0.001, 0.999)
means = st.floats(0.0, 1.0)


@st.composite
def lost_of(draw: st.DrawFn) -> tuple[int, int]:
    """Draws, and how many of them were lost."""
    n = draw(counts)
    return draw(st.integers(0, n)), n


@given(lost_of(), shares)
def test_the_exact_p_value_is_that_of_scipys_test(lost_of_n: tuple[int, int], alpha: float) -> None:
    """One-sided binomial test, alternative: less."""
    lost, n = lost_of_n
    theirs = stats.binomtest(lost, n, alpha, alternative="less").pvalue
    assert pytest.approx(theirs, rel=1e-9, abs=1e-100) == binomial_p_value(lost, n, alpha)


@given(lost_of(), shares)
def test_the_exact_bound_is_that_of_scipy(lost_of_n: tuple[int, int], delta: float) -> None:
    """Clopper and Pearson, upper end."""
    lost, n = lost_of_n
    theirs = stats.binomtest(lost, n, alternative="less").proportion_ci(1 - delta).high
    assert pytest.approx(theirs, rel=1e-9) == binomial_upper_bound(lost, n, delta)


@given(lost_of(), shares)
def test_the_p_value_at_the_exact_bound_is_delta(lost_of_n: tuple[int, int], delta: float) -> None:
    """The bound is the test, inverted; it is 1 where all was lost."""
    lost, n = lost_of_n
    bound = binomial_upper_bound(lost, n, delta)
    if lost == n:
        assert 1.0 == bound
    else:
        assert pytest.approx(delta, rel=1e-6) == binomial_p_value(lost, n, bound)


@given(means, counts, shares)
def test_the_p_value_around_the_bounded_bound_crosses_delta(
    mean: float, n: int, delta: float
) -> None:
    """Below the bound nothing is refuted, above it all is; it is never below the mean."""
    bound = hoeffding_bentkus_upper_bound(mean, n, delta)
    below, above = bound * (1 - 1e-6), bound * (1 + 1e-6)
    assert bound >= mean * (1 - 1e-12)
    if below > 0.0:
        assert hoeffding_bentkus_p_value(mean, n, below) >= delta
    if above < 1.0:
        assert hoeffding_bentkus_p_value(mean, n, above) <= delta


@given(lost_of(), shares)
def test_what_holds_for_all_losses_is_no_sharper_than_what_is_exact(
    lost_of_n: tuple[int, int], alpha: float
) -> None:
    """And the same where no loss was seen."""
    lost, n = lost_of_n
    exact, bounded = binomial_p_value(lost, n, alpha), hoeffding_bentkus_p_value(lost / n, n, alpha)
    assert bounded >= exact * (1 - 1e-9)
    if lost == 0:
        assert pytest.approx(exact, rel=1e-9) == bounded


@given(lost_of(), shares, shares)
def test_more_losses_prove_less_and_a_higher_level_is_easier(
    lost_of_n: tuple[int, int], one: float, other: float
) -> None:
    """Both p-values rise with the losses and fall with alpha; rounding aside."""
    lost, n = lost_of_n
    low, high = sorted((one, other))
    grace = 1 + 1e-9
    assert binomial_p_value(lost, n, high) <= binomial_p_value(lost, n, low) * grace
    mean = lost / n
    easier = hoeffding_bentkus_p_value(mean, n, high)
    assert easier <= hoeffding_bentkus_p_value(mean, n, low) * grace
    if lost:
        assert binomial_p_value(lost - 1, n, low) <= binomial_p_value(lost, n, low) * grace
        fewer = hoeffding_bentkus_p_value((lost - 1) / n, n, low)
        assert fewer <= hoeffding_bentkus_p_value(mean, n, low) * grace


def test_the_bounded_p_value_by_hand() -> None:
    """Hoeffding's is the smaller for few draws; a mean at the level says nothing."""
    hoeffding = math.exp(-10 * (0.25 * math.log(0.5) + 0.75 * math.log(1.5)))
    assert pytest.approx(hoeffding) == hoeffding_bentkus_p_value(0.25, 10, 0.5)
    bentkus = math.e * stats.binom(1000, 0.1).cdf(70)
    assert pytest.approx(bentkus) == hoeffding_bentkus_p_value(0.07, 1000, 0.1)
    assert 1.0 == hoeffding_bentkus_p_value(0.1, 30, 0.1)


@pytest.mark.parametrize(
    ("alpha", "expected", "n"),
    [(0.02, 0.0, 149), (0.02, 0.01, 386), (0.03, 0.02, 645), (0.01, 0.005, 773), (0.01, 0.0, 299)],
)
def test_the_runs_that_a_certificate_takes(alpha: float, expected: float, n: int) -> None:
    """At a confidence of 95%; one run less is not enough."""
    assert n == runs_needed(alpha, 0.05, expected)
    lost = math.floor(expected * n)
    assert binomial_p_value(lost, n, alpha) <= 0.05
    assert binomial_p_value(math.floor(expected * (n - 1)), n - 1, alpha) > 0.05


@given(
    st.sampled_from([0.02, 0.1, 0.3, 0.9]),
    st.sampled_from([0.001, 0.0125, 0.05, 0.5, 0.9]),
    st.floats(0.0, 0.6),
    st.booleans(),
    st.sampled_from([0, 7, 120]),
)
def test_the_runs_needed_are_the_fewest(
    alpha: float, delta: float, part: float, exact: bool, beyond: int
) -> None:
    """Trying one number after the other finds the same."""
    expected = part * alpha

    def enough(n: int) -> bool:
        if exact:
            return binomial_p_value(math.floor(round(expected * n, 9)), n, alpha) <= delta
        return hoeffding_bentkus_p_value(expected, n, alpha) <= delta

    needed = runs_needed(alpha, delta, expected, exact=exact, beyond=beyond)
    assert next(n for n in range(beyond + 1, 100_000) if enough(n)) == needed


def test_no_number_of_runs_proves_what_the_runs_deny() -> None:
    """Where as much is lost as the level allows, or all but; near it the search still ends."""
    assert runs_needed(0.02, 0.05, 0.02) is None
    assert runs_needed(0.02, 0.05, 0.5, exact=False) is None
    assert runs_needed(0.02, 0.05, 0.02 * (1 - 1e-12)) is None
    needed = runs_needed(0.02, 0.05, 0.0199)
    assert needed is not None
    assert binomial_p_value(math.floor(0.0199 * needed), needed, 0.02) <= 0.05


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: binomial_p_value(0, 10, 0.0), r"alpha must be in \(0, 1\), got 0.0"),
        (lambda: binomial_p_value(0, 10, math.nan), r"alpha must be in \(0, 1\), got nan"),
        (lambda: binomial_p_value(0, 0, 0.1), "n must be >= 1, got 0"),
        (lambda: binomial_p_value(11, 10, 0.1), r"lost must be in \[0, n\], n = 10, got 11"),
        (lambda: binomial_upper_bound(-1, 10, 0.1), r"lost must be in \[0, n\], n = 10, got -1"),
        (lambda: binomial_upper_bound(1, 10, 1.0), r"delta must be in \(0, 1\), got 1.0"),
        (lambda: hoeffding_bentkus_p_value(1.5, 10, 0.1), r"mean must be in \[0, 1\], got 1.5"),
        (lambda: hoeffding_bentkus_p_value(0.5, 10, 1.0), r"alpha must be in \(0, 1\), got 1.0"),
        (lambda: hoeffding_bentkus_upper_bound(math.nan, 9, 0.1), r"mean must .* got nan"),
        (lambda: hoeffding_bentkus_upper_bound(0.1, -1, 0.1), "n must be >= 1, got -1"),
        (lambda: runs_needed(2.0, 0.05, 0.0), r"alpha must be in \(0, 1\), got 2.0"),
        (lambda: runs_needed(0.1, 0.0, 0.0), r"delta must be in \(0, 1\), got 0.0"),
        (lambda: runs_needed(0.1, 0.1, -0.1), r"expected must be in \[0, 1\], got -0.1"),
        (lambda: runs_needed(0.1, 0.1, 0.0, beyond=-1), "beyond must be >= 0, got -1"),
    ],
)
def test_what_cannot_be_is_named(call: Callable[[], object], message: str) -> None:
    """The error names the argument, its interval and its value."""
    with pytest.raises(ValueError, match=message):
        call()


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error says what to install."""
    monkeypatch.setitem(sys.modules, "scipy.special", None)
    with pytest.raises(MissingPackage, match=r"scipy is needed here.*stopping-core\[certify\]"):
        binomial_p_value(0, 10, 0.1)
