"""What the monitors promise, by simulation: watched at every request, they are wrong by delta.

Risks are exactly at their levels, where a promise is hardest to keep. Every statement is an exact
binomial test: a promise counts as broken where so many errors, or more, had a chance below 0.001 if
it held. An alarm stays, so whether it was raised at the end tells whether it ever was: whoever
stops at the worst of all moments is included.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from stopping_core.monitoring import (
    ConfidenceSequence,
    Monitor,
    Observation,
    Outcome,
    RiskMonitor,
    Segments,
)
from stopping_core.monitoring.betting import Betting, Direction

Floats: TypeAlias = NDArray[np.float64]
Stream: TypeAlias = Callable[[np.random.Generator, int, Floats], Floats]
"""Weighted losses of the next request, of each stream, given the log wealth before."""

DELTA = 0.1
ALPHA = 0.05
STREAMS, STEPS = 2000, 2000
DIRECTIONS: tuple[Direction, ...] = ("above", "below")
FEW_MANY = [1000, pytest.param(5000, marks=[pytest.mark.slow, pytest.mark.timeout(900)])]


def broken(errors: int, streams: int, delta: float = DELTA) -> bool:
    """Whether so many errors refute that their chance is at most delta."""
    test = stats.binomtest(errors, streams, delta, alternative="greater")
    return bool(test.pvalue < 0.001)


def binary(rng: np.random.Generator, step: int, wealth: Floats) -> Floats:
    """Losses of 0 or 1, all of them known."""
    return (rng.random(len(wealth)) < ALPHA).astype(np.float64)


def audited(share: float) -> Stream:
    """Two in three requests would be cut; of those a share is audited."""

    def drawn(rng: np.random.Generator, step: int, wealth: Floats) -> Floats:
        cut, lost = rng.random((2, len(wealth)))
        known = rng.random(len(wealth)) < share
        weighted: Floats = (cut < 2 / 3) * (lost < ALPHA * 1.5) * known / share
        return weighted

    return drawn


def graded(rng: np.random.Generator, step: int, wealth: Floats) -> Floats:
    """Losses anywhere in [0, 1]: one request in five loses a quarter on average."""
    return (rng.random(len(wealth)) < ALPHA * 4) * rng.random(len(wealth)) ** 3


def changing_share(rng: np.random.Generator, step: int, wealth: Floats) -> Floats:
    """The share of audits follows the wealth: few where it is high, and all in the first part."""
    share = np.where(wealth > 0.5, 0.1, np.where(wealth < -0.5, 1.0, 0.4))
    if step < 200:
        share = np.full(len(wealth), 1.0)
    return (rng.random(len(wealth)) < ALPHA) * (rng.random(len(wealth)) < share) / share


def adversary(rng: np.random.Generator, step: int, wealth: Floats) -> Floats:
    """The mean is alpha whatever came before, and the rest is chosen to hurt.

    Losses are small and sure, which lures the bets, and rare and large where the wealth is near its
    goal.
    """
    large = (rng.random(len(wealth)) < ALPHA).astype(np.float64)
    return np.where(wealth > 1.0, large, np.where(step % 400 < 200, ALPHA, large))


STREAMS_AT_ALPHA = {
    "binary": (binary, 1.0),
    "a quarter audited": (audited(0.25), 4.0),
    "a tenth audited": (audited(0.1), 10.0),
    "graded": (graded, 1.0),
    "changing share": (changing_share, 10.0),
    "adversary": (adversary, 1.0),
}


def played(stream: Stream, weight: float, direction: Direction, streams: int, steps: int) -> Floats:
    """The largest log wealth that each stream ever reached.  # (streams,)."""
    rng = np.random.default_rng(0)
    betting = Betting(np.full(streams, ALPHA), direction=direction, most_weight=weight)
    for step in range(steps):
        betting.update(stream(rng, step, betting.log_wealth))
    return betting.peak


