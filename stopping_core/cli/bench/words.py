"""The table in words: what ``table.md`` and the report both say of a section."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from stopping_core.cli.bench.section import Section, color, ranked
from stopping_core.cli.bench.table import DOES_NOT_STOP

_DETAILS = (
    ("saving", "saving"),
    ("lost", "lost"),
    ("gained", "gained"),
    ("right", "right"),
    ("em", "EM"),
    ("f1", "F1"),
    ("contains", "contains"),
    ("first_f1", "F1 of the first sentence"),
)
_REGIMES = (("api", "saving, API"), ("cached_api", "saving, API with cache"))


def summary(section: Section, levels: Sequence[float]) -> list[dict[str, Any]]:
    """Write a line for each policy: what it saves at each level, the best policy first."""
    best = {
        level: max(row["saving"] or 0.0 for row in section.rows if row["level"] == level)
        for level in levels
    }
    lines = []
    for policy, rows in ranked(section.rows).items():
        one = next(iter(rows.values()))
        lines.append(
            {
                "policy": policy,
                "tier": one["tier"],
                "color": color(one["tier"]),
                "cells": [_cell(rows[level], best[level]) for level in levels],
                "note": one["missing"] or one["note"],
                "missing": bool(one["missing"]),
            }
        )
    return lines


def _cell(row: dict[str, Any], best: float) -> dict[str, Any]:
    """Write one figure; ``best``: nobody saves more, ``over``: it lost more than asked for."""
    if row["saving"] is None:
        return {"saving": "missing", "more": "", "best": False, "over": False}
    if not row["stops"]:
        return {"saving": "0.0", "more": DOES_NOT_STOP, "best": False, "over": False}
    more = f"lost {row['lost']:.1f}" + (f", gained {row['gained']:.1f}" if row["gained"] else "")
    if row["interval"] is not None:
        low, high = row["interval"]["saving"]
        more = f"[{low:.1f}, {high:.1f}] {more}"
    return {
        "saving": f"{row['saving']:.1f}",
        "more": more,
        "best": row["saving"] >= best > 0,
        "over": row["lost"] > row["level"],
    }


def details(rows: Sequence[dict[str, Any]], first: str) -> tuple[list[str], list[list[str]]]:
    """Write rows out with all their grades and regimes.

    Args:
        rows: The rows.
        first: Name of the column that comes first: ``"level"``, or ``""`` for none.

    Returns:
        The names of the columns, and a line for each row.
    """
    names = ["policy", "tier", "setting", *([first] if first else [])]
    names += [title for _, title in (*_DETAILS, *_REGIMES)] + ["of the oracle"]
    lines = []
    for row in rows:
        savings = row["savings"] or {}
        cells = [row["policy"], row["tier"], row["missing"] or row["setting"]]
        cells += [f"{row[first]:g}"] if first else []
        cells += [_with_interval(row, name) for name, _ in _DETAILS]
        cells += [_number(savings.get(name)) for name, _ in _REGIMES]
        lines.append([*cells, _number(row["captured"])])
    return names, lines


def _with_interval(row: dict[str, Any], name: str) -> str:
    found = (row["interval"] or {}).get(name)
    number = _number(row[name])
    return number if found is None else f"{number} [{found[0]:.1f}, {found[1]:.1f}]"


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.1f}"


def full_runs(section: Section) -> str:
    """Say how the full runs of the reported half are graded."""
    full = section.rows[0]["full"]
    return (
        f"right {full['right']:.1f}%, EM {full['em']:.1f}, F1 {full['f1']:.1f}, "
        f"contains {full['contains']:.1f}, F1 of the first sentence {full['first_f1']:.1f}"
    )


def markdown(sections: Sequence[Section], levels: Sequence[float], target: float) -> str:
    """Write the tables of all sections."""
    parts = [
        "# Stopping policies compared\n",
        "All figures are in percent. Settings are chosen on one part of the questions and reported "
        "on another; in brackets 95% intervals (paired bootstrap over groups).\n",
    ]
    for section in sections:
        parts += [f"## {_escape(section.title)}\n", f"{_escape(section.about)}\n"]
        parts += [f"Note: {_escape(note)}\n" for note in section.notes]
        parts += [f"Full runs, reported half: {full_runs(section)}.{_bound(section)}\n"]
        tried = [line for line in summary(section, levels) if not line["missing"]]
        names = ["policy", "tier", *(f"lost <= {level:g}" for level in levels)]
        cells = [
            [line["policy"], line["tier"], *(_joined(cell) for cell in line["cells"])]
            for line in tried
        ]
        parts += ["### Saving at a bounded loss\n", _table(names, cells)]
        by_policy = ranked(section.rows)
        settings = [
            [line["policy"], *(by_policy[line["policy"]][level]["setting"] for level in levels)]
            for line in tried
        ]
        names.remove("tier")
        parts += ["### The settings chosen\n", _table(names, settings)]
        for title, rows in (
            (f"What a saving of {target:g}% costs", section.at_saving),
            ("At the rules' own defaults", section.defaults),
        ):
            reached = [row for row in rows if row["stops"]]
            if reached:
                parts += [f"### {title}\n", _table(*details(reached, ""))]
        absent = {row["policy"]: row["missing"] for row in section.rows if row["missing"]}
        if absent:
            parts.append("### What could not be tried\n")
            parts += [f"- {_escape(name)}: {_escape(why)}" for name, why in absent.items()]
            parts.append("")
    return "\n".join(parts)


def _bound(section: Section) -> str:
    if section.oracle is None:
        return ""
    return f" The oracle saves {section.oracle['saving']:.1f}%."


def _joined(cell: dict[str, Any]) -> str:
    saving = f"**{cell['saving']}**" if cell["best"] else cell["saving"]
    return f"{saving} {cell['more']}".strip()


def _table(names: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    rows = [names, ["---"] * len(names), *lines]
    return "\n".join("| " + " | ".join(map(_escape, row)) + " |" for row in rows) + "\n"


def _escape(text: str) -> str:
    """Keep what others wrote from being read as Markdown's or HTML's own."""
    for mark, instead in (("&", "&amp;"), ("<", "&lt;"), ("|", "\\|"), ("\n", " ")):
        text = text.replace(mark, instead)
    return text
