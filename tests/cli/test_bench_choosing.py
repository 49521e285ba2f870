"""How the bench adds up, chooses and reports: on figures that can be worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from stopping_core.cli.bench.choose import at_saving, front, within
from stopping_core.cli.bench.scores import NAMES, GradeBook, Point, Scores, add_up
from stopping_core.cli.bench.table import DOES_NOT_STOP, Halves, Swept, by_level, by_saving
from stopping_core.resampling import GroupBootstrap
from tests.cli.recorded import reading

ALL = np.ones(4, dtype=np.bool_)


def _scores(generated: list[float], right: list[int], **changes: list[float]) -> Scores:
    nothing = np.zeros(len(generated))
    columns = {name: np.array(values, dtype=np.float64) for name, values in changes.items()}
    return Scores(
        prompt=columns.get("prompt", nothing),
        generated=np.array(generated, dtype=np.float64),
        probed=columns.get("probed", nothing),
        reread=columns.get("reread", nothing),
        stopped=np.array(generated) < 100,
        grades={name: np.array(right, dtype=np.float64) for name in NAMES},
    )


def _point(saving: float, lost: float) -> Point:
    return Point(100, {"local": saving}, lost, 0.0, 100.0, dict.fromkeys(NAMES, 0.0))


FULL = _scores([100, 100, 100, 100], [1, 1, 0, 0])


def test_lost_and_gained_are_points_of_all_runs() -> None:
    """One right answer of four lost is 25 points, though it is half of the right ones."""
    cut = _scores([50, 50, 50, 100], [0, 1, 1, 0])
    point = add_up(cut, FULL, ALL)
    assert (point.lost, point.gained, point.stopped) == (25.0, 25.0, 75.0)
    assert point.saving == pytest.approx(37.5)
    assert point.grades["em"] == 50.0


def test_probes_and_what_they_read_are_paid() -> None:
    """By hand: 200 tokens and 100 in probes of 400; a prompt of 400 that was read once more."""
    full = _scores([100] * 4, [1] * 4, prompt=[400] * 4)
    cut = _scores([50] * 4, [1] * 4, prompt=[400] * 4, probed=[25] * 4, reread=[400] * 4)
    assert add_up(cut, full, ALL).savings == pytest.approx(
        {
            "local": 25.0,
            "api": 100 * (1 - (100 + 75 + 100) / (100 + 100)),
            "cached_api": 100 * (1 - (100 + 75 + 10) / (100 + 100)),
        }
    )


def test_what_a_prompt_cost_is_not_guessed() -> None:
    """Without its length only the regime that does not price input has a saving."""
    unknown = _scores([50] * 4, [1] * 4, prompt=[math.nan] * 4)
    savings = add_up(unknown, _scores([100] * 4, [1] * 4, prompt=[math.nan] * 4), ALL).savings
    assert {"local": 50.0, "api": None, "cached_api": None} == savings


def test_the_setting_that_saves_most_within_the_level_is_taken() -> None:
    """Equal savings go to the one that loses less, then to the one named first."""
    points = [_point(30, 0), _point(50, 1), _point(50, 0.5), _point(50, 0.5), _point(80, 3), None]
    assert [0, 2, 2, 4] == [within(points, level) for level in (0, 0.5, 2, 5)]


def test_a_setting_that_saves_nothing_is_not_taken() -> None:
    """Not to stop is always possible, and costs nothing."""
    assert within([_point(-10, 0), _point(0, 0), _point(60, 4)], 1) is None


def test_the_operating_point_is_the_nearest_from_above() -> None:
    """38% are asked for: 40 is nearer than 60, and 37 is not enough."""
    points = [_point(60, 1), _point(37, 0), None, _point(40, 2), _point(40, 1)]
    assert at_saving(points, 38) == 4
    assert at_saving(points, 61) is None


def test_the_front_holds_what_nothing_beats() -> None:
    """From safe to cheap; a setting that is beaten in both is left out."""
    points = [_point(50, 2), _point(20, 0), _point(10, 1), None, _point(50, 3), _point(-5, 0)]
    assert front(points) == [1, 0]


def _halves() -> Halves:
    choose = np.array([True, True, False, False])
    return Halves(choose, ~choose, 2, GroupBootstrap(["a", "b"]))


def test_a_row_is_chosen_on_one_half_and_reported_on_the_other() -> None:
    """The setting loses nothing where it is chosen, and half where it is reported."""
    full = _scores([100] * 4, [1] * 4)
    cut = _scores([50, 50, 20, 20], [1, 1, 0, 1])
    halves = _halves()
    swept = Swept("rule", "text", ("Rule(1)",), (cut,), (add_up(cut, full, halves.choose),), 0)
    (row,) = by_level([swept], full, halves, [0.0])
    assert (row["saving"], row["lost"], row["n"], row["groups"]) == (80.0, 50.0, 2, 2)
    assert {"n": 2, "saving": 50.0, "lost": 0.0} == row["choose"]
    assert row["interval"]["lost"] == [0.0, 100.0]
    assert row["full"]["right"] == 100.0


def test_a_policy_that_had_better_not_stop_keeps_its_row() -> None:
    """With what it would have lost at least; likewise where it never saves as much as asked."""
    full = _scores([100] * 4, [1] * 4)
    cut = _scores([80] * 4, [0, 1, 1, 1])
    halves = _halves()
    swept = Swept("rule", "text", ("Rule(1)",), (cut,), (add_up(cut, full, halves.choose),), 0)
    (row,) = by_level([swept], full, halves, [2.0])
    assert (row["setting"], row["stops"], row["saving"]) == (DOES_NOT_STOP, False, 0.0)
    assert row["note"] == "loses 50.0 points at least on the choosing runs"
    (row,) = by_saving([swept], full, halves, 38.0)
    assert (row["stops"], row["note"]) == (False, "saves 20.0% at most")


def test_a_policy_without_its_evidence_keeps_its_row() -> None:
    """The row says what is missing, and has no figures."""
    swept = Swept("rule", "probes", (), (), (), missing="rule needs probes")
    rows = by_level([swept], FULL, _halves(), [0.0, 1.0])
    assert [(0.0, "rule needs probes", None), (1.0, "rule needs probes", None)] == [
        (row["level"], row["missing"], row["saving"]) for row in rows
    ]


def test_grades_of_a_run() -> None:
    """Containment stays where the tail is cut, F1 rises, and a word that was cut is no answer."""
    run = reading(1).runs[0]
    book = GradeBook([run])
    full = book.grade(0, run.text)
    short = book.grade(0, "The capital is Paris.")
    assert (full.right, short.right) == (1.0, 1.0)
    assert full.f1 < short.f1 == 0.5
    assert book.grade(0, "The capital is Paris", open_end=True).right == 0.0
    assert GradeBook([run], "exact_match").grade(0, "Paris").right == 1.0
