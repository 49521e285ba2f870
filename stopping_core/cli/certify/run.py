"""Certify a fitted model on runs of families that it has not seen."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from stopping_core.budgets import LengthModel, calibrate
from stopping_core.calibration.risk_control import RiskLevel, control_risk
from stopping_core.certificates import Certificate, CertifiedLevel, FittedModel, Scope
from stopping_core.cli.certify.reliability import draw, reliability_of
from stopping_core.cli.fit.recorded import (
    Recorded,
    family_hash,
    origin_of,
    passage_hash,
    read_recorded,
    request_of,
)
from stopping_core.completeness import default_check
from stopping_core.policies import Never
from stopping_core.policies.learned import LearnedStopping, LossModel
from stopping_core.results import Draft
from stopping_core.signals import find_loop
from stopping_core.templates import Template
from stopping_core.traces.columns import Columns, Counts
from stopping_core.traces.graded import Graded
from stopping_core.traces.needed import needed_lengths
from stopping_core.traces.run import Run
from stopping_core.traces.stream import TAGS
from stopping_core.traces.sweep import cut
from stopping_core.triage import triage
from stopping_core.types import Probe, Request

Unit: TypeAlias = Literal["group", "family"]
"""What is taken to be drawn independently of each other."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What the command line was told; see ``stopping certify --help``."""

    model: Path
    traces: tuple[Path, ...]
    out: Path
    levels: tuple[float, ...]
    confidence: float
    unit: Unit
    seed: int
    template: Template | str | None
    reliability: Path | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Tested:
    """What became of the runs at each threshold, from careful to aggressive.

    Args:
        lost: Whether each run was lost.  # (runs, thresholds)
        spent: Tokens that were generated.  # (runs, thresholds)
        needed: Tokens that each run needed.  # (runs, thresholds)
        whole: Tokens of the full runs.  # (runs,)
    """

    lost: NDArray[np.bool_]
    spent: Counts
    needed: Counts
    whole: Counts

    @property
    def saving(self) -> NDArray[np.float64]:
        """Share of the generated tokens that was saved.  # (thresholds,)."""
        left = self.spent.sum(axis=0) / max(1, int(self.whole.sum()))
        return np.asarray(1 - left, dtype=np.float64)


def run(settings: Settings) -> bool:
    """Certify; return whether any level was.

    Raises:
        ValueError: A setting or a file is not what it should be, or there is no run to test on.
        OSError: A file cannot be read or written.
        ImportError: A package is not installed.
    """
    console = Console()
    if settings.out.is_dir():
        raise IsADirectoryError(f"--out must be a file, got the folder {settings.out}")
    fitted = FittedModel.load(settings.model)
    recorded = read_recorded(settings.traces, settings.template)
    check_channel(settings.model, fitted, recorded.scope)
    others = unseen(settings.model, fitted, recorded.runs)
    runs = one_of_each(others, settings.unit, settings.seed)
    with console.status(f"Testing {len(fitted.path)} thresholds on {len(runs)} runs"):
        graded = Graded(columns_of(runs, recorded.scope))
        tested = measure(graded, recorded.scope, fitted.model, fitted.path)
        delta = 1 - settings.confidence
        proven = control_risk(tested.lost, settings.levels, delta=delta)
    levels = tuple(_level(one, tested, fitted, runs) for one in proven if one.setting is not None)
    origin = origin_of(recorded, runs, settings.seed)
    told = _told(fitted, recorded, others, runs, settings.unit)
    console.print(told, markup=False, highlight=False, soft_wrap=True)
    shown = {
        "threshold": [f"{threshold:.2f}" for threshold in fitted.path],
        "saving": [f"{100 * saving:.1f}%" for saving in tested.saving],
    }
    console.print(proven_table(proven, shown, "runs", settings.confidence))
    if settings.reliability is not None:
        _draw_reliability(settings.reliability, graded, fitted, console)
    if not levels:
        console.print("No level is certified: nothing was written.", style="red")
        return False
    graders = tuple(sorted({run.grader for run in runs}))
    natural = needed_lengths(graded.columns, Never())
    certificate = Certificate(
        levels,
        settings.confidence,
        fitted.model,
        recorded.scope,
        graders,
        fitted.origin,
        origin,
        _calibrated(fitted.natural, runs, natural),
    )
    certificate.write(settings.out)
    console.print(f"Wrote {settings.out}.", markup=False, highlight=False, soft_wrap=True)
    return True


