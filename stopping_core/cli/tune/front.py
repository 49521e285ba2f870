"""The settings that no other beats, and what they are worth on the reported half."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from optuna.trial import FixedTrial
from rich.box import SIMPLE_HEAD
from rich.markup import escape
from rich.table import Table

from stopping_core.cli.bench.choose import front
from stopping_core.cli.tune.half import Figures, Reported, Searched
from stopping_core.cli.tune.search import Trial
from stopping_core.cli.tune.trying import REFUSED, in_a_line, why

if TYPE_CHECKING:
    from stopping_core.cli.tune.space import Space


@dataclass(frozen=True, slots=True)
class Member:
    """A setting of the front.

    Args:
        trial: What it is, and what it does on the searched half.
        policy: As it cuts the reported half, fitted where it is fitted.
        reported: What it does there; None where those runs do not hold what it needs, or the space
            no longer makes it.
        missing: Why there is none, or ``""``.
    """

    trial: Trial
    policy: str
    reported: Figures | None
    missing: str = ""


def members(
    tried: Sequence[Trial], space: Space, searched: Searched, reported: Reported
) -> list[Member]:
    """Take the front of the trials, from safe to cheap, and report on it.

    Not to stop is a setting that everybody has: one that saves nothing is not on the front.
    """
    return [_member(tried[number], space, searched, reported) for number in front(tried)]


def _member(trial: Trial, space: Space, searched: Searched, reported: Reported) -> Member:
    try:
        policy = space(FixedTrial(dict(trial.params), trial.number))
        if (made := in_a_line(policy)) != trial.policy:
            raise ValueError(f"--space must make {trial.policy} of its parameters, got {made}")
        policy = searched.fitted(policy)
        figures = reported.figures(policy)
    except REFUSED as error:
        return Member(trial, trial.policy, None, why(error))
    return Member(trial, in_a_line(policy), figures)


def as_json(member: Member, searched: int, families: int) -> dict[str, Any]:
    """What ``front.json`` says of it, shares in percent.

    Args:
        member: The setting.
        searched: How many runs were searched on.
        families: How many families are reported on.
    """
    trial = member.trial
    found: dict[str, Any] = {
        "trial": trial.number,
        "params": dict(trial.params),
        "policy": trial.policy,
        "fitted": member.policy,
        "tuned": {"n": searched, "saving": _round(trial.saving), "lost": _round(trial.lost)},
        "reported": None,
        "missing": member.missing,
    }
    if member.reported is not None:
        point = member.reported.point
        found["reported"] = {
            "n": point.n,
            "families": families,
            "saving": _round(point.saving),
            "lost": _round(point.lost),
            "gained": _round(point.gained),
            "stopped": _round(point.stopped),
            "right": _round(point.grades["right"]),
            "interval": member.reported.intervals,
        }
    return found


def table(found: Sequence[Member]) -> Table:
    """The front, a line a setting."""
    table = Table(box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    for name in ("trial", "tuned:\nsaved", "\nlost", "reported:\nsaved", "\nlost"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("\npolicy", no_wrap=True)
    for one in found:
        trial = one.trial
        tuned = f"{trial.saving:.1f}%", f"{trial.lost:.1f}"
        cells = _cell(one.reported, "saving", "%"), _cell(one.reported, "lost", "")
        table.add_row(str(trial.number), *tuned, *cells, escape(trial.policy))
    return table


def _cell(figures: Figures | None, name: str, unit: str) -> str:
    if figures is None:
        return "missing"
    value = f"{getattr(figures.point, name):.1f}{unit}"
    if figures.intervals is None:
        return value
    low, high = figures.intervals[name]
    return escape(f"{value} [{low:.1f}, {high:.1f}]")


def _round(value: float) -> float:
    return round(float(value), 3)
