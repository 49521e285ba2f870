"""Refit the entries of a catalogue: a challenger of old runs, compared on those that came since."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

from filelock import FileLock, Timeout
from rich.console import Console

from stopping_core.certificates import Certificate, Scope
from stopping_core.cli.certify.run import Settings as CertifySettings
from stopping_core.cli.certify.run import Tested, columns_of, measure
from stopping_core.cli.certify.run import run as certify
from stopping_core.cli.fit.recorded import Recorded, as_sent, read_recorded
from stopping_core.cli.fit.run import Settings as FitSettings
from stopping_core.cli.fit.run import run as fit
from stopping_core.cli.refit.state import State
from stopping_core.cli.terminal import as_text
from stopping_core.steering.catalogue import Catalogue, Entry
from stopping_core.steering.duel import Comparison
from stopping_core.templates import Template
from stopping_core.traces.graded import Graded
from stopping_core.traces.run import Header, Run, Trace
from stopping_core.traces.run_log import Log, Logged, forget, read_log
from stopping_core.traces.store import write_trace

_FILES = ("runs.parquet", "model.json", "certificate.json")
_UNSEEN = 0.01


@dataclass(frozen=True, slots=True)
class Settings:
    """What the command line was told; see ``stopping refit --help``."""

    catalogue: Path
    after: int
    most: int
    share: float
    levels: tuple[float, ...]
    confidence: float
    risk: float | None
    delta: float
    seed: int
    hold: bool


def run(settings: Settings) -> bool:
    """Take each entry one step further; return whether all could be.

    Raises:
        ValueError: A setting is not what it should be, or there is no catalogue.
        ImportError: A package is not installed.
    """
    _check(settings)
    console = Console()
    entries = Catalogue(settings.catalogue).entries
    if not entries:
        raise ValueError(f"catalogue must have entries, {settings.catalogue} has none")
    well = True
    for entry in entries:
        name = f"{entry.model} under {entry.template.name}"
        try:
            with FileLock(entry.folder / ".refit.lock").acquire(timeout=0):
                told = step(entry, settings)
            style = None
        except Timeout:
            told, style = "another process is at it", None
        except (ValueError, OSError) as error:
            told, style, well = str(error), "red", False
        line = as_text(f"{name}: {told}")
        console.print(line, style=style, markup=False, highlight=False, soft_wrap=True)
    return well


def step(entry: Entry, settings: Settings) -> str:
    """Take an entry one step further, and say what was done.

    With a challenger there is nothing to do but to compare it, until that has a finding. Without
    one, enough new runs make one.

    Raises:
        ValueError: A file is damaged, or what was recorded is not drawn as the traffic is.
        OSError: A file cannot be read or written.
    """
    champion = entry.certificate
    if champion is not None and champion.scope.channel == "reasoning":
        return "its certificate ends reasoning, and production records no probes: stopping record"
    state, now = State.read(entry.folder), time.time()
    new = read_log(entry.runs, state.until, now)
    if state.challenging:
        return _compare(entry, settings, state, new)
    log = read_log(entry.runs, 0.0, now)
    if not log.runs:
        return "no run was recorded yet"
    if new.count < settings.after:
        return f"{log.count} runs, {new.count} of them new; refitted after {settings.after} new"
    _check_unseen(entry, new)
    return _challenge(entry, settings, state, log)


def _challenge(entry: Entry, settings: Settings, state: State, log: Log) -> str:
    """Fit and certify a challenger on the latest runs of the commonest kind."""
    latest = _framed(log, entry.template)[-settings.most :]
    if not latest:
        raise ValueError(f"runs must be of the template {entry.template.name!r}, none is")
    kind, _ = Counter((one.header, one.frame) for one in latest).most_common(1)[0]
    chosen = [one.logged.run for one in latest if (one.header, one.frame) == kind]
    state = State(state.number + 1, log.latest)
    state.write(entry.folder)  # a fit that fails is tried again when there are as many more
    folder = _folder(entry, state)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    runs, model, certificate = (folder / name for name in _FILES)
    _write(runs, kind[0], chosen)
    try:
        fit(FitSettings((runs,), model, settings.share, settings.seed, None, entry.template))
        certified = certify(
            CertifySettings(
                model,
                (runs,),
                certificate,
                settings.levels,
                settings.confidence,
                "group",
                settings.seed,
                entry.template,
            )
        )
    finally:
        runs.unlink(missing_ok=True)  # the certificate holds its digest, the log what it was
    forget(entry.runs, latest[0].logged.time)
    if not certified:
        return f"refit {state.number}: no level is certified by {len(chosen)} runs"
    replace(state, challenging=True).write(entry.folder)
    return (
        f"refit {state.number}: a challenger is certified by {len(chosen)} runs; those to come "
        f"compare it"
    )


def _compare(entry: Entry, settings: Settings, state: State, new: Log) -> str:
    """Replay champion and challenger on the runs that neither was made of, from the first on."""
    path = _folder(entry, state) / "certificate.json"
    challenger, champion = Certificate.load(path), entry.certificate
    in_use = "" if champion is None else champion.fingerprint
    if in_use == challenger.fingerprint:
        _end(entry, state, new)
        return f"refit {state.number} is in use"
    if state.found:
        return _promote(entry, settings, state, new, path, in_use)
    risk, needed = _levels(settings, challenger, champion)
    if needed < challenger.levels[0].risk:
        _end(entry, state, new)
        least = challenger.levels[0].risk
        return f"refit {state.number}: certified from {least:g} on only, and {needed:g} is needed"
    if champion is not None and risk < champion.levels[0].risk:
        champion = None  # it would cut nothing
    runs = _alike(new, challenger.scope)[: settings.most]
    duel = _replayed(path, runs, challenger, champion, risk, settings.delta)
    low, high = (100 * one for one in duel.gain)
    told = (
        f"refit {state.number}, {duel.requests} runs compared at {risk:g}: "
        f"saves {low:+.1f} to {high:+.1f} points of an answer against the one in use"
    )
    if duel.finding == "promote":
        _check_unseen(entry, new)
        state = replace(state, found=told)
        state.write(entry.folder)
        return _promote(entry, settings, state, new, path, in_use)
    if duel.finding == "keep":
        _end(entry, state, new)
        return f"{told}; the one in use is kept"
    if new.count < settings.most:
        return f"{told}; undecided"
    _end(entry, state, new)
    return f"{told}; given up, as {new.count} requests could not decide"


def _replayed(
    path: Path,
    runs: Sequence[tuple[Header, Run]],
    challenger: Certificate,
    champion: Certificate | None,
    risk: float,
    delta: float,
) -> Comparison:
    """Compare two certificates on some runs, in their order, up to a finding."""
    duel = Comparison(risk, delta)
    if not runs:
        return duel
    compared = path.with_name("compared.parquet")
    _write(compared, runs[0][0], [run for _, run in runs])
    try:
        recorded = read_recorded([compared], challenger.scope.template)
    finally:
        compared.unlink()
    theirs = _tested(recorded, challenger, risk)
    ours = None if champion is None else _tested(recorded, champion, risk)
    for place, whole in enumerate(theirs.whole.tolist()):
        if whole:
            duel.compare(
                (0.0, whole) if ours is None else _of(ours, place), _of(theirs, place), whole
            )
        if duel.finding != "undecided":
            break
    return duel


def _promote(
    entry: Entry, settings: Settings, state: State, new: Log, path: Path, in_use: str
) -> str:
    """Promote what was found to be better, or say how."""
    if settings.hold:
        command = f"stopping promote {path} --to {settings.catalogue}"
        return f"{state.found}; to be promoted: {command}"
    release = entry.releases.promote(path, state.found, over=in_use)
    _end(entry, state, new)
    return f"{state.found}; promoted as {release.number}"


def _levels(
    settings: Settings, challenger: Certificate, champion: Certificate | None
) -> tuple[float, float]:
    """At which level both are compared, and which one the challenger must have.

    Nobody tells which level services load: so it is the largest of both, and none may be missing.
    """
    if settings.risk is not None:
        return settings.risk, settings.risk
    top = challenger.levels[-1].risk
    if champion is None:
        return top, top
    return min(top, champion.levels[-1].risk), champion.levels[0].risk


def _folder(entry: Entry, state: State) -> Path:
    return entry.folder / "refits" / f"{state.number:04d}"


def _end(entry: Entry, state: State, new: Log) -> None:
    """Take up runs again that come from here on."""
    until = max(state.until, new.latest)
    State(state.number, until).write(entry.folder)


def _check_unseen(entry: Entry, log: Log) -> None:
    """Refuse what is not drawn as the traffic is."""
    unseen = sum(log.unseen.values())
    if unseen > _UNSEEN * log.count:
        told = ", ".join(f"{reason}: {count}" for reason, count in sorted(log.unseen.items()))
        raise ValueError(
            f"at most {_UNSEEN:.0%} of the requests that were drawn may be missing among the runs, "
            f"got {unseen} of {log.count} ({told}): the others are not as the traffic is; "
            f"begin anew without {entry.runs}"
        )


def _alike(log: Log, scope: Scope) -> list[tuple[Header, Run]]:
    """The runs that a certificate is for, oldest first."""
    return [
        (one.header, one.logged.run)
        for one in _framed(log, scope.template)
        if (one.header.max_tokens, one.header.temperature) == (scope.max_tokens, scope.temperature)
        and (not scope.template.chat or one.frame == scope.frame)
    ]


class _Framed(NamedTuple):
    """A run of a log, its header, and what stood around its message."""

    logged: Logged
    header: Header
    frame: tuple[str, str]


def _framed(log: Log, template: Template) -> list[_Framed]:
    """The runs that were made of a template, oldest first."""
    found = []
    for header, some in log.runs.items():
        for one in some:
            try:
                _, frame = as_sent(Path(one.run.question_id), one.run, template)
            except ValueError:  # made otherwise
                continue
            found.append(_Framed(one, header, frame))
    return sorted(found, key=lambda one: (one.logged.time, one.logged.run.question_id))


def _tested(recorded: Recorded, certificate: Certificate, risk: float) -> Tested:
    """What a certificate's policy at a risk makes of some runs."""
    scope = certificate.scope
    threshold = certificate.level(risk).threshold
    graded = Graded(columns_of(recorded.runs, scope))
    return measure(graded, scope, certificate.model, (threshold,))


def _of(tested: Tested, place: int) -> tuple[float, int]:
    """What the one policy that was tested loses of a run, and generates."""
    return float(tested.lost[place, 0]), int(tested.spent[place, 0])


def _write(path: Path, header: Header, runs: Sequence[Run]) -> None:
    """Write runs as a trace file."""
    held = all(run.logprobs is not None for run in runs)
    header = replace(header, holds=frozenset({"logprobs"} if held else ()))
    write_trace(path, Trace(header, tuple(runs)))


def _check(settings: Settings) -> None:
    if not settings.catalogue.is_dir():
        raise ValueError(f"catalogue must be a folder, got {settings.catalogue}")
    for name, value in (("after", settings.after), ("most", settings.most)):
        if value < 1:
            raise ValueError(f"--{name} must be >= 1, got {value}")
    if settings.after > settings.most:
        raise ValueError(f"--after must be at most --most, {settings.most}, got {settings.after}")
    for name, share in (("delta", settings.delta), ("risk", settings.risk)):
        if share is not None and not (math.isfinite(share) and 0 < share < 1):
            raise ValueError(f"--{name} must be in (0, 1), got {share}")