def one_of_each(runs: Sequence[Run], unit: Unit, seed: int) -> tuple[Run, ...]:
    """Draw one run of each unit, which are independent of each other as the runs are not.

    Args:
        runs: The runs; their order has no effect.
        unit: ``"group"``, a passage with its questions, or ``"family"``, an article with all of its
            passages. Where runs have none, it is the next smaller one.
        seed: Of the draw.
    """
    groups: dict[tuple[str, str], list[Run]] = {}
    for one in sorted(runs, key=lambda run: (run.question_id, run.sample)):
        kinds = [("group", one.group), ("question", one.question_id)]
        if unit == "family":
            kinds.insert(0, ("family", one.family))
        groups.setdefault(next(kind for kind in kinds if kind[1]), []).append(one)
    rng = random.Random(seed)
    return tuple(rng.choice(groups[name]) for name in sorted(groups))


def columns_of(runs: Sequence[Run], scope: Scope) -> Columns:
    """The places of runs of this scope."""
    return Columns(runs, channel=scope.channel, tags=scope.reasoning_tags, every=scope.every)


def measure(graded: Graded, scope: Scope, model: LossModel, path: Sequence[float]) -> Tested:
    """Play runs to the policy at each threshold, and grade what that leaves of them.

    A run that is not cut is lost as well where a session would not keep it: see :func:`not_kept`.
    So is one whose reasoning is ended where the recording does not show what a session makes of it:
    see :func:`shows_answer`.

    Raises:
        MissingEvidence: The runs do not hold what the policy needs.
    """
    columns = graded.columns
    full = graded.full() >= 1
    check = default_check() if columns.channel == "answer" else None
    dropped = not_kept(graded)
    lost = np.zeros((len(columns.runs), len(path)), dtype=np.bool_)
    needed, spent = (np.zeros(lost.shape, dtype=np.int64) for _ in range(2))
    for place, threshold in enumerate(path):
        policy = LearnedStopping(threshold, model, scope.look_every)
        cuts = cut(columns, policy, check)
        needed[:, place] = needed_lengths(columns, policy, check)
        stopped = np.flatnonzero(cuts.stopped)
        lost[:, place] = full & dropped & ~cuts.stopped
        kept = graded.right(cuts.row[stopped])
        if columns.channel == "reasoning":
            kept &= [shows_answer(columns.probe(row), scope) for row in cuts.row[stopped].tolist()]
        lost[stopped, place] = full[stopped] & ~kept
        spent[:, place] = cuts.generated
    return Tested(lost, spent, needed, columns.lengths)


def shows_answer(probe: Probe, scope: Scope) -> bool:
    """Whether a probe is what a session gives for an answer where it ends the reasoning there.

    Not one that its limit has cut, and not one that the completeness check would have continued.
    """
    draft = Draft(probe.text, finish_reason="stop")
    return probe.tokens < scope.probe_tokens and default_check()(Request(), draft).complete


def not_kept(graded: Graded) -> NDArray[np.bool_]:
    """Say of which full answers a session would not keep what makes them right.  # (runs,).

    The model ended and the completeness check refuses its answer, so that the session begins anew,
    or drops a loop with all that follows. What is only continued is kept.
    """
    columns, check = graded.columns, default_check()
    dropped = np.zeros(len(columns.runs), dtype=np.bool_)
    for number, run in enumerate(columns.runs):
        draft = Draft(columns.answer(number), finish_reason=run.finish_reason)
        if check(run.request(), draft).complete:
            continue
        kind = triage(draft)
        if kind == "reseed":
            kept = draft.text[: find_loop(draft.text)].rstrip()
            dropped[number] = graded.prefix(number, len(kept)) < 1
        else:
            dropped[number] = kind != "continue"
    return dropped


def _draw_reliability(path: Path, graded: Graded, fitted: FittedModel, console: Console) -> None:
    found = reliability_of(graded.columns, fitted, graded)
    draw(found, path, f"{fitted.scope.model}, {fitted.scope.template.name}")
    console.print(
        f"Reliability at {found.places} places of {found.groups} passages: a stop loses "
        f"{100 * found.observed:.1f}%, predicted {100 * found.predicted:.1f}%; Brier score "
        f"{found.brier:.4f} ({found.reference:.4f} without a model); {found.missed} of "
        f"{len(found.bins)} bins off. Drawn: {path}.",
        markup=False,
        highlight=False,
        soft_wrap=True,
    )


