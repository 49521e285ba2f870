"""The places of some runs at which a rule looks, with all that a formulation may learn from."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Floats: TypeAlias = NDArray[np.float64]
Mask: TypeAlias = NDArray[np.bool_]
Counts: TypeAlias = NDArray[np.int64]

PARTS = 4
"""Of the runs that are fitted on, where what is fitted on some is needed on the others."""

_BY_ROW = ("features", "run", "tokens", "bill", "right", "passes")
_BY_RUN = ("full", "lengths", "family")


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """Places of some runs, in order, run after run.

    Args:
        features: What is known there, NaN where it is not.  # (n, d)
        run: Number of each one's run, rising.  # (n,)
        tokens: Tokens of the channel up to there.  # (n,)
        bill: Output tokens of the run where it is stopped there.  # (n,)
        right: Whether the answer would be right.  # (n,)
        passes: Whether the completeness check lets a stop pass.  # (n,)
        full: Whether each run is right in full.  # (runs,)
        lengths: Output tokens of each run.  # (runs,)
        family: Number of the family of each run.  # (runs,)
    """

    features: Floats
    run: Counts
    tokens: Counts
    bill: Counts
    right: Mask
    passes: Mask
    full: Mask
    lengths: Counts
    family: Counts

    def __len__(self) -> int:
        return len(self.run)

    @property
    def lost(self) -> Mask:
        """Whether a stop loses an answer that the full run has right.  # (n,)."""
        lost: Mask = self.full[self.run] & ~self.right
        return lost

    def of(self, where: Mask) -> Rows:
        """The rows of some runs, which are numbered anew.

        Args:
            where: The runs to keep.  # (runs,)
        """
        rows, number = where[self.run], np.cumsum(where) - 1
        kept: dict[str, Any] = {name: getattr(self, name)[rows] for name in _BY_ROW}
        kept |= {name: getattr(self, name)[where] for name in _BY_RUN}
        return replace(self, **{**kept, "run": number[self.run[rows]]})

    def parts(self) -> Iterator[Mask]:
        """Parts of the runs that share no family; of a single family, its runs by number.

        Yields:
            Each part.  # (runs,)
        """
        families = np.unique(self.family, return_inverse=True)[1].reshape(-1)
        number = families if families.max(initial=0) > 0 else np.arange(len(self.full))
        for part in range(PARTS):
            if (number % PARTS == part).any():
                yield number % PARTS == part

    def first(self, where: Mask) -> Counts:
        """The first row of each run at which a stop is wanted and passes, or -1.  # (runs,)."""
        rows = np.flatnonzero(where & self.passes)[::-1]
        first = np.full(len(self.full), -1, dtype=np.int64)
        first[self.run[rows]] = rows
        return first

    def played(self, where: Mask) -> tuple[Mask, Counts]:
        """What becomes of each run that is stopped at the first of these rows that passes.

        Returns:
            Whether it is lost, and its output tokens.  # (runs,) each
        """
        first = self.first(where)
        stopped = first >= 0
        lost = stopped & self.full & ~self.right[first]
        return lost, np.where(stopped, self.bill[first], self.lengths)
