"""The bootstrap over groups: what it covers, by simulation, and what it equals."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from stopping_core.resampling import GroupBootstrap, Interval

SIMULATIONS = 300


def _runs(rng: np.random.Generator, groups: int) -> tuple[np.ndarray, ...]:
    """Runs in groups of 1 to 8 that share much of their length, their saving and their losses."""
    sizes = rng.integers(1, 9, groups)
    group = np.repeat(np.arange(groups), sizes)
    full = rng.gamma(4.0, 25.0, groups)[group] * rng.uniform(0.5, 1.5, len(group))
    kept = np.clip(rng.beta(2, 2, groups)[group] + rng.normal(0, 0.1, len(group)), 0, 1)
    lost = rng.random(len(group)) < rng.beta(0.4, 3.6, groups)[group]
    return group, full, full * kept, lost


def test_the_intervals_cover_under_grouped_data() -> None:
    """95% intervals of a saving and of a share hold the truth in at least 92 of 100 data sets.

    The percentile interval is right to the first order only, hence the three points of grace. The
    one that takes each run for a group of its own is refuted on the same data.
    """
    rng = np.random.default_rng(1)
    saving, loss = 0.5, 0.1  # the means of Beta(2, 2) and of Beta(0.4, 3.6)
    held = {"saving": 0, "lost": 0, "each run by itself": 0}
    for seed in range(SIMULATIONS):
        group, full, cut, lost = _runs(rng, 120)
        bootstrap = GroupBootstrap(group.tolist(), resamples=300, seed=seed)
        kept = bootstrap.ratio(cut, full)
        share = bootstrap.share(lost)
        alone = GroupBootstrap(range(len(group)), resamples=300, seed=seed).ratio(cut, full)
        held["saving"] += kept.low <= 1 - saving <= kept.high
        held["lost"] += share.low <= loss <= share.high
        held["each run by itself"] += alone.low <= 1 - saving <= alone.high
    refuted = {
        name: stats.binomtest(hits, SIMULATIONS, 0.92, alternative="less").pvalue < 0.001
        for name, hits in held.items()
    }
    assert {"saving": False, "lost": False, "each run by itself": True} == refuted, held


def test_an_event_that_never_happened_is_bounded() -> None:
    """Groups as one: at the boundary, none lost in G groups is seen no more often than 2.5%."""
    groups, each = 60, 3
    names = np.repeat(np.arange(groups), each).tolist()
    interval = GroupBootstrap(names).share(np.zeros(groups * each))
    assert interval.low == 0.0
    rng = np.random.default_rng(2)
    draws = 20_000
    none = int((rng.random((draws, groups)) >= interval.high).all(axis=1).sum())
    assert stats.binomtest(none, draws, 0.025).pvalue > 0.001
    always = GroupBootstrap(names).share(np.ones(groups * each))
    assert Interval(1 - interval.high, 1.0) == always


def test_ungrouped_it_agrees_with_scipy() -> None:
    """Each run its own group: the percentile interval of a ratio, up to the noise of the draws."""
    rng = np.random.default_rng(3)
    _, full, cut, _ = _runs(rng, 100)
    ours = GroupBootstrap(range(len(full)), resamples=20_000, seed=4).ratio(cut, full)
    theirs = stats.bootstrap(
        (cut, full),
        lambda cut, full, axis: cut.sum(axis=axis) / full.sum(axis=axis),
        paired=True,
        vectorized=True,
        n_resamples=20_000,
        method="percentile",
        rng=np.random.default_rng(5),
    ).confidence_interval
    width = theirs.high - theirs.low
    assert (theirs.low, theirs.high) == pytest.approx((ours.low, ours.high), abs=width / 25)


def test_the_groups_decide_and_the_order_of_runs_does_not() -> None:
    """One seed gives one interval; runs may come in any order, as long as groups keep theirs."""
    rng = np.random.default_rng(6)
    group, full, cut, _ = _runs(rng, 30)
    first = GroupBootstrap(group.tolist(), seed=7).ratio(cut, full)
    assert first == GroupBootstrap(group.tolist(), seed=7).ratio(cut, full)
    within = np.lexsort((rng.random(len(group)), group))
    shuffled = GroupBootstrap(group[within].tolist(), seed=7).ratio(cut[within], full[within])
    assert (first.low, first.high) == pytest.approx((shuffled.low, shuffled.high))


def test_draws_without_a_denominator_are_left_out() -> None:
    """A ratio to something rare is taken over the draws in which it is there."""
    interval = GroupBootstrap(["a", "b"]).ratio([1.0, 0.0], [2.0, 0.0])
    assert Interval(0.5, 0.5) == interval


def test_what_cannot_be_is_named() -> None:
    """One group, no draws, a wrong shape, nothing to divide by."""
    with pytest.raises(ValueError, match="groups must hold at least 2 different ones, got 1"):
        GroupBootstrap(["a", "a"])
    with pytest.raises(ValueError, match="resamples must be >= 1, got 0"):
        GroupBootstrap(["a", "b"], resamples=0)
    with pytest.raises(ValueError, match=r"confidence must be in \(0, 1\), got 1.0"):
        GroupBootstrap(["a", "b"], confidence=1.0)
    two = GroupBootstrap(["a", "b"])
    with pytest.raises(ValueError, match=r"numerator must have shape \(2,\), got \(3,\)"):
        two.ratio([1, 2, 3], [1, 1])
    with pytest.raises(ValueError, match="denominator must not be 0 for all runs"):
        two.ratio([1, 2], [0, 0])
