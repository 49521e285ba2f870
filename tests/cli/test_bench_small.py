"""What ``stopping bench`` shows of a small file: one lost run is many points, families are few."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from stopping_core.cli.bench.candidates import candidates
from stopping_core.cli.bench.compare import Choices, compare_runs
from stopping_core.cli.bench.frontier import Curve, named, widest
from stopping_core.cli.bench.report import write
from stopping_core.cli.bench.run import show
from stopping_core.cli.bench.scores import NAMES, Point
from stopping_core.cli.bench.section import Section, ranked, told_apart
from stopping_core.cli.bench.words import capped, markdown, summary
from stopping_core.traces.store import read_trace, write_trace
from tests.cli.recorded import reading
from tests.cli.test_bench import stopping

RECORDED = Path(__file__).parents[1] / "data" / "trace.parquet"
LEVELS = (0.0, 1.0, 5.0)
SOME = ("fixed budget", "first sentence", "newline", "EOS probability", "ESC")


@pytest.fixture(scope="module")
def section() -> Section:
    """Some policies over two dozen recorded runs, a dozen of them reported, of two families."""
    trace = read_trace(RECORDED)
    entered = [one for one in candidates("answer") if one.policy in SOME]
    return compare_runs("some.parquet", trace, entered, Choices(LEVELS), lambda: None)


def _curve(name: str, *points: tuple[float, float], runs: int = 1000, leads: bool = False) -> Curve:
    """A front of settings, each with its saving and loss."""
    reported = tuple(
        Point(runs, {"local": saving}, lost, 0.0, 100.0, dict.fromkeys(NAMES, 0.0))
        for saving, lost in points
    )
    return Curve(name, "text", tuple(map(str, points)), reported, reported, leads)


def test_the_picture_holds_the_first_lost_run(section: Section) -> None:
    """A lost run of twelve is 8.3 points, past every level; its curve is seen, and named."""
    (runs,) = {row["n"] for row in section.rows}
    lost = [one.reported[one.line[0]].lost for one in section.curves if one.line]
    reach = widest(section.curves, LEVELS)
    assert reach >= 1.5 * 100 / runs
    assert reach > min(lost) > max(LEVELS)
    assert named(section.curves, reach)


def test_the_picture_of_many_runs_ends_behind_the_levels() -> None:
    """What leads is in it, from its safest setting on; what trails need not be."""
    good, bad = _curve("good", (40, 0.5), (60, 3), leads=True), _curve("bad", (50, 30))
    assert widest([good, bad], (0, 5)) == 8.0
    assert widest([], (0, 5)) == 8.0
    assert widest([_curve("late", (50, 20), leads=True), bad], (0, 5)) == pytest.approx(22.0)
    assert widest([bad], (0, 5)) == pytest.approx(33.0)
    assert [good] == named([bad, good], 8.0)
    assert [bad] == named([bad], 33.0)
    assert [] == named([bad], 8.0)


def test_the_report_draws_as_far(section: Section, tmp_path: Path) -> None:
    """The picture in the page ends where the other does."""
    write(tmp_path / "report.html", [section], LEVELS, 38.0, {"split": 0, "bootstrap": 0}, {})
    page = (tmp_path / "report.html").read_text("utf-8")
    data = page.split('id="data">', 1)[1].split("</script>", 1)[0]
    assert [widest(section.curves, LEVELS)] == [one["widest"] for one in json.loads(data)["files"]]
    assert "2 reported families: read nothing into this" in page


def test_few_families_have_no_interval(section: Section) -> None:
    """Two families drawn again say nothing; that is told in the table and on the terminal."""
    assert {2} == {row["families"] for row in section.rows}
    assert {None} == {row["interval"] for row in (*section.rows, *section.defaults)}
    told = "2 reported families: read nothing into this"
    words = markdown([section], LEVELS, 38.0)
    assert f"Note: {told}" in words
    assert f"Note: {told}" in _printed(section)


def test_enough_families_have_intervals() -> None:
    """From ten reported families on, and then nothing is said of them."""
    trace = reading(24)
    runs = tuple(replace(run, group="", family="") for run in trace.runs)
    entered = [one for one in candidates("answer") if one.policy == "fixed budget"]
    found = compare_runs("x", replace(trace, runs=runs), entered, Choices(LEVELS), lambda: None)
    assert all(row["families"] >= 10 and row["interval"] for row in found.rows if row["stops"])
    assert any(row["stops"] for row in found.rows)
    assert () == found.notes


def test_equal_titles_name_their_files(section: Section) -> None:
    """One model and one template in two files; a third title stays as it is."""
    other = replace(section, file="other.parquet")
    alone = replace(section, title="another model, plain")
    first, second, third = told_apart([section, other, alone])
    assert (f"{section.title}: some.parquet", f"{section.title}: other.parquet") == (
        first.panel().title,
        second.panel().title,
    )
    assert alone == third


def test_two_files_of_a_single_run(tmp_path: Path) -> None:
    """Of one model and one template: each is named, and what a comparison takes is told."""
    trace = reading(2)
    files = [tmp_path / "first.parquet", tmp_path / "second.parquet"]
    for path, run in zip(files, trace.runs, strict=True):
        write_trace(path, replace(trace, runs=(run,)))
    code, printed = stopping("bench", *files, "--out", tmp_path / "out", "--levels", "1")
    assert code == 0, printed
    words = (tmp_path / "out" / "table.md").read_text("utf-8")
    assert ["## made-up, explain: first.parquet", "## made-up, explain: second.parquet"] == [
        line for line in words.splitlines() if line.startswith("## ")
    ]
    said = " ".join(printed.split())
    assert said.count("at least two families or groups of questions are needed") == 2
    assert "shares must" not in said
    assert "made-up, explain: second.parquet" in said


def _printed(section: Section) -> str:
    console = Console(width=100)
    with console.capture() as captured:
        show(console, [section], LEVELS)
    return captured.get()


def test_the_terminal_tells_what_its_marks_mean(section: Section) -> None:
    """One line below the table, and no line is wider than 100 columns or cut short."""
    printed = _printed(section)
    (legend,) = (line for line in printed.splitlines() if line.startswith("% of output tokens"))
    assert "(!) lost more on the reported half than allowed" in legend
    assert "missing: see table.md" in legend
    assert max(map(len, printed.splitlines())) <= 100
    assert "\N{HORIZONTAL ELLIPSIS}" not in printed


def test_what_held_no_level_comes_below_what_did(section: Section) -> None:
    """A rule that never stops held them all, and saves more than one that lost too much."""
    lines = [line for line in summary(section, LEVELS) if not line["missing"]]
    over = [all(cell["over"] for cell in line["cells"]) for line in lines]
    assert sorted(over) == over
    assert {True, False} == set(over)
    assert [*ranked(section.rows)][-1] == "ESC"


def test_where_nothing_saves_no_rule_is_named(section: Section) -> None:
    """All that held the level save nothing: which of them comes first says nothing."""
    assert capped(section).endswith("At lost <= 1, no policy saves anything within this level.")


def test_the_saving_of_the_literature_is_explained(section: Section) -> None:
    """Why it is this one stands beside its table."""
    words = markdown([section], LEVELS, 38.0)
    assert "\n38% is what plain early stopping is quoted to save. " in words
