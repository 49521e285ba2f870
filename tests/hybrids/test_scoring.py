"""Asking a scorer: when, in which thread, and what becomes of its errors."""

from __future__ import annotations

import asyncio
import functools
import math
import threading
from typing import Any

import pytest

from stopping_core.hybrids import BestOf, DecidedVote, Poll, Scorer, Scoring, check_scorer
from stopping_core.hybrids.voting import current_vote, voting
from stopping_core.policies.baselines import VoteOfN


def length(text: str) -> float:
    return len(text)


async def alength(text: str) -> float:
    await asyncio.sleep(0)
    return len(text)


class Judge:
    async def __call__(self, text: str) -> float:
        return await alength(text)


def asked(scoring: Scoring, text: str, *, asynchronous: bool) -> float | None:
    return asyncio.run(scoring.ascore(text)) if asynchronous else scoring.score(text)


def made(*scores: float | None, failed: int = 0) -> Poll[str]:
    """A vote of as many samples."""
    some = (None,) * failed + scores
    return Poll("a", None, ("a",) * len(scores), ("a",) * len(some), failed=failed, scores=some)


@pytest.mark.parametrize("asynchronous", [False, True])
def test_a_text_has_a_score_and_a_blank_one_has_none(asynchronous: bool) -> None:
    """It is not even asked for one; nor is anybody where there is no scorer."""
    scoring = Scoring(length)
    assert 4.0 == asked(scoring, "four", asynchronous=asynchronous)
    for text in ("", " \n"):
        assert asked(scoring, text, asynchronous=asynchronous) is None
    assert asked(Scoring(None), "four", asynchronous=asynchronous) is None


@pytest.mark.parametrize("scorer", [alength, Judge(), functools.partial(alength)])
def test_a_coroutine_function_is_awaited_or_refused(scorer: Scorer) -> None:
    """Before anything is drawn."""
    check_scorer(BestOf(), scorer)
    assert 4.0 == asked(Scoring(scorer), "four", asynchronous=True)
    with pytest.raises(TypeError, match="scorer must not be a coroutine function in the sync path"):
        check_scorer(DecidedVote(), scorer, awaits=False)


def test_a_plain_scorer_does_not_hold_up_the_loop() -> None:
    """It runs in a thread."""
    threads: list[int] = []

    def scorer(text: str) -> float:
        threads.append(threading.get_ident())
        return 1.0

    asked(Scoring(scorer), "four", asynchronous=True)
    assert [threading.get_ident()] != threads


@pytest.mark.parametrize("asynchronous", [False, True])
@pytest.mark.parametrize("said", [ZeroDivisionError("first"), StopIteration("first"), None, "high"])
def test_a_scorer_that_fails_gives_no_score(said: Any, asynchronous: bool) -> None:
    """Its first error is raised where nothing has a score, and else its failures are counted."""

    def scorer(text: str) -> Any:
        if isinstance(said, Exception):
            raise said
        return said

    scoring = Scoring(scorer)
    assert asked(scoring, "four", asynchronous=asynchronous) is None
    kind = type(said) if isinstance(said, Exception) else (TypeError, ValueError)
    with pytest.raises(kind):
        scoring.report(made(None, None))
    assert 2 == scoring.report(made(None, 0.5, None))["unscored"]


def test_a_coroutine_that_fails_gives_no_score() -> None:
    """Likewise."""

    async def scorer(text: str) -> float:
        raise ZeroDivisionError("first")

    scoring = Scoring(scorer)
    assert asked(scoring, "four", asynchronous=True) is None
    with pytest.raises(ZeroDivisionError, match="first"):
        scoring.report(made(None))


def test_a_score_that_is_not_finite_is_one_that_is_missing() -> None:
    """And no error; what failed to be drawn is counted elsewhere."""
    scoring = Scoring(lambda text: math.nan)
    score = scoring.score("four")
    assert score is not None
    assert math.isnan(score)
    told = scoring.report(made(None, None, failed=1))
    assert (2, 1) == (told["unscored"], told["failed"])
    assert "scores" not in told


def test_without_a_scorer_nothing_is_told_of_scores() -> None:
    """As before there were any."""
    assert not {"scores", "unscored"} & set(Scoring(None).report(made(None)))


def test_a_rule_that_goes_by_scores_wants_a_scorer() -> None:
    """Others do not."""
    with pytest.raises(ValueError, match=r"scorer must be given for BestOf\(16, .*\), got None"):
        check_scorer(BestOf(), None)
    check_scorer(DecidedVote(), None)
    check_scorer(BestOf(), length, awaits=False)


def test_what_a_judge_asks_is_no_sample_of_the_vote() -> None:
    """A certified vote is not to take the requests of an LLM that judges for its own."""
    seen = []

    def judge(text: str) -> float:
        seen.append(current_vote())
        return 1.0

    async def ajudge(text: str) -> float:
        return judge(text)

    with voting(VoteOfN(2)):
        Scoring(judge).score("a")
        asyncio.run(Scoring(ajudge).ascore("a"))
        asyncio.run(Scoring(judge).ascore("a"))
        assert current_vote() is not None
    assert [None] * 3 == seen
