"""``stopping bench``: the tables, the picture and the report, on made-up runs."""

from __future__ import annotations

import json
import shutil
import subprocess
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from stopping_core.cli.bench.commands import bench, replay
from stopping_core.cli.bench.table import FEWEST
from stopping_core.policies import MaxTokens
from stopping_core.policies.baselines import BASELINES
from stopping_core.policies.learned import LearnedStopping
from stopping_core.traces.run import Trace
from stopping_core.traces.store import write_trace
from tests.cli.recorded import reading, reasoning, sampled

app = typer.Typer(pretty_exceptions_enable=False)
app.command()(replay)
app.command()(bench)

LEVELS = [0.0, 1.0, 2.0, 5.0]
ROW = {
    *("file", "kind", "level", "policy", "tier", "setting", "stops", "saving", "lost", "gained"),
    *("right", "em", "f1", "contains", "first_f1", "interval", "savings", "captured", "full"),
    *("choose", "n", "families", "missing", "note", "best", "saving_ended"),
}
YOURS = [MaxTokens(8), MaxTokens(24)]


def stopping(*arguments: object) -> tuple[int, str]:
    """Run the command line in this process; return its exit code and what it printed."""
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.output


def _apart(trace: Trace) -> Trace:
    """Make each question a family: a few families have no intervals."""
    runs = (replace(run, group="", family="") for run in trace.runs)
    return replace(trace, runs=tuple(runs))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three trace files, and what the bench makes of them."""
    folder = tmp_path_factory.mktemp("bench")
    traces = {
        "reading": _apart(reading(30)),
        "reasoning": _apart(reasoning(24)),
        "sampled": sampled(8, 4),
    }
    for name, trace in traces.items():
        write_trace(folder / f"{name}.parquet", trace)
    files = [folder / f"{name}.parquet" for name in traces]
    yours = f"{__name__}:YOURS"
    code, printed = stopping("bench", *files, "--out", folder / "out", "--policy", yours)
    assert code == 0, printed
    return folder


@pytest.fixture(scope="module")
def table(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "out" / "table.json").read_text("utf-8"))
    return found


def _rows(table: dict[str, Any], file: str, kind: str = "runs") -> list[dict[str, Any]]:
    return [row for row in table["rows"] if (row["file"], row["kind"]) == (file, kind)]


def test_there_is_a_row_for_each_policy_and_level(table: dict[str, Any]) -> None:
    """Of each file: published rules, the learned one, profiles, the user's; nothing vanishes."""
    titles = {baseline.title for baseline in BASELINES}
    profiles = {f"profile {n}" for n in ("balanced", "batch", "high_stakes", "realtime_chat")}
    for file in ("reading.parquet", "reasoning.parquet"):
        rows = _rows(table, file)
        policies = {row["policy"] for row in rows}
        learned = {policy for policy in policies if policy.startswith(LearnedStopping.title)}
        assert learned
        assert {*titles, *profiles, "decided vote (this library)", "YOURS"} == policies - learned
        assert len(rows) == len(LEVELS) * len(policies)
    assert all(set(row) == ROW for row in table["rows"])
    assert table["levels"] == LEVELS
    assert table["seeds"] == {"split": 0, "bootstrap": 0}


def test_the_rows_are_what_they_say(table: dict[str, Any]) -> None:
    """Within the level where they are chosen; cuts add up, and more may be lost, more is saved."""
    seen = 0
    for row in table["rows"]:
        if row["stops"]:
            seen += 1
            assert row["choose"]["lost"] <= row["level"]
            assert row["choose"]["saving"] > 0
            assert (row["families"] < FEWEST) == (row["interval"] is None)
            if row["interval"] is not None:
                low, high = row["interval"]["saving"]
                assert low - 1e-3 <= row["saving"] <= high + 1e-3
            assert row["right"] == pytest.approx(
                row["full"]["right"] - row["lost"] + row["gained"], abs=0.01
            )
        elif not row["missing"]:
            assert (row["saving"], row["lost"], row["gained"]) == (0.0, 0.0, 0.0)
    assert seen > 50
    for file, policy in {(row["file"], row["policy"]) for row in table["rows"]}:
        chosen = [
            (row["choose"] or {"saving": 0.0})["saving"]
            for row in _rows(table, file)
            if row["policy"] == policy
        ]
        assert sorted(chosen) == chosen


