"""Answer Convergence: stop when the answer repeats from one sentence to the next."""

from __future__ import annotations

from typing import ClassVar, Self

from stopping_core.policies.baselines.stable_answer import StableAnswer
from stopping_core.types import Boundary


class AnswerConvergence(StableAnswer):
    """Stops when the answer, asked for after every sentence, is the same ``k`` times in a row.

    The authors' "early stopping via answer consistency", the first of their three ways; the others
    change the sampling or read activations. A probe a sentence is dear where sentences are short.

    Rule: after every sentence end the reasoning and let the model answer greedily; stop when
    ``k`` answers in a row are equal. Default: ``k = 2``, an answer that repeats. Needs probes.

    From description: ``k`` and what is equal. Answers are compared after normalisation, numbers as
    numbers; an empty answer equals none. The authors split sentences with NLTK, this takes the
    ends that the engine sees.

    Args:
        k: Answers in a row that have to agree, >= 2.
        at: Where to ask: boundaries of this kind, or every so many tokens.

    References:
        Liu and Wang (2025), Answer Convergence as a Signal for Early Stopping in Reasoning.
        arXiv:2506.02536.
    """

    title: ClassVar[str] = "Answer Convergence"
    reason = "answer convergence"

    def __init__(self, k: int = 2, at: Boundary | int = Boundary.SENTENCE) -> None:
        super().__init__(k, at)

    @classmethod
    def grid(cls) -> tuple[Self, ...]:
        """Return 2 to 10 answers in a row, at sentences, lines, paragraphs and every 16 tokens."""
        places = (Boundary.SENTENCE, Boundary.LINE, Boundary.PARAGRAPH, 16)
        return tuple(cls(k, at) for at in places for k in (2, 3, 4, 6, 10))
