"""The best that any stopping rule could do: it knows the gold answer."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from stopping_core.costs import LOCAL, CostRegime
from stopping_core.traces.columns import Columns, Counts
from stopping_core.traces.graded import Graded
from stopping_core.traces.stream import closing_tokens, stream
from stopping_core.types import Usage


@dataclass(frozen=True, slots=True, eq=False)
class Oracle:
    """Where each run could have been stopped without loss, and what that would have cost.

    Args:
        tokens: Raw tokens up to there.  # (runs,)
        prompt: Input tokens of the request, 0 where unknown.  # (runs,)
        generated: Output tokens: ``tokens``, and of thinking that was ended the words that closed
            it, and the answer.  # (runs,)
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


def oracle(columns: Columns, grader: str | None = None, regime: CostRegime = LOCAL) -> Oracle:
    """Stop each run where that is cheapest among the places at which its answer is right.

    It is a bound: no rule whose answer to a run is right, or as wrong as that of the full run, is
    billed less for it under the same prices. A run whose full answer is wrong is stopped before its
    first token: nothing is lost by that. On the channel ``"answer"`` every token is looked at, and
    every place where a rule may be asked, some of which are inside a token; on ``"reasoning"``
    every recorded probe, and the full run. The bound is loose: an answer that stands there by
    chance counts, and no rule can know it.

    Args:
        columns: The places of the runs. Of a selection, those of all.
        grader: As of :class:`~stopping_core.traces.graded.Graded`.
        regime: The prices. They matter on the channel ``"reasoning"`` only, where an earlier stop
            may pay more for input.
    """
    columns = columns.everything
    graded = Graded(columns, grader)
    bills = [
        _bill(columns, graded, run, regime) if full >= 1 else (0, 0, 0)
        for run, full in enumerate(graded.full().tolist())
    ]
    tokens, generated, reread = np.array(bills, dtype=np.int64).reshape(-1, 3).T
    return Oracle(tokens, columns.prompts, generated, reread)


def _bill(
    columns: Columns, graded: Graded, number: int, regime: CostRegime
) -> tuple[int, int, int]:
    """Tokens, generated and reread of the cheapest right answer to a run that ends right."""
    if columns.channel == "reasoning":
        return _cheapest_probe(columns, graded, number, regime)
    fed = _first_place(columns, graded, number)
    return fed, fed, 0


def _first_place(columns: Columns, graded: Graded, number: int) -> int:
    run, rows, length = columns.runs[number], columns.of_run(number), 0
    places = set(zip(columns.fed[rows].tolist(), columns.offset[rows].tolist(), strict=True))
    for fed, step in stream(run, columns.tags):
        if step.channel == "answer":
            length += len(step.text)
            places.add((fed, length))
    right = (fed for fed, length in sorted(places) if graded.prefix(number, length) >= 1)
    return next(right, len(run))


def _cheapest_probe(
    columns: Columns, graded: Graded, number: int, regime: CostRegime
) -> tuple[int, int, int]:
    run = columns.runs[number]
    bills = [
        (place, place + closing_tokens(run, place) + probe.tokens, probe.reread)
        for place, probe in sorted(run.probes.items())
        if graded.probe(number, probe.text) >= 1
    ]
    return min(
        [*bills, (len(run), len(run), 0)],
        key=lambda bill: regime.cost(Usage(generated=bill[1], reread=bill[2])),
    )
