"""The test of the risk: what it bets, what it refuses, and that it survives a restart."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mapie.exchangeability_testing.risk_monitoring import RiskMonitoring

from stopping_core.monitoring import RiskMonitor
from stopping_core.monitoring.betting import CAP, FAITH, GUESS, IDLE, PUT_BACK, Direction

LOSSES = st.lists(st.floats(0, 1), max_size=60)
DIRECTIONS: tuple[Direction, ...] = ("above", "below")


def slow_wealth(
    losses: list[float], alpha: float, direction: Direction, most_weight: float, memory: float
) -> float:
    """The wealth by its definition: every estimate anew from the whole past, nothing kept."""
    m, sign = alpha / most_weight, 1 if direction == "above" else -1
    y = [loss / most_weight for loss in losses]
    guess = min(GUESS[direction] * m, (1 + m) / 2)
    idle, active = IDLE, 1 - IDLE
    for place in range(len(y)):
        mean = square = guess
        for number, one in enumerate(y[:place], start=1):
            gain = max(1 / (FAITH[direction] / m + number), m / memory)
            mean = (1 - gain) * mean + gain * one
            square = (1 - gain) * square + gain * one**2
        size = square / mean if direction == "above" and mean > 0 else 1.0
        bet = sign * (mean - m) / (m * (size - m)) if sign * (mean - m) > 0 else 0.0
        bet = min(bet, CAP[direction] / (m if direction == "above" else 1 - m))
        active *= 1 + sign * bet * (y[place] - m)
        moved = PUT_BACK * m / memory * ((1 - IDLE) * (idle + active) - active)
        idle, active = idle - moved, active + moved
    return idle + active


@given(
    losses=LOSSES,
    alpha=st.floats(0.01, 0.9),
    direction=st.sampled_from(DIRECTIONS),
    weight=st.floats(1, 10),
)
def test_wealth_is_that_of_the_definition(
    losses: list[float], alpha: float, direction: Direction, weight: float
) -> None:
    """One update at a time it has what its definition says, whatever the losses are."""
    monitor = RiskMonitor(alpha, direction=direction, most_weight=weight)
    for loss in losses:
        monitor.update(loss, weight)
    expected = slow_wealth([loss * weight for loss in losses], alpha, direction, weight, 5.0)
    assert pytest.approx(expected, rel=1e-6) == monitor.wealth


@given(
    alpha=st.floats(0.001, 0.999),
    direction=st.sampled_from(DIRECTIONS),
    weight=st.floats(1, 100),
    before=LOSSES,
)
def test_no_bet_gains_on_average_at_the_level(
    alpha: float, direction: Direction, weight: float, before: list[float]
) -> None:
    """Whatever came before, a loss with mean alpha leaves the wealth as it is on average."""
    losing, winning = (RiskMonitor(alpha, direction=direction, most_weight=weight) for _ in "ab")
    for monitor in (losing, winning):
        for loss in before:
            monitor.update(loss)
    wealth, chance = losing.wealth, alpha / weight  # of a loss with the largest weight
    losing.update(1, weight)
    winning.update(0)
    mean = chance * losing.wealth + (1 - chance) * winning.wealth
    assert pytest.approx(wealth, rel=1e-6) == mean


@given(losses=LOSSES, alpha=st.floats(0.001, 0.999), direction=st.sampled_from(DIRECTIONS))
def test_wealth_stays_positive(losses: list[float], alpha: float, direction: Direction) -> None:
    """No loss ruins the bettor: the logarithm of the wealth is finite."""
    monitor = RiskMonitor(alpha, direction=direction)
    for loss in [*losses, 1.0, 1.0, 0.0, 1.0]:
        monitor.update(loss)
    assert math.isfinite(monitor.log_wealth)


@pytest.mark.parametrize("risk", [0.15, 0.3])
def test_it_is_no_later_than_the_reference(risk: float) -> None:
    """MAPIE's monitor, by another bound with the same error rate, raises its alarm no sooner."""
    lost = (np.random.default_rng(0).random(1500) < risk).astype(int)
    reference = RiskMonitoring("accuracy", test_level=0.1, threshold=0.05, warn=False)
    reference.update(np.zeros(1500, dtype=int), lost)
    bound = reference.online_risk_lower_bound_sequence_history
    theirs = int(np.flatnonzero(bound > 0.05)[0]) + 1
    monitor = RiskMonitor(0.05, 0.05)
    for loss in lost.tolist():
        monitor.update(loss)
        if monitor.alarm:
            break
    assert (True, True) == (monitor.alarm, monitor.n <= theirs), (monitor.n, theirs)


