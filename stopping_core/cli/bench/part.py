"""Runs divided into those to choose settings on and those to report on, by whole families."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from stopping_core.cli.bench.scores import Mask
from stopping_core.cli.bench.table import FEWEST, Halves
from stopping_core.resampling import GroupBootstrap
from stopping_core.traces.run import Run
from stopping_core.traces.splits import family_of, split

FOLDS = 4
"""Of the choosing runs, to fit rules on some and see what they do on the others."""


@dataclass(frozen=True, slots=True)
class Part:
    """Some runs, or one run for each question, split into those to choose on and to report on.

    The former are dealt out to folds, for rules that are fitted.
    """

    runs: Sequence[Run]
    halves: Halves
    folds: tuple[Mask, ...]
    notes: tuple[str, ...]


def divide(runs: Sequence[Run], ended: Mask, seed: int, resamples: int) -> Part:
    """Split runs by family; where there is only one, choose and report on the same.

    Args:
        runs: The runs.
        ended: Which of them came to their own end.  # (n,)
        seed: Of the split and of the bootstrap.
        resamples: Of the bootstrap.
    """
    notes = []
    if len(set(map(family_of, runs))) > 1:
        parts = split(runs, {"choose": 0.5, "report": 0.5}, seed)
    else:
        parts = {"choose": list(range(len(runs))), "report": list(range(len(runs)))}
        notes.append(
            "settings are chosen on the runs that they are reported on: at least two families or "
            "groups of questions are needed to do otherwise"
        )
    masks = {name: _mask(numbers, len(runs)) for name, numbers in parts.items()}
    # What a split keeps whole is what is drawn again.
    families = [family_of(runs[number]) for number in parts["report"]]
    count, bootstrap = len(set(families)), None
    if count >= FEWEST:
        bootstrap = GroupBootstrap(families, resamples=resamples, seed=seed)
    else:
        notes.append(
            f"{count} reported {'family' if count == 1 else 'families'}: read nothing into this; "
            f"intervals are given from {FEWEST} on"
        )
    halves = Halves(masks["choose"], masks["report"], ended, count, bootstrap)
    return Part(runs, halves, _fold(runs, parts["choose"], seed), tuple(notes))


def _fold(runs: Sequence[Run], choosing: Sequence[int], seed: int) -> tuple[Mask, ...]:
    """Deal the choosing runs out to folds by family; to none where there is one family."""
    some = [runs[number] for number in choosing]
    count = min(FOLDS, len(set(map(family_of, some))))
    if count < 2:
        return ()
    folds = split(some, {f"{number}": 1 / count for number in range(count)}, seed)
    return tuple(_mask([choosing[i] for i in fold], len(runs)) for fold in folds.values())


def _mask(numbers: Sequence[int], length: int) -> Mask:
    mask = np.zeros(length, dtype=np.bool_)
    mask[list(numbers)] = True
    return mask
