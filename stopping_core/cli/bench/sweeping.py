"""One policy at all its settings over the runs of a file."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import fields, replace
from functools import cached_property
from typing import Any

import numpy as np

from stopping_core.cli.bench.candidates import Candidate
from stopping_core.cli.bench.scores import NAMES, Floats, GradeBook, Mask, Scores, add_up
from stopping_core.cli.bench.table import Halves, Swept
from stopping_core.policies import Never, Policy
from stopping_core.policies.baselines import EndProbability, Fitted, Schedule
from stopping_core.protocols import Signal
from stopping_core.traces.columns import Columns
from stopping_core.traces.evidence import MissingEvidence, check_evidence
from stopping_core.traces.graded import Graded
from stopping_core.traces.run import Run, Trace
from stopping_core.traces.sweep import Cuts, cut
from stopping_core.types import Channel


class Unfit(ValueError):
    """A rule cannot work on these runs, or cannot have its parameters from them."""


class Lesson:
    """Some runs to fit rules on.

    Args:
        whole: The places of all runs.
        where: Those to fit on.  # (n,)
    """

    def __init__(self, whole: Columns, where: Mask) -> None:
        runs = [whole.runs[number] for number in np.flatnonzero(where).tolist()]
        self.columns = Columns(runs, channel=whole.channel, tags=whole.tags, every=whole.every)
        self.graded = Graded(self.columns)


class Material:
    """What all policies of a file share.

    A rule that takes parameters from runs is fitted on all choosing runs, and so meets the
    reported ones. Its setting is chosen by what it does on choosing runs that it was not fitted on:
    for each fold of them it is fitted on the others.

    Args:
        columns: The places of all runs.
        halves: The runs to choose on and those to report on.
        folds: Parts of the choosing runs that share no family; none where there is one family.
            # (n,) each

    Attributes:
        book: The grades.
        full: What the full runs cost and how they are graded.
    """

    def __init__(self, columns: Columns, halves: Halves, folds: Sequence[Mask] = ()) -> None:
        self.columns = columns
        self.halves = halves
        self.folds = tuple(folds)
        self.book = GradeBook(columns.runs)
        self.full = scores(cut(columns, Never()), self.book)

    @cached_property
    def lesson(self) -> Lesson:
        """All choosing runs."""
        return Lesson(self.columns, self.halves.choose)

    @cached_property
    def lessons(self) -> tuple[Lesson, ...]:
        """The choosing runs without each of the folds."""
        return tuple(Lesson(self.columns, self.halves.choose & ~fold) for fold in self.folds)


def scores(cuts: Cuts, book: GradeBook) -> Scores:
    """Grade what a policy left of each run."""
    grades = [
        book.grade(number, cuts.text(number), open_end=cuts.open_end(number))
        for number in range(len(book.runs))
    ]
    return Scores(
        prompt=prompts(book.runs),
        generated=cuts.generated.astype(np.float64),
        probed=cuts.probed.astype(np.float64),
        reread=cuts.reread.astype(np.float64),
        stopped=cuts.stopped,
        grades={name: np.array([getattr(one, name) for one in grades]) for name in NAMES},
    )


def prompts(runs: Sequence[Run]) -> Floats:
    """Give the length of the prompts, tokens, NaN where unknown.  # (n,)."""
    return np.array(
        [np.nan if run.prompt_tokens is None else run.prompt_tokens for run in runs],
        dtype=np.float64,
    )


def ended(run: Run) -> bool:
    """Say whether a run came to its own end, and not to the cap."""
    return run.finish_reason != "length"


def channel_of(trace: Trace) -> Channel:
    """Say where policies act: on the reasoning, where the runs hold it between tags."""
    return "answer" if trace.header.reasoning_tags is None else "reasoning"


def every_of(trace: Trace) -> int:
    """Tokens between two checkpoints: inside reasoning as dense as the probes, else the default."""
    return (channel_of(trace) == "reasoning" and trace.header.probe_every) or 16


def extract(entered: Iterable[Candidate], material: Material) -> None:
    """Take the readings of all policies' signals in one pass: they are most of the work."""
    whole: list[Signal] = []
    part: list[Signal] = []
    for rule in (rule for one in entered for rule in one.settings if isinstance(rule, Policy)):
        try:
            check_evidence(rule, material.columns.runs)
        except MissingEvidence:
            continue
        whole += rule.signals()
        part += rule.signals() if isinstance(rule, Fitted) else ()
    material.columns.extract(whole)
    for lesson in (material.lesson, *material.lessons) if part else ():
        lesson.columns.extract(part)


