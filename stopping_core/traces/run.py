"""One recorded generation, with all that was seen of it, and what its file says of all of them."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from stopping_core.types import Need, Probe, Request, Step

Floats: TypeAlias = NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class Run:
    """One generation to its natural end, or to its cap.

    A cut only shortens a run, so what any stopping rule would have made of it is a prefix of it.
    Readings are NaN where a token has none; an array that is None was not recorded at all.

    Args:
        question_id: Of the question; with ``sample`` unique in a file.
        sample: 0, 1, ... for the sampled runs of one question.
        question: The question.
        context: The passage it is about, or ``""``.
        gold: The answers that count as right, at least one.
        grader: Name of the grader in ``stopping_core.metrics.GRADERS`` that suits them.
        group: What shares a passage: resampled together.
        family: What splits keep whole; ``group`` where there is nothing larger.
        prompt: What was sent, as text.
        prompt_tokens: Its length, tokens, or None.
        finish_reason: ``"stop"`` where the model ended, ``"length"`` at the cap, or the provider's
            word.
        tokens: Text of each token, the end-of-sequence token left out.  # (n,)
        logprobs: Of the tokens, nats.  # (n,)
        top_logprobs: Of the most likely tokens at each place, nats, falling.  # (n, k)
        entropy: Of the full next-token distribution, nats.  # (n,)
        margin: Probability of the best token minus that of the second.  # (n,)
        end_probability: Of end-of-sequence at the place of each token.  # (n,)
        seconds: When each token came, after the request.  # (n,)
        reasoning: Whether each token came on the provider's reasoning channel.  # (n,)
        probes: By the number of tokens before them, 0 <= key <= n.
    """

    question_id: str
    question: str
    gold: tuple[str, ...]
    tokens: tuple[str, ...]
    finish_reason: str
    sample: int = 0
    context: str = ""
    grader: str = "contains"
    group: str = ""
    family: str = ""
    prompt: str = ""
    prompt_tokens: int | None = None
    logprobs: Floats | None = None
    top_logprobs: Floats | None = None
    entropy: Floats | None = None
    margin: Floats | None = None
    end_probability: Floats | None = None
    seconds: Floats | None = None
    reasoning: NDArray[np.bool_] | None = None
    probes: dict[int, Probe] = field(default_factory=dict)

    @property
    def text(self) -> str:
        """All that was generated, reasoning and its tags included."""
        return "".join(self.tokens)

    def __len__(self) -> int:
        return len(self.tokens)

    def request(self) -> Request:
        """What was known before the first token."""
        return Request(
            prompt=self.prompt,
            question=self.question,
            context=self.context,
            prompt_tokens=self.prompt_tokens,
        )

    def steps(self) -> Iterator[Step]:
        """Yield the run as the stream that it was, a step a token."""
        columns = [
            _values(column, len(self))
            for column in (self.logprobs, self.entropy, self.margin, self.end_probability)
        ]
        thinking = [False] * len(self) if self.reasoning is None else self.reasoning.tolist()
        for i, text in enumerate(self.tokens):
            logprob, entropy, margin, end = (column[i] for column in columns)
            yield Step(
                text,
                logprob=logprob,
                top_logprobs=None if self.top_logprobs is None else _known(self.top_logprobs[i]),
                entropy=entropy,
                margin=margin,
                end_probability=end,
                channel="reasoning" if thinking[i] else "answer",
            )


@dataclass(frozen=True, slots=True)
class Header:
    """What all runs of a file have in common: one model under one template.

    Args:
        model: Its name or folder, for people.
        model_fingerprint: Of weights, quantisation and engine: what tells models apart.
        template: Name of the prompt template.
        template_fingerprint: Of its content.
        max_tokens: The cap of each run.
        temperature: 0.0 for greedy runs.
        seed: Of the sampling.
        samples: Runs a question.
        top_logprobs: k of the top logprobs recorded; 0 for none.
        reasoning_tags: Tags that mark reasoning in the text, or None where there is none.
        probe: The words that ask for the answer; ``""`` where nothing was probed.
        probe_tokens: The most tokens a probe may take.
        probe_every: Tokens between two probes; line ends are probed besides. 0 for no probes.
        holds: What the runs hold beyond text.
        threads: Of a local model: sums in another order may differ in the last digit.
        asked_reasoning_tags: Those that the recording was told to look for. None: it looked for
            ``<think>``, and probed the runs that begin otherwise all through.
    """

    model: str
    model_fingerprint: str
    template: str
    template_fingerprint: str
    max_tokens: int
    temperature: float = 0.0
    seed: int = 0
    samples: int = 1
    top_logprobs: int = 0
    reasoning_tags: tuple[str, str] | None = None
    probe: str = ""
    probe_tokens: int = 0
    probe_every: int = 0
    holds: frozenset[Need] = frozenset()
    threads: int = 0
    asked_reasoning_tags: tuple[str, str] | None = None


@dataclass(frozen=True, slots=True)
class Trace:
    """The runs of one file."""

    header: Header
    runs: tuple[Run, ...]


def _values(column: Floats | None, length: int) -> list[float | None]:
    """The readings as Python numbers, None where there is none."""
    if column is None:
        return [None] * length
    return [None if math.isnan(value) else value for value in column.tolist()]


def _known(row: Floats) -> tuple[float, ...] | None:
    known = tuple(value for value in row.tolist() if not math.isnan(value))
    return known or None
