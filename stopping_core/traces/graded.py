"""Grades of what a cut leaves, each answer graded once."""

from __future__ import annotations

import math
from typing import TypeAlias

import numpy as np

from stopping_core.metrics import GRADERS
from stopping_core.traces.columns import Columns, Counts, Mask, Readings

_Kept: TypeAlias = dict[tuple[int, int], float]


class Graded:
    """Grades answers of some runs, full ones and those that a stop at a row leaves.

    An answer that ends inside a word is graded as such, whether a stop or the run's cap ended it.
    The answer of a probe is taken as it is: where its limit of tokens cut it, the recording does
    not show it.

    Args:
        columns: The places of the runs. Of a selection, those of all.
        grader: Name of the grader for all runs; each run's own by default.

    Attributes:
        columns: The places of all runs.
    """

    def __init__(self, columns: Columns, grader: str | None = None) -> None:
        self.columns = columns.everything
        self._graders = [GRADERS[grader or run.grader] for run in columns.runs]
        self._kept: _Kept = {}
        self._probes: dict[tuple[int, str], float] = {}
        self._rows: Readings = np.full(len(self.columns), math.nan)

    def full(self) -> Readings:
        """The grades of the full runs.  # (runs,)."""
        runs = range(len(self.columns.runs))
        return np.array([self.prefix(run, len(self.columns.answer(run))) for run in runs])

    def at(self, rows: Counts) -> Readings:
        """The grades of the answers that stops at some rows leave.  # (k,)."""
        new = np.unique(rows[np.isnan(self._rows[rows])])
        self._rows[new] = [self._at(row) for row in new.tolist()]
        return self._rows[rows]

    def right(self, rows: Counts) -> Mask:
        """Whether these answers are right.  # (k,)."""
        right: Mask = self.at(rows) >= 1
        return right

    def prefix(self, run: int, length: int) -> float:
        """The grade of the first ``length`` characters of a run's answer."""
        if (run, length) not in self._kept:
            text = self.columns.answer(run)[:length]
            self._kept[run, length] = self._grade(run, text, self.columns.ends_open(run, length))
        return self._kept[run, length]

    def probe(self, run: int, text: str) -> float:
        """The grade of an answer that a probe gave."""
        if (run, text) not in self._probes:
            self._probes[run, text] = self._grade(run, text, False)
        return self._probes[run, text]

    def _at(self, row: int) -> float:
        columns = self.columns
        run = int(columns.run[row])
        if columns.channel == "reasoning":
            return self.probe(run, columns.probe(row).text)
        return self.prefix(run, int(columns.offset[row]))

    def _grade(self, run: int, text: str, open_end: bool) -> float:
        return float(self._graders[run](text, self.columns.runs[run].gold, open_end=open_end))
