"""``stopping bench`` on what is odd or wrong: one group, no right run, mistakes, bad files."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from stopping_core.traces.run import Run, Trace
from stopping_core.traces.store import write_trace
from tests.cli.recorded import header, reading, sampled
from tests.cli.test_bench import stopping


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trace file with which nothing is wrong."""
    path = tmp_path_factory.mktemp("good") / "sampled.parquet"
    write_trace(path, sampled(2, 2))
    return path


def test_runs_of_one_group_have_no_interval(tmp_path: Path) -> None:
    """Then nothing is known of other passages, and the choice is made on what is reported."""
    runs = tuple(replace(run, group="one", family="one") for run in reading(9).runs)
    write_trace(tmp_path / "one.parquet", Trace(header(), runs))
    code, printed = stopping("bench", tmp_path / "one.parquet", "--out", tmp_path / "out")
    assert code == 0, printed
    table = json.loads((tmp_path / "out" / "table.json").read_text())
    assert all(row["interval"] is None for row in table["rows"])
    first, second = table["files"][0]["notes"]
    assert first.startswith("settings are chosen on the runs that they are reported on")
    assert "at least two families or groups of questions are needed" in first
    assert second.startswith("1 reported family: read nothing into this")
    notes = {row["note"] for row in table["rows"] if row["policy"] == "Conformal Thinking"}
    assert all("its setting chosen on the same" in note for note in notes)
    for written in ("report.html", "table.md"):
        assert first in (text := (tmp_path / "out" / written).read_text("utf-8"))
        assert second in text
    assert "1 reported family: read nothing into this" in " ".join(printed.split())


def test_runs_that_are_never_right_or_empty_are_no_error(tmp_path: Path) -> None:
    """Nothing can be lost, and that is said; a model that says nothing costs nothing."""
    runs: tuple[Run, ...] = tuple(
        Run(f"q{n}", "Which?", ("nobody said this",), tokens, "stop", group=f"g{n}")
        for n, tokens in enumerate([("It", " is", " so", "."), (), ("No", ".")] * 4)
    )
    bare = header(holds=frozenset(), top_logprobs=0)
    write_trace(tmp_path / "wrong.parquet", Trace(bare, runs))
    code, printed = stopping("bench", tmp_path / "wrong.parquet", "--out", tmp_path / "out")
    assert code == 0, printed
    table = json.loads((tmp_path / "out" / "table.json").read_text())
    assert any("no full run is right" in note for note in table["files"][0]["notes"])
    assert all(row["lost"] in (0.0, None) for row in table["rows"])
    assert all((row["savings"] or {"api": None})["api"] is None for row in table["rows"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--levels", "0,101"], "levels must be in [0, 100], points of all runs; got (0.0, 101.0)"),
        (["--levels", "-1"], "levels must be in [0, 100]"),
        (["--levels", "1,1"], "levels must be different"),
        (["--levels", "few"], "--levels must be numbers with commas, got few"),
        (["--levels", "nan"], "levels must be in [0, 100]"),
        (["--policy", "nowhere:at_all"], "policy must be an importable 'nowhere:at_all'"),
        (["--policy", "os:path"], "policy must name a Policy"),
        (["--policy", "balanced"], "profiles and published rules are always compared"),
        (["--policy", "Newline"], "profiles and published rules are always compared"),
        (["--policy", "pol.py:mine"], "policy must be pol:mine, a module and not a file"),
        (["--seed", "-1"], "--seed"),
    ],
)
def test_a_mistake_is_named(good: Path, tmp_path: Path, arguments: list[str], message: str) -> None:
    """One line, no traceback, and nothing is written."""
    code, printed = stopping("bench", good, "--out", tmp_path / "out", *arguments)
    assert code != 0
    assert message in " ".join(printed.split())
    assert not (tmp_path / "out" / "table.json").exists()


def test_a_wrong_file_is_named(good: Path, tmp_path: Path) -> None:
    """Missing, cut short, no trace, twice the same, and a folder that is a file."""
    whole = good.read_bytes()
    (tmp_path / "short.parquet").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "twin.parquet").write_bytes(whole)
    (tmp_path / "text.parquet").write_text("question,answer")
    (tmp_path / "file").touch()
    out = ("--out", tmp_path / "out")
    for arguments, message in (
        ((tmp_path / "none.parquet", *out), "none.parquet"),
        ((tmp_path / "short.parquet", *out), "short.parquet"),
        ((tmp_path / "text.parquet", *out), "text.parquet"),
        ((good, tmp_path / "twin.parquet", *out), "traces must differ, got the same content"),
        ((good, good, *out), f"traces must differ, got {good}, {good}"),
        ((good, "--out", tmp_path / "file"), "out must be a folder"),
    ):
        code, printed = stopping("bench", *arguments)
        assert code == 1
        assert message in printed.replace("\n", "")
        assert "Traceback" not in printed
