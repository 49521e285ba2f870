"""One policy at all its settings over the runs of a file."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np

from stopping_core.cli.bench.candidates import Candidate
from stopping_core.cli.bench.scores import NAMES, Floats, GradeBook, Mask, Scores, add_up
from stopping_core.cli.bench.table import Halves, Swept
from stopping_core.policies import Never, Policy
from stopping_core.policies.baselines import Fitted, Schedule
from stopping_core.protocols import Signal
from stopping_core.traces.columns import Columns
from stopping_core.traces.evidence import MissingEvidence, check_evidence
from stopping_core.traces.graded import Graded
from stopping_core.traces.run import Run, Trace
from stopping_core.traces.sweep import Cuts, cut
from stopping_core.types import Channel


class Unfit(ValueError):
    """A rule whose parameters come from runs cannot have them from these."""


class Material:
    """What all policies of a file share.

    Args:
        columns: The places of all runs.
        halves: The runs to choose on and those to report on.
        fit: The choosing runs on which rules with parameters are fitted; the others choose their
            settings.  # (n,)

    Attributes:
        book: The grades.
        full: What the full runs cost and how they are graded.
    """

    def __init__(self, columns: Columns, halves: Halves, fit: Mask) -> None:
        self.columns = columns
        self.halves = halves
        self.fit = fit
        self.book = GradeBook(columns.runs)
        self.full = scores(cut(columns, Never()), self.book)

    @cached_property
    def part(self) -> Columns:
        """The places of the runs to fit on."""
        runs = [self.columns.runs[number] for number in np.flatnonzero(self.fit).tolist()]
        whole = self.columns
        return Columns(runs, channel=whole.channel, tags=whole.tags, every=whole.every)

    @cached_property
    def part_graded(self) -> Graded:
        """The grades of the answers that a stop at those places leaves."""
        return Graded(self.part)


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
    material.part.extract(part)


def sweep(candidate: Candidate, material: Material) -> Swept:
    """Try every setting of a policy; what the trace does not hold for it is said, not guessed."""
    tried: list[Scores | None] = []
    missing = ""
    choose, note = material.halves.choose, ""
    if any(isinstance(setting, Fitted) for setting in candidate.settings):
        choose = choose & ~material.fit
        note = "fitted on one half of the choosing runs, its setting chosen on the other"
    for setting in candidate.settings:
        try:
            tried.append(_try(setting, candidate, material))
        except (MissingEvidence, Unfit) as error:
            missing = missing or str(error)
            tried.append(None)
    if not tried:
        missing = "needs something that only its caller can give: name such a policy yourself"
    if all(one is None for one in tried):
        return Swept(candidate.policy, candidate.tier, (), (), (), missing=missing)
    if missing:
        number = sum(one is None for one in tried)
        told = f"{number} of {len(tried)} settings could not be tried: {missing}"
        note = f"{note}; {told}" if note else told
    return Swept(
        candidate.policy,
        candidate.tier,
        candidate.labels,
        tuple(tried),
        tuple(None if one is None else add_up(one, material.full, choose) for one in tried),
        None if candidate.default is None else candidate.settings.index(candidate.default),
        note=note,
    )


def _try(rule: Any, candidate: Candidate, material: Material) -> Scores:
    """Replay a rule of any kind; a schedule of budgets leaves the runs whole and pays for tries."""
    if isinstance(rule, Schedule):
        usages = [rule.usage(run) for run in material.columns.runs]
        return replace(
            material.full,
            generated=np.array([usage.generated for usage in usages], dtype=np.float64),
            reread=np.array([usage.reread for usage in usages], dtype=np.float64),
        )
    if not isinstance(rule, Policy):
        raise MissingEvidence(repr(rule), min(rule.needs()), "the trace")
    policy = fitted(rule, material) if isinstance(rule, Fitted) else rule
    return scores(cut(material.columns, policy, candidate.check), material.book)


def fitted(rule: Any, material: Material) -> Any:
    """Fit a rule to whether the answer would be right at each place where it may be asked.

    Raises:
        MissingEvidence: The runs do not hold what the rule needs.
        Unfit: It cannot be fitted on them.
    """
    whole = material.columns
    check_evidence(rule, whole.runs)
    if "probes" in rule.needs() and not whole.probes:
        raise MissingEvidence(repr(rule), "probes", "the trace")
    asked = material.part.asked(rule.marks())
    try:
        return rule.fit(asked, material.part_graded.right(asked.rows))
    except ValueError as error:
        raise Unfit(f"cannot be fitted on these runs: {error}") from error
