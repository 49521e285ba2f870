"""The rows of the table: one for each policy and level, on the runs that had no part in the choice.

Every share is in percent, so that a level, a loss and a saving are read in one unit.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from stopping_core.cli.bench.choose import at_saving, keeps, within
from stopping_core.cli.bench.scores import (
    Floats,
    Mask,
    Point,
    Scores,
    add_up,
    changes,
    mix,
    saving_of,
)
from stopping_core.costs import LOCAL, REGIMES, CostRegime
from stopping_core.protocols import CompletenessCheck
from stopping_core.resampling import GroupBootstrap, Interval
from stopping_core.traces.oracle import Oracle

DOES_NOT_STOP = "does not stop"

FEWEST = 10
"""Reported families that intervals take: drawn from fewer they are far too narrow."""


@dataclass(frozen=True, slots=True, eq=False)
class Halves:
    """The runs to choose on, the runs to report on, and what is known of the latter.

    Args:
        choose: Which runs are there to choose a setting on.  # (n,)
        report: Which runs are reported on.  # (n,)
        ended: Which runs came to their own end, and not to the cap.  # (n,)
        families: How many families the reported runs are of. A family is what the split keeps
            whole: of SQuAD an article, and where there is nothing larger a group or a question.
        bootstrap: Over those families; None where there are too few. Where a file has one question
            a passage, resampling passages would take questions about one article for independent.
    """

    choose: Mask
    report: Mask
    ended: Mask
    families: int
    bootstrap: GroupBootstrap | None


@dataclass(frozen=True, slots=True, eq=False)
class Swept:
    """A policy at every setting, over the runs of one file.

    Args:
        policy: What the table calls it.
        tier: The evidence it lives on.
        settings: As they print themselves.
        scores: Of each setting; None where it could not be tried. Of a fitted rule each choosing
            run is cut by what was fitted on others.
        points: What each adds up to on the choosing runs; None likewise.
        default: Number of the setting that the rule's authors give, or None.
        missing: What the trace does not hold for it, or ``""``.
        note: Anything else that a reader must know.
        rules: The objects, in the order of ``settings``, as they cut the reported runs.
        check: Asked before a cut that is not forced.
    """

    policy: str
    tier: str
    settings: tuple[str, ...]
    scores: tuple[Scores | None, ...]
    points: tuple[Point | None, ...]
    default: int | None = None
    missing: str = ""
    note: str = ""
    rules: tuple[Any, ...] = ()
    check: CompletenessCheck | None = None


def by_level(
    swept: Sequence[Swept], full: Scores, halves: Halves, levels: Sequence[float]
) -> list[dict[str, Any]]:
    """Write a row for each policy and level, the policies in their order."""
    rows = []
    for one in swept:
        for level in levels:
            number = within(one.points, level)
            row = {"level": level, **_row(one, [(number, 1.0)], full, halves)}
            row["best"] = None if one.missing else _best(one, level, full, halves)
            if number is None and not one.missing:
                row["note"] = _join(row["note"], _why_not(one, level))
            rows.append(row)
    return rows


def by_saving(
    swept: Iterable[Swept], full: Scores, halves: Halves, target: float
) -> list[dict[str, Any]]:
    """Write a row for each policy at ``target`` percent, mixed of two settings where need be.

    The shares give that saving on the choosing runs; what is reported is what they do on the
    others.
    """
    rows = []
    for one in swept:
        shares = at_saving(one.points, target)
        row = {"target": target, **_row(one, shares or [(None, 1.0)], full, halves)}
        row["mix"] = [
            {"setting": _setting(one, number), "share": _round(share)}
            for number, share in shares or ()
        ]
        if shares is None and not one.missing:
            best = max((p.saving for p in one.points if p is not None), default=0.0)
            row["note"] = _join(row["note"], f"saves {best:.1f}% at most")
        rows.append(row)
    return rows


def by_default(swept: Iterable[Swept], full: Scores, halves: Halves) -> list[dict[str, Any]]:
    """Write a row for each policy that has defaults, at these."""
    return [
        _row(one, [(one.default, 1.0)], full, halves)
        for one in swept
        if one.missing or (one.default is not None and one.scores[one.default] is not None)
    ]


def bound(oracles: Mapping[str, Oracle], full: Scores, halves: Halves) -> dict[str, Any]:
    """Write what the oracle saves: it loses nothing, and gains nothing by its definition.

    Args:
        oracles: By the regime whose prices they know.
        full: The full runs.
        halves: Where the figures are taken.
    """
    cuts = {
        name: replace(
            full,
            generated=oracle.generated.astype(np.float64),
            reread=oracle.reread.astype(np.float64),
        )
        for name, oracle in oracles.items()
    }
    rows = {
        name: _row(Swept("oracle", "bound", ("",), (cut,), (None,)), [(0, 1.0)], full, halves)
        for name, cut in cuts.items()
    }
    row = rows[LOCAL.name]
    return {
        **{name: row[name] for name in ("policy", "n", "saving", "lost", "interval")},
        "savings": {name: one["savings"][name] for name, one in rows.items()},
    }


def capture(rows: Iterable[dict[str, Any]], oracle: dict[str, Any]) -> None:
    """Add to each row the share of the oracle's saving that it has, percent."""
    most = oracle["saving"]
    for row in rows:
        known = row["saving"] is not None and most > 0
        row["captured"] = _round(100 * row["saving"] / most) if known else None


