"""Compare all policies over some trace files, and write what came of it."""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from stopping_core.cli.bench import report
from stopping_core.cli.bench.compare import (
    TARGET,
    Choices,
    compare_runs,
    compare_votes,
    entrants,
)
from stopping_core.cli.bench.frontier import draw
from stopping_core.cli.bench.part import FOLDS
from stopping_core.cli.bench.section import Section, told_apart
from stopping_core.cli.bench.words import OVER, markdown, summary
from stopping_core.costs import REGIMES
from stopping_core.traces.store import read_trace

VERSION = 2
"""Of the layout of ``table.json``."""

_LEGEND = (
    f"% of output tokens saved; {OVER} lost more on the reported half than allowed; "
    "missing: see table.md"
)

_DECIDING = ("numpy", "pyarrow", "scikit-learn", "stopping-core")


@dataclass(frozen=True, slots=True)
class Settings:
    """What the command line was told; see ``stopping bench --help``."""

    traces: tuple[Path, ...]
    out: Path
    choices: Choices


def run(settings: Settings) -> None:
    """Run the comparison.

    Raises:
        ValueError: A level, a policy or a trace file is not what it should be.
        OSError: A file cannot be read, or the folder not be written.
        ImportError: A package is not installed.
    """
    console = Console()
    choices = settings.choices
    _check(settings)
    files = _named(settings.traces)
    traces = {name: read_trace(path) for name, path in files.items()}
    prints = _fingerprints(files)
    settings.out.mkdir(parents=True, exist_ok=True)
    sections = []
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, TimeElapsedColumn(), console=console) as progress:
        for name, trace in traces.items():
            entered = entrants(trace, choices)
            task = progress.add_task(escape(name), total=len(entered))
            advance = partial(progress.advance, task)
            if trace.header.samples > 1:
                sections.append(compare_votes(name, trace, entered, choices, advance))
            sections.append(compare_runs(name, trace, entered, choices, advance))
    sections = told_apart(sections)
    _write(settings, sections, prints)
    show(console, sections, choices.levels)
    wrote = f"\nWrote table.json, table.md, frontier.png and report.html to {settings.out}."
    console.print(wrote, markup=False, soft_wrap=True)


def _check(settings: Settings) -> None:
    levels = settings.choices.levels
    if not levels or not all(0 <= level <= 100 for level in levels):
        raise ValueError(f"levels must be in [0, 100], points of all runs; got {levels}")
    if len(set(levels)) < len(levels):
        raise ValueError(f"levels must be different, got {levels}")
    if settings.out.exists() and not settings.out.is_dir():
        raise NotADirectoryError(f"out must be a folder, got the file {settings.out}")


def _named(paths: Sequence[Path]) -> dict[str, Path]:
    """Name the files as short as tells them apart.

    Raises:
        ValueError: One is named twice.
    """
    names = [path.name for path in paths]
    files = {(path.name if names.count(path.name) == 1 else str(path)): path for path in paths}
    if len(files) < len(paths):
        raise ValueError(f"traces must differ, got {', '.join(map(str, paths))}")
    return files


def _fingerprints(files: Mapping[str, Path]) -> dict[str, str]:
    """Take the digest of each file.

    Raises:
        ValueError: Two of them hold the same.
    """
    found: dict[str, str] = {}
    for name, path in files.items():
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        if digest in found:
            raise ValueError(f"traces must differ, got the same content in {found[digest]}, {name}")
        found[digest] = name
    return {name: digest for digest, name in found.items()}


def _write(settings: Settings, sections: Sequence[Section], prints: Mapping[str, str]) -> None:
    out, choices = settings.out, settings.choices
    seeds = {"split": choices.seed, "bootstrap": choices.seed}
    versions = {"python": platform.python_version(), **{n: version(n) for n in _DECIDING}}
    table = _table(choices, sections, prints, seeds, versions)
    text = json.dumps(table, indent=1, allow_nan=False)
    (out / "table.json").write_text(text + "\n", "utf-8")
    words = markdown(sections, choices.levels, TARGET)
    (out / "table.md").write_text(words, "utf-8", errors="replace")
    draw([section.panel() for section in sections], choices.levels, out / "frontier.png")
    report.write(out / "report.html", sections, choices.levels, TARGET, seeds, versions)


def _table(
    choices: Choices,
    sections: Sequence[Section],
    prints: Mapping[str, str],
    seeds: dict[str, int],
    versions: dict[str, str],
) -> dict[str, Any]:
    return {
        "version": VERSION,
        "unit": "percent: of the full runs' tokens or bill (saving), of the runs (all else)",
        "levels": list(choices.levels),
        "target": TARGET,
        "seeds": seeds,
        "splits": {"choose": 0.5, "report": 0.5, "by": "family", "folds": FOLDS},
        "bootstrap": {"resamples": choices.resamples, "confidence": 0.95, "by": "family"},
        "regimes": {
            name: {"input": one.input, "cached": one.cached, "output": one.output}
            for name, one in REGIMES.items()
        },
        "versions": versions,
        "files": [
            {
                "file": section.file,
                "kind": section.kind,
                "sha256": prints[section.file],
                **section.facts,
                "oracle": section.oracle,
            }
            for section in sections
        ],
        "rows": [row for section in sections for row in section.rows],
        "at_saving": [row for section in sections for row in section.at_saving],
        "defaults": [row for section in sections for row in section.defaults],
    }


def show(console: Console, sections: Sequence[Section], levels: Sequence[float]) -> None:
    """Print the tables of savings, and what their marks mean."""
    for section in sections:
        _show(console, section, levels)
    console.print(_LEGEND, markup=False, highlight=False, soft_wrap=True)


def _show(console: Console, section: Section, levels: Sequence[float]) -> None:
    table = Table(
        title=escape(section.title), box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0)
    )
    table.add_column("policy")
    table.add_column("tier", no_wrap=True)
    for level in levels:
        table.add_column(f"lost <= {level:g}", justify="right")
    for line in summary(section, levels):
        cells = [cell["saving"] + (f" {OVER}" if cell["over"] else "") for cell in line["cells"]]
        table.add_row(escape(line["policy"]), line["tier"], *cells)
    console.print(table)
    for note in section.notes:
        console.print(f"Note: {note}", markup=False)
