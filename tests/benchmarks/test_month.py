"""A month over runs that are made up, so that what comes of it can be worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.lived import MONTH, TENANTS, Known, Lived, Month, Tally
from benchmarks.month import table
from tests.calibration.certified import made_certificate

CERTIFICATE = made_certificate()  # of 1% and of 5%
RUNS, A_DAY = 100, 200
DRIFT = next(phase for phase in MONTH if phase.drift)
SWAPPED = next(phase for phase in MONTH if phase.swapped)


def known(hard: int) -> Known:
    """Every run has 100 tokens; 80 are left at 1% and 50 at 5%, which loses the first runs."""
    lost = np.zeros((3, RUNS), dtype=np.bool_)
    lost[2, :hard] = True
    spent = np.repeat([[100], [80], [50]], RUNS, axis=1)
    return Known(lost, spent, np.repeat([[False], [True], [True]], RUNS, axis=1))


@pytest.fixture(scope="module")
def lived() -> Lived:
    return Month(CERTIFICATE, known(2), known(2), A_DAY, seed=0).live()


def test_what_is_lost_on_average() -> None:
    """Two in a hundred, and while prompts drift a fifth more."""
    expected = known(2).expected
    assert pytest.approx([0.0, 0.0, 0.02]) == expected(MONTH[0])
    assert pytest.approx([0.0, 0.0, 0.8 * 0.02 + 0.2]) == expected(DRIFT)


def test_tallies_add_up() -> None:
    """To shares of all together, and none of nothing."""
    whole = Tally(10, 1, 0.5, 40, 100) + Tally(30, 1, 1.5, 160, 300)
    assert (0.05, 0.05, 0.5) == (whole.loss, whole.average, whole.saving)
    assert (0.0, 0.0) == (Tally().loss, Tally().average)


def test_every_request_is_counted_once(lived: Lived) -> None:
    """At the pilot and at each setting, which saves what it has to, save where nobody cuts."""
    for phase in MONTH:
        settings = lived.fixed[phase.name]
        counts = {one.requests for one in (lived.pilot[phase.name], *settings)}
        assert {phase.days * A_DAY} == counts
        saved = [0.0, 0.0, 0.0] if phase.swapped else [0.0, 0.2, 0.5]
        assert pytest.approx(saved) == [one.saving for one in settings]
    assert (0.0, 0) == (lived.pilot[SWAPPED.name].saving, lived.pilot[SWAPPED.name].lost)


def test_the_pilot_saves_within_what_is_certified(lived: Lived) -> None:
    """A quarter less than the largest level, for audits, or less than that."""
    for phase in MONTH:
        assert 0 <= lived.pilot[phase.name].saving < 0.45
        assert set(TENANTS) == lived.tenants[phase.name].keys()


def test_the_drift_is_met_and_only_what_comes_before_is_lost(lived: Lived) -> None:
    """What is counted before and after the retreat is all that there was."""
    assert lived.delay is not None
    assert lived.delay == lived.delayed.requests
    whole, both = lived.pilot[DRIFT.name], lived.delayed + lived.kept[DRIFT.name]
    assert (whole.requests, whole.lost, whole.spent) == (both.requests, both.lost, both.spent)
    assert lived.kept[DRIFT.name].average < 0.02 < lived.delayed.average
    assert 0 == lived.closed[MONTH[0].name]


def test_the_table_tells_what_was_best_in_hindsight(lived: Lived) -> None:
    """The largest level in quiet days, a careful one in the drift, no cut of another model."""
    told = table([lived], CERTIFICATE)
    rows = {line.split(" | ")[0]: line for line in told.splitlines() if line.startswith("| ")}
    assert rows["| quiet"].endswith("50.0% | 50.0% | 5%: 1 |")
    assert rows[f"| {DRIFT.name}"].endswith("50.0% | 20.0% | 1%: 1 |")
    assert rows[f"| {SWAPPED.name}"].endswith("0.0% | 0.0% | no cut: 1 |")
    assert "The drift was met by a retreat in 1 of 1 months" in told
