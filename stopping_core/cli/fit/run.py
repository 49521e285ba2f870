"""Fit a policy on a share of the runs, and write it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.console import Console

from stopping_core.budgets import LengthModel, fit_lengths
from stopping_core.budgets.fitting import FEWEST_RUNS
from stopping_core.certificates import FittedModel, Scope
from stopping_core.cli.fit.path import Fitting
from stopping_core.cli.fit.recorded import (
    Recorded,
    family_hash,
    family_hashes,
    origin_of,
    read_recorded,
    request_of,
)
from stopping_core.policies import Never, Policy
from stopping_core.policies.learned import LearnedStopping
from stopping_core.policies.learned.loss_model import Tier
from stopping_core.templates import Template
from stopping_core.traces.columns import Columns
from stopping_core.traces.evidence import check_evidence
from stopping_core.traces.needed import needed_lengths
from stopping_core.traces.run import Run
from stopping_core.traces.splits import split


@dataclass(frozen=True, slots=True)
class Settings:
    """What the command line was told; see ``stopping fit --help``."""

    traces: tuple[Path, ...]
    out: Path
    share: float
    seed: int
    tier: Tier | None
    template: Template | str | None


def run(settings: Settings) -> None:
    """Fit.

    Raises:
        ValueError: A setting or a trace file is not what it should be, or there is nothing to
            learn.
        OSError: A file cannot be read or written.
        ImportError: A package is not installed.
    """
    console = Console()
    if not (math.isfinite(settings.share) and 0 < settings.share <= 1):
        raise ValueError(f"--share must be in (0, 1], got {settings.share}")
    if settings.out.is_dir():
        raise IsADirectoryError(f"--out must be a file, got the folder {settings.out}")
    recorded = read_recorded(settings.traces, settings.template)
    runs = _chosen(recorded, settings)
    scope = recorded.scope
    tier = settings.tier or _tier(runs, scope)
    rule = LearnedStopping(0.0, None, scope.look_every, tier, scope.channel)
    check_evidence(rule, runs)
    with console.status("Fitting"):
        columns = Columns(runs, channel=scope.channel, tags=scope.reasoning_tags, every=scope.every)
        fitting = Fitting(columns, rule)
        model = fitting.fit().model
        path = fitting.path(settings.seed)
    if model is None:
        raise ValueError(f"model must be fitted, got None: {rule!r}")
    needed = natural = None
    if scope.channel == "answer" and len(runs) >= FEWEST_RUNS:
        middle = LearnedStopping(path[len(path) // 2], model, scope.look_every)
        needed, natural = (_lengths(columns, policy, scope) for policy in (middle, Never()))
    families = family_hashes(runs)
    origin = origin_of(recorded, runs, settings.seed)
    FittedModel(model, path, scope, origin, needed, natural).write(settings.out)
    everything = len(family_hashes(recorded.runs))
    console.print(
        f"Fitted on {len(runs)} of {len(recorded.runs)} runs ({len(families)} of {everything} "
        f"families, {np.count_nonzero(fitting.full)} full answers right): {tier}, "
        f"{scope.channel}, {len(path)} thresholds.\n"
        f"Wrote {settings.out}. What it loses is not known yet: stopping certify.",
        markup=False,
        highlight=False,
        soft_wrap=True,
    )


def _tier(runs: Sequence[Run], scope: Scope) -> Tier:
    """What the provider gives that is of use, short of probes, which few can make live."""
    thinks = scope.channel == "reasoning"
    return "logprobs" if thinks and all(run.logprobs is not None for run in runs) else "text"


def _lengths(columns: Columns, policy: Policy, scope: Scope) -> LengthModel:
    """Fit the lengths that the runs need under a policy."""
    needed = needed_lengths(columns, policy).tolist()
    requests = list(map(request_of, columns.runs))
    families = list(map(family_hash, columns.runs))
    return fit_lengths(requests, needed, scope.max_tokens, groups=families)


def _chosen(recorded: Recorded, settings: Settings) -> tuple[Run, ...]:
    """The runs to fit on: a share of them, whole families."""
    if settings.share == 1:
        return recorded.runs
    shares = {"fit": settings.share, "rest": 1 - settings.share}
    return tuple(recorded.runs[n] for n in split(recorded.runs, shares, settings.seed)["fit"])
