"""The levels: an alarm makes it safer at once, and coming back needs evidence."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest

from stopping_core.monitoring import Change, Retreat

LEVELS = (0.005, 0.01, 0.02, 0.05)


def shown(retreat: Retreat) -> None:
    """Give it evidence that the level ahead is kept."""
    while not retreat.may_return():
        assert retreat.evidence is not None
        retreat.evidence.update(0)


def test_alarms_go_down_the_levels_to_no_cutting() -> None:
    """Each alarm moves one level, the last one to no cutting, where nothing more can happen."""
    retreat = Retreat(LEVELS, start=0.02)
    moved = [retreat.on_alarm("why", float(time)) for time in range(5)]
    assert ([0.01, 0.005, None, None, None], 3) == (moved, retreat.changes)


def test_evidence_goes_up_one_level_at_a_time() -> None:
    """It comes back to the start and not beyond, and each level needs evidence of its own."""
    retreat = Retreat(LEVELS, start=0.02)
    for time in range(3):
        retreat.on_alarm("why", float(time))
    levels, fresh = [], []
    while retreat.ahead is not None:
        fresh.append(retreat.may_return())
        shown(retreat)
        levels.append(retreat.come_back(10.0))
    assert ([0.005, 0.01, 0.02], [False] * 3) == (levels, fresh)
    assert (0.02, None, False) == (retreat.level, retreat.evidence, retreat.may_return())


def test_coming_back_without_evidence_is_refused() -> None:
    """The wealth of the evidence is told; at the start there is nothing to come back to."""
    retreat = Retreat(LEVELS, start=0.02)
    with pytest.raises(ValueError, match="got no level ahead"):
        retreat.come_back(0.0)
    retreat.on_alarm("why", 0.0)
    with pytest.raises(ValueError, match=r"evidence must have reached 1 / delta, got 1$"):
        retreat.come_back(1.0)
    assert 0.01 == retreat.level


def test_an_alarm_makes_earlier_evidence_void() -> None:
    """Evidence counts from the last change on."""
    retreat = Retreat(LEVELS, start=0.02)
    retreat.on_alarm("first", 0.0)
    shown(retreat)
    retreat.on_alarm("second", 1.0)
    assert (0.01, False) == (retreat.ahead, retreat.may_return())


def test_history_says_what_happened_and_is_bounded() -> None:
    """The last changes are kept with time, levels and reason; all of them are counted."""
    retreat = Retreat(LEVELS, start=0.02, kept=2)
    retreat.on_alarm("first", 5.0)
    retreat.on_alarm("second", 6.0)
    shown(retreat)
    retreat.come_back(7.0, "known again")
    changes = (Change(6.0, 0.01, 0.005, "second"), Change(7.0, 0.005, 0.01, "known again"))
    assert (changes, 3) == (retreat.history, retreat.changes)


def test_a_restart_changes_nothing() -> None:
    """Through JSON it is what it was at every step, evidence included."""
    retreat = Retreat(LEVELS, start=0.02, delta=0.1, most_weight=2.0)
    for step in ("begin", "alarm", "alarm", "evidence", "alarm", "back"):
        if step == "alarm":
            retreat.on_alarm("why", 1.0)
        elif step == "evidence":
            shown(retreat)
            retreat.come_back(2.0)
        elif step == "back":
            shown(retreat)
        again = Retreat.from_dict(json.loads(json.dumps(retreat.to_dict())))
        assert retreat.to_dict() == again.to_dict()
        assert (retreat.level, retreat.history) == (again.level, again.history)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"levels": []}, "levels must be in"),
        ({"levels": [0.02, 0.01]}, "levels must be in"),
        ({"levels": [0.0, 0.02]}, "levels must be in"),
        ({"start": 0.03}, "start must be one of levels"),
        ({"delta": 1.0}, r"delta must be in \(0, 1\), got 1.0"),
        ({"most_weight": 0.0}, r"most_weight must be in \[1, inf\), got 0.0"),
        ({"kept": 0}, "kept must be >= 1, got 0"),
    ],
)
def test_settings_out_of_their_interval(arguments: dict[str, Any], message: str) -> None:
    """A caller's mistake is named with its interval and value."""
    given: dict[str, Any] = {"levels": LEVELS, "start": 0.02} | arguments
    with pytest.raises(ValueError, match=message):
        Retreat(**given)


def test_a_time_that_is_none_changes_nothing() -> None:
    """A time has to be finite; the level stays what it was."""
    retreat = Retreat(LEVELS, start=0.02)
    with pytest.raises(ValueError, match="time must be finite, got nan"):
        retreat.on_alarm("why", math.nan)
    assert (0.02, 0) == (retreat.level, retreat.changes)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"level": 0.05}, "retreat.level must be one of"),
        ({"level": 0.03}, "retreat.level must be one of"),
        ({"evidence": None}, "retreat.evidence must be there"),
        ({"history": [{}]}, r"retreat.history\[0\].time is missing"),
        ({"delta": 0.01}, "retreat.evidence.delta must be 0.01, got 0.05"),
    ],
)
def test_damaged_state_is_refused(change: dict[str, Any], message: str) -> None:
    """A level that is not certified, or above the start, cannot come in by a file."""
    retreat = Retreat(LEVELS, start=0.02)
    retreat.on_alarm("why", 0.0)
    with pytest.raises(ValueError, match=message):
        Retreat.from_dict(retreat.to_dict() | change)