def check_channel(model: Path, fitted: FittedModel, scope: Scope) -> None:
    """Refuse runs on which the model cannot be certified.

    Args:
        model: Its file, for errors.
        fitted: The model.
        scope: Of the runs.

    Raises:
        ValueError: They are to be stopped elsewhere, or were not probed as a live run ends its
            reasoning.
    """
    if scope.channel != fitted.model.channel:
        raise ValueError(
            f"traces must be for a policy on the {fitted.model.channel}, as {model} is, "
            f"got runs to be stopped in the {scope.channel}"
        )
    if scope.channel == "answer":
        return
    closing = (scope.reasoning_tags or TAGS)[1]
    if closing not in scope.template.probe:
        raise ValueError(
            f"traces must be probed by words that close the reasoning, with {closing!r}, so that a "
            f"live run can be ended by them, got {scope.template.probe!r}"
        )


def unseen(model: Path, fitted: FittedModel, runs: Sequence[Run]) -> list[Run]:
    """The runs whose families and passages the fit has not seen.

    Args:
        model: Its file, for errors.
        fitted: The model.
        runs: The runs.

    Raises:
        ValueError: There are none.
    """
    families, passages = set(fitted.origin.families), set(fitted.origin.passages)
    found = [
        run
        for run in runs
        if family_hash(run) not in families and passage_hash(run) not in passages
    ]
    if not found:
        raise ValueError(
            f"traces must hold runs of families that {model} was not fitted on, got "
            f"{len(runs)} runs that it has all seen: record more, or fit on a smaller --share"
        )
    return found


def _level(
    proven: RiskLevel, tested: Tested, fitted: FittedModel, runs: Sequence[Run]
) -> CertifiedLevel:
    setting = proven.setting or 0
    return CertifiedLevel(
        risk=proven.alpha,
        threshold=fitted.path[setting],
        runs=proven.units,
        lost=int(tested.lost[:, setting].sum()),
        bound=min(proven.bound, proven.alpha),
        saving=float(tested.saving[setting]),
        needed=_calibrated(fitted.needed, runs, tested.needed[:, setting]),
    )


def _calibrated(
    model: LengthModel | None, runs: Sequence[Run], needed: Counts
) -> LengthModel | None:
    """Make the levels of a length model a promise; the runs are independent."""
    if model is None:
        return None
    return calibrate(model, list(map(request_of, runs)), needed.tolist())


def _told(
    fitted: FittedModel,
    recorded: Recorded,
    unseen: Sequence[Run],
    runs: Sequence[Run],
    unit: Unit,
) -> str:
    left_out = len(recorded.runs) - len(unseen)
    lines = [
        f"{len(recorded.runs)} runs; {left_out} left out: the fit has seen their families or "
        f"passages. Of the others one a {unit}, drawn beforehand: {len(runs)}."
    ]
    for name in ("model_fingerprint", "template"):
        if getattr(fitted.scope, name) != getattr(recorded.scope, name):
            what = name.partition("_")[0]
            lines.append(f"Fitted on another {what}; the certificate is for that of these runs.")
    return "\n".join(lines)


def proven_table(
    proven: Sequence[RiskLevel], shown: Mapping[str, Sequence[str]], units: str, confidence: float
) -> Table:
    """Show what was proven at each level of risk, or what that would take.

    Args:
        proven: The levels.
        shown: What to show of each setting, by the head of its column.
        units: What was tested, such as runs.
        confidence: That all levels hold.
    """
    table = Table(
        caption=escape(f"all levels at once hold with confidence {confidence:g}"),
        box=SIMPLE_HEAD,
        pad_edge=False,
        padding=(0, 2, 0, 0),
    )
    for name in ("risk", *shown, "lost", "bound, alone"):
        table.add_column(name, justify="right")
    table.add_column("")
    for one in proven:
        lost = round(one.loss * one.units)
        figures = (f"{lost} of {one.units}", f"{100 * one.bound:.2f}%")
        if one.setting is not None:
            cells = [column[one.setting] for column in shown.values()]
            table.add_row(f"{one.alpha:.3g}", *cells, *figures, "certified")
        else:
            needed = f"no number of {units}, at this loss"
            if one.needed is not None:
                needed = f"{one.needed} {units} needed"
            cells = [""] * len(shown)
            table.add_row(f"{one.alpha:.3g}", *cells, *figures, f"refused: {needed}")
    return table
