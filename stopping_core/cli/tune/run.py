"""Search settings on one half of the runs, report on the other, and write what came of it."""

from __future__ import annotations

import json
import math
import platform
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from stopping_core.cli.bench.scores import Point
from stopping_core.cli.bench.sweeping import channel_of, every_of
from stopping_core.cli.bench.table import FEWEST
from stopping_core.cli.tune.front import Member, as_json, members, table
from stopping_core.cli.tune.half import Reported, Searched
from stopping_core.cli.tune.picture import draw, widest
from stopping_core.cli.tune.rounds import Measured
from stopping_core.cli.tune.runs import RESAMPLES, Recorded, deal, read
from stopping_core.cli.tune.search import SAMPLER, Search, Trial, address
from stopping_core.cli.tune.space import DEFAULT, DefaultSpace, named
from stopping_core.cli.tune.trying import measure
from stopping_core.policies import Policy

if TYPE_CHECKING:
    from stopping_core.cli.tune.space import Space

VERSION = 1
"""Of the layout of ``front.json``."""

_ROUND = 8  # settings that are proposed together where workers share them
_FEW = 2  # workers, where none are named
_WIDE = 1000  # characters
_DECIDING = ("numpy", "optuna", "pyarrow", "scikit-learn", "stopping-core")
_HONEST = (
    "The tuned half chose these settings: its figures are optimistic. The reported half had no "
    "part in that, until a setting is picked by it. Neither proves anything about the next "
    "answers: a bound that holds is what stopping certify gives."
)


@dataclass(frozen=True, slots=True)
class Settings:
    """What the command line was told; see ``stopping tune --help``."""

    traces: tuple[Path, ...]
    out: Path
    trials: int
    seed: int
    space: str | None
    storage: str | None
    timeout: float | None
    batch: int | None = None
    workers: int | None = None
    ray: str | None = None

    @property
    def shared(self) -> bool:
        """Whether workers share the trials."""
        return self.workers is not None or self.ray is not None

    @property
    def round(self) -> int:
        """Settings a round; no matter how many workers there are, as the search depends on it."""
        return self.batch or (_ROUND if self.shared else 1)


def run(settings: Settings) -> None:
    """Search, or go on with a search, and report.

    Raises:
        ValueError: A setting, a file or the database is not what it should be, or no setting
            could be tried.
        OSError: A file cannot be read, or the folder not be written.
        ImportError: A package is not installed.
    """
    console = Console()
    _check(settings)
    recorded = read(settings.traces)
    searched_runs, reported_runs = deal(recorded.trace, settings.seed)
    searched, reported = Searched(searched_runs), Reported(reported_runs)
    space: Space = DefaultSpace(searched_runs.trace)
    if settings.space is not None:
        space = named(settings.space)
    settings.out.mkdir(parents=True, exist_ok=True)
    with _search(settings, recorded) as search:
        _go_on(console, settings, search, space, searched)
        tried, refused = search.tried, search.refused
        counts = {
            "trials": search.finished,
            "tried": len(tried),
            "refused": len(refused),
            "interrupted": search.interrupted,
        }
    if not tried:
        why = f": {refused[0]}" if refused else ": --timeout was over before the first"
        raise ValueError(f"trials must hold one that could be tried, got none{why}")
    with console.status("Reporting on the other half"):
        found = members(tried, space, searched, reported)
    _write(settings, recorded, searched, reported, counts, tried, refused, found)
    _show(console, searched, reported, counts, refused, found)
    wrote = f"Wrote front.json and front.png to {settings.out}."
    console.print(wrote, markup=False, highlight=False, soft_wrap=True)


def _check(settings: Settings) -> None:
    if settings.trials < 1:
        raise ValueError(f"--trials must be >= 1, got {settings.trials}")
    if settings.seed < 0:
        raise ValueError(f"--seed must be >= 0, got {settings.seed}")
    seconds = settings.timeout
    if seconds is not None and not (math.isfinite(seconds) and seconds > 0):
        raise ValueError(f"--timeout must be in (0, inf), seconds, got {seconds}")
    if settings.batch is not None and settings.batch < 1:
        raise ValueError(f"--batch must be >= 1, got {settings.batch}")
    if settings.workers is not None and not 1 <= settings.workers <= settings.round:
        raise ValueError(
            f"--workers must be in [1, {settings.round}], the settings a round, got "
            f"{settings.workers}"
        )
    if settings.out.exists() and not settings.out.is_dir():
        raise NotADirectoryError(f"--out must be a folder, got the file {settings.out}")


def _search(settings: Settings, recorded: Recorded) -> Search:
    url = address(settings.out / "tune.db") if settings.storage is None else settings.storage
    held = {
        "traces": sorted(digest[:16] for digest in recorded.digests.values()),
        "--seed": settings.seed,
        "--space": settings.space or DEFAULT,
        "--batch": settings.round,
    }
    return Search(url, held, settings.seed)


