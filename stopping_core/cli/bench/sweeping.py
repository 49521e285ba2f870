"""One policy at all its settings over the runs of a file."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import fields, replace
from functools import partial
from typing import Any, Protocol

import numpy as np

from stopping_core.cli.bench.candidates import Candidate
from stopping_core.cli.bench.scores import NAMES, Floats, GradeBook, Mask, Scores, add_up
from stopping_core.cli.bench.table import Halves, Swept
from stopping_core.policies import AllOf, AnyOf, Never, Patience, Policy
from stopping_core.policies.baselines import EndProbability, Fitted, Schedule
from stopping_core.protocols import CompletenessCheck, Signal
from stopping_core.traces.columns import Columns
from stopping_core.traces.evidence import MissingEvidence, check_evidence
from stopping_core.traces.graded import Graded
from stopping_core.traces.run import Run, Trace
from stopping_core.traces.sweep import Cuts, cut
from stopping_core.types import Channel


class Unfit(ValueError):
    """A rule cannot work on these runs, or cannot have its parameters from them."""


class Fit(Protocol):
    """Fits a rule on the runs at a mask."""

    def __call__(self, rule: Any, *, where: Mask) -> Any: ...


class Scorer:
    """Bills and grades what cuts leave of some runs; each place is graded only once.

    Args:
        columns: The places of the runs.
        grader: As of :class:`~stopping_core.cli.bench.scores.GradeBook`.

    Attributes:
        book: Grades any text.
    """

    def __init__(self, columns: Columns, grader: str | None = None) -> None:
        self.book = GradeBook(columns.runs, grader)
        prompts = [run.prompt_tokens for run in columns.runs]
        self._prompt = np.array(prompts, dtype=np.float64)  # NaN for None
        self._full = len(columns) + np.arange(len(columns.runs))
        self._known = np.full((len(columns) + len(columns.runs), len(NAMES)), np.nan)

    def scores(self, cuts: Cuts) -> Scores:
        """What became of each run."""
        return Scores(
            prompt=self._prompt,
            generated=cuts.generated.astype(np.float64),
            probed=cuts.probed.astype(np.float64),
            reread=cuts.reread.astype(np.float64),
            stopped=cuts.stopped,
            grades=self._grades(cuts),
        )

    def _grades(self, cuts: Cuts) -> dict[str, Floats]:
        """By name.  # (runs,) each."""
        place = np.where(cuts.stopped, cuts.row, self._full)
        for number in np.flatnonzero(np.isnan(self._known[place, 0])).tolist():
            grades = self.book.grade(number, cuts.text(number), open_end=cuts.open_end(number))
            self._known[place[number]] = [getattr(grades, name) for name in NAMES]
        return dict(zip(NAMES, self._known[place].T, strict=True))


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
        graded: Whether the answer is right at each place.
        scorer: Grades what cuts leave.
        full: What the full runs cost and how they are graded.
    """

    def __init__(self, columns: Columns, halves: Halves, folds: Sequence[Mask] = ()) -> None:
        self.columns = columns
        self.halves = halves
        self.folds = tuple(folds)
        self.graded = Graded(columns)
        self.scorer = Scorer(columns)
        self.full = self.scorer.scores(cut(columns, Never()))


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
    signals: list[Signal] = []
    for rule in (rule for one in entered for rule in one.settings if isinstance(rule, Policy)):
        try:
            check_evidence(rule, material.columns.runs)
        except MissingEvidence:
            continue
        signals += rule.signals()
    material.columns.extract(signals)


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
    policy, cuts = cross_cut(rule, material, candidate.check)
    return policy, material.scorer.scores(cuts)


def cross_cut(
    rule: Policy,
    material: Material,
    check: CompletenessCheck | None,
    fit: Fit | None = None,
) -> tuple[Policy, Cuts]:
    """Cut all runs; each choosing run by what was fitted on others, where a rule is fitted.

    Args:
        rule: The rule; what is to be fitted may stand inside it.
        material: The runs.
        check: Asked before a cut that is not forced.
        fit: Fits a part of the rule on the runs at a mask; ``fitted`` by default.

    Returns:
        The rule as it cut the other runs, fitted on all choosing ones; and the cuts.

    Raises:
        MissingEvidence: The runs do not hold what the rule needs.
        Unfit: It cannot be fitted on them.
    """
    choose = material.halves.choose
    fit = fit or partial(fitted, material=material)
    policy = fit_parts(rule, partial(fit, where=choose))
    cuts = cut(material.columns, policy, check)
    if policy is not rule:
        for fold in material.folds:
            other = fit_parts(rule, partial(fit, where=choose & ~fold))
            cuts = _put(cuts, cut(material.columns, other, check), fold)
    return policy, cuts


def fit_parts(rule: Policy, fit: Callable[[Any], Any]) -> Policy:
    """Fit what is to be fitted in a rule: the rule itself, or parts of it.

    Returns:
        The rule itself where there is no such part.
    """
    if isinstance(rule, Fitted):
        policy: Policy = fit(rule)
        return policy
    if isinstance(rule, Patience):
        inner = fit_parts(rule.policy, fit)
        return rule if inner is rule.policy else Patience(inner, rule.k)
    if isinstance(rule, AllOf | AnyOf):
        parts = [fit_parts(part, fit) for part in rule.parts]
        if any(new is not old for new, old in zip(parts, rule.parts, strict=True)):
            return type(rule)(*parts)
    return rule


def _put(cuts: Cuts, others: Cuts, where: Mask) -> Cuts:
    """Take what became of the runs at ``where`` from other cuts of the same runs."""
    arrays = [one.name for one in fields(Cuts) if one.name != "columns"]
    mixed = {name: np.where(where, getattr(others, name), getattr(cuts, name)) for name in arrays}
    return replace(cuts, **mixed)


def fitted(rule: Any, material: Material, where: Mask) -> Any:
    """Fit a rule to whether the answer would be right at each place where it may be asked.

    Args:
        rule: The rule.
        material: The runs.
        where: Those to fit on.  # (n,)

    Raises:
        MissingEvidence: The runs do not hold what the rule needs.
        Unfit: It cannot be fitted on them.
    """
    whole = material.columns
    check_evidence(rule, whole.runs)
    if "probes" in rule.needs() and not whole.probes:
        raise MissingEvidence(repr(rule), "probes", "the trace")
    asked = whole.asked(rule.marks()).of_runs(where)
    try:
        right = material.graded.right(asked.rows)
        return rule.fit(asked, right, material.full.right[where])
    except ValueError as error:
        raise Unfit(f"cannot be fitted on these runs: {error}") from error
