"""Runs of all kinds, with readings drawn at random, and the policies that are tried on them."""

from __future__ import annotations

import math
import random
from dataclasses import replace

import numpy as np

from stopping_core.policies import (
    Deadline,
    LoopGuard,
    MaxTokens,
    MinTokens,
    Never,
    Patience,
    Policy,
    Threshold,
)
from stopping_core.signals import (
    AnswerPattern,
    Lines,
    Margin,
    MeanLogprob,
    Novelty,
    Repetition,
    Sentences,
    TopKEntropy,
)
from stopping_core.testing import SAMPLES, words
from stopping_core.traces.columns import Columns, Mask, Stops
from stopping_core.traces.run import Floats, Run
from stopping_core.types import Boundary, Checkpoint, Decision, Need, Probe

PROSE = (
    "The answer is Paris. It is the capital of France, as Dr. Smith says.\n\nIt lies on the Seine; "
    "about 2.1 million people live there. The answer is Paris.\n\n- one\n- two\n\nSo it is. Wait, "
    "no.\n```\ncode()\n```\nDone.   \n \n"
)
LOOP = "I do not know. " * 12
THOUGHT = "2 + 3 = 5.\nThen 5 * 4 = 20.\nWait, 5 * 4 = 20.\n\nYes. "
TEXTS = (*SAMPLES, PROSE, LOOP, "\n \n " * 40 + "late", "   <thin ice. It melts.")


def make_run(tokens: list[str], seed: int, **changes: object) -> Run:
    """A run of these tokens; its readings are rounded, so that thresholds are met exactly."""
    n, rng = len(tokens), np.random.default_rng(seed)
    top = -np.sort(_draw(rng, (n, 4)), axis=1)
    run = Run(
        question_id=f"q{seed}",
        question="?",
        gold=("Paris", "20"),
        tokens=tuple(tokens),
        finish_reason="stop",
        prompt_tokens=int(rng.integers(1, 90)),
        logprobs=_gaps(rng, top[:, 0]),
        top_logprobs=top,
        entropy=_gaps(rng, _draw(rng, n)),
        margin=_gaps(rng, np.round(rng.random(n), 1).astype(np.float32)),
        end_probability=np.round(rng.random(n), 1).astype(np.float32),
        seconds=np.cumsum(_draw(rng, n)).astype(np.float32),
        probes={place: make_probe(rng) for place in range(n + 1)},
    )
    return replace(run, **changes)  # type: ignore[arg-type]  # any field


def make_probe(rng: np.random.Generator) -> Probe:
    """An answer out of a few, now and then an empty one."""
    text = str(rng.choice(["20", "The answer is 20.", "5", "no, 5", ""]))
    logprobs = tuple(math.log(p) for p in rng.choice([0.4, 0.9, 0.99], rng.integers(0, 4)))
    entropy = float(rng.choice([math.nan, 0.01, 0.5])) if logprobs else None
    return Probe(text, len(logprobs), int(rng.integers(20, 400)), logprobs, entropy)


def characters(text: str) -> list[str]:
    """A token a character."""
    return list(text)


def ragged(text: str, seed: int) -> list[str]:
    """Tokens of any size, some without text: halves of characters."""
    rng = random.Random(seed)
    tokens: list[str] = []
    while text:
        size = rng.choice((0, 1, 1, 2, 3, 7, 20))
        tokens.append(text[:size])
        text = text[size:]
    return tokens


def plain_runs() -> list[Run]:
    """Runs without reasoning."""
    runs = [make_run([], 0), make_run(["\n"], 1)]
    for text in TEXTS:
        for tokens in (words(text), characters(text), ragged(text, len(runs))):
            runs.append(make_run(tokens, len(runs)))
    return runs


def thinking_runs() -> list[Run]:
    """Runs that think first: in tags of one or many tokens, on a channel, without an end."""
    answer = "\n\nIt is 20. Paris, not Rome.\nEnd"
    marked = f"<think>{THOUGHT * 3}</think>{answer}"
    whole = ["<think>", *words(THOUGHT * 3), "</think>", *words(answer)]
    thought = words(THOUGHT)
    channel = np.array([True] * len(thought) + [False] * len(words(answer)))
    runs = [
        make_run(whole, 100),
        make_run(characters(marked), 101),
        make_run(ragged(marked, 5), 102),
        make_run(ragged("  \n" + marked, 6), 103),
        make_run([*thought, *words(answer)], 104, reasoning=channel),
        make_run([*thought, *words(answer)], 105, reasoning=np.roll(channel, 3)),
        make_run(["<think>", *words(THOUGHT), "</th"], 106, finish_reason="length"),
        make_run(["<think>", "</think>", "20"], 107),
    ]
    return [*runs, *(make_run(ragged(marked, seed), seed) for seed in range(200, 206))]


