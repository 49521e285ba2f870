"""What a scorer says of the samples of a live model, and what becomes of its errors."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeAlias, TypeVar, cast

from stopping_core.hybrids.polling import Poll
from stopping_core.hybrids.voting import outside_votes
from stopping_core.policies.baselines.samples import SampleRule

T = TypeVar("T")

Scorer: TypeAlias = Callable[[str], float | Awaitable[float]]
"""Says how good a text is, higher is better: a reward model, a verifier, a judge."""


@dataclass(frozen=True, slots=True)
class Scored(Generic[T]):
    """A sample, and what the scorer says of it.

    Args:
        value: The sample.
        score: Higher is better; None for no score.
    """

    value: T
    score: float | None = None


class Scoring:
    """Asks a scorer for the samples of one question.

    Where the scorer raises, that sample has no score, and the others keep theirs.

    One object serves all threads of the question.

    Args:
        scorer: What to ask; None for no scores.

    Examples:
        >>> scoring = Scoring(lambda text: 1 / len(text))
        >>> scoring.score("four"), scoring.score(" ")
        (0.25, None)
    """

    def __init__(self, scorer: Scorer | None) -> None:
        self._scorer = scorer
        self._errors: list[Exception] = []

    def score(self, text: str) -> float | None:
        """Return the score of a text; None where it is blank, or the scorer raises."""
        if self._scorer is None or not text.strip():
            return None
        try:
            with outside_votes():
                return float(cast(float, self._scorer(text)))
        except Exception as error:
            self._errors.append(error)
            return None

    async def ascore(self, text: str) -> float | None:
        """Return what :meth:`score` does: await a coroutine function, run others in a thread.

        A scorer that runs in a thread when this is cancelled runs on to its end.
        """
        if self._scorer is None or not text.strip():
            return None
        if not _is_coroutine_function(self._scorer):
            return await asyncio.to_thread(self.score, text)
        try:
            with outside_votes():
                return float(await cast(Awaitable[float], self._scorer(text)))
        except Exception as error:
            self._errors.append(error)
            return None

    def report(self, made: Poll[Any]) -> dict[str, Any]:
        """How the vote went; with a scorer, ``unscored`` counts samples without a finite score.

        Raises:
            Exception: The first of the scorer, where no sample has a score.
        """
        if self._scorer is None:
            return made.report
        scored = sum(score is not None for score in made.scores)
        if self._errors and not scored:
            raise self._errors[0]
        return {**made.report, "unscored": len(made.samples) - scored}


def check_scorer(rule: SampleRule, scorer: Scorer | None, *, awaits: bool = True) -> None:
    """Refuse a scorer that cannot be used.

    Args:
        rule: What the scores are for.
        scorer: What is to be asked, or None.
        awaits: Whether a coroutine function can be awaited.

    Raises:
        ValueError: The rule goes by scores, and there is no scorer.
        TypeError: It is a coroutine function, and nobody awaits it; or the rule is none.
    """
    if not isinstance(rule, SampleRule):
        raise TypeError(f"rule must be a SampleRule such as DecidedVote, got {rule!r}")
    if rule.scored and scorer is None:
        raise ValueError(f"scorer must be given for {rule!r}, got None")
    if scorer is not None and not awaits and _is_coroutine_function(scorer):
        raise TypeError(
            f"scorer must not be a coroutine function in the sync path, got {scorer!r}: "
            "use the async one"
        )


def _is_coroutine_function(scorer: Scorer) -> bool:
    return any(map(inspect.iscoroutinefunction, (scorer, type(scorer).__call__)))