@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("kind", STREAMS_AT_ALPHA)
def test_at_the_level_an_alarm_is_wrong_by_delta(kind: str, direction: Direction) -> None:
    """Watched at every request, at every delta at once, in both directions."""
    peak = played(*STREAMS_AT_ALPHA[kind], direction, STREAMS, STEPS)
    errors = {delta: int((np.exp(-peak) <= delta).sum()) for delta in (0.01, 0.05, 0.1, 0.3)}
    refuted = {delta: broken(count, STREAMS, delta) for delta, count in errors.items()}
    assert dict.fromkeys(errors, False) == refuted, errors


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("kind", STREAMS_AT_ALPHA)
def test_at_the_level_for_long(kind: str, direction: Direction) -> None:
    """The same over more streams, each ten times as long."""
    peak = played(*STREAMS_AT_ALPHA[kind], direction, 5000, 30000)
    errors = int((np.exp(-peak) <= DELTA).sum())
    assert not broken(errors, 5000), errors


def test_looking_again_and_again_at_a_test_of_fixed_size_is_not_safe() -> None:
    """A fixed-size test that is watched breaks its promise on the streams where ours keeps it."""
    rng, losses = np.random.default_rng(0), np.zeros(STREAMS)
    betting, watched = Betting(np.full(STREAMS, ALPHA)), np.zeros(STREAMS, dtype=bool)
    for step in range(1, STEPS + 1):
        loss = rng.random(STREAMS) < ALPHA
        losses += loss
        betting.update(loss)
        if step % 50 == 0:
            watched |= stats.binom.sf(losses - 1, step, ALPHA) <= DELTA
    ours = int((np.exp(-betting.peak) <= DELTA).sum())
    assert (False, True) == (broken(ours, STREAMS), broken(int(watched.sum()), STREAMS))


def test_telling_requests_as_they_end_voids_it() -> None:
    """Where a backlog of audits comes after the known zeros the promise breaks; in order it holds.

    The losses are the same ones. Between the two orders lies nothing but who is told first.
    """
    rng, share, streams, requests = np.random.default_rng(0), 0.25, 1000, 1000
    known = rng.random((requests, streams)) < share
    weighted = (rng.random((requests, streams)) < ALPHA) * known / share
    late = np.take_along_axis(weighted, np.argsort(known, axis=0, kind="stable"), axis=0)
    errors = []
    for order in (weighted, late):
        betting = Betting(np.full(streams, ALPHA), most_weight=4.0)
        for row in order:
            betting.update(row)
        errors.append(int((np.exp(-betting.peak) <= DELTA).sum()))
    assert [False, True] == [broken(count, streams) for count in errors], errors


@pytest.mark.parametrize("kind", ["binary", "a quarter audited", "graded"])
def test_the_confidence_sequence_covers_at_all_times(kind: str) -> None:
    """Bounds only draw together, so the last ones tell whether any failed, off the grid too."""
    stream, weight = STREAMS_AT_ALPHA[kind]
    streams, sequence = 1000, ConfidenceSequence(points=16)
    grid, rng = sequence.candidates, np.random.default_rng(0)
    levels = np.tile(grid, streams)
    above, below = (
        Betting(levels, direction=direction, most_weight=weight, memory=None)
        for direction in DIRECTIONS
    )
    for step in range(800):
        weighted = np.repeat(stream(rng, step, np.zeros(streams)), len(grid))
        above.update(weighted)
        below.update(weighted)
    refuted = [one.peak.reshape(streams, -1) >= np.log(2 / DELTA) for one in (above, below)]
    lower = refuted[0].cumprod(axis=1)[:, grid >= ALPHA].any(axis=1)
    upper = refuted[1][:, ::-1].cumprod(axis=1)[:, grid[::-1] <= ALPHA].any(axis=1)
    assert not broken(int((lower | upper).sum()), streams)


@pytest.mark.parametrize("streams", FEW_MANY)
def test_segments_together_keep_one_delta(streams: int) -> None:
    """New segments come for ever, and those that have no place of their own count as well."""
    errors = 0
    for seed in range(streams):
        rng = np.random.default_rng(seed)
        segments = Segments(ALPHA, DELTA, most=8)
        losses = (rng.random(500) < ALPHA).astype(float).tolist()
        names = rng.random(500) * np.linspace(2, 15, 500)
        for name, loss in zip(names.astype(int).tolist(), losses, strict=True):
            segments.update({"tenant": str(name)}, loss)
        errors += bool(segments.alarms)
    assert not broken(errors, streams), errors