def test_both_are_quiet_where_nothing_is_lost() -> None:
    """Without a loss neither ours nor MAPIE's monitor says anything."""
    reference = RiskMonitoring("accuracy", threshold=0.05, warn=False)
    reference.update(np.zeros(500, dtype=int), np.zeros(500, dtype=int))
    monitor = RiskMonitor(0.05)
    for _ in range(500):
        monitor.update(0)
    assert (False, False) == (reference.harmful_shift_detected, monitor.alarm)


@given(
    losses=LOSSES,
    more=LOSSES,
    direction=st.sampled_from(DIRECTIONS),
    memory=st.none() | st.floats(0.1, 50),
)
def test_a_restart_changes_nothing(
    losses: list[float], more: list[float], direction: Direction, memory: float | None
) -> None:
    """Through JSON it is what it was, and goes on as if nothing had happened."""
    monitor = RiskMonitor(0.1, direction=direction, most_weight=2.0, memory=memory)
    for loss in losses:
        monitor.update(loss, 2.0)
    again = RiskMonitor.from_dict(json.loads(json.dumps(monitor.to_dict())))
    assert monitor.to_dict() == again.to_dict()
    for loss in more:
        monitor.update(loss)
        again.update(loss)
    assert monitor.to_dict() == again.to_dict()


def test_an_alarm_stays_until_reset() -> None:
    """The alarm says that the wealth was ever there; reset makes it new."""
    monitor = RiskMonitor(0.05)
    while not monitor.alarm:
        monitor.update(1)
    for _ in range(500):
        monitor.update(0)
    assert (True, True) == (monitor.alarm, monitor.wealth < 20)
    monitor.reset()
    assert RiskMonitor(0.05).to_dict() == monitor.to_dict()


def test_wealth_that_no_float_holds() -> None:
    """After a long disaster the wealth is infinite, and its logarithm is still told."""
    monitor = RiskMonitor(0.01)
    for _ in range(300):
        monitor.update(1)
    assert (math.inf, True) == (monitor.wealth, math.isfinite(monitor.log_wealth))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"alpha": 1.5}, r"alpha must be in \(0, 1\), got 1.5"),
        ({"alpha": math.nan}, r"alpha must be in \(0, 1\), got nan"),
        ({"delta": 0}, r"delta must be in \(0, 1\), got 0"),
        ({"direction": "up"}, "direction must be 'above' or 'below', got 'up'"),
        ({"most_weight": 0.5}, r"most_weight must be in \[1, inf\), got 0.5"),
        ({"memory": 0}, r"memory must be in \(0, inf\) or None, got 0"),
    ],
)
def test_settings_out_of_their_interval(settings: dict[str, Any], message: str) -> None:
    """A caller's mistake is named with its interval and value."""
    with pytest.raises(ValueError, match=message):
        RiskMonitor(**({"alpha": 0.1} | settings))


@pytest.mark.parametrize(
    ("loss", "weight", "message"),
    [
        (1.5, 1.0, r"loss must be in \[0, 1\], got 1.5"),
        (math.nan, 1.0, r"loss must be in \[0, 1\], got nan"),
        (0.0, 5.0, r"weight must be in \[1, 4\], got 5.0"),
        (0.0, 0.5, r"weight must be in \[1, 4\], got 0.5"),
    ],
)
def test_updates_out_of_their_interval(loss: float, weight: float, message: str) -> None:
    """What is refused is not taken."""
    monitor = RiskMonitor(0.1, most_weight=4.0)
    before = monitor.to_dict()
    with pytest.raises(ValueError, match=message):
        monitor.update(loss, weight)
    assert before == monitor.to_dict()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"stake": 2.0}, r"monitor.stake must be in \[0, 1\], got 2.0"),
        ({"peak": -1.0}, "monitor.peak must be at least 0 and log_wealth, got -1.0"),
        ({"n": -1}, "monitor.n must be a whole number >= 0, got -1"),
        ({"mean": "x"}, "monitor.mean must be a finite number, got 'x'"),
        ({"more": 1}, "monitor.more is not known, got 1"),
    ],
)
def test_damaged_state_is_refused(change: dict[str, Any], message: str) -> None:
    """What cannot have been written is named."""
    with pytest.raises(ValueError, match=message):
        RiskMonitor.from_dict(RiskMonitor(0.1).to_dict() | change)
