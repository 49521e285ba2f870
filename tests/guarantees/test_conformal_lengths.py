"""What conformal lengths promise, by simulation: a level covers as often as it says.

A resample is a new set of calibration runs and one new request. Every statement is an exact
binomial test: it counts as refuted where what was seen had a chance below 0.001 if it held.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache

import numpy as np
import pytest
from scipy import stats

from stopping_core.budgets import LengthModel, calibrate, fit_lengths
from stopping_core.budgets.request_features import features_of
from stopping_core.types import Request
from tests.core.made_lengths import made_lengths

RESAMPLES = 2000
LEVELS = (0.5, 0.8, 0.9, 0.95, 0.99)
CAP = 10**7
"""Far away, and lengths are large, so that rounding and ties play no part."""


def draw(rng: np.random.Generator, count: int) -> tuple[list[Request], list[int]]:
    """Requests whose length rises and spreads with the prompt, with a heavy tail."""
    size = rng.uniform(4, 8, count)
    log = 5 + 0.5 * size + (0.05 + 0.15 * (size - 4)) * rng.standard_t(4, count)
    needed = np.minimum(np.exp(log), CAP).astype(int)
    return [Request(prompt_tokens=round(math.exp(one))) for one in size], needed.tolist()


@lru_cache(maxsize=1)
def fitted() -> LengthModel:
    """A model that was fitted on other runs."""
    return fit_lengths(*draw(np.random.default_rng(1), 400), cap=CAP, levels=LEVELS)


def blind() -> LengthModel:
    """A model that is wrong about everything."""
    return made_lengths([900, 900, 900, 1000, 10], levels=LEVELS, slope=-1.0, cap=CAP)


def refuted(covered: int, share: float, alternative: str) -> bool:
    """Whether so many resamples refute that a share of them is covered."""
    return bool(stats.binomtest(covered, RESAMPLES, share, alternative=alternative).pvalue < 0.001)


def coverage(model: LengthModel, count: int, seed: int) -> list[tuple[int, int]]:
    """In how many resamples each level covered the new request.  # (levels, 2).

    As a quantile, and as its offset alone, before it is rounded and held against lower levels.
    """
    rng, covered = np.random.default_rng(seed), np.zeros((2, len(LEVELS)), dtype=int)
    for _ in range(RESAMPLES):
        requests, needed = draw(rng, count + 1)
        held = calibrate(model, requests[:-1], needed[:-1])
        covered[0] += needed[-1] <= np.array(held.quantiles(requests[-1]))
        logs = held.log_quantiles(features_of(requests[-1]))
        offsets = [math.inf if one is None else one for one in held.offsets or ()]
        covered[1] += math.log(max(1, needed[-1])) - np.array(logs) <= offsets
    return [(int(whole), int(alone)) for whole, alone in covered.T]


@pytest.mark.parametrize("count", [19, 99])
@pytest.mark.parametrize("made", [fitted, blind])
def test_a_level_covers_at_least_as_often_as_it_says(
    made: Callable[[], LengthModel], count: int
) -> None:
    """Its offset alone does so with a chance of ceil((n + 1) q) / (n + 1), whatever the model."""
    for level, (whole, alone) in zip(LEVELS, coverage(made(), count, seed=2), strict=True):
        assert not refuted(whole, level, "less"), (level, whole)
        exact = min(1.0, math.ceil((count + 1) * level - 1e-9) / (count + 1))
        assert not refuted(alone, exact, "two-sided"), (level, alone, exact)


def test_without_calibration_a_wrong_model_covers_what_it_likes() -> None:
    """The test can fail: the quantiles of the fit alone are refuted."""
    requests, needed = draw(np.random.default_rng(3), RESAMPLES)
    rows = np.array([blind().quantiles(request) for request in requests])
    covered = (np.array(needed)[:, None] <= rows).sum(axis=0)
    assert all(refuted(int(one), level, "less") for one, level in zip(covered, LEVELS, strict=True))


def test_groups_are_kept_together_or_the_promise_is_broken() -> None:
    """Long answers stand alone, short ones in crowds: one of a group covers, all of them do not."""
    rng, model, level = np.random.default_rng(4), fitted(), LEVELS.index(0.9)
    together, apart = 0, 0
    for _ in range(RESAMPLES):
        sizes = rng.integers(1, 13, 21)
        group = np.repeat(np.arange(21), sizes)
        requests, needed = draw(rng, 21)
        spread = rng.normal(0, 0.05, len(group))
        grouped = [
            max(1, round(needed[one] * math.exp(more) / sizes[one]))
            for one, more in zip(group.tolist(), spread.tolist(), strict=True)
        ]
        asked = [requests[one] for one in group.tolist()]
        new = int(np.flatnonzero(group == 20)[0])
        held = calibrate(model, asked[:new], grouped[:new], group[:new].tolist(), seed=0)
        loose = calibrate(model, asked[:new], grouped[:new])
        together += grouped[new] <= held.quantiles(asked[new])[level]
        apart += grouped[new] <= loose.quantiles(asked[new])[level]
    assert (False, True) == (refuted(together, 0.9, "less"), refuted(apart, 0.9, "less")), (
        together,
        apart,
    )


def test_the_cap_is_the_quantile_where_runs_are_too_few() -> None:
    """Eighteen runs cannot promise 0.95; the cap covers always, as lengths end there."""
    requests, needed = draw(np.random.default_rng(5), 18)
    held = calibrate(fitted(), requests, needed)
    assert held.offsets is not None
    assert [offset is None for offset in held.offsets] == [False, False, False, True, True]
    assert held.quantiles(requests[0])[-2:] == (CAP, CAP)