def sweep(candidate: Candidate, material: Material) -> Swept:
    """Try every setting of a policy; what the trace does not hold for it is said, not guessed."""
    tried: list[Scores | None] = []
    rules: list[Any] = []
    labels: list[str] = []
    missing = ""
    for setting, label in zip(candidate.settings, candidate.labels, strict=True):
        rule, found = setting, None
        try:
            rule, found = _try(setting, candidate, material)
        except (MissingEvidence, Unfit) as error:
            missing = missing or str(error)
        tried.append(found)
        rules.append(rule)
        labels.append(label if rule is setting else f"{' '.join(repr(rule).split())} (fitted)")
    if not tried:
        missing = "needs something that only its caller can give: name such a policy yourself"
    if all(one is None for one in tried):
        return Swept(candidate.policy, candidate.tier, (), (), (), missing=missing)
    note = ""
    if any(rule is not given for rule, given in zip(rules, candidate.settings, strict=True)):
        note = "fitted on the choosing runs" + (
            f", its setting chosen by {len(material.folds)}-fold cross-fitting on them"
            if material.folds
            else ", and its setting chosen on the same"
        )
    if missing:
        number = sum(one is None for one in tried)
        told = f"{number} of {len(tried)} settings could not be tried: {missing}"
        note = f"{note}; {told}" if note else told
    choose = material.halves.choose
    return Swept(
        candidate.policy,
        candidate.tier,
        tuple(labels),
        tuple(tried),
        tuple(None if one is None else add_up(one, material.full, choose) for one in tried),
        None if candidate.default is None else candidate.settings.index(candidate.default),
        note=note,
        rules=tuple(rules),
        check=candidate.check,
    )


def _try(rule: Any, candidate: Candidate, material: Material) -> tuple[Any, Scores]:
    """Replay a rule of any kind; a schedule of budgets leaves the runs whole and pays for tries.

    Returns:
        The rule as it cut the reported runs, and what became of all runs.
    """
    if isinstance(rule, Schedule):
        usages = [rule.usage(run) for run in material.columns.runs]
        paid = replace(
            material.full,
            generated=np.array([usage.generated for usage in usages], dtype=np.float64),
            reread=np.array([usage.reread for usage in usages], dtype=np.float64),
        )
        return rule, paid
    if not isinstance(rule, Policy):
        raise MissingEvidence(repr(rule), min(rule.needs()), "the trace")
    if isinstance(rule, EndProbability) and material.columns.channel == "reasoning":
        raise Unfit("needs end_probability, and there is no end of the run inside the reasoning")
    policy = fitted(rule, material, material.lesson) if isinstance(rule, Fitted) else rule
    cuts = cut(material.columns, policy, candidate.check)
    if policy is not rule:
        for fold, lesson in zip(material.folds, material.lessons, strict=True):
            other = cut(material.columns, fitted(rule, material, lesson), candidate.check)
            cuts = _put(cuts, other, fold)
    return policy, scores(cuts, material.book)


def _put(cuts: Cuts, others: Cuts, where: Mask) -> Cuts:
    """Take what became of the runs at ``where`` from other cuts of the same runs."""
    arrays = [one.name for one in fields(Cuts) if one.name != "columns"]
    mixed = {name: np.where(where, getattr(others, name), getattr(cuts, name)) for name in arrays}
    return replace(cuts, **mixed)


def fitted(rule: Any, material: Material, lesson: Lesson) -> Any:
    """Fit a rule to whether the answer would be right at each place where it may be asked.

    Raises:
        MissingEvidence: The runs do not hold what the rule needs.
        Unfit: It cannot be fitted on them.
    """
    whole = material.columns
    check_evidence(rule, whole.runs)
    if "probes" in rule.needs() and not whole.probes:
        raise MissingEvidence(repr(rule), "probes", "the trace")
    asked = lesson.columns.asked(rule.marks())
    try:
        return rule.fit(asked, lesson.graded.right(asked.rows))
    except ValueError as error:
        raise Unfit(f"cannot be fitted on these runs: {error}") from error