def test_nobody_beats_the_oracle_without_loss(table: dict[str, Any]) -> None:
    """On the reported runs, by the bill that counts decoded tokens."""
    for file in table["files"]:
        for row in _rows(table, file["file"], file["kind"]):
            if file["oracle"] and row["stops"] and row["lost"] == 0:
                assert row["saving"] <= file["oracle"]["saving"] + 1e-6
                assert row["captured"] <= 100.0


def test_each_regime_has_its_own_choice(table: dict[str, Any]) -> None:
    """In the local one it is the row's; a dear probe leads to another setting, or to none."""
    regimes = set(table["regimes"])
    others = 0
    for row in table["rows"]:
        if row["missing"]:
            assert row["best"] is None
            continue
        assert set(row["best"]) == regimes
        local = row["best"]["local"]
        assert (local["setting"], local["saving"]) == (row["setting"], row["saving"])
        others += row["best"]["api"]["setting"] != row["setting"]
    assert others > 0


def test_a_rule_that_is_blind_inside_reasoning_is_left_out(table: dict[str, Any]) -> None:
    """No run ends there: silence on that channel says nothing about the rule."""
    by_file = {
        file: {row["missing"] for row in _rows(table, file) if row["policy"] == "EOS probability"}
        for file in ("reading.parquet", "reasoning.parquet")
    }
    assert {""} == by_file["reading.parquet"]
    (missing,) = by_file["reasoning.parquet"]
    assert missing.startswith("needs end_probability, and there is no end")


def test_settings_of_fitted_rules_print_what_was_fitted(table: dict[str, Any]) -> None:
    """The threshold itself, and that it was fitted; given thresholds are swept as they are."""
    settings = {
        row["setting"]
        for row in (*table["rows"], *table["defaults"])
        if row["policy"] in ("Think Just Enough", "Conformal Thinking", "LearnStop")
        and row["stops"]
        and not row["missing"]
    }
    assert any(setting.endswith("(fitted)") for setting in settings)
    assert not any("None" in setting for setting in settings)


def test_what_cannot_be_tried_says_what_is_missing(table: dict[str, Any]) -> None:
    """Rules over samples on single runs, rules over hidden states, rules over an agent's rounds."""
    missing = {row["policy"]: row["missing"] for row in _rows(table, "reading.parquet")}
    assert "needs samples" in missing["ESC"]
    assert "needs hidden_states" in missing["Thought Calibration"]
    assert "needs rounds" in missing["semantic rounds"]
    assert missing["fixed budget"] == ""


def test_votes_are_measured_against_the_vote_over_all_samples(table: dict[str, Any]) -> None:
    """A section of its own: questions are what is counted, and fewer samples are what is saved."""
    rows = _rows(table, "sampled.parquet", "votes")
    ours = {"decided vote (this library)"}
    ours |= {
        f"{kind}, samples ended (this library), text" for kind in ("vote of N", "decided vote")
    }
    rivals = {"vote of N", "ESC", "Adaptive-Consistency", "DeepConf", "DeepConf offline"}
    assert rivals | ours == {row["policy"] for row in rows}
    (facts,) = [f for f in table["files"] if f["kind"] == "votes"]
    assert facts["n"] == 8 == facts["choose"] + facts["report"]
    assert any(row["saving"] > 20 for row in rows)
    assert "ESC" not in {row["policy"] for row in _rows(table, "sampled.parquet")}


def test_the_operating_point_of_the_literature(table: dict[str, Any]) -> None:
    """Each policy mixed so that it saves just 38% where it is chosen."""
    reached = [row for row in table["at_saving"] if row["stops"]]
    assert len(reached) > 10
    for row in reached:
        assert row["target"] == 38.0
        assert row["choose"]["saving"] == pytest.approx(38.0, abs=0.01)
        assert 1.0 == pytest.approx(sum(part["share"] for part in row["mix"]), abs=0.01)


def test_the_same_seed_gives_the_same_rows(
    folder: Path, table: dict[str, Any], tmp_path: Path
) -> None:
    """In another call, over fewer files and levels; another seed splits otherwise."""
    found = []
    for seed in (0, 1):
        out = ("--out", tmp_path / f"{seed}", "--seed", seed, "--levels", "5")
        code, printed = stopping("bench", folder / "sampled.parquet", *out)
        assert code == 0, printed
        found.append(json.loads((tmp_path / f"{seed}" / "table.json").read_text())["rows"])
    before = [
        row
        for row in table["rows"]
        if row["file"] == "sampled.parquet" and row["level"] == 5 and row["tier"] != "yours"
    ]
    assert before == found[0]
    assert found[0] != found[1]


