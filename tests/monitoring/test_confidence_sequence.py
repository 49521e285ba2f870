"""Bounds of the risk at all times."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stopping_core.monitoring import ConfidenceSequence, RiskMonitor


@settings(max_examples=25, deadline=None)
@given(losses=st.lists(st.floats(0, 1), max_size=60), weight=st.floats(1, 4))
def test_bounds_are_what_monitors_refute(losses: list[float], weight: float) -> None:
    """A candidate is out exactly where a monitor of it, at half of delta, raised its alarm."""
    sequence = ConfidenceSequence(0.1, most_weight=4.0, points=12)
    grid = sequence.candidates.tolist()
    above = [RiskMonitor(m, 0.05, most_weight=4.0, memory=None) for m in grid]
    below = [RiskMonitor(m, 0.05, direction="below", most_weight=4.0, memory=None) for m in grid]
    for loss in losses:
        sequence.update(loss, weight)
        for monitor in (*above, *below):
            monitor.update(loss, weight)
    out = [monitor.alarm for monitor in above]
    lower = max((m for place, m in enumerate(grid) if all(out[: place + 1])), default=0.0)
    out = [monitor.alarm for monitor in below]
    upper = min((m for place, m in enumerate(grid) if all(out[place:])), default=1.0)
    assert (lower, upper) == (sequence.lower, sequence.upper)


def test_bounds_close_in_on_the_risk() -> None:
    """They never widen, hold the mean of a steady stream, and get near it."""
    rng, sequence, seen = np.random.default_rng(0), ConfidenceSequence(points=100), []
    for loss in (rng.random(4000) < 0.1).astype(float).tolist():
        sequence.update(loss)
        if sequence.n % 200 == 0:
            seen.append((sequence.lower, sequence.upper))
    narrowing = all(a[0] <= b[0] and b[1] <= a[1] for a, b in pairwise(seen))
    lower, upper = seen[-1]
    assert (True, True, True) == (narrowing, lower < sequence.mean < upper, upper - lower < 0.06)


def test_the_mean_is_that_of_the_weighted_losses() -> None:
    """A loss that was known with probability a quarter counts four times."""
    sequence = ConfidenceSequence(most_weight=4.0, points=4)
    empty = sequence.mean
    for loss, weight in ((1.0, 4.0), (0.0, 1.0), (0.5, 2.0), (0.0, 1.0)):
        sequence.update(loss, weight)
    assert (0.0, 1.25, 4) == (empty, sequence.mean, sequence.n)


def test_everything_or_nothing_lost() -> None:
    """At both ends a bound stays in [0, 1], on the right side of the risk."""
    nothing, everything = (ConfidenceSequence(points=20) for _ in range(2))
    for _ in range(3000):
        nothing.update(0)
        everything.update(1)
    assert (0.0, 1.0) == (nothing.lower, everything.upper)
    assert (True, True) == (nothing.upper < 0.01, everything.lower > 0.9)
    everything.reset()
    assert (0, 0.0, 1.0) == (everything.n, everything.lower, everything.upper)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"delta": 1}, r"delta must be in \(0, 1\), got 1"),
        ({"most_weight": math.inf}, r"most_weight must be in \[1, inf\), got inf"),
        ({"points": 1}, "points must be >= 2, got 1"),
    ],
)
def test_settings_out_of_their_interval(arguments: dict[str, Any], message: str) -> None:
    """A caller's mistake is named with its interval and value."""
    with pytest.raises(ValueError, match=message):
        ConfidenceSequence(**arguments)


def test_updates_out_of_their_interval() -> None:
    """What is refused is not taken."""
    sequence = ConfidenceSequence(most_weight=2.0, points=4)
    with pytest.raises(ValueError, match=r"loss must be in \[0, 1\], got -1"):
        sequence.update(-1)
    with pytest.raises(ValueError, match=r"weight must be in \[1, 2\], got 3"):
        sequence.update(0, 3)
    assert 0 == sequence.n
