"""Runs whose probes are written down, and what a rule makes of them."""

from __future__ import annotations

import math
import random
from collections.abc import Iterable, Mapping

import numpy as np

from stopping_core.policies import Policy
from stopping_core.traces.columns import Columns
from stopping_core.traces.replay import replay
from stopping_core.traces.run import Run
from stopping_core.traces.sweep import cut
from stopping_core.types import Channel, Probe


def probed(
    text: str, probability: float = 0.5, *, tokens: int = 3, entropy: float | None = None
) -> Probe:
    """A probe all of whose tokens have one probability."""
    logprobs = (math.log(probability),) * tokens
    return Probe(text, tokens, reread=10, logprobs=logprobs, entropy=entropy)


def recorded(tokens: Iterable[str], probes: Mapping[int, Probe]) -> Run:
    """A run of these tokens, with probes by the number of tokens before them, and one at its start.

    Runs without any are refused; at the start no rule asks.
    """
    texts = tuple(tokens)
    return Run(
        question_id="q",
        question="?",
        gold=("4",),
        tokens=texts,
        finish_reason="stop",
        logprobs=np.zeros(len(texts), np.float32),
        probes={0: probed("at the start"), **probes},
    )


def words(count: int, probes: Mapping[int, Probe]) -> Run:
    """A run of words without any end in it."""
    return recorded(("word ",) * count, probes)


def stop(rule: Policy, run: Run, channel: Channel = "answer") -> tuple[int | None, int]:
    """After how many tokens the rule stops the run, or None, and how many probes it has bought.

    Said by the engine, and by the arrays, which have to agree.
    """
    tags = ("<think>", "</think>") if channel == "reasoning" else None
    outcome = replay(run, rule, channel=channel, tags=tags)
    engine = None if outcome.checkpoint is None else outcome.checkpoint.tokens
    cuts = cut(Columns((run,), channel=channel, tags=tags), rule)
    row = int(cuts.row[0])
    arrays = None if row < 0 else int(cuts.columns.tokens[row])
    assert (engine, outcome.probes) == (arrays, int(cuts.probes[0]))
    return engine, outcome.probes


def babble(seed: int, channel: Channel = "answer") -> Run:
    """A run of random sentences, lines and paragraphs, or of such thoughts, probed everywhere."""
    rng = random.Random(seed)
    pieces = ("Wait, ", "Hmm. ", "so ", "then ", "it ", "is. ", "four.\n", "Five.\n\n", "But ")
    tokens = rng.choices(pieces, k=rng.randint(20, 90))
    if channel == "reasoning":
        tokens = ["<think>", "\n", *tokens, "</think>", "\n\n", "4"]
    probes = {
        place: Probe(
            rng.choice(("4", "4.0", "The answer is 4.", "5", "no, 4", "")),
            tokens=3,
            reread=10,
            logprobs=tuple(
                math.log(rng.choice((0.4, 0.9, 0.99))) for _ in range(rng.randint(0, 3))
            ),
            entropy=rng.choice((None, 0.02, 0.3, 0.31)),
        )
        for place in range(len(tokens) + 1)
    }
    return recorded(tokens, probes)
