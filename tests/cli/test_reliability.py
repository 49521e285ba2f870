"""Whether predicted probabilities are the rates at which losses come."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stopping_core.certificates import FittedModel, Origin
from stopping_core.cli.certify.reliability import Reliability, draw, reliability, reliability_of
from stopping_core.cli.fit.recorded import read_recorded
from stopping_core.errors import MissingPackage
from stopping_core.metrics import GRADERS
from stopping_core.policies.learned.fitting_thinking import fit_thinking
from stopping_core.resampling import GroupBootstrap, Interval
from stopping_core.traces.columns import Columns
from stopping_core.traces.graded import Graded
from stopping_core.traces.store import write_trace
from stopping_core.types import Boundary
from tests.cli.certifiable import certifiable
from tests.learned.made_answers import fitted, labelled, made_answer
from tests.learned.test_thinking_fit import TRAINED, sum_twice

HEADER = b"\x89PNG\r\n\x1a\n"


def simulated(seed: int, groups: int = 60, places: int = 20) -> tuple[Any, Any, list[int]]:
    """A perfect model: a group shares its luck, so its places happen together or not at all."""
    rng = np.random.default_rng(seed)
    group = np.repeat(np.arange(groups), places)
    level = rng.uniform(0.05, 0.85, groups)[group]
    probability = np.clip(level + rng.uniform(-0.05, 0.05, len(group)), 0, 1)
    return probability, rng.random(groups)[group] < probability, group.tolist()


def test_known_numbers() -> None:
    """Two bins, each score worked out by hand."""
    found = reliability(
        [0.1, 0.2, 0.1, 0.2, 0.6, 0.8, 0.6, 0.8],
        [0, 0, 1, 0, 1, 1, 0, 1],
        ["a", "a", "b", "b", "c", "c", "d", "d"],
        bins=2,
    )
    low, high = found.bins
    assert [(4, 2, 0.25), (4, 2, 0.75)] == [(x.count, x.groups, x.observed) for x in (low, high)]
    assert pytest.approx([0.15, 0.7, 0.425]) == [low.predicted, high.predicted, found.predicted]
    assert (8, 4, 0.5) == (found.places, found.groups, found.observed)
    squares = [0.01, 0.04, 0.81, 0.04, 0.16, 0.04, 0.36, 0.04]
    assert pytest.approx(sum(squares) / 8) == found.brier
    assert 0.25 == found.reference
    assert pytest.approx((0.1 + 0.05) / 2) == found.error
    assert GroupBootstrap(["a", "a", "b", "b"]).share([0, 0, 1, 0]) == low.interval
    assert 8 == sum(found.histogram)
    assert len(found.edges) == len(found.histogram) + 1


def test_places_with_one_prediction_stay_together() -> None:
    """A model that says little has fewer bins; nothing is lost or counted twice."""
    told = [0.1] * 70 + [0.3] * 5 + [0.9] * 25
    found = reliability(told, [0] * 100, list(range(100)), bins=4)
    assert [70, 5, 25] == [one.count for one in found.bins]
    assert pytest.approx([0.1, 0.3, 0.9]) == [one.predicted for one in found.bins]
    alone = reliability([0.5] * 9, [1] * 9, list(range(9)))
    assert [9] == [one.count for one in alone.bins]


def test_a_perfect_model_is_within_the_intervals() -> None:
    """At about the promised rate, as places of one group share their luck; not if drawn alone."""
    held = {"group": 0, "place": 0}
    drawn = {"group": 150, "place": 12}
    for kind, times in drawn.items():
        for seed in range(times):
            probability, outcome, group = simulated(seed)
            names = group if kind == "group" else list(range(len(group)))
            found = reliability(probability, outcome, names, bins=4, resamples=300)
            held[kind] += len(found.bins) - found.missed
    assert 0.90 < held["group"] / (4 * drawn["group"]) < 0.98
    assert held["place"] / (4 * drawn["place"]) < 0.6


@pytest.mark.parametrize("power", [0.5, 2.0])
def test_a_model_that_is_too_sure_or_not_sure_enough_is_flagged(power: float) -> None:
    """Most bins miss; the scores are worse than those of the truth."""
    probability, outcome, group = simulated(1, groups=400)
    true = reliability(probability, outcome, group)
    off = reliability(probability**power, outcome, group)
    assert true.missed <= 2
    assert off.missed >= 6
    assert off.brier > true.brier
    assert off.error > 0.1 > true.error


@pytest.mark.parametrize("outcome", [0, 1])
def test_outcomes_of_one_kind_are_bounded_by_the_groups(outcome: int) -> None:
    """Never in 40 groups is less than 8.8% with 97.5% confidence, and not nothing."""
    group = np.repeat(np.arange(40), 5).tolist()
    found = reliability([0.03] * 200, [outcome] * 200, group)
    room = 1 - 0.025 ** (1 / 40)
    expected = Interval(1 - room, 1.0) if outcome else Interval(0.0, room)
    (one,) = found.bins
    assert expected == one.interval == found.interval
    assert (not outcome) is one.holds
    assert 0.0 == found.reference


def test_a_bin_of_one_group_says_nothing() -> None:
    """Its interval is everything; others have theirs."""
    found = reliability([0.1, 0.1, 0.9, 0.9], [0, 1, 1, 1], ["a", "a", "a", "b"], bins=2)
    assert Interval(0.0, 1.0) == found.bins[0].interval
    assert Interval(0.0, 1.0) != found.bins[1].interval


@pytest.mark.parametrize(
    ("probability", "outcome", "group", "bins", "message"),
    [
        ([], [], [], 10, r"probability must be \(n,\) with n >= 1, got \(0,\)"),
        ([0.5], [1, 0], ["a"], 10, r"outcome and group must be \(1,\), got \(2,\) and \(1,\)"),
        ([0.5, 0.5], [1, 0], ["a"], 10, r"outcome and group must be \(2,\), got \(2,\) and"),
        ([0.5, 1.5], [1, 0], ["a", "b"], 10, r"probability must be in \[0, 1\], got 1\.5"),
        ([0.5, np.nan], [1, 0], ["a", "b"], 10, r"probability must be in \[0, 1\], got nan"),
        ([0.5, 0.4], [1, 0], ["a", "b"], 0, "bins must be >= 1, got 0"),
        ([0.5, 0.4], [1, 0], ["a", "a"], 10, "groups must hold at least 2 different ones, got 1"),
    ],
)
def test_what_cannot_be_compared_is_refused(
    probability: Any, outcome: Any, group: Any, bins: int, message: str
) -> None:
    """With the value and the interval."""
    with pytest.raises(ValueError, match=message):
        reliability(probability, outcome, group, bins=bins)


def _fitted_model(tmp_path: Path) -> FittedModel:
    """The rule of the made-up answers, as a file of ``stopping fit`` would hold it."""
    model = fitted().model
    assert model is not None
    write_trace(tmp_path / "runs.parquet", certifiable(8))
    scope = read_recorded([tmp_path / "runs.parquet"], None).scope
    return FittedModel(model, (-4.0,), scope, Origin(("0" * 64,), ("0" * 16,), ("1" * 16,), 160, 0))


def test_a_fitted_model_on_runs_that_it_has_not_seen(tmp_path: Path) -> None:
    """Each place at which it looks, with what a stop there loses; told place by place."""
    model = _fitted_model(tmp_path)
    runs = [made_answer(seed) for seed in range(1000, 1040)]
    columns = Columns(runs, tags=None)
    found = reliability_of(columns, model, Graded(columns), bins=5)
    view, right, full = labelled(runs)
    told = model.model.scorer.probability(view.rows_of(model.model.evidence()))
    lost = [
        bool(GRADERS[run.grader](run.text, run.gold) >= 1 and not right[row])
        for row, run in ((row, runs[int(view.run[row])]) for row in range(len(view)))
    ]
    groups = [runs[int(number)].group for number in view.run]
    assert reliability(told, lost, groups, bins=5) == found
    assert len(view) == found.places > 500
    assert 20 == found.groups
    assert full.any()
    assert found.brier < found.reference


def test_runs_without_a_group_are_told_apart_by_their_question(tmp_path: Path) -> None:
    """And columns without a place are refused."""
    model = _fitted_model(tmp_path)
    runs = [replace(made_answer(seed), group="", family="") for seed in range(12)]
    columns = Columns(runs, tags=None)
    assert 12 == reliability_of(columns, model, Graded(columns)).groups
    empty = Columns([replace(runs[0], tokens=())], tags=None)
    with pytest.raises(ValueError, match="columns must hold a place at which the policy looks"):
        reliability_of(empty, model, Graded(empty))


def _some(never: bool = False) -> Reliability:
    probability, outcome, group = simulated(2)
    return reliability(probability**2, outcome & (not never), group)


@pytest.mark.parametrize("never", [False, True])
def test_the_picture_is_a_png(tmp_path: Path, never: bool) -> None:
    """Also where nothing ever happened, and whatever the name of the file."""
    path = tmp_path / "reliability"
    draw(_some(never), path, "1 of $n$ runs")
    assert path.read_bytes().startswith(HEADER)


def test_a_missing_package_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error says what to install."""
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(MissingPackage, match=r"matplotlib is needed .*stopping-core\[bench\]"):
        draw(_some(), tmp_path / "reliability.png")


def test_only_places_with_a_probe_count_inside_reasoning(tmp_path: Path) -> None:
    """Elsewhere the recording does not show what a stop leaves."""
    fit = fit_thinking(*TRAINED)
    model = replace(_fitted_model(tmp_path), model=fit)
    runs = [sum_twice(seed) for seed in range(1000, 1030)]
    whole = Columns(runs, channel="reasoning")
    found = reliability_of(whole, model, Graded(whole))
    places = sorted(runs[0].probes)
    some = [replace(run, probes={places[0]: run.probes[places[0]]}) for run in runs[:1]]
    fewer = Columns([*some, *runs[1:]], channel="reasoning")
    lines = int((fewer.at(Boundary.LINE) & fewer.has_probe & (fewer.boundary != 0)).sum())
    assert lines == reliability_of(fewer, model, Graded(fewer)).places < found.places
