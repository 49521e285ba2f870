"""A month in production, over recorded runs: ``python -m benchmarks.month PLAIN Q4_0``.

A policy is fitted and certified on runs of one file. A pilot then serves requests that are drawn
from runs of articles that it has not seen, through a month with four events: prompts of which many
lose their answer where they are cut, a model that is swapped for another of its quantisations, a
peak of load, and a tenant that wants no cuts. What a stop at each level leaves of each run is
exact, by replay; users' feedback and the load are made up. The month is repeated with other draws.

Beside the pilot stand fixed settings, on the same requests: one certified level, or no cut, without
audits. In hindsight is the one that saves most of those that kept the bound, which is the largest
certified level. While the model is another one the certificate does not hold, and nobody cuts.

What is lost is counted as if audits were cut as well; what is saved is without what they cost. Loss
on average is over the population that the requests of a phase are drawn from, given the levels that
were chosen: it is what the bound is about, and has none of the noise of a few thousand requests.

The settings of :mod:`benchmarks.lived` were chosen on seeds from 10,000 on, and so were the days:
the drift is short and the quiet after it long, as a closed level opens again only after some
thousand requests that show it. In a month of longer events load and anger would find it closed.
"""

from __future__ import annotations

import argparse
import logging
from collections import Counter
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import fmean

import numpy as np

from benchmarks.lived import AUDIT, EXPLORE, MONTH, TENANTS, Known, Lived, Month, Tally, know
from benchmarks.transfer import certified
from stopping_core.certificates import Certificate


@dataclass(frozen=True, slots=True)
class _Row:
    """Some days of all months.

    Args:
        name: Of the days.
        pilot: What came of them.
        kept: The same outside the delay of the first retreat.
        fixed: What had come of them at each setting.  # (months, settings)
    """

    name: str
    pilot: Sequence[Tally]
    kept: Sequence[Tally]
    fixed: Sequence[Sequence[Tally]]

    def hindsight(self, bound: float) -> list[int]:
        """The setting that saved most of those that kept the bound, by month."""
        return [
            max(
                (place for place, one in enumerate(month) if one.loss <= bound),
                key=lambda place: month[place].saving,
            )
            for month in self.fixed
        ]


def _rows(months: Sequence[Lived]) -> list[_Row]:
    """Of each phase, and of the whole month."""
    rows = [
        _Row(
            phase.name,
            [one.pilot[phase.name] for one in months],
            [one.kept[phase.name] for one in months],
            [one.fixed[phase.name] for one in months],
        )
        for phase in MONTH
    ]
    whole = _Row(
        "the month",
        [_total(one.pilot.values()) for one in months],
        [_total(one.kept.values()) for one in months],
        [[_total(one) for one in zip(*of.fixed.values(), strict=True)] for of in months],
    )
    return [*rows, whole]


def _total(tallies: Iterable[Tally]) -> Tally:
    return sum(tallies, Tally())


def table(months: Sequence[Lived], certificate: Certificate) -> str:
    """Write what came of the months as Markdown."""
    bound, rows = certificate.levels[-1].risk, _rows(months)
    names = ["no cut", *(f"{100 * level.risk:g}%" for level in certificate.levels)]
    parts = (_lost(rows, bound), _saved(rows, months, bound, names), _events(rows, months, bound))
    return "\n\n".join(parts)


