"""The report as one HTML file that needs no network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from stopping_core.cli.bench.frontier import color, widest
from stopping_core.cli.bench.section import Section
from stopping_core.cli.bench.table import FEWEST
from stopping_core.cli.bench.words import at_saving, capped, details, full_runs, regimes, summary


def write(
    path: Path,
    sections: Sequence[Section],
    levels: Sequence[float],
    target: float,
    seeds: Mapping[str, int],
    versions: Mapping[str, str],
) -> None:
    """Write the report: the tables as HTML, the pictures and the runs as data for its script.

    What models and users wrote is data. The template escapes it, the script sets it as text, and
    the data island holds neither ``<`` nor ``>``.
    """
    environment = Environment(
        loader=PackageLoader("stopping_core.cli.bench", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    page = environment.get_template("report.html.jinja").render(
        files=[_file(section, levels, target) for section in sections],
        levels=[f"{level:g}" for level in levels],
        target=f"{target:g}",
        seeds=seeds,
        versions=versions,
        fewest=FEWEST,
        data={
            "levels": list(levels),
            "files": [_data(section, levels) for section in sections],
        },
        css=_own("report.css"),
        js=_own("report.js"),
        plotly=Markup(get_plotlyjs()),
    )
    path.write_text(page, "utf-8", errors="replace")


def _own(name: str) -> Markup:
    return Markup((resources.files("stopping_core.cli.bench") / name).read_text("utf-8"))


def _file(section: Section, levels: Sequence[float], target: float) -> dict[str, Any]:
    reached = [row for row in section.at_saving if row["stops"]]
    names, lines = details(reached, "")
    every_name, every_line = details(section.rows, "level")
    lines_by_level = summary(section, levels)
    level, titles, by_regime = regimes(section, levels)
    return {
        "title": section.title,
        "about": section.about,
        "notes": section.notes,
        "caption": _caption(section),
        "capped": capped(section),
        "full": full_runs(section),
        "regimes": {"level": f"{level:g}", "names": titles, "lines": by_regime},
        "mixed": at_saving(target),
        "summary": lines_by_level,
        "remarks": [line for line in lines_by_level if line["note"]],
        "operating": {"names": names, "lines": lines} if reached else None,
        "all": {"names": every_name, "lines": every_line},
        "curves": bool(section.curves),
        "runs": bool(section.inspected),
    }


def _caption(section: Section) -> str:
    row, what = section.rows[0], "runs" if section.kind == "runs" else "questions"
    said = (
        f"{row['n']} reported {what} of {row['families']} families; in full: {full_runs(section)}."
    )
    if section.oracle is not None:
        said += f" An oracle that knows the gold answer saves {section.oracle['saving']:.1f}%."
    return said


def _data(section: Section, levels: Sequence[float]) -> dict[str, Any]:
    return {
        "widest": widest(section.curves, levels),
        "curves": [
            {
                "policy": one.policy,
                "tier": one.tier,
                "color": color(one.tier),
                "leads": one.leads,
                "points": [
                    {
                        "setting": setting,
                        "saving": round(reported.saving, 3),
                        "lost": round(reported.lost, 3),
                        "gained": round(reported.gained, 3),
                        "choose_saving": round(chosen.saving, 3),
                        "choose_lost": round(chosen.lost, 3),
                    }
                    for setting, chosen, reported in zip(
                        one.settings, one.chosen, one.reported, strict=True
                    )
                ],
                "line": one.line,
            }
            for one in section.curves
        ],
        "oracle": None
        if section.oracle is None
        else {"saving": section.oracle["saving"], "lost": section.oracle["lost"]},
        "policies": list(section.policies),
        "signals": list(section.signals),
        "runs": list(section.inspected),
    }