def test_the_tables_and_the_picture_are_written(folder: Path, table: dict[str, Any]) -> None:
    """Each section stands in the Markdown with its tables; what lost too much is marked in it."""
    words = (folder / "out" / "table.md").read_text("utf-8")
    assert words.count("### Saving at a bounded loss") == 4
    assert words.count("### What a saving of 38% costs") >= 2
    over = [row for row in table["rows"] if row["stops"] and row["lost"] > row["level"]]
    assert over
    for row in over:
        low, high = (row["interval"] or {"saving": (0, 0)})["saving"]
        interval = f" [{low:.1f}, {high:.1f}]" if row["interval"] else ""
        assert f"| {row['saving']:.1f}{interval} lost {row['lost']:.1f} (!)" in words
    assert words.count("### In each cost regime, at lost <= 1") == 4
    assert words.count("All runs came to their own end.") == 4
    assert (folder / "out" / "frontier.png").read_bytes().startswith(b"\x89PNG")


class _Page(HTMLParser):
    """Collects the scripts and the elements of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.linked: list[str] = []
        self.scripts: dict[str, str] = {}
        self._name = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.linked += [value or "" for name, value in attrs if name in ("src", "href")]
        self._name = dict(attrs).get("id") or f"script {len(self.scripts)}"

    def handle_data(self, data: str) -> None:
        if self.lasttag == "script":
            self.scripts[self._name] = self.scripts.get(self._name, "") + data


def test_the_report_needs_no_network(folder: Path) -> None:
    """One file: nothing is linked, and its data is what was recorded."""
    page = _Page((folder / "out" / "report.html").read_text("utf-8"))
    assert page.linked == []
    data = json.loads(page.scripts["data"])
    runs = data["files"][0]["runs"]
    recorded = {run.question_id: run for run in reading(30).runs}
    assert 0 < len(runs) <= 40
    for run in runs:
        assert list(recorded[run["id"]].tokens) == run["tokens"]
        assert len(run["cuts"]) == len(data["files"][0]["policies"])
        assert 0 <= run["oracle"] <= len(run["tokens"])


BROWSER = shutil.which("chromium") or shutil.which("google-chrome")


@pytest.mark.skipif(BROWSER is None, reason="no Chromium or Chrome; .ci/run installs one")
def test_a_browser_draws_it(folder: Path, tmp_path: Path) -> None:
    """Offline: the frontier of each section, and the first run with its tokens, cut and oracle."""
    command = [str(BROWSER), "--headless", "--no-sandbox", "--disable-gpu", "--dump-dom"]
    command += [f"--user-data-dir={tmp_path}", "--virtual-time-budget=5000"]
    page = (folder / "out" / "report.html").as_uri()
    drawn = subprocess.run([*command, page], capture_output=True, text=True, check=True).stdout
    assert drawn.count('class="main-svg"') >= 4
    assert drawn.count('<span class="token') > 100
    assert drawn.count('class="mark cut"') >= 1
    assert drawn.count('class="mark oracle"') == 3
    assert 'data-title="Zoom in"' in drawn
    assert 'data-title="Share' not in drawn


EVIL = "</script><script>alert(1)</script><!--<img src=x onerror=alert(1)>$x^"


def test_what_models_write_stays_text(tmp_path: Path) -> None:
    """Tokens, questions, gold and names that would end a script, open one, or break a formula."""
    trace = reading(12)
    runs = tuple(
        replace(
            run,
            question=EVIL,
            question_id=f"{EVIL}{number}",
            gold=(EVIL, *run.gold),
            tokens=(EVIL, *run.tokens[1:]),
        )
        for number, run in enumerate(trace.runs)
    )
    write_trace(tmp_path / "evil.parquet", Trace(replace(trace.header, model=EVIL), runs))
    code, printed = stopping("bench", tmp_path / "evil.parquet", "--out", tmp_path / "out")
    assert code == 0, printed
    page = _Page((tmp_path / "out" / "report.html").read_text("utf-8"))
    assert page.tags.count("script") == 3
    assert "img" not in page.tags
    data = json.loads(page.scripts["data"])
    assert data["files"][0]["runs"][0]["tokens"][0] == EVIL
    assert "<script" not in (tmp_path / "out" / "table.md").read_text("utf-8")