def _lost(rows: Sequence[_Row], bound: float) -> str:
    """What was lost outside the delay, and in how many months that was too much."""
    above = f"months above {100 * bound:g}%"
    lines = [
        f"| days | lost, on average | {above} | lost in fact | {above} | "
        f"at the fixed level, on average | {above} |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        cells = [row.name if row.kept == row.pilot else f"{row.name}, outside the delay"]
        for losses in (
            [one.average for one in row.kept],
            [one.loss for one in row.kept],
            [one[-1].average for one in row.fixed],
        ):
            cells += [_percent(losses), str(sum(one > bound for one in losses))]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _saved(
    rows: Sequence[_Row], months: Sequence[Lived], bound: float, names: Sequence[str]
) -> str:
    """What was saved, of that by tenant, and by settings that stay."""
    lines = [
        f"| days | saved | {' | '.join(TENANTS)} | at the fixed level | in hindsight | which |",
        f"|{'---|' * (5 + len(TENANTS))}",
    ]
    for row in rows:
        best = row.hindsight(bound)
        cells = [row.name, _percent([one.saving for one in row.pilot])]
        for name in TENANTS:
            known = [one.tenants[row.name][name] for one in months if row.name in one.tenants]
            cells.append(_percent(known) if known else "")
        cells += [
            _percent([one[-1].saving for one in row.fixed]),
            _percent([one[place].saving for one, place in zip(row.fixed, best, strict=True)]),
            ", ".join(f"{names[one]}: {count}" for one, count in Counter(best).most_common()),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _events(rows: Sequence[_Row], months: Sequence[Lived], bound: float) -> str:
    """Alarms, delays and the way back."""
    drift = next(place for place, phase in enumerate(MONTH) if phase.drift)
    before, after = (
        sum(any(one.closed[phase.name] for phase in phases) for one in months)
        for phases in (MONTH[:drift], MONTH[drift + 1 :])
    )
    wrong = sum(one.opened[MONTH[drift].name] > 0 for one in months)
    delayed = [one.delayed.average for one in months if one.delay is not None]
    best = [row.hindsight(bound) for row in rows[:-1]]
    known = [
        _total(row.fixed[month][chosen[month]] for row, chosen in zip(rows, best, strict=False))
        for month in range(len(months))
    ]
    return "\n".join(
        [
            f"- False alarms: before the drift a level was closed in {before} of {len(months)} "
            f"months, after its end in {after}. While it lasted one was opened again in {wrong}.",
            f"- The drift was met by a retreat {_spread([one.delay for one in months])}. Until "
            f"then {_percent(delayed)} were lost on average.",
            "- After the end of the drift the largest level was open again "
            f"{_spread([one.reopened for one in months])}.",
            "- Who had known the best setting of each phase beforehand had saved "
            f"{_percent([one.saving for one in known])} of the month's tokens.",
        ]
    )


def _percent(shares: Sequence[float]) -> str:
    return f"{100 * fmean(shares):.1f}%" if shares else "none"


def _spread(after: Sequence[int | None]) -> str:
    known = [one for one in after if one is not None]
    if not known:
        return f"in none of {len(after)} months"
    middle, most = np.quantile(known, [0.5, 0.9])
    return (
        f"in {len(known)} of {len(after)} months, after {middle:.0f} requests (median of these; "
        f"nine of ten within {most:.0f})"
    )


def _live(certificate: Certificate, plain: Known, swapped: Known, a_day: int, seed: int) -> Lived:
    logging.getLogger("stopping_core.steering.pilot").setLevel(logging.ERROR)
    return Month(certificate, plain, swapped, a_day, seed).live()


def main() -> None:
    """Certify, and live through some months."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("plain", type=Path, help="recorded runs: certified, and served")
    parser.add_argument("swapped", type=Path, help="recorded runs of the other model")
    parser.add_argument("--months", type=int, default=500)
    parser.add_argument("--a-day", type=int, default=1000, help="requests")
    parser.add_argument("--seed", type=int, default=0, help="of the first month")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--out", type=Path, required=True, help="the table, Markdown")
    asked = parser.parse_args()
    folder = asked.out.parent
    folder.mkdir(parents=True, exist_ok=True)
    certificate, kept = certified(asked.plain, folder)
    plain, swapped = (know(path, certificate) for path in (kept, asked.swapped))
    live = partial(_live, certificate, plain, swapped, asked.a_day)
    seeds = range(asked.seed, asked.seed + asked.months)
    with ProcessPoolExecutor(asked.processes) as pool:
        months = list(pool.map(live, seeds))
    told = "\n\n".join([_head(asked, certificate, plain), table(months, certificate)])
    asked.out.write_text(told + "\n", "utf-8")
    print(told)


def _head(asked: argparse.Namespace, certificate: Certificate, plain: Known) -> str:
    """What the figures are of, and how to read them."""
    saved = 1 - plain.spent.sum(axis=1) / plain.spent[0].sum()
    levels = ", ".join(
        f"{100 * level.risk:g}% (loses {100 * plain.lost[place].mean():.1f}% of these, saves "
        f"{100 * saved[place]:.1f}%)"
        for place, level in enumerate(certificate.levels, 1)
    )
    bound = f"{100 * certificate.levels[-1].risk:g}%"
    requests = asked.a_day * sum(phase.days for phase in MONTH)
    days = ", ".join(f"{phase.name} {phase.days}" for phase in MONTH)
    return "\n\n".join(
        [
            f"`python -m benchmarks.month {asked.plain.name} {asked.swapped.name} --months "
            f"{asked.months} --a-day {asked.a_day} --seed {asked.seed}`",
            f"{asked.months} months of {requests:,} requests, drawn from {plain.lost.shape[1]} "
            f"passages that nothing was fitted or certified on. Certified levels: {levels}. Days: "
            f"{days}. What stops leave is replayed; what users say, and the load, are made up. "
            f"{100 * AUDIT:g}% of the stops are audited, and while a level is closed "
            f"{100 * EXPLORE:g}% of the requests run at it uncut. Settings and days were chosen on "
            f"other seeds.",
            f"What is lost is counted as if audits were cut as well; on average is over all "
            f"passages, given the levels that were chosen. The delay is the drift's time until the "
            f"first retreat. What is saved is without what audits and uncut requests cost. The "
            f"fixed level is {bound}, without audits. In hindsight is no cut or one level for all "
            f"days of the row, also without audits: the one that saved most of those that lost at "
            f"most {bound}, and in how many months which it was. The answers of another model are "
            f"cut by none.",
        ]
    )


if __name__ == "__main__":
    main()
