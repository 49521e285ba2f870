"""How fast recorded runs are played to policies: ``make bench-replay``.

Three figures from one run, in tokens a second. A token counts once for each setting that it is
played to, up to the stop: what the engine is fed, and what it would be fed where all runs are
played at once. Taking the places and the readings from the runs is done once for all settings, and
stands apart: there every token counts once.
"""

from __future__ import annotations

import random
import sys
import time
from collections.abc import Sequence

import numpy as np

from stopping_core.cli.demo.corpus import load_reference
from stopping_core.policies import MaxTokens, MinTokens, Patience, Policy, Threshold
from stopping_core.signals import AnswerPattern, Margin, MeanLogprob, Novelty, Sentences
from stopping_core.testing import words
from stopping_core.traces.columns import Columns
from stopping_core.traces.replay import replay
from stopping_core.traces.run import Run
from stopping_core.traces.stream import Tags
from stopping_core.traces.sweep import cut

RUNS = 2000
LONGEST = 256  # tokens
SAMPLE = 40  # runs that go through the engine


def made_runs() -> list[Run]:
    """Runs of real text of many lengths, with readings drawn at random."""
    rng, numbers = random.Random(0), np.random.default_rng(0)
    text = words("\n\n".join(passage.text for passage in load_reference().passages))
    runs = []
    for number in range(RUNS):
        length = rng.randrange(8, LONGEST)
        begin = rng.randrange(len(text) - length)
        top = -np.sort(numbers.exponential(2.0, (length, 5)), axis=1).astype(np.float32)
        runs.append(
            Run(
                question_id=str(number),
                question="?",
                gold=("?",),
                tokens=tuple(text[begin : begin + length]),
                finish_reason="stop",
                logprobs=top[:, 0],
                top_logprobs=top,
                margin=numbers.random(length).astype(np.float32),
            )
        )
    return runs


def settings() -> list[Policy]:
    """What a search tries: budgets, sentences, thresholds, patience."""
    found: list[Policy] = [MaxTokens(tokens) for tokens in range(8, 256, 8)]
    found += [Threshold(Sentences(), at_least=n) for n in range(1, 9)]
    found += [Threshold(Novelty(16), at_most=share / 10) for share in range(10)]
    for bound in np.linspace(-2.0, -0.2, 20):
        low = Threshold(MeanLogprob(16), at_least=float(bound))
        found += [low, Patience(low, 3), low & Threshold(Sentences(), at_least=1) & MinTokens(16)]
    found += [
        Threshold(Margin(8), at_least=share / 20) | Threshold(AnswerPattern(), at_least=1)
        for share in range(10, 20)
    ]
    return found


def main(path: str | None) -> None:
    """Print the three figures, over the runs of a trace file or over made ones."""
    runs, tags = (made_runs(), None) if path is None else _recorded(path)
    policies = settings()
    tokens = sum(map(len, runs))
    print(f"{len(runs)} runs, {tokens:,} tokens, {len(policies)} settings")

    begin = time.perf_counter()
    columns = Columns(runs, tags=tags)
    places = time.perf_counter() - begin
    print(f"places:       {tokens / places:12,.0f} tokens a second, once; {len(columns):,} rows")

    begin = time.perf_counter()
    signals = [signal for policy in policies for signal in policy.signals()]
    columns.extract(signals)
    taken = time.perf_counter() - begin
    kinds = ", ".join(sorted({type(signal).__name__ for signal in signals}))
    print(f"readings:     {tokens / taken:12,.0f} tokens a second, once; {kinds} together")

    begin = time.perf_counter()
    played = sum(int(cut(columns, policy).tokens.sum()) for policy in policies)
    at_once = played / (time.perf_counter() - begin)
    print(f"all at once:  {at_once:12,.0f} tokens a second, {played:,} tokens played")
    whole = played / (places + taken + played / at_once)
    print(f"  with places and readings: {whole:,.0f}")

    some = runs[:: max(1, len(runs) // SAMPLE)]
    begin = time.perf_counter()
    played = sum(replay(run, policy, tags=tags).tokens for policy in policies for run in some)
    engine = played / (time.perf_counter() - begin)
    print(f"by the engine:{engine:12,.0f} tokens a second, {played:,} tokens played")


def _recorded(path: str) -> tuple[Sequence[Run], Tags]:
    from stopping_core.traces.store import read_trace

    trace = read_trace(path)
    return trace.runs, trace.header.reasoning_tags


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else None)
