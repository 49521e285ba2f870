"""The best that any stopping rule could do: it knows the gold answer."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from stopping_core.traces.columns import Columns, Counts
from stopping_core.traces.graded import Graded
from stopping_core.traces.stream import stream
from stopping_core.types import Usage


@dataclass(frozen=True, slots=True, eq=False)
class Oracle:
    """Where each run could have been stopped without loss, and what that would have cost.

    Args:
        tokens: Raw tokens up to there.  # (runs,)
        prompt: Input tokens of the request, 0 where unknown.  # (runs,)
        generated: Output tokens: ``tokens``, and the answer after thinking that was ended.
            # (runs,)
        reread: Input tokens of that answer.  # (runs,)
    """

    tokens: Counts
    prompt: Counts
    generated: Counts
    reread: Counts

    def usage(self, number: int) -> Usage:
        """The bill of a run."""
        return Usage(
            prompt=int(self.prompt[number]),
            generated=int(self.generated[number]),
            reread=int(self.reread[number]),
        )


def oracle(columns: Columns, grader: str | None = None) -> Oracle:
    """Stop each run at the first token from which its answer is right.

    A run whose full answer is wrong is stopped before its first token: nothing is lost by that. On
    the channel ``"answer"`` every token is looked at, on ``"reasoning"`` every recorded probe, and
    the first right one is taken unless the full run is cheaper. The bound is loose: an answer that
    stands there by chance counts, and no rule can know it.

    Args:
        columns: The places of the runs; only their runs, channel and tags matter.
        grader: As of :class:`~stopping_core.traces.graded.Graded`.
    """
    graded = Graded(columns, grader)
    find = _first_probe if columns.channel == "reasoning" else _first_token
    bills = [
        find(columns, graded, run) if full >= 1 else (0, 0, 0)
        for run, full in enumerate(graded.full().tolist())
    ]
    tokens, generated, reread = np.array(bills, dtype=np.int64).reshape(-1, 3).T
    return Oracle(tokens, columns.prompts, generated, reread)


def _first_token(columns: Columns, graded: Graded, number: int) -> tuple[int, int, int]:
    run, length = columns.runs[number], 0
    for fed, step in stream(run, columns.tags):
        if step.channel == "answer":
            length += len(step.text)
            if graded.prefix(number, length) >= 1:
                return fed, fed, 0
    return len(run), len(run), 0


def _first_probe(columns: Columns, graded: Graded, number: int) -> tuple[int, int, int]:
    run = columns.runs[number]
    for place, probe in sorted(run.probes.items()):
        if place + probe.tokens >= len(run):
            break
        if graded.probe(number, probe.text) >= 1:
            return place, place + probe.tokens, probe.reread
    return len(run), len(run), 0
