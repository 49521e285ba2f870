"""The same p-values and the same choices as another implementation of Learn then Test, MAPIE's."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mapie.risk_control import control_fwer
from mapie.risk_control._base_controller import ltt_procedure
from mapie.risk_control.methods import compute_hoeffding_bentkus_p_value

from stopping_core.calibration.bounds import binomial_p_value, hoeffding_bentkus_p_value
from stopping_core.calibration.risk_control import control_risk, fixed_sequences

ALPHAS = [0.005, 0.01, 0.02, 0.05, 0.1, 0.3, 0.9]

# A power of two: elsewhere n * (k / n) can be a little more than k, and MAPIE rounds that up.
N = 256


def test_exact_p_values() -> None:
    """All counts of losses, many levels."""
    lost = np.arange(N)
    theirs = compute_hoeffding_bentkus_p_value(lost / N, N, np.array(ALPHAS), binary=True)
    ours = [[binomial_p_value(int(count), N, alpha) for alpha in ALPHAS] for count in lost]
    np.testing.assert_allclose(ours, theirs, rtol=1e-9)


@pytest.mark.parametrize("n", [1, 7, 100, 2500])
def test_bounded_p_values(n: int) -> None:
    """Many means, many levels."""
    means = np.random.default_rng(0).random(200) ** 3
    theirs = compute_hoeffding_bentkus_p_value(means, n, np.array(ALPHAS))
    ours = [[hoeffding_bentkus_p_value(mean, n, alpha) for alpha in ALPHAS] for mean in means]
    np.testing.assert_allclose(ours, theirs, rtol=1e-9, atol=1e-300)


@given(st.lists(st.floats(0.0, 0.2), min_size=1, max_size=8), st.floats(0.01, 0.5))
def test_the_fixed_sequence(p_values: list[float], delta: float) -> None:
    """One level, p-values in any order."""
    theirs = control_fwer(np.array(p_values), delta, "fixed_sequence").tolist()
    (passed,), _ = fixed_sequences(np.array(p_values)[:, np.newaxis], delta)
    assert theirs == list(range(passed))


@pytest.mark.parametrize("binary", [True, False])
def test_the_whole_procedure(binary: bool) -> None:
    """From losses that rise along the path to the settings that are certified, level by level."""
    rng = np.random.default_rng(0)
    for _ in range(50):
        worst = rng.random((N, 1)) < 0.2
        kept = np.sort(rng.random(8))
        losses = worst * (rng.random((N, 1)) < kept) * (1.0 if binary else rng.random((N, 1)))
        risks = losses.mean(axis=0)[np.newaxis]
        theirs, _ = ltt_procedure(
            risks, np.array([ALPHAS]), 0.1, np.full(risks.shape, N), binary, "fixed_sequence"
        )
        for alpha, certified in zip(ALPHAS, theirs, strict=True):
            (level,) = control_risk(losses, [alpha], delta=0.1)
            assert (certified[-1] if certified else None) == level.setting