def _row(
    one: Swept, shares: Sequence[tuple[int | None, float]], full: Scores, halves: Halves
) -> dict[str, Any]:
    """Write the figures of a setting, or of a mixture of settings with their shares."""
    whole = add_up(full, full, halves.report)
    stops = any(number is not None for number, _ in shares)
    head = {
        "policy": one.policy,
        "tier": one.tier,
        "setting": _label(one, shares),
        "stops": stops,
        "n": whole.n,
        "families": halves.families,
        "full": {name: _round(value) for name, value in whole.grades.items()},
        "choose": _chosen(one, shares) if stops else None,
        "captured": None,
        "missing": one.missing,
        "note": one.note,
    }
    parts = [(full if number is None else one.scores[number], share) for number, share in shares]
    known = [(scores, share) for scores, share in parts if scores is not None]
    if one.missing or len(known) < len(parts):
        unknown = ("saving", "lost", "gained", "right", "em", "f1", "contains", "first_f1")
        nothing = dict.fromkeys((*unknown, "saving_ended", "interval", "savings"))
        return {**head, "setting": "", **nothing}
    cut = known[0][0] if len(known) == 1 else mix(known)
    point = add_up(cut, full, halves.report)
    return {
        **head,
        "saving": _round(point.saving),
        "saving_ended": _round(saving_of(cut, full, halves.report & halves.ended)),
        "lost": _round(point.lost),
        "gained": _round(point.gained),
        **{name: _round(value) for name, value in point.grades.items()},
        "interval": intervals(cut, full, halves) if stops else None,
        "savings": {name: _round(value) for name, value in point.savings.items()},
    }


def _setting(one: Swept, number: int | None) -> str:
    return DOES_NOT_STOP if number is None else one.settings[number]


def _label(one: Swept, shares: Sequence[tuple[int | None, float]]) -> str:
    if len(shares) == 1:
        return _setting(one, shares[0][0])
    return " or ".join(f"{100 * share:.0f}% {_setting(one, number)}" for number, share in shares)


def _chosen(one: Swept, shares: Sequence[tuple[int | None, float]]) -> dict[str, Any] | None:
    """Give what the setting does on the choosing runs; None where that is not known."""
    parts = [(one.points[number], share) for number, share in shares if number is not None]
    known = [(point, share) for point, share in parts if point is not None]
    if not known:
        return None
    return {
        "n": known[0][0].n,
        "saving": _round(sum(share * point.saving for point, share in known)),
        "lost": _round(sum(share * point.lost for point, share in known)),
    }


def _best(one: Swept, level: float, full: Scores, halves: Halves) -> dict[str, Any]:
    """Write for each regime what the setting does that is chosen in it; not to stop is one."""
    found: dict[str, Any] = {}
    for name, regime in REGIMES.items():
        number = within(one.points, level, name)
        cut = full if number is None else one.scores[number]
        if cut is None:
            continue
        point = add_up(cut, full, halves.report)
        stops = number is not None
        found[name] = {
            "setting": _setting(one, number),
            "stops": stops,
            "saving": _round(point.savings[name]),
            "lost": _round(point.lost),
            "gained": _round(point.gained),
            "interval": intervals(cut, full, halves, regime) if stops else None,
        }
    return found


def intervals(
    cut: Scores, full: Scores, halves: Halves, regime: CostRegime = LOCAL
) -> dict[str, list[float]] | None:
    """Give the intervals of saving, lost and gained; None where there are few families."""
    if halves.bootstrap is None:
        return None
    where = halves.report
    bills = cut.bills(regime)[where], full.bills(regime)[where]
    kept = halves.bootstrap.ratio(*bills) if bills[1].any() else Interval(1.0, 1.0)
    lost, gained = changes(cut, full, where)
    found = {
        "saving": Interval(1 - kept.high, 1 - kept.low),
        "lost": _share(halves.bootstrap, lost),
        "gained": _share(halves.bootstrap, gained),
    }
    return {
        name: [round(100 * interval.low, 3), round(100 * interval.high, 3)]
        for name, interval in found.items()
    }


def _share(bootstrap: GroupBootstrap, events: Floats) -> Interval:
    """Give the interval of a share of runs; of a mixture, of the share that is expected."""
    if np.isin(events, (0, 1)).all():
        return bootstrap.share(events)
    return bootstrap.ratio(events, np.ones(len(events)))


def _why_not(one: Swept, level: float) -> str:
    """Say what its best setting would have done, where none is taken."""
    fit = [p for p in one.points if p is not None and keeps(p.lost, level)]
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
