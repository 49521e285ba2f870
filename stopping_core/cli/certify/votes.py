"""Certify votes over samples that a fitted model ends early, on questions that it has not seen."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from stopping_core.calibration.risk_control import RiskLevel, control_risk
from stopping_core.certificates import FittedModel, Scope
from stopping_core.cli.bench.ended_votes import CONFIDENCES
from stopping_core.cli.bench.votes import Ballot
from stopping_core.cli.certify.run import (
    Unit,
    check_channel,
    columns_of,
    one_of_each,
    proven_table,
    shows_answer,
    unseen,
)
from stopping_core.cli.fit.recorded import Recorded, origin_of, read_recorded
from stopping_core.completeness import default_check
from stopping_core.hybrids import DecidedVote, VoteCertificate, VoteLevel
from stopping_core.policies.learned import LearnedStopping
from stopping_core.results import Draft
from stopping_core.templates import Template
from stopping_core.traces.columns import Columns
from stopping_core.traces.run import Run
from stopping_core.traces.splits import split
from stopping_core.traces.sweep import cut

_LOST = 0.1  # share of the questions; beyond it nobody asks for a certificate


@dataclass(frozen=True, slots=True)
class Settings:
    """What the command line was told; see ``stopping certify-vote --help``."""

    model: Path
    traces: tuple[Path, ...]
    out: Path
    levels: tuple[float, ...]
    confidence: float
    samples: int | None
    share: float
    unit: Unit
    seed: int
    template: Template | str | None


@dataclass(frozen=True, slots=True)
class Pair:
    """Settings of a vote: what ends its samples, and what ends the sampling."""

    threshold: float
    confidence: float


@dataclass(frozen=True, slots=True, eq=False)
class Votes:
    """What became of the votes on some questions at every pair of settings.

    Args:
        runs: The samples.
        most: Samples of the full vote.
        incomplete: How many of them a session would not take as they are.
        lost: Whether the answer of the full vote is lost.  # (questions, thresholds, confidences)
        spent: Output tokens.  # (questions, thresholds, confidences)
        whole: Output tokens of the full votes.  # (questions,)
    """

    runs: tuple[Run, ...]
    most: int
    incomplete: int
    lost: NDArray[np.bool_]
    spent: NDArray[np.float64]
    whole: NDArray[np.float64]

    def saving(self, at: tuple[int, int]) -> float:
        """Share of the output tokens that a pair of settings saves."""
        return float(1 - self.spent[:, at[0], at[1]].sum() / max(1.0, self.whole.sum()))


def run(settings: Settings) -> bool:
    """Certify; return whether any level was.

    Raises:
        ValueError: A setting or a file is not what it should be, or there are no samples to test
            on.
        OSError: A file cannot be read or written.
        ImportError: A package is not installed.
    """
    console = Console()
    _check(settings)
    fitted = FittedModel.load(settings.model)
    recorded = read_recorded(settings.traces, settings.template)
    _check_samples(recorded.runs)
    check_channel(settings.model, fitted, recorded.scope)
    runs = unseen(settings.model, fitted, recorded.runs)
    most, questions = _questions(settings, runs)
    shares = {"path": settings.share, "test": 1 - settings.share}
    parts = split([some[0] for some in questions], shares, settings.seed)
    with console.status(f"Voting on {len(questions)} questions"):
        walked, tested = (
            vote([questions[number] for number in parts[name]], recorded.scope, fitted, most)
            for name in ("path", "test")
        )
        path = walk(walked)
        losses = np.stack([tested.lost[:, i, j] for i, j in path], axis=1)
        proven = control_risk(losses, settings.levels, delta=1 - settings.confidence)
    pairs = [Pair(fitted.path[i], CONFIDENCES[j]) for i, j in path]
    console.print(
        f"{len(runs)} samples that the fit has not seen; votes of {most}. Of the questions one a "
        f"{settings.unit}, drawn beforehand: {len(questions)}, {len(parts['path'])} to order "
        f"{len(path)} pairs of settings and {len(parts['test'])} to test them.",
        markup=False,
        highlight=False,
        soft_wrap=True,
    )
    if tested.incomplete:
        console.print(
            f"{tested.incomplete} of {len(tested.runs)} samples are not complete, such as those "
            f"that the cap of {recorded.scope.max_tokens} tokens cut off: a vote that draws one "
            f"whole counts as lost.",
            markup=False,
            highlight=False,
            soft_wrap=True,
        )
    savings = [tested.saving(at) for at in path]
    shown = {
        "threshold": [f"{pair.threshold:.2f}" for pair in pairs],
        "decided at": [f"{pair.confidence:g}" for pair in pairs],
        "saving": [f"{100 * saving:.1f}%" for saving in savings],
    }
    console.print(proven_table(proven, shown, "questions", settings.confidence))
    levels = tuple(
        _level(one, pairs[one.setting], savings[one.setting])
        for one in proven
        if one.setting is not None
    )
    if not levels:
        console.print("No level is certified: nothing was written.", style="red")
        return False
    _certificate(settings, levels, tested, fitted, recorded).write(settings.out)
    console.print(f"Wrote {settings.out}.", markup=False, highlight=False, soft_wrap=True)
    return True


def vote(questions: Sequence[Sequence[Run]], scope: Scope, fitted: FittedModel, most: int) -> Votes:
    """Vote on recorded samples at every pair of settings.

    A vote is lost where the full one is right and it is not. It also counts as lost, where the full
    one is right, if it took a sample of which the recording does not show what a session makes of
    it. Such is one whose reasoning was ended where no probe shows the answer: see
    :func:`~stopping_core.cli.certify.run.shows_answer`. And such is one that was not ended and is
    not complete, right or wrong: cut off by its limit, say, or with reasoning that never closed. A
    session goes on with it or begins it anew, so that it votes for another answer, or for none.

    Args:
        questions: The samples of each, in the order in which they were drawn.
        scope: Of the samples.
        fitted: Gives model and thresholds.
        most: Samples of the full vote.

    Raises:
        MissingEvidence: The samples do not hold what the policy needs.
    """
    runs = tuple(run for some in questions for run in some[:most])
    columns = columns_of(runs, scope)
    ballot = Ballot.of(runs, scope.reasoning_tags)
    full = ballot.full()
    check = default_check() if scope.channel == "answer" else None
    incomplete = _incomplete(columns)
    shape = len(questions), len(fitted.path), len(CONFIDENCES)
    lost, spent = np.zeros(shape, dtype=np.bool_), np.zeros(shape)
    for i, threshold in enumerate(fitted.path):
        cuts = cut(columns, LearnedStopping(threshold, fitted.model, scope.look_every), check)
        unsure = incomplete & ~cuts.stopped
        if scope.channel == "reasoning":
            for number in np.flatnonzero(cuts.stopped).tolist():
                unsure[number] = not shows_answer(columns.probe(int(cuts.row[number])), scope)
        left = ballot.cut(cuts)
        for j, confidence in enumerate(CONFIDENCES):
            drawn = left.drawn(DecidedVote(confidence, most))
            scores = left.scores(drawn)
            taken = zip(ballot.numbers, drawn, strict=True)
            unknown = [unsure[list(numbers[: one.samples])].any() for numbers, one in taken]
            lost[:, i, j] = full.right & (~scores.right | unknown)
            spent[:, i, j] = scores.generated
    return Votes(runs, most, int(incomplete.sum()), lost, spent, ballot.tokens)


def _incomplete(columns: Columns) -> NDArray[np.bool_]:
    """Say of which full runs a session would not take the answer as it is.  # (runs,)."""
    check = default_check()
    drafts = [
        Draft(columns.answer(number), finish_reason=one.finish_reason)
        for number, one in enumerate(columns.runs)
    ]
    asked = zip(columns.runs, drafts, strict=True)
    verdicts = [check(one.request(), draft).complete for one, draft in asked]
    return ~np.array(verdicts, dtype=np.bool_)


