"""The kept rule, and others that score the probability of a loss and know no more."""

from __future__ import annotations

from benchmarks.formulations.formulation import Scored
from benchmarks.formulations.learners import Learner, loss, scored
from benchmarks.formulations.rows import Floats, Rows


class Direct(Scored):
    """A model of the loss that a stop brings, and one threshold.

    Args:
        name: As the table has it.
        learner: Fits the probability.
        against_tokens: Whether the threshold is on log p - exponent * log(tokens), as the library
            has it, or on the probability.
        reads: What it reads beyond the text.
    """

    def __init__(
        self, name: str, learner: Learner, *, against_tokens: bool, reads: str = ""
    ) -> None:
        self.name = name
        self.reads = reads
        self._learner = learner
        self._against_tokens = against_tokens

    def score(self, train: Rows, test: Rows) -> Floats:
        probability = loss(self._learner, train)(test)
        return scored(probability, test) if self._against_tokens else probability