class Curious(Policy):
    """Asks for the answer at each of its boundaries, and stops when it has come ``k`` times."""

    def __init__(self, at: Boundary, k: int, *, forced: bool = False) -> None:
        self.at, self.k = at, k
        self.forced = forced
        self._seen: list[str] = []

    def decide(self, checkpoint: Checkpoint) -> Decision:
        return Decision(False, probe=bool(checkpoint.boundary & self.at))

    def weigh(self, checkpoint: Checkpoint, probe: Probe) -> Decision:
        self._seen.append(probe.text)
        return Decision(self._seen.count("20") >= self.k, "sure", forced=self.forced)

    def reset(self, request: object) -> None:
        self._seen = []

    def needs(self) -> frozenset[Need]:
        return frozenset({"probes"})

    def __repr__(self) -> str:
        return f"Curious({self.at!r}, {self.k}, forced={self.forced})"


class Foresighted(Curious):
    """The same, said of all places at once."""

    def asks(self, columns: Columns) -> Mask:
        return columns.at(self.at)

    def stops(self, columns: Columns) -> Stops:
        asks = self.asks(columns)
        answers = [columns.probe(row).text for row in range(len(columns))]
        found = asks & np.array([answer == "20" for answer in answers], dtype=np.bool_)
        counted = np.zeros(len(columns), dtype=np.int64)
        for number in range(len(columns.runs)):
            rows = columns.of_run(number)
            counted[rows] = np.cumsum(found[rows])
        where = asks & (counted >= self.k)
        return columns.stops(where, where if self.forced else None)


SENTENCES = Sentences()

SETTINGS: dict[str, tuple[Policy, ...]] = {
    "AllOf": (
        Threshold(SENTENCES, at_least=1) & MinTokens(9),
        MinTokens(0) & MinTokens(5),
        Deadline(3.0) & Threshold(Margin(2), at_most=0.5),
        (Threshold(Lines(), at_least=1) | LoopGuard()) & Threshold(MeanLogprob(3), at_most=-0.5),
    ),
    "AnyOf": (
        Threshold(SENTENCES, at_least=2) | Threshold(SENTENCES, at_least=1, at=Boundary.LINE),
        MaxTokens(40) | Deadline(9.0) | Threshold(AnswerPattern(), at_least=1),
        Patience(Threshold(Novelty(4), at_most=0.5), 3) | MaxTokens(33),
        Curious(Boundary.LINE, 2) | MaxTokens(12),
        Foresighted(Boundary.LINE, 2) | Foresighted(Boundary.SENTENCE, 3),
    ),
    "Deadline": (Deadline(0.5), Deadline(5.0), Deadline(50.0)),
    "LoopGuard": (LoopGuard(), LoopGuard(2, 4)),
    "MaxTokens": tuple(MaxTokens(n) for n in (1, 2, 3, 7, 16, 17, 33, 500)),
    "MinTokens": tuple(MinTokens(n) for n in (0, 1, 2, 3, 7, 16, 17, 500)),
    "Never": (Never(),),
    "Patience": (
        Patience(Threshold(TopKEntropy(2), at_least=0.3), 1),
        Patience(Threshold(TopKEntropy(2), at_least=0.3), 2),
        Patience(Threshold(MeanLogprob(1), at_most=-0.5) & MinTokens(3), 3),
        Patience(MaxTokens(5) | Threshold(Repetition(2, 16), at_least=0.1), 2),
        Patience(Foresighted(Boundary.LINE, 1), 2),
    ),
    "Threshold": (
        Threshold(MeanLogprob(1), at_most=-0.5),
        Threshold(MeanLogprob(4), at_least=-0.5),
        Threshold(TopKEntropy(1), at_least=1.0, forced=True),
        Threshold(Margin(1), at_most=0.5, at=Boundary.SENTENCE | Boundary.LINE),
        Threshold(MeanLogprob(2), at_least=-math.inf),
    ),
    "Curious": (Curious(Boundary.LINE, 1), Curious(Boundary.SENTENCE, 2, forced=True)),
    "Foresighted": (
        Foresighted(Boundary.LINE, 1),
        Foresighted(Boundary.SENTENCE | Boundary.LINE, 2, forced=True),
    ),
}
"""Settings to try, by the name of the class."""


def _draw(rng: np.random.Generator, size: int | tuple[int, ...]) -> Floats:
    drawn: Floats = (np.round(rng.exponential(0.7, size) * 2) / 2).astype(np.float32)
    return drawn


def _gaps(rng: np.random.Generator, values: Floats) -> Floats:
    """Take every eighth reading or so away."""
    values = values.copy()
    values[rng.random(len(values)) < 0.125] = np.nan
    return values
