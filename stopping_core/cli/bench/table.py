"""The rows of the table: one for each policy and level, on the runs that had no part in the choice.

Every share is in percent, so that a level, a loss and a saving are read in one unit.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from stopping_core.cli.bench.choose import at_saving, within
from stopping_core.cli.bench.scores import Mask, Point, Scores, add_up
from stopping_core.costs import LOCAL
from stopping_core.resampling import GroupBootstrap, Interval
from stopping_core.traces.oracle import Oracle

DOES_NOT_STOP = "does not stop"


@dataclass(frozen=True, slots=True, eq=False)
class Halves:
    """The runs to choose on, the runs to report on, and what is known of the latter.

    Args:
        choose: Which runs are there to choose a setting on.  # (n,)
        report: Which runs are reported on.  # (n,)
        groups: How many groups the latter have.
        bootstrap: Over those groups; None where there is only one.
    """

    choose: Mask
    report: Mask
    groups: int
    bootstrap: GroupBootstrap | None


@dataclass(frozen=True, slots=True, eq=False)
class Swept:
    """A policy at every setting, over the runs of one file.

    Args:
        policy: What the table calls it.
        tier: The evidence it lives on.
        settings: As they print themselves.
        scores: Of each setting; None where it could not be tried.
        points: What each adds up to on the choosing runs; None likewise.
        default: Number of the setting that the rule's authors give, or None.
        missing: What the trace does not hold for it, or ``""``.
        note: Anything else that a reader must know.
    """

    policy: str
    tier: str
    settings: tuple[str, ...]
    scores: tuple[Scores | None, ...]
    points: tuple[Point | None, ...]
    default: int | None = None
    missing: str = ""
    note: str = ""


def by_level(
    swept: Sequence[Swept], full: Scores, halves: Halves, levels: Sequence[float]
) -> list[dict[str, Any]]:
    """Write a row for each policy and level, the policies in their order."""
    rows = []
    for one in swept:
        for level in levels:
            number = within(one.points, level)
            row = {"level": level, **_row(one, number, full, halves)}
            if number is None and not one.missing:
                row["note"] = _join(row["note"], _why_not(one, level))
            rows.append(row)
    return rows


def by_saving(
    swept: Iterable[Swept], full: Scores, halves: Halves, target: float
) -> list[dict[str, Any]]:
    """Write a row for each policy at the setting that saves ``target`` percent or a little more."""
    rows = []
    for one in swept:
        number = at_saving(one.points, target)
        row = {"target": target, **_row(one, number, full, halves)}
        if number is None and not one.missing:
            best = max((p.saving for p in one.points if p is not None), default=0.0)
            row["note"] = _join(row["note"], f"saves {best:.1f}% at most")
        rows.append(row)
    return rows


def by_default(swept: Iterable[Swept], full: Scores, halves: Halves) -> list[dict[str, Any]]:
    """Write a row for each policy that has defaults, at these."""
    return [
        _row(one, one.default, full, halves)
        for one in swept
        if one.missing or (one.default is not None and one.scores[one.default] is not None)
    ]


def bound(oracle: Oracle, full: Scores, halves: Halves) -> dict[str, Any]:
    """Write what the oracle saves: it loses nothing, and gains nothing by its definition."""
    cut = replace(
        full,
        generated=oracle.generated.astype(np.float64),
        reread=oracle.reread.astype(np.float64),
    )
    row = _row(Swept("oracle", "bound", ("",), (cut,), (None,)), 0, full, halves)
    return {name: row[name] for name in ("policy", "n", "saving", "lost", "savings", "interval")}


def capture(rows: Iterable[dict[str, Any]], oracle: dict[str, Any]) -> None:
    """Add to each row the share of the oracle's saving that it has, percent."""
    most = oracle["saving"]
    for row in rows:
        known = row["saving"] is not None and most > 0
        row["captured"] = _round(100 * row["saving"] / most) if known else None


def _row(one: Swept, number: int | None, full: Scores, halves: Halves) -> dict[str, Any]:
    whole = add_up(full, full, halves.report)
    chosen = None if number is None else one.points[number]
    cut = full if number is None else one.scores[number]
    head = {
        "policy": one.policy,
        "tier": one.tier,
        "setting": DOES_NOT_STOP if number is None else one.settings[number],
        "stops": number is not None,
        "n": whole.n,
        "groups": halves.groups,
        "full": {name: _round(value) for name, value in whole.grades.items()},
        "choose": None
        if chosen is None
        else {"n": chosen.n, "saving": _round(chosen.saving), "lost": _round(chosen.lost)},
        "captured": None,
        "missing": one.missing,
        "note": one.note,
    }
    if one.missing or cut is None:
        unknown = ("saving", "lost", "gained", "right", "em", "f1", "contains", "first_f1")
        nothing = dict.fromkeys((*unknown, "interval", "savings"))
        return {**head, "setting": "", **nothing}
    point = add_up(cut, full, halves.report)
    return {
        **head,
        "saving": _round(point.saving),
        "lost": _round(point.lost),
        "gained": _round(point.gained),
        **{name: _round(value) for name, value in point.grades.items()},
        "interval": _intervals(cut, full, halves) if number is not None else None,
        "savings": {name: _round(value) for name, value in point.savings.items()},
    }


def _intervals(cut: Scores, full: Scores, halves: Halves) -> dict[str, list[float]] | None:
    """Give the intervals of saving, lost and gained; None where there is one group."""
    if halves.bootstrap is None:
        return None
    where = halves.report
    bills = cut.bills(LOCAL)[where], full.bills(LOCAL)[where]
    before, after = full.right[where], cut.right[where]
    kept = halves.bootstrap.ratio(*bills) if bills[1].any() else Interval(1.0, 1.0)
    found = {
        "saving": Interval(1 - kept.high, 1 - kept.low),
        "lost": halves.bootstrap.share(before & ~after),
        "gained": halves.bootstrap.share(~before & after),
    }
    return {
        name: [round(100 * interval.low, 3), round(100 * interval.high, 3)]
        for name, interval in found.items()
    }


def _why_not(one: Swept, level: float) -> str:
    """Say what its best setting would have done, where none is taken."""
    fit = [p for p in one.points if p is not None and p.lost <= level + 1e-9]
    if not fit:
        least = min((p.lost for p in one.points if p is not None), default=0.0)
        return f"loses {least:.1f} points at least on the choosing runs"
    best = max(p.saving for p in fit)
    costs = f"costs {-best:.1f}% more" if best < 0 else "saves nothing"
    return f"within the level it {costs}"


def _join(*notes: str) -> str:
    return "; ".join(note for note in notes if note)


def _round(value: float | None) -> float | None:
    return None if value is None or not np.isfinite(value) else round(float(value), 3)
