"""What risk control promises, by simulation: it is wrong no more often than delta says.

Every statement is an exact binomial test: the promise counts as broken where so many errors, or
more, had a chance below 0.001 if it held. Risks are exactly at their levels, which is where the
promise is hardest to keep, and count as an error if they are certified there.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations_with_replacement

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from stopping_core.calibration.risk_control import RiskLevel, control_risk, fixed_sequences

RESAMPLES = 2000
DELTA = 0.1
LEVELS = (0.05, 0.1, 0.2)

# Safe, then at the first level, safe again, at the second, ...: no two levels fail at one setting.
UP_AND_DOWN = (0.005, 0.05, 0.01, 0.1, 0.02, 0.2, 0.5)


def _broken(errors: int) -> bool:
    """Whether so many errors refute that their chance is at most delta."""
    test = stats.binomtest(errors, RESAMPLES, DELTA, alternative="greater")
    return bool(test.pvalue < 0.001)


def _wrong(levels: Sequence[RiskLevel], risks: Sequence[float]) -> bool:
    """Whether any level certifies a path with a setting whose risk is at the level or above it."""
    return any(
        level.setting is not None and max(risks[: level.setting + 1]) >= level.alpha
        for level in levels
    )


@pytest.mark.parametrize(("alpha", "n"), [(0.02, 149), (0.02, 386), (0.1, 60), (0.3, 200)])
def test_at_the_boundary_it_errs_as_often_as_the_binomial_says(alpha: float, n: int) -> None:
    """One setting, one level, losses of 0 or 1: the promise is kept, and not by chance."""
    rng = np.random.default_rng(0)
    errors = sum(
        _wrong(control_risk(rng.random((n, 1)) < alpha, [alpha], delta=DELTA), [alpha])
        for _ in range(RESAMPLES)
    )
    enough = stats.binom(n, alpha).cdf(np.arange(n)) <= DELTA
    size = stats.binom(n, alpha).cdf(np.flatnonzero(enough)[-1])
    assert stats.binomtest(errors, RESAMPLES, size).pvalue >= 0.001
    assert not _broken(errors)


def test_several_levels_on_a_path_that_goes_up_and_down() -> None:
    """All levels together keep one delta; each by itself at all of delta does not."""
    rng = np.random.default_rng(0)
    together, apart = 0, 0
    for _ in range(RESAMPLES):
        losses = rng.random((300, len(UP_AND_DOWN))) < UP_AND_DOWN
        together += _wrong(control_risk(losses, LEVELS, delta=DELTA), UP_AND_DOWN)
        each = [control_risk(losses, [level], delta=DELTA)[0] for level in LEVELS]
        apart += _wrong(each, UP_AND_DOWN)
    assert (False, True) == (_broken(together), _broken(apart)), (together, apart)


def _grouped(
    rng: np.random.Generator, groups: int, risks: Sequence[float]
) -> tuple[NDArray[np.bool_], list[int]]:
    """Runs in groups of 1 to 12; the rate of loss of a group is Beta, its correlation 0.6."""
    group = np.repeat(np.arange(groups), rng.integers(1, 13, groups))
    mean, strength = np.array(risks), 1 / 0.6 - 1
    rates = rng.beta(mean * strength, (1 - mean) * strength, (groups, len(risks)))
    return rng.random((len(group), len(risks))) < rates[group], group.tolist()


def test_under_grouped_data_at_the_boundary() -> None:
    """Groups as units keep the promise at all levels; runs taken for independent break it."""
    rng = np.random.default_rng(0)
    grouped, alone = 0, 0
    for _ in range(RESAMPLES):
        losses, groups = _grouped(rng, 150, UP_AND_DOWN)
        grouped += _wrong(control_risk(losses, LEVELS, delta=DELTA, groups=groups), UP_AND_DOWN)
        alone += _wrong(control_risk(losses, LEVELS, delta=DELTA), UP_AND_DOWN)
    assert (False, True) == (_broken(grouped), _broken(alone)), (grouped, alone)


def test_losses_that_lie_between_at_the_boundary() -> None:
    """Rare and large, common and small: the bounded test holds for all."""
    rng = np.random.default_rng(0)
    for height in (0.99, 0.5, 0.15):
        errors = 0
        for _ in range(RESAMPLES):
            losses = height * (rng.random((150, 1)) < 0.1 / height)
            errors += _wrong(control_risk(losses, [0.1], delta=DELTA), [0.1])
        assert not _broken(errors), (height, errors)


def _first_bad(settings: int, levels: int) -> Iterator[tuple[int, ...]]:
    """Every way in which levels can have a first bad setting; ``settings`` stands for none."""
    return combinations_with_replacement(range(settings + 1), levels)


def _worst_table(first_bad: Sequence[int], settings: int, u: float) -> NDArray[np.float64]:
    """P-values as unkind as they may be.  # (settings, levels).

    What is false is always rejected. The p-values of the first bad settings are uniform, and never
    small together: their errors add up. What comes after one is rejected where it may be.
    """
    table = np.zeros((settings, len(first_bad)))
    bad = sorted(set(first_bad) - {settings})
    for number, setting in enumerate(bad):
        reached = np.array(first_bad) <= setting
        table[setting, reached] = (u - number * DELTA / len(bad)) % 1
    return table


@pytest.mark.parametrize("settings", [1, 2, 3, 4])
@pytest.mark.parametrize("levels", [1, 2, 3, 4])
def test_the_shares_of_delta_add_up_in_the_worst_case(settings: int, levels: int) -> None:
    """No truth and no dependence between p-values makes more than delta; one makes delta.

    No chance is left in it: u runs over a grid that delta and its parts divide.
    """
    grid = 120
    most = 0
    for first_bad in _first_bad(settings, levels):
        errors = 0
        for step in range(grid):
            table = _worst_table(first_bad, settings, (step + 0.5) / grid)
            passed, _ = fixed_sequences(table, DELTA)
            errors += any(done > bad for done, bad in zip(passed, first_bad, strict=True))
        most = max(most, errors)
    assert DELTA * grid == most