@pytest.mark.parametrize("streams", FEW_MANY)
def test_the_monitor_as_a_whole_at_the_level(streams: int) -> None:
    """It retreats by delta from a level that keeps its risk, segments and audits included."""
    retreats = 0
    for seed in range(streams):
        rng = np.random.default_rng(seed)
        monitor = Monitor([0.01, ALPHA], start=ALPHA, delta=DELTA, least_share=0.25)
        cut, lost, lots, tenant = rng.random((4, 300)).tolist()
        for place in range(300):
            share = 0.25 if place % 100 < 50 else 0.5
            stops = cut[place] < 2 / 3
            known = stops and lots[place] < share
            monitor.observe(
                Observation(
                    level=monitor.level,
                    would_stop=stops,
                    audited=known,
                    loss=float(lost[place] < ALPHA * 1.5) if known else None,
                    share=share,
                    segment={"tenant": "few" if tenant[place] < 0.2 else "many"},
                )
            )
            if monitor.level != ALPHA:
                retreats += 1
                break
    assert not broken(retreats, streams), retreats


@pytest.mark.parametrize("streams", FEW_MANY)
def test_coming_back_to_what_is_not_safe(streams: int) -> None:
    """From no cutting, at a risk exactly at the level ahead, it comes back by delta."""
    returns = 0
    for seed in range(streams):
        lost = np.random.default_rng(seed).random(300) < ALPHA
        monitor = Monitor([ALPHA], start=ALPHA, delta=DELTA, least_share=1.0)
        monitor.retreat.on_alarm("begun so", time=0.0)
        for loss in lost.astype(float).tolist():
            shadow = Outcome(level=ALPHA, would_stop=True, audited=True, loss=loss)
            monitor.observe(Observation(level=None, would_stop=False, shadow=shadow))
            if monitor.level is not None:
                returns += 1
                break
    assert not broken(returns, streams), returns


@pytest.mark.parametrize(("share", "before"), [(1.0, 0), (1.0, 5000), (0.25, 5000)])
def test_a_risk_that_rises_is_found(
    share: float, before: int, record_property: Callable[[str, object], None]
) -> None:
    """From half of alpha to three times alpha: found in every stream, whenever it rises.

    What must hold is that it is found; the median delay is told beside it.
    """
    rng, streams = np.random.default_rng(0), 300
    betting = Betting(np.full(streams, ALPHA), most_weight=1 / share)
    found = np.full(streams, np.inf)
    for step in range(1, before + round(50 / ALPHA / share) + 1):
        risk = 3 * ALPHA if step > before else ALPHA / 2
        lost = (rng.random(streams) < risk) & (rng.random(streams) < share)
        betting.update(lost / share)
        found[(found == np.inf) & (betting.peak >= np.log(1 / DELTA))] = step
    delay = found[found > before] - before
    record_property("median_delay", float(np.median(delay)))
    assert (0, False) == (int(np.isinf(found).sum()), broken(streams - len(delay), streams))


def test_one_monitor_is_one_of_many() -> None:
    """What is simulated above on arrays is what a monitor does: the same wealth, to rounding."""
    rng = np.random.default_rng(0)
    for direction in DIRECTIONS:
        for memory in (5.0, None):
            many = Betting([0.01, 0.2], direction=direction, most_weight=4.0, memory=memory)
            single = [
                RiskMonitor(alpha, direction=direction, most_weight=4.0, memory=memory)
                for alpha in (0.01, 0.2)
            ]
            for loss, weight in zip(rng.beta(0.1, 1, 500), rng.uniform(1, 4, 500), strict=True):
                many.update(loss * weight)
                for monitor in single:
                    monitor.update(float(loss), float(weight))
            wealth = [monitor.log_wealth for monitor in single]
            peaks = [-np.log(monitor.p_value) for monitor in single]
            np.testing.assert_allclose(wealth, many.log_wealth, rtol=1e-9)
            np.testing.assert_allclose(peaks, many.peak, rtol=1e-9)
