"""The thresholds that are to be certified: picked on the runs that the model is fitted on."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from stopping_core.policies.learned import LearnedStopping
from stopping_core.traces.columns import Columns, Counts, Mask, Readings
from stopping_core.traces.graded import Graded
from stopping_core.traces.run import Run
from stopping_core.traces.splits import split

STEPS = 20
"""How many thresholds a path has, at most."""

_FOLDS = 4
_LOST = 0.1  # share of the runs; beyond it nobody asks for a certificate


class Fitting:
    """Fits a rule on runs, and says where on other runs its thresholds would stop.

    Args:
        columns: The places of all runs to fit on.
        rule: The rule, not fitted.
    """

    def __init__(self, columns: Columns, rule: LearnedStopping) -> None:
        graded = Graded(columns)
        self.full: Mask = graded.full() >= 1
        self._rule = rule
        self._asked = columns.asked(rule.marks())
        self._right = graded.right(self._asked.rows)

    def fit(self, where: Mask | None = None) -> LearnedStopping:
        """Fit the rule on the runs at ``where``, or on all.

        Raises:
            ValueError: There is nothing to learn from them.
            MissingPackage: scikit-learn is not installed.
        """
        asked, right, full = self._asked, self._right, self.full
        if where is not None:
            right, full = right[where[asked.run]], full[where]
            asked = asked.of_runs(where)
        return self._rule.fit(asked, right, full)

    def path(self, seed: int) -> tuple[float, ...]:
        """Pick thresholds that save in even steps, up to where a tenth of the runs is lost.

        What each would save and lose is told by models that have not seen the run: of each part of
        the runs by a model fitted on the others. Where the runs are of too few families, or a part
        has nothing to learn from, it is the model of all.

        Args:
            seed: Of the parts.

        Returns:
            Rising; careful ones first.

        Raises:
            ValueError: No stop anywhere would save anything.
        """
        score = self._scores(seed)
        saved = self._asked.lengths[self._asked.run] - self._asked.fed
        lost = self.full[self._asked.run] & ~self._right
        rows = _first_stops(self._asked, score)
        change = {
            name: _steps(self._asked, rows, value) / total
            for name, value, total in (
                ("saved", saved, self._asked.lengths.sum()),
                ("lost", lost.astype(np.int64), len(self._asked.runs)),
            )
        }
        order = np.argsort(score[rows], kind="stable")
        saving, losing = (np.cumsum(change[name][order]) for name in ("saved", "lost"))
        end = int(np.argmax(losing > _LOST)) if (losing > _LOST).any() else len(order)
        best = saving[:end].max(initial=0.0)
        if best <= 0:
            raise ValueError("traces must hold runs that a stop could shorten, got none")
        targets = best * np.arange(1, STEPS + 1) / STEPS
        at = np.minimum(np.searchsorted(saving[:end], targets - 1e-12), end - 1)
        return tuple(np.unique(score[rows][order][at]).tolist())

    def _scores(self, seed: int) -> Readings:
        """The score of each place, NaN where the rule does not look.  # (n,)."""
        everything = np.ones(len(self._asked.runs), dtype=np.bool_)
        try:
            fitted = [(part, self.fit(~part)) for part in _parts(self._asked.runs, seed)]
        except ValueError:
            fitted = [(everything, self.fit())]
        scores = np.full(len(self._asked), np.nan)
        for part, rule in fitted:
            scores[part[self._asked.run]] = _score(self._asked.of_runs(part), rule)
        return scores


def _score(view: Columns, rule: LearnedStopping) -> Readings:
    """The scores of one fitted rule at some places.  # (n,)."""
    scores = rule.scores(view)[0]
    if view.channel == "reasoning":  # elsewhere the recording does not show what a stop leaves
        scores = np.where(view.has_probe, scores, np.nan)
    return scores


def _parts(runs: Sequence[Run], seed: int) -> list[Mask]:
    """Parts of the runs that share no family.

    Raises:
        ValueError: They are of too few families.
    """
    parts = split(runs, {str(fold): 1 / _FOLDS for fold in range(_FOLDS)}, seed)
    return [np.isin(np.arange(len(runs)), part) for part in parts.values()]


def _first_stops(view: Columns, score: Readings) -> Counts:
    """Rows at which some threshold stops a run first: lower than all before them in the run."""
    rows: list[int] = []
    for number in range(len(view.runs)):
        least = np.inf
        for row in range(int(view.starts[number]), int(view.starts[number + 1])):
            if score[row] < least:
                least = score[row]
                rows.append(row)
    return np.array(rows, dtype=np.int64)


def _steps(view: Columns, rows: Counts, value: Counts) -> Readings:
    """By how much the sum of a value changes as the threshold reaches each of these rows.

    From the last such row of a run, which the lowest threshold reaches, to its first.
    """
    after = np.append(value[rows][1:], 0)
    after[np.append(np.diff(view.run[rows]), 1) != 0] = 0
    change: Readings = (value[rows] - after).astype(np.float64)
    return change
