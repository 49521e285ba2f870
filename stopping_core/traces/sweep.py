"""One policy over many runs at once; what comes out is what :func:`replay` says run by run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from stopping_core.policies import Policy
from stopping_core.protocols import CompletenessCheck
from stopping_core.results import Draft
from stopping_core.traces.columns import Columns, Counts, Mask, Stops
from stopping_core.traces.evidence import MissingEvidence, check_evidence, no_probe
from stopping_core.traces.replay import Outcome, before_cut, replay
from stopping_core.traces.stream import thoughts_by
from stopping_core.types import Decision, Usage

_CUT = Decision(stop=True)


@dataclass(frozen=True, slots=True, eq=False)
class Cuts:
    """What a policy left of each run, and what it cost.

    Args:
        columns: All places of the runs.
        row: The row of ``columns`` at which it stopped, or -1.  # (runs,)
        tokens: Raw tokens that had come by then; all of the run where it did not stop.  # (runs,)
        offset: Characters of the channel up to the stop, or -1.  # (runs,)
        probes: How many probes it bought.  # (runs,)
        prompt: Input tokens of the request, 0 where unknown.  # (runs,)
        generated: Output tokens: ``tokens``, and of thinking that was ended the words that closed
            it, and the answer.  # (runs,)
        probed: Output tokens of the probes.  # (runs,)
        reread: Input tokens of the probes and of that answer.  # (runs,)
    """

    columns: Columns
    row: Counts
    tokens: Counts
    offset: Counts
    probes: Counts
    prompt: Counts
    generated: Counts
    probed: Counts
    reread: Counts

    @property
    def stopped(self) -> Mask:
        """Whether each run was stopped.  # (runs,)."""
        stopped: Mask = self.row >= 0
        return stopped

    def text(self, number: int) -> str:
        """The answer of a run, cut or full."""
        row = int(self.row[number])
        return self.columns.answer(number) if row < 0 else self.columns.answer_at(row)

    def open_end(self, number: int) -> bool:
        """Whether the answer of a run ends inside a word, by a stop or at the run's cap.

        The graders want to know it.
        """
        row = int(self.row[number])
        return self.columns.open_end(row) if row >= 0 else self.columns.full_open_end(number)

    def usage(self, number: int) -> Usage:
        """The bill of a run."""
        return Usage(
            prompt=int(self.prompt[number]),
            generated=int(self.generated[number]),
            reread=int(self.reread[number]),
            probed=int(self.probed[number]),
            estimated=self.columns.runs[number].prompt_tokens is None,
        )


def cut(columns: Columns, policy: Policy, check: CompletenessCheck | None = None) -> Cuts:
    """Play all runs to a policy.

    The policy says by ``stops`` and ``asks`` what it would do at every place; without them each run
    goes through the engine.

    Args:
        columns: The places of the runs. Of a selection, those of all.
        policy: The rule.
        check: Asked before a stop that is not forced, as in :func:`replay`, but not told the
            policy's reason. What it says of a place is kept with the columns.

    Raises:
        MissingEvidence: As :func:`replay`; and for a policy that probes over runs without any
            probe, even where it would not have come to ask.
        ValueError: ``check`` on the channel ``"reasoning"``.
    """
    columns = columns.everything
    confirming = before_cut(check, columns.channel)
    check_evidence(policy, columns.runs)
    if "probes" in policy.needs() and columns.runs and not columns.probes:
        raise MissingEvidence(repr(policy), "probes", "the trace")
    view = columns.asked(policy.marks())
    columns.extract(policy.signals())
    try:
        stops = policy.stops(view)
    except NotImplementedError:
        return cut_by_engine(columns, policy, check)
    return _bill(view, policy, _first(view, stops, confirming), policy.asks(view))


def _first(view: Columns, stops: Stops, check: CompletenessCheck | None) -> Counts:
    """The first stop of each run that is forced or passes the check, or -1.  # (runs,)."""
    if check is None:
        return view.first(stops.where)
    rows = np.flatnonzero(stops.where)
    passes = _passes(view, check)
    first = [
        next((row for row in rows[begin:end].tolist() if stops.forced[row] or passes(row)), -1)
        for begin, end in pairwise(np.searchsorted(rows, view.starts).tolist())
    ]
    return np.array(first, dtype=np.int64)