def _go_on(
    console: Console, settings: Settings, search: Search, space: Space, searched: Searched
) -> None:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, TimeElapsedColumn(), console=console) as progress:
        total = max(settings.trials, search.finished)
        task = progress.add_task("trials", total=total, completed=search.finished)
        advance = partial(progress.advance, task)
        if settings.round == 1 and not settings.shared:
            search.go_on(space, searched.point, settings.trials, settings.timeout, advance)
            return
        with _measured(settings, searched) as measured:
            search.go_on_in_rounds(
                space, measured, settings.round, settings.trials, settings.timeout, advance
            )


@contextmanager
def _measured(settings: Settings, searched: Searched) -> Iterator[Measured]:
    """Measure in this process, or let workers do it."""
    if not settings.shared:

        def one_by_one(policies: Mapping[int, Policy]) -> Iterator[tuple[int, Point | str]]:
            return ((number, measure(searched, policy)) for number, policy in policies.items())

        yield one_by_one
        return
    from stopping_core.cli.cluster.connection import LOCAL
    from stopping_core.cli.cluster.workers import Workers

    with Workers(
        settings.ray or LOCAL,
        settings.workers or min(_FEW, settings.round),
        partial(Searched, searched.dealt),
        attrgetter("right"),
        _DECIDING,
    ) as workers:
        yield partial(workers.deal, measure)


def _show(
    console: Console,
    searched: Searched,
    reported: Reported,
    counts: dict[str, int],
    refused: Sequence[str],
    found: Sequence[Member],
) -> None:
    say = partial(console.print, markup=False, highlight=False, soft_wrap=True)
    say(
        f"{counts['tried']} settings tried on {_half(searched)}; the front is reported on "
        f"{_half(reported)}."
    )
    for why, times in Counter(refused).most_common(1):
        others = "" if times == len(refused) else f", and {len(refused) - times} for other reasons"
        say(f"{len(refused)} more could not be tried, {times} as: {why}{others}.")
    most = widest(found)
    shown = [one for one in found if one.trial.lost <= most]
    if shown:
        # As wide as it takes: a policy that was folded is hard to copy.
        Console(width=_WIDE).print(table(shown))
        if len(shown) < len(found):
            say(f"{len(found) - len(shown)} more lose over {most:.0f} points: see front.json.")
        missing = [one.missing for one in shown if one.missing]
        for what, times in Counter(missing).most_common(1):
            others = "" if times == len(missing) else f", {len(missing) - times} for other reasons"
            say(f"{len(missing)} could not be reported, {times} as: {what}{others}.")
        say("saved: % of tokens, probes paid; lost: right answers, points of all runs.")
    else:
        say("No setting saves anything.")
    if reported.dealt.families < FEWEST:
        say(
            f"{reported.dealt.families} reported families: read nothing into this; intervals are "
            f"given from {FEWEST} on."
        )
    say(_HONEST)


def _half(half: Searched | Reported) -> str:
    dealt = half.dealt
    return f"{len(dealt.trace.runs)} runs ({dealt.families} families, {half.right} right in full)"


def _write(
    settings: Settings,
    recorded: Recorded,
    searched: Searched,
    reported: Reported,
    counts: dict[str, int],
    tried: Sequence[Trial],
    refused: Sequence[str],
    found: Sequence[Member],
) -> None:
    header = recorded.trace.header
    runs, families = len(searched.dealt.trace.runs), reported.dealt.families
    content: dict[str, Any] = {
        "version": VERSION,
        "unit": "percent: of the full runs' tokens (saving), of the runs (all else)",
        "about": _HONEST,
        "files": [{"file": f, "sha256": digest} for f, digest in recorded.digests.items()],
        "model": header.model,
        "template": header.template,
        "channel": channel_of(recorded.trace),
        "every": every_of(recorded.trace),
        "seed": settings.seed,
        "batch": settings.round,
        "space": settings.space or DEFAULT,
        "sampler": SAMPLER,
        "counts": counts,
        "refused": dict(Counter(refused)),
        "tuned": _facts(searched),
        "reported": _facts(reported),
        "folds": len(searched.dealt.folds),
        "bootstrap": {"resamples": RESAMPLES, "confidence": 0.95, "by": "family"},
        "versions": {"python": platform.python_version(), **{n: version(n) for n in _DECIDING}},
        "front": [as_json(one, runs, families) for one in found],
        "trials": [
            {"trial": one.number, "saving": round(one.saving, 3), "lost": round(one.lost, 3)}
            for one in tried
        ],
    }
    text = json.dumps(content, indent=1, allow_nan=False)
    (settings.out / "front.json").write_text(text + "\n", "utf-8")
    title = f"{header.model}, {header.template}: {counts['tried']} settings"
    draw(title, tried, found, settings.out / "front.png")


def _facts(half: Searched | Reported) -> dict[str, int]:
    dealt = half.dealt
    return {"n": len(dealt.trace.runs), "families": dealt.families, "right": half.right}
