"""One part of the report: all policies over the runs of one file, or over its votes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from stopping_core.cli.bench.choose import keeps
from stopping_core.cli.bench.frontier import Curve, Panel

_MARGIN = 2  # policies that are named in the picture, at each level


@dataclass(frozen=True, slots=True)
class Section:
    """What the table, the picture and the report say of one comparison.

    Args:
        file: Name of the trace file.
        kind: ``"runs"``, or ``"votes"`` where rules draw several samples of a question.
        title: Model and template, and the file where others have the same.
        about: What was recorded, how much of it, and how it was split.
        rows: One for each policy and level.
        at_saving: One for each policy, at the saving that the literature quotes.
        defaults: One for each policy that has defaults, at these.
        oracle: The bound, or None.
        facts: For ``table.json``: what the file is.
        curves: For the pictures.
        notes: What a reader has to know.
        inspected: Single runs, for the report.
        policies: Names of the cuts that ``inspected`` shows.
        signals: Names of the readings that it holds.
    """

    file: str
    kind: str
    title: str
    about: str
    rows: list[dict[str, Any]]
    at_saving: list[dict[str, Any]]
    defaults: list[dict[str, Any]]
    oracle: dict[str, Any] | None
    facts: dict[str, Any]
    curves: tuple[Curve, ...]
    notes: tuple[str, ...] = ()
    inspected: Sequence[dict[str, Any]] = ()
    policies: Sequence[str] = ()
    signals: Sequence[str] = ()

    def panel(self) -> Panel:
        """Give its part of the picture."""
        bound = None if self.oracle is None else (self.oracle["saving"], self.oracle["lost"])
        return Panel(self.title, self.curves, bound)


def told_apart(sections: Sequence[Section]) -> list[Section]:
    """Add the file's name to the titles that several have."""
    titles = Counter(section.title for section in sections)
    return [
        replace(one, title=f"{one.title}: {one.file}") if titles[one.title] > 1 else one
        for one in sections
    ]


def ranked(rows: Sequence[dict[str, Any]]) -> dict[str, dict[float, dict[str, Any]]]:
    """Gather the rows of each policy by level; the policy that saves most over all levels first.

    A saving counts only where the level held on the reported runs. Policies that held none come
    after those that did, and last those that were not tried.
    """
    by_policy: dict[str, dict[float, dict[str, Any]]] = {}
    for row in rows:
        by_policy.setdefault(row["policy"], {})[row["level"]] = row
    return dict(sorted(by_policy.items(), key=lambda item: _rank(item[1].values())))


def _rank(rows: Iterable[dict[str, Any]]) -> tuple[bool, bool, float, int]:
    rows = list(rows)
    savings = [row["saving"] for row in rows if held(row)]
    missing = any(row["saving"] is None for row in rows)
    return missing, not savings, -sum(savings), -len(savings)


def held(row: dict[str, Any]) -> bool:
    """Say whether a policy was tried, and lost no more than the level where it is reported."""
    return row["lost"] is not None and keeps(row["lost"], row["level"])


def leaders(rows: Sequence[dict[str, Any]]) -> list[str]:
    """Name the policies that save most at some level and hold it, the two best of each."""
    found: dict[str, None] = {}
    for level in dict.fromkeys(row["level"] for row in rows):
        here = [row for row in rows if row["level"] == level and held(row) and row["saving"] > 0]
        here.sort(key=lambda row: -row["saving"])
        found.update(dict.fromkeys(row["policy"] for row in here[:_MARGIN]))
    return list(found)