def _passes(view: Columns, check: CompletenessCheck) -> Callable[[int], bool]:
    """Whether the text up to a row is complete, asked once for a row of all."""
    verdicts = view.verdicts(check)

    def passes(row: int) -> bool:
        place = int(view.rows[row])
        if place not in verdicts:
            run = view.runs[view.run[row]]
            thoughts = thoughts_by(run, view.tags, int(view.fed[row]))
            draft = Draft(view.answer_at(row), thoughts, "cut", _CUT)
            verdicts[place] = check(run.request(), draft).complete
        return verdicts[place]

    return passes


def _bill(view: Columns, policy: Policy, first: Counts, asks: Mask) -> Cuts:
    """Add up what each run cost, given the row of ``view`` at which it was stopped, or -1."""
    stopped = np.flatnonzero(first >= 0)
    at = first[stopped]
    last = view.starts[1:] - 1
    last[stopped] = at
    bought = np.flatnonzero(asks)
    bought = bought[bought <= last[view.run[bought]]]
    _check_probes(view, policy, bought)
    answered, read, _ = view.bills_of_probes(bought)
    probed, reread = (
        np.bincount(view.run[bought], counts, len(first)).astype(np.int64)
        for counts in (answered, read)
    )
    tokens = view.lengths.copy()
    tokens[stopped] = view.fed[at]
    generated = tokens.copy()
    if view.channel == "reasoning":
        _check_probes(view, policy, at)
        latest = np.full(len(first), -1, dtype=np.int64)
        latest[view.run[bought]] = view.probed[bought]
        unpaid = latest[stopped] != view.probed[at]
        answered, read, closing = view.bills_of_probes(at)
        generated[stopped] += closing + answered * unpaid
        reread[stopped] += read * unpaid
    row, offset = np.full((2, len(first)), -1, dtype=np.int64)
    row[stopped], offset[stopped] = view.rows[at], view.offset[at]
    return Cuts(
        columns=view.everything,
        row=row,
        tokens=tokens,
        offset=offset,
        probes=np.bincount(view.run[bought], minlength=len(first)),
        prompt=view.prompts,
        generated=generated,
        probed=probed,
        reread=reread,
    )


def _check_probes(view: Columns, policy: Policy, rows: Counts) -> None:
    missing = rows[view.probed[rows] < 0]
    if len(missing):
        row = missing[0]
        raise no_probe(policy, view.runs[view.run[row]], int(view.place[row]))


def cut_by_engine(columns: Columns, policy: Policy, check: CompletenessCheck | None = None) -> Cuts:
    """Say the same as :func:`cut`, run by run through the engine: slower.

    Args:
        columns: Likewise.
        policy: Likewise.
        check: As in :func:`replay`.

    Raises:
        MissingEvidence: As :func:`replay`.
        ValueError: ``check`` on the channel ``"reasoning"``.
    """
    columns = columns.everything
    outcomes = [
        replay(
            run,
            policy,
            channel=columns.channel,
            tags=columns.tags,
            every=columns.every,
            check=check,
        )
        for run in columns.runs
    ]
    rows = [_row(columns, number, outcome) for number, outcome in enumerate(outcomes)]
    offsets = [-1 if o.checkpoint is None else o.checkpoint.offset for o in outcomes]
    return Cuts(
        columns,
        np.array(rows, dtype=np.int64),
        np.array([outcome.tokens for outcome in outcomes], dtype=np.int64),
        np.array(offsets, dtype=np.int64),
        np.array([outcome.probes for outcome in outcomes], dtype=np.int64),
        columns.prompts,
        np.array([outcome.usage.generated for outcome in outcomes], dtype=np.int64),
        np.array([outcome.usage.probed for outcome in outcomes], dtype=np.int64),
        np.array([outcome.usage.reread for outcome in outcomes], dtype=np.int64),
    )


def _row(columns: Columns, number: int, outcome: Outcome) -> int:
    """The row of the checkpoint at which a replay stopped, or -1."""
    here = outcome.checkpoint
    if here is None:
        return -1
    rows = columns.of_run(number)
    found = (
        (columns.tokens[rows] == here.tokens)
        & (columns.offset[rows] == here.offset)
        & (columns.boundary[rows] == int(here.boundary))
    )
    return int(rows.start + np.argmax(found))
