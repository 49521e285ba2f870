"""``stopping replay``: one policy over recorded runs, by the engine and by arrays."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from stopping_core.policies import MaxTokens, Policy
from stopping_core.traces.run import Trace
from stopping_core.traces.store import write_trace
from stopping_core.types import CONTINUE, Checkpoint, Decision
from tests.cli.recorded import reading, reasoning, sampled
from tests.cli.test_bench import stopping

NAMES = ("balanced", "realtime_chat", "FixedBudget", "FirstSentence", "LowEntropy", "Dynasor")


class Ten(Policy):
    """Stops at ten tokens; has no vectorised form."""

    def decide(self, checkpoint: Checkpoint) -> Decision:
        return Decision(True, "ten") if checkpoint.tokens >= 10 else CONTINUE

    def __repr__(self) -> str:
        return "Ten()"


class NeedsOne(Ten):
    def __init__(self, one: int) -> None:
        self.one = one


EIGHT = MaxTokens(8)
MANY = [MaxTokens(8), MaxTokens(12), MaxTokens(16)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("replay")
    write_trace(folder / "reading.parquet", reading(30))
    write_trace(folder / "reasoning.parquet", reasoning(12))
    write_trace(folder / "sampled.parquet", sampled(4, 3))
    bare = reading(3)
    runs = tuple(replace(run, probes={}) for run in bare.runs)
    held = bare.header.holds - {"probes"}
    write_trace(folder / "bare.parquet", Trace(replace(bare.header, holds=held), runs))
    return folder


def _figures(printed: str) -> dict[str, list[float]]:
    """The percentages of each line of the table, by the line's name."""
    lines = [re.split(r"\s{2,}", line.strip()) for line in printed.splitlines()]
    return {
        name: [float(cell.rstrip("%")) for cell in cells]
        for name, *cells in lines
        if cells and all(cell.endswith("%") for cell in cells)
    }


def test_a_budget_by_hand(folder: Path) -> None:
    """Eight tokens of each run: what is saved follows from the lengths, what is lost from them."""
    runs = reading(30).runs
    code, printed = stopping(
        "replay", folder / "reading.parquet", "--policy", f"{__name__}:EIGHT", "--every", "8"
    )
    assert code == 0, printed
    figures = _figures(printed)
    saved = 100 * (1 - 8 * len(runs) / sum(map(len, runs)))
    assert [pytest.approx(saved, abs=0.06)] == figures["saved, local"]
    kept = ["".join(run.tokens[:8]) for run in runs]
    held = 100 * sum(run.gold[0] in text for run, text in zip(runs, kept, strict=True)) / len(runs)
    assert [pytest.approx(held, abs=0.06)] == figures["right, by contains"][1:]
    assert figures["saved, api"][0] < figures["saved, local"][0]


@pytest.mark.parametrize("policy", [*NAMES, f"{__name__}:Ten", f"{__name__}:EIGHT"])
def test_both_ways_say_the_same(folder: Path, policy: str) -> None:
    """Engine and arrays: every printed figure, for each file that holds what the rule needs."""
    for name in ("reading", "sampled"):
        arguments = ("replay", folder / f"{name}.parquet", "--policy", policy)
        code, by_engine = stopping(*arguments)
        assert code == 0, by_engine
        assert (0, by_engine) == stopping(*arguments, "--vectorised")


def test_on_reasoning_the_probe_is_the_answer(folder: Path) -> None:
    """A policy ends the thinking where probes were recorded, and the re-reading is paid."""
    code, printed = stopping("replay", folder / "reasoning.parquet", "--policy", "Newline")
    assert code == 0, printed
    figures = _figures(printed)
    assert figures["saved, local"][0] > figures["saved, cached api"][0] > figures["saved, api"][0]


def test_another_grader_leads(folder: Path) -> None:
    """What counts as right is what it says."""
    arguments = ("replay", folder / "reading.parquet", "--policy", "balanced")
    right = {
        grader: _figures(stopping(*arguments, "--grader", grader)[1])[f"right, by {grader}"]
        for grader in ("contains", "exact_match")
    }
    assert right["exact_match"] == [0.0, 0.0]
    assert right["contains"][0] > 50


@pytest.mark.parametrize(
    ("policy", "message"),
    [
        ("fast", "policy must be module:attribute or one of balanced, batch"),
        ("Esc", "policy must be one that stops a stream, got Esc"),
        ("LearnStop", "model must be fitted first"),
        ("ThoughtCalibration", "needs hidden_states"),
        (f"{__name__}:NeedsOne", "policy must be a class with defaults"),
        (f"{__name__}:nothing", "policy must be an importable"),
        ("os.path:sep", "policy must name a Policy"),
        (f"{__name__}:MANY", "policy must be a single one, got 3 in"),
        (":", "policy must be an importable ':'"),
    ],
)
def test_a_policy_that_will_not_do_is_named(folder: Path, policy: str, message: str) -> None:
    """One line, no traceback."""
    code, printed = stopping("replay", folder / "reading.parquet", "--policy", policy)
    assert code == 1
    assert message in " ".join(printed.split())


@pytest.mark.parametrize("way", [(), ("--vectorised",)])
@pytest.mark.parametrize("policy", ["KStable", "Dynasor"])
def test_a_rule_that_probes_is_refused_without_probes(
    folder: Path, policy: str, way: tuple[str, ...]
) -> None:
    """Also where it would not have come to ask: that it stops nothing says nothing of it."""
    code, printed = stopping("replay", folder / "bare.parquet", "--policy", policy, *way)
    assert code == 1
    assert "needs probes, and the trace holds none" in " ".join(printed.split())


def test_reasoning_that_was_not_recorded_is_no_channel(folder: Path) -> None:
    """The policy would be asked nowhere, and 0% stopped would be no finding."""
    arguments = ("--policy", f"{__name__}:EIGHT", "--channel", "reasoning")
    code, printed = stopping("replay", folder / "reading.parquet", *arguments)
    assert code == 1
    assert "channel must be answer where no run holds reasoning" in " ".join(printed.split())


def test_no_figure_is_printed_twice_and_prices_are_told(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the leading grader says stands once, in lines of at most 100 columns."""
    monkeypatch.setenv("COLUMNS", "100")
    arguments = ("--policy", "balanced")
    code, printed = stopping("replay", folder / "reading.parquet", *arguments)
    assert code == 0
    assert {"right, by contains", "EM", "F1"} <= set(_figures(printed))
    assert "contains a gold answer" not in printed
    assert "cached api: input 0.25, sent again 0.025" in " ".join(printed.split())
    assert max(map(len, printed.splitlines())) <= 100
    assert "contains a gold answer" in _figures(
        stopping("replay", folder / "reasoning.parquet", *arguments)[1]
    )


def test_an_import_path_is_not_evaluated(folder: Path, tmp_path: Path) -> None:
    """Only names are looked up: an expression is no attribute."""
    path = f"pathlib:Path({str(tmp_path / 'made')!r}).touch()"
    code, printed = stopping("replay", folder / "reading.parquet", "--policy", path)
    assert code == 1
    assert "policy must be an importable" in " ".join(printed.split())
    assert not (tmp_path / "made").exists()
