"""Votes that are held live, each way on the same questions; a part of ``benchmarks.votes``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from stopping_core import AdaptiveStopping, Draft, Request, Verdict
from stopping_core.budgets import FixedBudget
from stopping_core.cli.bench.scores import Scores
from stopping_core.hybrids import Purse
from stopping_core.metrics import GRADERS
from stopping_core.policies import Never
from stopping_core.policies.baselines import SampleRule
from stopping_core.traces.run import Run
from transformers_stopping import load, vote


@dataclass(frozen=True, slots=True, eq=False)
class Booth:
    """Where questions are voted on live, by the model that was recorded.

    Args:
        model: It.
        tokenizer: Its tokenizer.
        runs: One recorded sample of each question.
        temperature: Of the samples.
        max_tokens: The cap of each sample.
    """

    model: Any
    tokenizer: Any
    runs: Sequence[Run]
    temperature: float
    max_tokens: int

    @classmethod
    def of(cls, folder: str, runs: Sequence[Run], temperature: float, max_tokens: int) -> Booth:
        """Load the model from a folder."""
        torch.set_num_threads(1)
        return cls(*load(folder, progress=False), runs, temperature, max_tokens)

    @property
    def whole(self) -> AdaptiveStopping:
        """Settings of samples that nobody ends but the rule: each votes as a recorded one does."""
        return AdaptiveStopping(
            policy=Never(),
            reasoning=Never(),
            completeness=_accept,
            budget=FixedBudget(self.max_tokens),
            attempts=1,
            checkpoint_every=1,
        )

    def hold(self, rule: SampleRule, stopping: AdaptiveStopping) -> Scores:
        """Vote on each question, with draws that are its own and the same for all rules.

        Args:
            rule: Decides the votes.
            stopping: Settings of the samples.
        """
        tokens, right = [], []
        for number, run in enumerate(self.runs):
            purse = Purse()
            made = vote(
                self.model,
                self.tokenizer,
                run.prompt,
                rule,
                stopping,
                seed=number,
                purse=purse,
                max_new_tokens=self.max_tokens,
                temperature=self.temperature,
                top_k=0,
                top_p=1.0,
            )
            tokens.append(purse.spent.tokens)
            text = "" if made.winner is None else made.winner.text
            right.append(GRADERS[run.grader](text, run.gold))
        nothing = np.zeros(len(tokens))
        spent = np.array(tokens, dtype=np.float64)
        grades = {"right": np.array(right, dtype=np.float64)}
        return Scores(nothing, spent, nothing, nothing, nothing > 0, grades)


def _accept(request: Request, draft: Draft) -> Verdict:
    return Verdict(True)
