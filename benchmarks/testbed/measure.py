"""What the synthetic testbed's model does: ``python -m benchmarks.testbed.measure``.

It reads a trace file of the testbed, as ``make bench-evidence`` records it, and runs no model. A
probe must have been recorded after each line.
"""

from __future__ import annotations

import argparse
import json
import re
from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from statistics import fmean
from typing import Any

from benchmarks.testbed.solutions import CLOSE, RESULTS, SAME
from stopping_core.metrics import GRADERS
from stopping_core.resampling import GroupBootstrap
from stopping_core.traces.run import Run
from stopping_core.traces.store import read_trace
from stopping_core.traces.stream import closing_tokens

_OPENINGS = "|".join(phrase.partition(" {")[0] for phrase in (*RESULTS, SAME))
_AGREES = SAME.partition("}")[2].rstrip(".")
_STATED = re.compile(rf"(?:{_OPENINGS}) (?P<value>-?\d+)(?P<same>{_AGREES})?\.?\s*")


@dataclass(frozen=True, slots=True)
class Told:
    """What a run says, and what it would have said had its thinking ended at its first result.

    Args:
        family: Kind and level of its problem, as "sum-2".
        tokens: Its length.
        right: Whether its answer is.
        results: How many its reasoning states.
        first: Whether the first of them is right; None where there is none.
        differing: Re-checks whose result had not come before.
        unnoticed: Those of them of which the reasoning says that it is the same again.
        stopped_right: Whether the answer is right that the model gives right after the line of the
            first result. As ``right`` where no result is stated.
        stopped_tokens: What is generated then, the answer included.
    """

    family: str
    tokens: int
    right: bool
    results: int
    first: bool | None
    differing: int
    unnoticed: int
    stopped_right: bool
    stopped_tokens: int


def tell(run: Run) -> Told:
    """Read what a run says.

    Raises:
        ValueError: No probe was recorded after the line of the first result.
    """
    reasoning, _, answer = run.text.partition(CLOSE)
    stated = list(_STATED.finditer(reasoning))
    values = [found["value"] for found in stated]
    differing = [found for at, found in enumerate(stated) if at and values[at] not in values[:at]]
    right, first = _right(run, answer), None
    stopped_right, stopped_tokens = right, len(run)
    if stated:
        first = _right(run, values[0])
        place = 1 + bisect_left(list(accumulate(map(len, run.tokens))), stated[0].end())
        if place not in run.probes:
            raise ValueError(
                f"question {run.question_id!r}: no probe at token {place}, after the first result: "
                "record with --probe-every"
            )
        probe = run.probes[place]
        stopped_right = _right(run, probe.text)
        stopped_tokens = place + closing_tokens(run, place) + probe.tokens
    return Told(
        family=run.question_id.rpartition("-")[0],
        tokens=len(run),
        right=right,
        results=len(stated),
        first=first,
        differing=len(differing),
        unnoticed=sum(found["same"] is not None for found in differing),
        stopped_right=stopped_right,
        stopped_tokens=stopped_tokens,
    )


def figures(runs: Sequence[Run]) -> dict[str, Any]:
    """What is told of some runs; shares are of all runs, in [0, 1].

    Raises:
        ValueError: As for :func:`tell`, or all runs are of one problem.
    """
    told = [tell(run) for run in runs]
    families: dict[str, list[Told]] = defaultdict(list)
    for one in told:
        families[one.family].append(one)
    net = [one.stopped_right - one.right for one in told]
    interval = GroupBootstrap([run.group for run in runs]).ratio(net, [1] * len(net))
    kept = sum(one.stopped_tokens for one in told) / sum(one.tokens for one in told)
    return {
        "runs": len(runs),
        "right": _mean(one.right for one in told),
        "tokens": _mean(one.tokens for one in told),
        "rechecks": dict(sorted(Counter(max(0, one.results - 1) for one in told).items())),
        "repaired": _mean(one.right and one.first is False for one in told),
        "spoiled": _mean(not one.right and one.first is True for one in told),
        "differing": sum(one.differing for one in told),
        "unnoticed": sum(one.unnoticed for one in told),
        "first_result": {
            "lost": _mean(change < 0 for change in net),
            "gained": _mean(change > 0 for change in net),
            "net": _mean(net),
            "interval": [round(interval.low, 4), round(interval.high, 4)],
            "saving": round(1 - kept, 4),
        },
        "families": {
            name: {
                "runs": len(some),
                "right": _mean(one.right for one in some),
                "tokens": _mean(one.tokens for one in some),
            }
            for name, some in sorted(families.items())
        },
    }


def _right(run: Run, answer: str) -> bool:
    return GRADERS[run.grader](answer, run.gold) >= 1


def _mean(values: Iterable[float]) -> float:
    return round(fmean(values), 4)


def lines(found: dict[str, Any]) -> list[str]:
    """The figures for people."""
    stopped = found["first_result"]
    low, high = stopped["interval"]
    rechecks = ", ".join(f"{runs} with {number}" for number, runs in found["rechecks"].items())
    return [
        f"{found['runs']} runs of the synthetic testbed, {found['tokens']:.1f} tokens on average",
        f"right:          {found['right']:.1%}",
        f"re-checks:      {rechecks}",
        f"repaired:       {found['repaired']:.2%}, the first result wrong and the answer right",
        f"spoiled:        {found['spoiled']:.2%}, the first result right and the answer wrong",
        f"unnoticed:      of {found['differing']} re-checks with a new result {found['unnoticed']} "
        "call it the same",
        f"stopped at the first result: {stopped['lost']:.2%} lost, {stopped['gained']:.2%} gained, "
        f"net {100 * stopped['net']:+.2f} points ({100 * low:+.2f} to {100 * high:+.2f} at 95%), "
        f"{stopped['saving']:.1%} of the tokens saved",
        f"{'problems':12}{'runs':>6}{'right':>8}{'tokens':>8}",
        *(
            f"{name:12}{some['runs']:6}{some['right']:8.1%}{some['tokens']:8.1f}"
            for name, some in found["families"].items()
        ),
    ]


def main() -> None:
    """Print figures of recorded runs of the synthetic testbed."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument(
        "trace", type=Path, nargs="?", default=Path("build/evidence/testbed.parquet")
    )
    parser.add_argument("--json", action="store_true", help="print them as JSON")
    chosen = parser.parse_args()
    try:
        found = figures(read_trace(chosen.trace).runs)
    except (OSError, ValueError) as error:
        parser.error(str(error))
    print(json.dumps(found, indent=2) if chosen.json else "\n".join(lines(found)))


if __name__ == "__main__":
    main()
