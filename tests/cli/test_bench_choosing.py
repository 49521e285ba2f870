"""How the bench adds up, chooses and reports: on figures that can be worked out by hand."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from stopping_core.cli.bench.candidates import Candidate
from stopping_core.cli.bench.choose import at_saving, front, within
from stopping_core.cli.bench.compare import Choices, compare_runs
from stopping_core.cli.bench.frontier import Curve
from stopping_core.cli.bench.scores import NAMES, GradeBook, Point, Scores, add_up
from stopping_core.cli.bench.section import Section, held, leaders, ranked
from stopping_core.cli.bench.sweeping import Material, sweep
from stopping_core.cli.bench.table import DOES_NOT_STOP, Halves, Swept, by_level, by_saving
from stopping_core.cli.bench.votes import Ballot
from stopping_core.cli.bench.words import capped, markdown
from stopping_core.policies import MaxTokens
from stopping_core.policies.baselines import DeepConf, ThinkJustEnough
from stopping_core.resampling import GroupBootstrap
from stopping_core.traces.columns import Columns
from stopping_core.traces.run import Run, Trace
from tests.cli.recorded import header, reading

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


def test_each_regime_chooses_by_its_own_bill() -> None:
    """What is saved in tokens may cost more in money; a bill that is not known chooses nothing."""
    savings = ({"local": 60.0, "api": -5.0}, {"local": 30.0, "api": 10.0})
    points = [Point(9, saved, 0.0, 0.0, 9.0, {}) for saved in savings]
    assert [0, 1, None] == [within(points, 1, name) for name in ("local", "api", "cached_api")]


def test_the_operating_point_is_mixed_of_its_neighbours() -> None:
    """40% lie a quarter of the way from 30 to 70; 15 half way from not stopping."""
    points = [_point(70, 2), _point(30, 1), None, _point(29, 3)]
    assert [(1, 0.75), (0, 0.25)] == at_saving(points, 40)
    assert [(1, 1.0)] == at_saving(points, 30)
    stays, stops = at_saving(points, 15) or []
    assert ((None, 0.5), (1, 0.5)) == (stays, stops)
    assert at_saving(points, 71) is None


def test_a_mixture_is_reported_by_expectation() -> None:
    """Half of 20% and half of 60% saved; of the lost answer, half."""
    full = _scores([100] * 4, [1] * 4)
    cuts = _scores([80] * 4, [1] * 4), _scores([40] * 4, [1, 0, 0, 1])
    halves = _halves()
    points = tuple(add_up(one, full, halves.choose) for one in cuts)
    (row,) = by_saving([Swept("rule", "text", ("A", "B"), cuts, points)], full, halves, 40.0)
    assert (40.0, 25.0, 75.0) == (row["saving"], row["lost"], row["right"])
    assert "50% A or 50% B" == row["setting"]
    assert [0.0, 50.0] == row["interval"]["lost"]
    assert [{"setting": "A", "share": 0.5}, {"setting": "B", "share": 0.5}] == row["mix"]


def test_the_front_holds_what_nothing_beats() -> None:
    """From safe to cheap; a setting that is beaten in both is left out."""
    points = [_point(50, 2), _point(20, 0), _point(10, 1), None, _point(50, 3), _point(-5, 0)]
    assert front(points) == [1, 0]


def _halves() -> Halves:
    choose = np.array([True, True, False, False])
    ended = np.array([True, True, True, False])
    return Halves(choose, ~choose, ended, 2, GroupBootstrap(["a", "b"]))


def test_a_row_is_chosen_on_one_half_and_reported_on_the_other() -> None:
    """The setting loses nothing where it is chosen, and half where it is reported."""
    full = _scores([100] * 4, [1] * 4)
    cut = _scores([50, 50, 20, 20], [1, 1, 0, 1])
    halves = _halves()
    swept = Swept("rule", "text", ("Rule(1)",), (cut,), (add_up(cut, full, halves.choose),), 0)
    (row,) = by_level([swept], full, halves, [0.0])
    assert (row["saving"], row["lost"], row["n"], row["families"]) == (80.0, 50.0, 2, 2)
    assert {"n": 2, "saving": 50.0, "lost": 0.0} == row["choose"]
    assert row["interval"]["lost"] == [0.0, 100.0]
    assert row["full"]["right"] == 100.0


def test_what_is_saved_of_runs_that_ended_by_themselves() -> None:
    """Half of the third run; of the fourth, which came to the cap, nine tenths are left out."""
    full = _scores([100] * 4, [1] * 4)
    cut = _scores([50, 50, 50, 10], [1] * 4)
    halves = _halves()
    swept = Swept("rule", "text", ("Rule(1)",), (cut,), (add_up(cut, full, halves.choose),), 0)
    (row,) = by_level([swept], full, halves, [0.0])
    assert (70.0, 50.0) == (row["saving"], row["saving_ended"])


def _rows(**policies: tuple[float, float]) -> list[dict[str, object]]:
    return [
        {"policy": name, "level": 1.0, "saving": saving, "lost": lost}
        for name, (saving, lost) in policies.items()
    ]


def test_only_what_held_the_level_is_compared() -> None:
    """The most saving loses too much where it is reported: it is last, and leads nowhere."""
    rows = _rows(greedy=(80.0, 1.6), good=(40.0, 1.0), fair=(30.0, 0.0), poor=(10.0, 0.0))
    assert [False, True, True, True] == [held(row) for row in rows]
    assert ["good", "fair"] == leaders(rows)
    assert ["good", "fair", "poor", "greedy"] == list(ranked(rows))


def test_a_line_never_runs_backwards() -> None:
    """The third setting loses more than the second on the reported half, and saves less."""
    reported = (_point(10, 0), _point(40, 1), _point(35, 2), _point(60, 3))
    curve = Curve("rule", "text", ("A", "B", "C", "D"), reported, reported)
    assert [0, 1, 3] == curve.line


def _bench(*runs: Run) -> Section:
    rules = (MaxTokens(8), MaxTokens(16))
    entered = [Candidate("budget", "text", rules, rules[0])]
    trace = Trace(header(), tuple(runs))
    return compare_runs("some.parquet", trace, entered, Choices(levels=(1.0,)), lambda: None)


def test_intervals_are_over_what_the_split_keeps_whole() -> None:
    """One question a passage, three passages an article: articles are drawn again."""
    runs = [
        replace(run, group=f"g{number}", family=f"article {number // 3}")
        for number, run in enumerate(reading(36).runs)
    ]
    rows = _bench(*runs).rows
    assert {6} == {row["families"] for row in rows}
    assert {18} == {row["n"] for row in rows}


def test_the_share_of_capped_runs_is_told() -> None:
    """Every fourth run came to the cap; their tokens are counted."""
    runs = [
        replace(run, finish_reason="length" if number % 4 == 0 else "stop")
        for number, run in enumerate(reading(24).runs)
    ]
    section = _bench(*runs)
    tokens = 100 * sum(map(len, runs[::4])) / sum(map(len, runs))
    assert {"runs": 25.0, "tokens": pytest.approx(tokens, abs=1e-3)} == section.facts["capped"]
    assert capped(section) in markdown([section], (1.0,), 38.0).replace("&lt;", "<")
    assert capped(section).startswith("25.0% of the runs came to the cap of 200 tokens")


def _material(trace: Trace, folds: int) -> Material:
    columns = Columns(trace.runs, tags=None)
    number = np.arange(len(trace.runs))
    choose = number % 2 == 0
    halves = Halves(choose, ~choose, choose | True, 2, None)
    return Material(columns, halves, [choose & (number // 2 % folds == k) for k in range(folds)])


def test_given_thresholds_are_swept_and_a_missing_one_is_fitted() -> None:
    """One setting is fitted, and says so with its threshold; the others stay what they are."""
    grid = (ThinkJustEnough(), ThinkJustEnough(0.5), ThinkJustEnough(2.0))
    swept = sweep(Candidate("rule", "logprobs", grid, grid[0]), _material(reading(40), 2))
    fitted, *given = swept.rules
    assert fitted.at_most > 0
    assert list(grid[1:]) == given
    assert [f"{fitted!r} (fitted)", repr(grid[1]), repr(grid[2])] == list(swept.settings)
    assert "chosen by 2-fold cross-fitting" in swept.note


class Memory(MaxTokens):
    """Stops at the length of the longest run that it was fitted on."""

    def fit(self, columns: Columns, right: object, full: object) -> Memory:
        return Memory(int(columns.lengths.max()))


def test_settings_of_fitted_rules_are_chosen_on_runs_that_did_not_fit_them() -> None:
    """The longest run is cut by what the others say, and by itself would not be."""
    lengths = (10, 20, 90, 60, 30, 99, 40, 99)  # every second one is there to choose on
    runs = [Run(f"{i}", "?", ("a",), (" a",) * n, "stop") for i, n in enumerate(lengths)]
    material = _material(Trace(header(), tuple(runs)), 2)
    rule = Memory(1)
    swept = sweep(Candidate("memory", "text", (rule,), rule), material)
    (scores,) = swept.scores
    assert scores is not None
    # The folds are 10 and 30, 90 and 40; on all of them the longest has 90.
    assert [10, 20, 30, 60, 30, 90, 30, 90] == scores.generated.tolist()


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


def test_the_words_of_a_number_are_those_of_the_final_answer() -> None:
    """Exact match and F1 where the last number is graded; a text that states none counts whole."""
    run = Run("q", "?", ("#### 1,600",), ("a",), "stop", grader="last_number")
    book = GradeBook([run])
    said = book.grade(0, "Two times 800 is 1600.\nThe answer is 1,600.")
    assert (1.0, 1.0, 1.0) == (said.right, said.em, said.f1)
    assert 0.0 == book.grade(0, "The answer is 1600", open_end=True).em
    bare = book.grade(0, "It makes 1600.")
    assert (1.0, 0.0, 0.5) == (bare.right, bare.em, bare.f1)
    words = GradeBook([replace(run, gold=("1600",), grader="contains")])
    assert 0.0 == words.grade(0, "The answer is 1600.").em


def test_a_vote_stopped_where_tokens_were_saved() -> None:
    """All samples were drawn, and one of them was ended: that is a stop too."""
    rows = [[(-4.0, -4.0)] * 6, [(-2.0, -2.0)] * 6, [(-5.0, -5.0)] * 2 + [(-1.0, -1.0)] * 4]
    runs = [
        Run("q", "?", ("a",), (" a",) * 6, "stop", sample=i, top_logprobs=np.array(row, np.float32))
        for i, row in enumerate(rows)
    ]
    ballot = Ballot.of(runs, None)
    ended = ballot.scores(ballot.drawn(DeepConf(2, 0.5, 2, None, 3)))
    assert [16.0] == ended.generated.tolist()
    assert [True] == ended.stopped.tolist()
    assert [False] == ballot.full().stopped.tolist()