def walk(votes: Votes) -> list[tuple[int, int]]:
    """Order pairs of settings from careful to aggressive, for a fixed sequence of tests.

    From the most careful pair one of the two settings is made a step bolder at a time: the one that
    loses less by it on these questions, and where both lose the same the one that saves more. It
    ends where a tenth of them is lost.
    """
    lost = votes.lost.mean(axis=0)
    rows, columns = lost.shape
    at, path = (0, 0), [(0, 0)]
    while True:
        i, j = at
        steps = [(k, m) for k, m in ((i + 1, j), (i, j + 1)) if k < rows and m < columns]
        if not steps:
            return path
        at = min(steps, key=lambda one: (lost[one], -votes.saving(one)))
        if lost[at] > _LOST:
            return path
        path.append(at)


def _check(settings: Settings) -> None:
    if settings.out.is_dir():
        raise IsADirectoryError(f"--out must be a file, got the folder {settings.out}")
    if not (math.isfinite(settings.share) and 0 < settings.share < 1):
        raise ValueError(f"--share must be in (0, 1), got {settings.share}")
    if not 0 < settings.confidence < 1:
        raise ValueError(f"--confidence must be in (0, 1), got {settings.confidence}")
    if settings.samples is not None and settings.samples < 2:
        raise ValueError(f"--samples must be >= 2, got {settings.samples}")


