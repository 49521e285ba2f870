"""The runs of a file, dealt out to folds, with features that no fold's own runs have taught."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np

from benchmarks.formulations.rows import Counts, Floats, Mask, Rows
from stopping_core.cli.bench.sweeping import channel_of, every_of
from stopping_core.completeness import default_check
from stopping_core.policies.learned import LearnedStopping
from stopping_core.policies.learned.answer import AnswerEvidence
from stopping_core.policies.learned.fitting import (
    _features,  # the kept rule's own, so that what is compared is no copy of it
    fit_salience,
)
from stopping_core.policies.learned.salience import read_context
from stopping_core.policies.learned.thinking import ThinkingEvidence
from stopping_core.results import Draft
from stopping_core.traces.columns import Columns
from stopping_core.traces.graded import Graded
from stopping_core.traces.run import Run, Trace
from stopping_core.traces.splits import split
from stopping_core.traces.stream import thoughts_by
from stopping_core.types import Decision

_FEWEST = 10  # families; below it groups are drawn
_FIRST = 16  # tokens whose mean logprob is taken
_LATELY = 8  # tokens whose mean logprob is held against that of all
_CUT = Decision(stop=True)

Reader: TypeAlias = Callable[[Columns, Columns], tuple[Floats, Floats]]
"""Reads features of places to fit on and of others, by what the former taught.  # (n, d) each"""


@dataclass(frozen=True, slots=True, eq=False)
class Fold:
    """Runs to fit on, and the others.

    Args:
        where: The others.  # (runs,)
        train: Places of the runs to fit on.
        test: Places of the others.
    """

    where: Mask
    train: Rows
    test: Rows


@dataclass(frozen=True, slots=True, eq=False)
class Material:
    """A file's runs at the places at which the learned rule looks.

    Args:
        columns: All places.
        graded: Grades what is left of the runs.
        view: The places at which rules are asked.
        looks: Those at which the learned rule looks.  # (n,)
        rows: The places at which it looks, without features.
        units: What intervals are drawn over, of each run.
        unit: Its name.
        folds: Of the runs, as masks of those left out.  # (runs,) each
    """

    columns: Columns
    graded: Graded
    view: Columns
    looks: Mask
    rows: Rows
    units: Sequence[Hashable]
    unit: str
    folds: tuple[Mask, ...]

    def fold(self, where: Mask, reader: Reader | None = None) -> Fold:
        """Read the features of the places of a fold.

        Args:
            where: The runs that are left out.  # (runs,)
            reader: Reads the features; those of the library's rule by default.
        """
        read = reader or (by_answers if self.view.channel == "answer" else by_thinking)
        told = read(self.view.of_runs(~where), self.view.of_runs(where))
        train, test = (
            replace(self.rows.of(runs), features=features[self._looks_of(runs)])
            for runs, features in zip((~where, where), told, strict=True)
        )
        return Fold(where, train, test)

    def with_logprobs(self, fold: Fold) -> Fold:
        """Add what the probabilities of the tokens say."""
        train, test = (
            replace(rows, features=np.column_stack([rows.features, features[self._looks_of(runs)]]))
            for runs, rows, features in (
                (runs, rows, logprob_features(self.view.of_runs(runs)))
                for runs, rows in ((~fold.where, fold.train), (fold.where, fold.test))
            )
        )
        return Fold(fold.where, train, test)

    def _looks_of(self, runs: Mask) -> Mask:
        """Where it looks, of the places of some runs."""
        looks: Mask = self.looks[runs[self.view.run]]
        return looks


