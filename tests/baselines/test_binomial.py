"""Binomial tails against scipy."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from stopping_core.policies.baselines.binomial import (
    beta_above_half,
    binomial_cdf,
    hoeffding_bentkus,
)

counts = st.integers(0, 60)
shares = st.floats(0.001, 0.999)


@given(counts, counts)
def test_the_beta_mass_above_one_half(a: int, b: int) -> None:
    """Of Beta(a + 1, b + 1)."""
    assert pytest.approx(stats.beta(a + 1, b + 1).sf(0.5), rel=1e-9) == beta_above_half(a, b)


@given(st.integers(-1, 400), st.integers(1, 300), shares)
def test_the_binomial_distribution(k: int, n: int, p: float) -> None:
    """Below its support, above it, and inside."""
    assert pytest.approx(stats.binom(n, p).cdf(k), rel=1e-8, abs=1e-300) == binomial_cdf(k, n, p)


@pytest.mark.parametrize(("alpha", "n"), [(0.02, 149), (0.01, 299)])
def test_the_runs_that_a_certificate_without_a_loss_takes(alpha: float, n: int) -> None:
    """The least n at which no loss in n is unlikely under a risk of alpha."""
    assert binomial_cdf(0, n, alpha) <= 0.05 < binomial_cdf(0, n - 1, alpha)


@given(st.integers(1, 200), st.data(), shares)
def test_a_risk_p_value_is_valid_for_zero_one_losses(
    n: int, data: st.DataObject, risk: float
) -> None:
    """It is never below the exact tail: being exact is allowed to be sharper, not the other way."""
    lost = data.draw(st.integers(0, n))
    exact = stats.binom(n, risk).cdf(lost)
    assert hoeffding_bentkus(lost / n, n, risk) >= exact * (1.0 - 1e-6)


def test_a_risk_p_value_by_hand() -> None:
    """No loss at all: Hoeffding's bound is (1 - risk)^n. A mean above the risk says nothing."""
    assert pytest.approx(0.9**30) == hoeffding_bentkus(0.0, 30, 0.1)
    assert 1.0 == hoeffding_bentkus(0.2, 30, 0.1)
    assert pytest.approx(math.exp(-10 * (0.25 * math.log(0.5) + 0.75 * math.log(1.5)))) == (
        hoeffding_bentkus(0.25, 10, 0.5)
    )
