"""Answers to questions with a context, and models that are made up."""

from __future__ import annotations

import random
from functools import lru_cache

import numpy as np

from stopping_core.policies.learned import LearnedStopping, LossModel
from stopping_core.policies.learned.answer import AnswerEvidence
from stopping_core.policies.learned.logistic import Logistic
from stopping_core.policies.learned.salience import WIDTH
from stopping_core.testing import words
from stopping_core.traces.columns import Columns, Mask
from stopping_core.traces.graded import Graded
from stopping_core.traces.run import Run

FEATURES = len(AnswerEvidence.names)
PLACES = ("Paris", "Rome", "Oslo", "Cairo", "Lima", "Quito", "Delhi", "Kyoto", "Perth", "Turin")
THINGS = ("tower", "bridge", "museum", "garden", "station", "harbour", "palace", "theatre")


def made_model(seed: int = 0, *, weighs: bool = True) -> LossModel:
    """A model of random numbers."""
    rng = np.random.default_rng(seed)

    def logistic(width: int) -> Logistic:
        mean, weights = rng.normal(size=(2, width)).tolist()
        scale = rng.uniform(0.5, 2, width).tolist()
        return Logistic(tuple(mean), tuple(scale), tuple(weights), float(rng.normal()))

    salience = logistic(WIDTH) if weighs else None
    return LossModel("text", "answer", logistic(FEATURES), 0.7, salience)


def made_answer(seed: int, *, context: bool = True) -> Run:
    """A run that names the place asked for early, or late, or never, and then says more."""
    rng = random.Random(seed)
    thing, place = rng.choice(THINGS), rng.choice(PLACES)
    begun, ended = rng.sample(range(1800, 1990), 2)
    text = (
        f"The {thing} was begun in {begun}. It stands in the old part of {place}, by the river. "
        f"In {ended} it was opened to the public, and many came."
    )
    idle = rng.choice(["That is a good question. ", "Let me look at the text. ", ""]) * rng.randint(
        0, 2
    )
    answer = rng.choice([place, place, place, "somewhere"])
    said = (
        f"{idle}The {thing} stands in {answer}. It was begun in {begun} and opened in {ended}. "
        f"Many people came to see it, and it is by the river. I hope that this helps you."
    )
    return Run(
        question_id=f"q{seed}",
        question=f"Where does the {thing} stand?",
        gold=(place,),
        tokens=tuple(words(said)),
        finish_reason="stop",
        context=text if context else "",
        group=f"g{seed // 2}",
        family=f"f{seed // 4}",
    )


def labelled(runs: list[Run], every: int = 2) -> tuple[Columns, Mask, Mask]:
    """The places of some runs, whether the answer is right there, and whether the full one is."""
    columns = Columns(runs, tags=None).asked(LearnedStopping(-4.0, every=every).marks())
    graded = Graded(columns)
    return columns, graded.right(columns.rows), graded.full() >= 1


@lru_cache(maxsize=1)
def fitted() -> LearnedStopping:
    """The rule, fitted on 160 answers."""
    return LearnedStopping(-4.0).fit(*labelled([made_answer(seed) for seed in range(160)]))
