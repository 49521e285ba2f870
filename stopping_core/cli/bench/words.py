"""The table in words: what ``table.md`` and the report both say of a section."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from stopping_core.cli.bench.frontier import color
from stopping_core.cli.bench.section import Section, held, ranked
from stopping_core.cli.bench.table import DOES_NOT_STOP, FEWEST
from stopping_core.costs import REGIMES

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
_TITLES = {"local": "own machine", "api": "API", "cached_api": "API with cache"}
OVER = "(!)"
"""Stands after a loss that is above the level on the reported runs."""


def summary(section: Section, levels: Sequence[float]) -> list[dict[str, Any]]:
    """Write a line for each policy: what it saves at each level, the best policy first."""
    best = {
        level: max(
            (row["saving"] for row in section.rows if row["level"] == level and held(row)),
            default=0.0,
        )
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


def _cell(row: dict[str, Any], best: float, unknown: str = "missing") -> dict[str, Any]:
    """Write one figure; ``best``: none that held the level saves more, ``over``: it did not."""
    if row["saving"] is None:
        return {"saving": unknown, "more": "", "best": False, "over": False}
    if not row["stops"]:
        return {"saving": "0.0", "more": DOES_NOT_STOP, "best": False, "over": False}
    over = not held(row)
    return {
        "saving": f"{row['saving']:.1f}",
        "more": _more(row, over),
        "best": not over and row["saving"] >= best > 0,
        "over": over,
    }


def _more(row: dict[str, Any], over: bool) -> str:
    more = f"lost {row['lost']:.1f}" + (f" {OVER}" if over else "")
    more += f", gained {row['gained']:.1f}" if row["gained"] else ""
    if row["interval"] is not None:
        low, high = row["interval"]["saving"]
        more = f"[{low:.1f}, {high:.1f}] {more}"
    return more


def regimes(
    section: Section, levels: Sequence[float]
) -> tuple[float, list[str], list[dict[str, Any]]]:
    """Write what each policy saves in each cost regime, by the setting chosen in that regime.

    Returns:
        The level, the one nearest to 1; the names of the regimes; a line for each policy that was
        tried, with a cell for each regime.
    """
    level = min(levels, key=lambda level: abs(level - 1))
    rows = [by_level[level] for by_level in ranked(section.rows).values()]
    rows = [row for row in rows if row["best"]]
    cells: dict[str, list[dict[str, Any]]] = {row["policy"]: [] for row in rows}
    for name in REGIMES:
        known = [{**row["best"][name], "level": level, "policy": row["policy"]} for row in rows]
        best = max((one["saving"] or 0.0 for one in known if held(one)), default=0.0)
        for one in known:
            cells[one["policy"]].append(_cell(one, best, unknown="unknown"))
    lines = [{"policy": policy, "cells": some} for policy, some in cells.items()]
    return level, [_TITLES[name] for name in REGIMES], lines


def capped(section: Section) -> str:
    """Say how much of the file was cut by its cap, and what that means for the savings."""
    capped = section.facts["capped"]
    if not capped["runs"]:
        return "All runs came to their own end."
    said = (
        f"{capped['runs']:.1f}% of the runs came to the cap of {section.facts['max_tokens']} tokens"
        f" and hold {capped['tokens']:.1f}% of all tokens: what a policy saves of them depends on "
        "the cap."
    )
    return said + _without_capped(section)


def _without_capped(section: Section) -> str:
    """Name the policy that saves most at the level nearest to 1, with and without those runs."""
    held_rows = [row for row in section.rows if held(row) and row["saving_ended"] is not None]
    if not held_rows:
        return ""
    level = min((row["level"] for row in held_rows), key=lambda level: abs(level - 1))
    best = max((r for r in held_rows if r["level"] == level), key=lambda row: row["saving"])
    if best["saving"] <= 0:
        return f" At lost <= {level:g}, no policy saves anything within this level."
    return (
        f" At lost <= {level:g}, {best['policy']} saves {best['saving']:.1f}% over all reported "
        f"runs, and {best['saving_ended']:.1f}% over those that ended by themselves."
    )


def details(rows: Sequence[dict[str, Any]], first: str) -> tuple[list[str], list[list[str]]]:
    """Write rows out with all their grades and regimes.

    Args:
        rows: The rows.
        first: Name of the column that comes first: ``"level"``, or ``""`` for none.

    Returns:
        The names of the columns, and a line for each row.
    """
    names = ["policy", "tier", "setting", *([first] if first else [])]
    names += [title for _, title in (*_DETAILS, *_REGIMES)]
    names += ["saving, ended runs", "of the oracle"]
    lines = []
    for row in rows:
        savings = row["savings"] or {}
        cells = [row["policy"], row["tier"], row["missing"] or row["setting"]]
        cells += [f"{row[first]:g}"] if first else []
        cells += [_with_interval(row, name) for name, _ in _DETAILS]
        cells += [_number(savings.get(name)) for name, _ in _REGIMES]
        lines.append([*cells, _number(row["saving_ended"]), _number(row["captured"])])
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
        "on another; in brackets, where at least "
        f"{FEWEST} families are reported, 95% intervals (paired bootstrap over families: what the "
        "split keeps whole, such as all questions about one article).\n",
        f"{OVER} marks a setting that lost more on the reported part than the level allows. It has "
        "no part in the comparison: the best saving, in bold, is the best of those that held the "
        "level.\n",
        "EM and F1 are of the whole output; where the last number of an answer is graded, of the "
        "final answer that it states, if it states one.\n",
    ]
    for section in sections:
        parts += [f"## {_escape(section.title)}\n", f"{_escape(section.about)}\n"]
        parts += [f"Note: {_escape(note)}\n" for note in section.notes]
        parts += [f"Full runs, reported half: {full_runs(section)}.{_bound(section)}\n"]
        parts += [f"{_escape(capped(section))}\n"]
        tried = [line for line in summary(section, levels) if not line["missing"]]
        names = ["policy", "tier", *(f"lost <= {level:g}" for level in levels)]
        cells = [
            [line["policy"], line["tier"], *(_joined(cell) for cell in line["cells"])]
            for line in tried
        ]
        parts += ["### Saving at a bounded loss\n", _table(names, cells)]
        level, titles, found = regimes(section, levels)
        cells = [[line["policy"], *map(_joined, line["cells"])] for line in found]
        parts += [
            f"### In each cost regime, at lost <= {level:g}\n",
            "The setting is chosen in the regime in which it is reported; not to stop is one.\n",
            _table(["policy", *titles], cells),
        ]
        by_policy = ranked(section.rows)
        settings = [
            [line["policy"], *(by_policy[line["policy"]][level]["setting"] for level in levels)]
            for line in tried
        ]
        names.remove("tier")
        parts += ["### The settings chosen\n", _table(names, settings)]
        for title, said, rows in (
            (f"What a saving of {target:g}% costs", at_saving(target), section.at_saving),
            ("At the rules' own defaults", "", section.defaults),
        ):
            reached = [row for row in rows if row["stops"]]
            if reached:
                parts += [f"### {title}\n", *([f"{said}\n"] if said else [])]
                parts += [_table(*details(reached, ""))]
        absent = {row["policy"]: row["missing"] for row in section.rows if row["missing"]}
        if absent:
            parts.append("### What could not be tried\n")
            parts += [f"- {_escape(name)}: {_escape(why)}" for name, why in absent.items()]
            parts.append("")
    return "\n".join(parts)


def at_saving(target: float) -> str:
    """Say how policies are brought to one saving."""
    return (
        f"{target:g}% is what plain early stopping is quoted to save. "
        f"Each policy that reaches it is brought to {target:g}% on the choosing runs: of the two "
        "settings of its front on either side of it, not to stop included, each run gets one by "
        "chance, in the share that is named. The figures are what is expected of that on the "
        "reported runs, where the saving may differ a little."
    )


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