def material_of(trace: Trace, folds: int, seed: int) -> Material:
    """Read what formulations are compared on.

    Args:
        trace: The runs.
        folds: How many, which share no family.
        seed: Of the deal.

    Raises:
        ValueError: There are too few families for so many folds.
    """
    runs, channel, tags = trace.runs, channel_of(trace), trace.header.reasoning_tags
    columns = Columns(runs, channel=channel, tags=tags, every=every_of(trace))
    rule = LearnedStopping(0.0, channel=channel)
    view = columns.asked(rule.marks())
    looks = rule.looks(view)
    if channel == "reasoning":
        looks = looks & view.has_probe
    graded = Graded(columns)
    rows = np.flatnonzero(looks)
    bill = view.fed[rows]
    if channel == "reasoning":
        answered, _, closing = view.bills_of_probes(rows)
        bill = bill + answered + closing
    families = [run.family or run.group or run.question_id for run in runs]
    numbers = {name: number for number, name in enumerate(sorted(set(families)))}
    enough = len(numbers) >= _FEWEST
    parts = split(runs, {str(fold): 1 / folds for fold in range(folds)}, seed)
    return Material(
        columns,
        graded,
        view,
        looks,
        Rows(
            features=np.zeros((len(rows), 0)),
            run=view.run[rows],
            tokens=view.tokens[rows],
            bill=bill,
            right=graded.right(view.rows[rows]),
            passes=_passes(view, rows),
            full=graded.full() >= 1,
            lengths=view.lengths,
            family=np.array([numbers[name] for name in families], dtype=np.int64),
        ),
        families if enough else [run.group or run.question_id for run in runs],
        "families" if enough else "groups",
        tuple(np.isin(np.arange(len(runs)), part) for part in parts.values()),
    )


def by_answers(train: Columns, test: Columns) -> tuple[Floats, Floats]:
    """The features of answers; weights of words are fitted on other runs than they are used on."""
    contexts = [read_context(run.question, run.context) for run in train.runs]
    evidence = AnswerEvidence(fit_salience(train.runs, contexts))
    return _features(train, contexts), test.rows_of(evidence)


def by_thinking(train: Columns, test: Columns) -> tuple[Floats, Floats]:
    """The features of reasoning, which nothing has taught."""
    evidence = ThinkingEvidence()
    return train.rows_of(evidence), test.rows_of(evidence)


def logprob_features(view: Columns) -> Floats:
    """What the probabilities of the tokens say at each place.

    The mean logprob of the first 16 tokens, that of the last token, the entropy and the margin
    there, and the mean logprob of the last 8 tokens less that of all.

    Args:
        view: Places of runs.

    Returns:
        NaN where it is not known.  # (n, 5)
    """
    features = np.full((len(view), 5), math.nan)
    for number, run in enumerate(view.runs):
        rows = view.of_run(number)
        features[rows] = _logprobs_of(run, view.fed[rows])
    return features


def _logprobs_of(run: Run, fed: Counts) -> Floats:
    found = np.full((len(fed), 5), math.nan)
    if not len(run) or run.logprobs is None:
        return found
    logprobs = np.nan_to_num(run.logprobs.astype(np.float64), nan=0.0)
    sums = np.concatenate([[0.0], np.cumsum(logprobs)])
    last = np.clip(fed, 1, len(run)) - 1
    count = last + 1
    early, lately = np.minimum(count, _FIRST), np.minimum(count, _LATELY)
    found[:, 0] = sums[early] / early
    found[:, 1] = logprobs[last]
    for place, column in ((2, run.entropy), (3, run.margin)):
        if column is not None:
            found[:, place] = column[last]
    found[:, 4] = (sums[count] - sums[count - lately]) / lately - sums[count] / count
    return found


def _passes(view: Columns, rows: Counts) -> Mask:
    """Whether the default check lets a stop pass at some rows; inside reasoning it is not asked."""
    passes = np.ones(len(rows), dtype=np.bool_)
    if view.channel == "reasoning":
        return passes
    check = default_check()
    requests = [run.request() for run in view.runs]
    for place, row in enumerate(rows.tolist()):
        number = int(view.run[row])
        thoughts = thoughts_by(view.runs[number], view.tags, int(view.fed[row]))
        draft = Draft(view.answer_at(row), thoughts, "cut", _CUT)
        passes[place] = check(requests[number], draft).complete
    return passes
