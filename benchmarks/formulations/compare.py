"""All formulations over the runs of one file, out of fold."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.formulations.direct import Direct
from benchmarks.formulations.formulation import (
    SETTINGS,
    Formulation,
    Priced,
    Scored,
    thresholds,
)
from benchmarks.formulations.fronts import Comparison, Played, differences
from benchmarks.formulations.hazard import ByPosition, OneThreshold
from benchmarks.formulations.learners import boosted, freer, logistic
from benchmarks.formulations.material import Fold, Material, Reader, material_of
from benchmarks.formulations.rows import Floats
from benchmarks.formulations.value import Value
from stopping_core.policies import MaxTokens
from stopping_core.resampling import Interval
from stopping_core.traces.oracle import oracle
from stopping_core.traces.run import Trace
from stopping_core.traces.sweep import cut

KEPT = "a. kept: logistic, log p against tokens"
BUDGET = "e. fixed budget"


@dataclass(frozen=True, slots=True, eq=False)
class Compared:
    """What came of one file.

    Args:
        model: Of the runs.
        template: Likewise.
        runs: How many.
        families: How many families they are of.
        right: How many are right in full.
        units: What intervals are drawn over, and how many there are.
        kept: Name of the rule that the others are held against.
        figures: Savings at the levels by formulation, of the runs and of the draws.
            # (1 + draws, levels) each
        more: Intervals of the difference to the kept rule, at the levels and of their mean.
        oracle: Savings at the levels that nobody can beat.  # (levels,)
        seconds: What each took to fit and to play.
    """

    model: str
    template: str
    runs: int
    families: int
    right: int
    units: tuple[str, int]
    kept: str
    figures: dict[str, Floats]
    more: dict[str, list[Interval]]
    oracle: Floats
    seconds: dict[str, float]


def formulations(channel: str, *, logprobs: bool) -> list[Formulation]:
    """Name the formulations that compete on a channel; the kept rule comes first.

    Args:
        channel: Of the runs.
        logprobs: Whether these hold logprobs.
    """
    kept = logistic if channel == "answer" else boosted
    entered: list[Formulation] = [Direct(KEPT, kept, against_tokens=channel == "answer")]
    if channel == "answer":
        entered.append(Direct("a'. logistic, threshold on p", logistic, against_tokens=False))
    entered += [
        Direct("b. boosted trees, threshold on p", boosted, against_tokens=False),
        Direct("b'. boosted trees, log p against tokens", boosted, against_tokens=True),
    ]
    ways = [("boosted trees", boosted, boosted)]
    if channel == "answer":
        ways.insert(0, ("logistic", freer, logistic))
    for told, hazard, loss in ways:
        entered += [
            OneThreshold(f"c1. hazard, {told}, one threshold", hazard),
            ByPosition(f"c2. hazard, {told}, thresholds by position", hazard),
            Value(f"d. value function, {told}", loss),
        ]
    if logprobs and channel == "answer":
        for name, learner, against in (
            (f"{KEPT}; and logprobs", logistic, True),
            ("b. boosted trees, threshold on p; and logprobs", boosted, False),
        ):
            entered.append(Direct(name, learner, against_tokens=against, reads="logprobs"))
    return entered


def compare(
    trace: Trace, *, folds: int = 5, seed: int = 0, reader: Reader | None = None
) -> Compared:
    """Fit each formulation on all folds but one, cut the runs of that one, and add up.

    Args:
        trace: The runs.
        folds: Parts that share no family.
        seed: Of the parts and of the draws.
        reader: Reads other features than those of the library's rule.

    Raises:
        ValueError: There are too few families for so many folds.
    """
    material = material_of(trace, folds, seed)
    comparison = Comparison(material.rows.lengths, material.units, seed)
    logprobs = all(run.logprobs is not None for run in trace.runs)
    entered = formulations(material.view.channel, logprobs=logprobs)

    print(f"{len(material.rows)} places", file=sys.stderr, flush=True)
    dealt = {"": [material.fold(where, reader) for where in material.folds]}
    if any(one.reads for one in entered):
        dealt["logprobs"] = [material.with_logprobs(fold) for fold in dealt[""]]
    figures, seconds = {}, {}
    for one in entered:
        begun = time.perf_counter()
        figures[one.name] = comparison.figures(play(one, material, dealt[one.reads]))
        seconds[one.name] = time.perf_counter() - begun
        print(f"{seconds[one.name]:6.0f} s  {one.name}", file=sys.stderr, flush=True)
    if material.view.channel == "answer":
        figures[BUDGET] = comparison.figures(budgets(material))
    best = oracle(material.columns)
    runs = trace.runs
    return Compared(
        model=trace.header.model,
        template=trace.header.template,
        runs=len(runs),
        families=len(np.unique(material.rows.family)),
        right=int(material.rows.full.sum()),
        units=(material.unit, len(set(material.units))),
        kept=entered[0].name,
        figures=figures,
        more=differences(figures, entered[0].name),
        oracle=comparison.best(best.generated, material.rows.full),
        seconds=seconds,
    )


def play(one: Formulation, material: Material, folds: Sequence[Fold]) -> Played:
    """Cut the runs of each fold by what the others taught, at each setting.

    Raises:
        TypeError: It neither scores places nor takes prices.
    """
    rows = material.rows
    if isinstance(one, Scored):
        score = np.full(len(rows), np.nan)
        for fold in folds:
            score[fold.where[rows.run]] = one.score(fold.train, fold.test)
        where = score[:, None] <= thresholds(rows, score)
    elif isinstance(one, Priced):
        where = np.zeros((len(rows), SETTINGS), dtype=np.bool_)
        for fold in folds:
            where[fold.where[rows.run]] = one.stops(fold.train, fold.test)
    else:
        raise TypeError(f"formulation must be Scored or Priced, got {one!r}")
    played = [rows.played(column) for column in where.T]
    return Played(
        np.column_stack([lost for lost, _ in played]),
        np.column_stack([bill for _, bill in played]),
    )


def budgets(material: Material) -> Played:
    """Cut all runs after the same number of tokens; no check is asked."""
    longest = int(material.rows.lengths.max(initial=1))
    steps = np.unique(np.geomspace(1, longest, SETTINGS).round().astype(np.int64))
    lost, bill = [], []
    for tokens in steps.tolist():
        cuts = cut(material.columns, MaxTokens(tokens))
        right = material.rows.full.copy()
        right[cuts.stopped] = material.graded.right(cuts.row[cuts.stopped])
        lost.append(material.rows.full & ~right)
        bill.append(cuts.generated)
    return Played(np.column_stack(lost), np.column_stack(bill))