def _check_samples(runs: Sequence[Run]) -> None:
    """Refuse a sample that is there twice: it would vote twice.

    Raises:
        ValueError: There is one.
    """
    found: set[tuple[str, int]] = set()
    for one in runs:
        if (one.question_id, one.sample) in found:
            raise ValueError(
                f"traces must hold each sample once, got sample {one.sample} of question "
                f"{one.question_id!r} twice"
            )
        found.add((one.question_id, one.sample))


def _questions(settings: Settings, runs: Sequence[Run]) -> tuple[int, list[list[Run]]]:
    """The samples of one question of each unit, and how many each has.

    Raises:
        ValueError: There are not enough samples, or questions.
    """
    chosen = [one.question_id for one in one_of_each(runs, settings.unit, settings.seed)]
    samples: dict[str, list[Run]] = {name: [] for name in chosen}
    for one in runs:
        if one.question_id in samples:
            samples[one.question_id].append(one)
    fewest = min(map(len, samples.values()))
    most = settings.samples or fewest
    if fewest < max(2, most):
        wanted = "2 samples or more" if settings.samples is None else f"{most} samples"
        raise ValueError(f"traces must hold {wanted} of each question, got one with {fewest}")
    if len(chosen) < 2:
        raise ValueError(f"traces must hold 2 questions or more to test on, got {len(chosen)}")
    return most, [sorted(some, key=lambda one: one.sample) for some in samples.values()]


def _level(proven: RiskLevel, pair: Pair, saving: float) -> VoteLevel:
    return VoteLevel(
        risk=proven.alpha,
        threshold=pair.threshold,
        confidence=pair.confidence,
        questions=proven.units,
        lost=round(proven.loss * proven.units),
        bound=min(proven.bound, proven.alpha),
        saving=saving,
    )


def _certificate(
    settings: Settings,
    levels: tuple[VoteLevel, ...],
    tested: Votes,
    fitted: FittedModel,
    recorded: Recorded,
) -> VoteCertificate:
    return VoteCertificate(
        levels,
        tested.most,
        settings.confidence,
        fitted.model,
        recorded.scope,
        tuple(sorted({run.grader for run in tested.runs})),
        fitted.origin,
        origin_of(recorded, tested.runs, settings.seed),
    )
