"""What the learned rule costs in a live stream: ``python -m benchmarks.learned RUNS.parquet``.

Three kinds of figures, in microseconds, medians over rounds. A checkpoint: the features, the
score and the decision, apart and together, as the runs are fed token by token to the evidence and
the rule is asked wherever the engine asks it. A token: what the evidence takes, and the whole
engine with the rule and without. A request: the engine made and reset, for contexts of several
lengths, when the context is new and once more, as where a request takes several calls.

The model is that of a file that ``stopping fit`` or ``stopping certify`` wrote, or else one that is
fitted on the runs. Its thresholds are not used: the rule is kept from stopping.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from stopping_core.certificates import Certificate, FittedModel
from stopping_core.cli.bench.sweeping import channel_of, every_of
from stopping_core.cli.demo.corpus import load_reference
from stopping_core.engine import Engine
from stopping_core.policies import Never, Policy
from stopping_core.policies.learned import LearnedStopping, LossModel
from stopping_core.policies.learned.evidence import Evidence
from stopping_core.testing import words
from stopping_core.traces.columns import Columns
from stopping_core.traces.graded import Graded
from stopping_core.traces.rows import pieces
from stopping_core.traces.run import Run, Trace
from stopping_core.traces.store import read_trace
from stopping_core.types import Boundary, Checkpoint, Request, Step

TARGET = 30.0
"""Microseconds that evaluating the model may take at a checkpoint."""

ROUNDS = 9
NEVER = -1e9  # a threshold below every score
SIZES = (100, 1000, 5000)  # words of a context
REQUESTS = 20

Asked = tuple[Step, Checkpoint | None]
"""A piece of a stream, and what the rule is asked after it."""


def asked(run: Run, columns: Columns, number: int) -> list[Asked]:
    """The pieces of a run, with the checkpoints at which the engine asks the rule."""
    view = columns.of_run(number)
    due = {
        (int(columns.tokens[row]), int(columns.offset[row]), int(columns.boundary[row]))
        for row in range(view.start, view.stop)
    }
    found: list[Asked] = []
    tokens = offset = 0
    for _, _, piece in pieces(run, columns.channel, columns.tags):
        tokens, offset = tokens + piece.tokens, offset + len(piece.text)
        here = (tokens, offset, int(piece.boundary)) in due
        checkpoint = Checkpoint(offset, tokens, 0.0, Boundary(piece.boundary))
        found.append((piece, checkpoint if here else None))
    return found


def timed(part: Callable[..., list[float]], *settings: Any) -> float:
    """Mean over calls of each one's median over rounds, microseconds.

    So what else the machine does at the moment counts little, and a dear call does.
    """
    rounds = [part(*settings) for _ in range(ROUNDS)]
    return 1e6 * float(np.median(np.array(rounds), axis=0).mean())


def at_checkpoints(
    rule: LearnedStopping, streams: Sequence[tuple[Request, list[Asked]]], what: str
) -> list[float]:
    """Feed the runs to the rule's evidence, and take the time of one part of the work.

    Args:
        rule: The rule, with its model.
        streams: The request of each run, and its pieces.
        what: ``"update"``, ``"row"``, ``"score"`` or ``"decide"``.

    Returns:
        The seconds of each call.
    """
    (evidence,) = rule.signals()
    if not isinstance(evidence, Evidence):
        raise TypeError(f"rule must read evidence, got {evidence!r}")
    clock, seconds = time.perf_counter, []
    for request, stream in streams:
        evidence.reset(request)
        for piece, checkpoint in stream:
            begun = clock()
            evidence.update(piece)
            ended = clock()
            if what == "update":
                seconds.append(ended - begun)
            elif checkpoint is not None and looks(rule, checkpoint):
                call = _part(rule, evidence, checkpoint, what)
                begun = clock()
                call()
                seconds.append(clock() - begun)
    return seconds


def looks(rule: LearnedStopping, checkpoint: Checkpoint) -> bool:
    """Whether the rule looks there: at an answer everywhere, in reasoning at ends of lines."""
    return rule.channel == "answer" or Boundary.LINE in checkpoint.boundary


def _part(
    rule: LearnedStopping, evidence: Evidence, checkpoint: Checkpoint, what: str
) -> Callable[[], object]:
    """What is timed at a checkpoint."""
    if what == "row":
        return evidence.row
    if what == "decide":
        return partial(rule.decide, checkpoint)
    model, row, tokens = rule.model, evidence.row(), checkpoint.tokens
    if model is None:
        raise ValueError(f"rule must be fitted, got {rule!r}")
    return lambda: model.score(np.array([row]), np.array([tokens]))[0] <= rule.threshold


def engine(policy: Policy, runs: Sequence[Run], every: int) -> list[float]:
    """Feed the runs to an engine token by token; making it is left out.

    Returns:
        The seconds of each token.
    """
    clock, seconds = time.perf_counter, []
    for run in runs:
        live = Engine(policy, run.request(), every=every)
        for step in list(run.steps()):
            begun = clock()
            live.feed(step)
            seconds.append(clock() - begun)
    return seconds


def requests(policy: Policy, size: int, text: Sequence[str], again: bool) -> list[float]:
    """Make an engine for contexts of so many words: for new ones, or for the last one again.

    Returns:
        The seconds of each engine.
    """
    seconds = []
    for number in range(REQUESTS):
        context = "".join(text[number : number + size])
        stamp = time.perf_counter_ns()  # so that no round has met the request before
        request = Request(question=f"What is a tuple, asked at {stamp}?", context=context)
        if again:
            Engine(policy, request)
        begun = time.perf_counter()
        Engine(policy, request)
        seconds.append(time.perf_counter() - begun)
    return seconds


def model_of(trace: Trace, columns: Columns, path: Path | None) -> LossModel:
    """Read the model of a file, or fit one on the runs.

    Raises:
        ValueError: The file holds none, or there is nothing to learn from the runs.
    """
    if path is not None:
        try:
            return FittedModel.load(path).model
        except ValueError:
            return Certificate.load(path).model
    view = columns.asked(LearnedStopping(NEVER, channel=columns.channel).marks())
    graded = Graded(columns)
    rule = LearnedStopping(NEVER, channel=columns.channel)
    model = rule.fit(view, graded.right(view.rows), graded.full() >= 1).model
    if model is None:
        raise ValueError(f"traces must teach a model, got none of {len(trace.runs)} runs")
    return model


def main(arguments: Sequence[str] | None = None) -> None:
    """Print all figures."""
    parser = argparse.ArgumentParser(prog="benchmarks.learned", description=__doc__)
    parser.add_argument("runs", type=Path)
    parser.add_argument("--model", type=Path, help="what `stopping fit` or `certify` wrote")
    parser.add_argument("--limit", type=int, default=100, help="runs to play")
    given = parser.parse_args(arguments)
    trace = read_trace(given.runs)
    channel, every, tags = channel_of(trace), every_of(trace), trace.header.reasoning_tags
    whole = Columns(trace.runs, channel=channel, tags=tags, every=every)
    model = model_of(trace, whole, given.model)
    rule = LearnedStopping(NEVER, model)
    runs = trace.runs[: given.limit]
    columns = Columns(runs, channel=channel, tags=tags, every=every).asked(rule.marks())
    streams = [(run.request(), asked(run, columns, number)) for number, run in enumerate(runs)]
    print(
        f"{len(runs)} runs, {sum(map(len, runs)):,} tokens, {len(columns):,} checkpoints, "
        f"{channel}, model {model.fingerprint}; microseconds, medians of {ROUNDS} rounds"
    )
    print("a checkpoint")
    for name, what in (
        ("row, score, decision", "decide"),
        ("  row alone", "row"),
        ("  score as of many rows", "score"),
    ):
        figure = timed(at_checkpoints, rule, streams, what)
        target = f"   target {TARGET:g}: {'held' if figure <= TARGET else 'missed'}"
        print(f"  {name:26}{figure:9.2f}{target if what == 'decide' else ''}", flush=True)
    print("a token")
    figures = {"evidence, each piece": timed(at_checkpoints, rule, streams, "update")}
    for name, policy in (("engine with the rule", rule), ("engine with no rule", Never())):
        figures[name] = timed(engine, policy, runs, every)
    for name, figure in figures.items():
        print(f"  {name:26}{figure:9.2f}")
    print("a request, by words of its context: new, and again")
    text = words(" ".join(passage.text for passage in load_reference().passages))
    for size in SIZES:
        new, more = (timed(requests, rule, size, text, again) for again in (False, True))
        print(f"  {size:<26}{new:9.0f}{more:9.0f}", flush=True)


if __name__ == "__main__":
    main()
