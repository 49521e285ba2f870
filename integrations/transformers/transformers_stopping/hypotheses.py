"""The hypotheses of a beam search: what each one holds, and what the policy says of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Container, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import torch
from transformers import PreTrainedTokenizerBase

from stopping_core import Completion
from transformers_stopping.confidence import UNKNOWN, Confidence, confidence
from transformers_stopping.criteria import JudgedRow

_Key: TypeAlias = tuple[int, tuple[int, ...]]  # number of the prompt, tokens generated for it


@dataclass(slots=True)
class _Hypothesis:
    """The hypothesis it goes on from, its newest token, and its row where it was judged."""

    before: _Hypothesis | None
    token: int
    reading: Confidence
    row: JudgedRow | None = None


class Hypotheses:
    """All that are under way in one run, and those that have ended.

    Beams are sorted anew at each step, so a hypothesis is known by its tokens. Only those are
    judged that could end the search, the best ``beams`` candidates of a step; one that goes on from
    behind them is read again from its beginning when it comes among them.

    Args:
        rows: One for each prompt, fresh; they are copied.
        tokenizer: The model's tokenizer.
        beams: How many go on at each step, of each prompt.
        width: Of the prompts, tokens.
        ends: Tokens that end a hypothesis.  # (k,)
        top: How many of the largest logprobs to read, >= 0.
        judges: Whether to ask the policy. If not, only those that ended otherwise are read.
        clock: Seconds, monotonic.
    """

    def __init__(
        self,
        rows: Sequence[JudgedRow],
        tokenizer: PreTrainedTokenizerBase,
        *,
        beams: int,
        width: int,
        ends: torch.Tensor | None,
        top: int,
        judges: bool,
        clock: Callable[[], float],
    ) -> None:
        self._rows = rows
        self._tokenizer = tokenizer
        self._beams = beams
        self._width = width
        self._ends = ends
        self._top = top
        self._judges = judges
        self._clock = clock
        self._scores = torch.empty(0, 0)
        self._places: dict[_Key, int] = {}  # in the scores
        self._running: dict[_Key, _Hypothesis | None] = {(at, ()): None for at in range(len(rows))}
        self._ended: dict[_Key, JudgedRow] = {}

    def score(self, input_ids: torch.Tensor, scores: torch.Tensor) -> None:
        """Take the scores of what comes next.

        Args:
            input_ids: Those that go on.  # (prompts * beams, length)
            scores: After the logits processors.  # (prompts * beams, vocabulary)
        """
        self._scores = scores
        self._places = {key: at for at, key in enumerate(self._keys(input_ids))}

    def judge(
        self,
        input_ids: torch.Tensor,
        ended: Sequence[bool],
        limited: Sequence[bool],
        settled: Container[int],
    ) -> list[bool]:
        """Take the candidates for the next step.

        Args:
            input_ids: The candidates, of each prompt the best first.  # (candidates, length)
            ended: Whether each has ended otherwise.
            limited: Whether that was at a limit.
            settled: Prompts whose candidates no longer matter.

        Returns:
            Whether each has ended, otherwise or by the policy.
        """
        now = self._clock()
        over = list(ended)
        keys = self._keys(input_ids)
        each = len(keys) // len(self._rows)
        parents = [(prompt, tokens[:-1]) for prompt, tokens in keys]
        readings = self._readings(input_ids, parents)
        best = [at % each < self._beams for at in range(len(keys))]
        children = Counter(parent for parent, among in zip(parents, best, strict=True) if among)
        running: dict[_Key, _Hypothesis | None] = {}
        for at, (prompt, tokens) in enumerate(keys):
            if prompt in settled:
                continue
            before = self._running[parents[at]]
            running[keys[at]] = one = _Hypothesis(before, tokens[-1], readings[at])
            if not best[at] or not (self._judges or ended[at]):
                continue
            children[parents[at]] -= 1
            row = one.row = self._row(prompt, before, now, fork=children[parents[at]] > 0)
            if not row.done:
                row.take(one.token, one.reading, now)
                if ended[at]:
                    row.end("length" if limited[at] else "stop", now)
            if row.done:
                self._ended[keys[at]] = row
            over[at] = row.done
        self._running = running
        return over

    def completions(self, input_ids: torch.Tensor) -> list[list[Completion]]:
        """Give what came of finished ones, prompt by prompt; padding may follow them.

        Args:
            input_ids: As many of each prompt.  # (prompts * returned, length)
        """
        found: list[list[Completion]] = [[] for _ in self._rows]
        for prompt, tokens in self._keys(input_ids):
            starts = ((prompt, tokens[:count]) for count in range(1, len(tokens) + 1))
            key = next(start for start in starts if start in self._ended)
            found[prompt].append(self._ended[key].completion)
        return found

    def _row(
        self, prompt: int, hypothesis: _Hypothesis | None, now: float, *, fork: bool
    ) -> JudgedRow:
        """The row of a hypothesis, to go on with: a copy where another one needs it too."""
        row = hypothesis.row if hypothesis is not None else None
        if row is not None:
            return row.fork(self._tokenizer) if fork and not row.done else row
        path: list[_Hypothesis] = []
        while hypothesis is not None:
            path.append(hypothesis)
            hypothesis = hypothesis.before
        row = self._rows[prompt].fork(self._tokenizer)
        for step in reversed(path):
            row.take(step.token, step.reading, now)
        return row

    def _readings(self, input_ids: torch.Tensor, parents: Sequence[_Key]) -> Sequence[Confidence]:
        """The confidence in each candidate's newest token."""
        if not self._judges:
            return [UNKNOWN] * len(parents)
        scores = self._scores[[self._places[parent] for parent in parents]]
        return confidence(scores, input_ids[:, -1].to(scores.device), self._top, self._ends)

    def _keys(self, input_ids: torch.Tensor) -> list[_Key]:
        each = len(input_ids) // len(self._rows)
        made = input_ids[:, self._width :].tolist()
        return [(at // each, tuple(tokens)) for at, tokens in enumerate(made)]
