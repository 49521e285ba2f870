"""The runs of some trace files, dealt out to the half that is searched on and the one reported."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path

import numpy as np

from stopping_core.cli.bench.part import divide
from stopping_core.cli.bench.scores import Mask
from stopping_core.cli.bench.sweeping import ended
from stopping_core.cli.bench.table import Halves
from stopping_core.traces.header import check_alike
from stopping_core.traces.run import Trace
from stopping_core.traces.splits import family_of
from stopping_core.traces.store import read_trace

RESAMPLES = 2000
"""Of the bootstrap over the reported families."""


@dataclass(frozen=True, slots=True)
class Recorded:
    """All runs, and where they came from.

    Args:
        trace: The runs of all files, under the header of the first.
        digests: SHA-256 of each file, by its path.
    """

    trace: Trace
    digests: Mapping[str, str]


@dataclass(frozen=True, slots=True, eq=False)
class Dealt:
    """Some of the runs, by themselves.

    Args:
        trace: The runs.
        halves: All of them to choose on, or all of them to report on.
        families: How many families they are of.
        folds: Parts of them that share no family, to fit on some and cut the others.  # (n,) each
    """

    trace: Trace
    halves: Halves
    families: int
    folds: tuple[Mask, ...] = ()


def read(paths: Sequence[Path]) -> Recorded:
    """Read trace files.

    Raises:
        ValueError: A file is damaged, they are not of one kind, or a run stands in two of them.
        OSError: A file cannot be read.
    """
    traces: list[tuple[Path, Trace]] = []
    for path in paths:
        trace = read_trace(path)
        if traces:
            first, known = traces[0]
            check_alike(first, known.header, path, trace.header)
        traces.append((path, trace))
    digests = {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}
    traces.sort(key=lambda one: digests[str(one[0])])  # in whichever order they were named
    runs = tuple(chain.from_iterable(trace.runs for _, trace in traces))
    (name, times), *_ = Counter((run.question_id, run.sample) for run in runs).most_common(1)
    if times > 1:
        raise ValueError(
            f"traces must not share runs, got sample {name[1]} of question {name[0]!r} {times} "
            f"times in {', '.join(map(str, paths))}"
        )
    return Recorded(replace(traces[0][1], runs=runs), digests)


def deal(trace: Trace, seed: int) -> tuple[Dealt, Dealt]:
    """Deal the runs out by whole families.

    Returns:
        The half to search on, and the half to report on.

    Raises:
        ValueError: They are of fewer than two families.
    """
    families = len(set(map(family_of, trace.runs)))
    if families < 2:
        raise ValueError(
            f"traces must hold at least 2 families (else groups, else questions), one to search "
            f"on and one to report on, got {families}"
        )
    runs_ended = np.array([ended(run) for run in trace.runs])
    part = divide(trace.runs, runs_ended, seed, RESAMPLES)
    choose, report = part.halves.choose, part.halves.report
    searched = _half(trace, choose, replace(part.halves, bootstrap=None, families=0))
    reported = _half(trace, report, part.halves)
    return replace(searched, folds=tuple(fold[choose] for fold in part.folds)), reported


def _half(trace: Trace, where: Mask, halves: Halves) -> Dealt:
    runs = tuple(run for run, here in zip(trace.runs, where, strict=True) if here)
    own = replace(
        halves,
        choose=halves.choose[where],
        report=halves.report[where],
        ended=halves.ended[where],
    )
    return Dealt(replace(trace, runs=runs), own, len(set(map(family_of, runs))))
