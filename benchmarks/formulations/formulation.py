"""What a formulation is: it learns on some runs, and says where it would stop others."""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np

from benchmarks.formulations.rows import Floats, Mask, Rows

SETTINGS = 40
"""How many settings the front of each formulation is made of, at most."""

PRICES = np.geomspace(2e-5, 0.02, SETTINGS)
"""Lost answers that a token is worth, for formulations that take a price."""


class Formulation(ABC):
    """One way to put stopping as a learning problem.

    Attributes:
        name: As the table has it.
        reads: What it reads beyond the text: ``"logprobs"``, or ``""``.
    """

    name: str
    reads: str = ""


class Scored(Formulation):
    """Scores each place; one threshold, the same for all folds, says where to stop."""

    @abstractmethod
    def score(self, train: Rows, test: Rows) -> Floats:
        """Score the places of some runs by what others taught; low is good to stop.  # (n,)."""


class Priced(Formulation):
    """Says for each price of a token where to stop."""

    @abstractmethod
    def stops(self, train: Rows, test: Rows) -> Mask:
        """Say of some runs, by what others taught, where to stop at each of the prices.

        Returns:
            # (n, SETTINGS).
        """


def thresholds(rows: Rows, score: Floats) -> Floats:
    """Thresholds that save in even steps, from hardly anything to all that can be saved.

    Args:
        rows: All places.
        score: Of each.  # (n,)
    """
    fine = np.unique(np.quantile(score[np.isfinite(score)], np.linspace(0, 1, 12 * SETTINGS)))
    bills = np.array([rows.played(score <= one)[1].sum() for one in fine])
    saved = rows.lengths.sum() - bills
    targets = saved.max(initial=0) * np.arange(1, SETTINGS + 1) / SETTINGS
    return np.unique(fine[np.minimum(np.searchsorted(saved, targets), len(fine) - 1)])
