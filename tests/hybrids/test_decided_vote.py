"""The decided vote: what it takes for certain, what it stops at, and what the full vote says."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stopping_core.hybrids import DecidedVote
from stopping_core.policies.baselines import AdaptiveConsistency, Sample, VoteOfN, draw

ANSWERS = st.lists(st.sampled_from(["1", "2", "3", ""]), min_size=1, max_size=12)


def samples(answers: list[str]) -> list[Sample]:
    return [Sample(answer, 10) for answer in answers]


@given(ANSWERS, st.integers(0, 6))
def test_certain_is_certain(answers: list[str], left: int) -> None:
    """Where it is sure, no way to fill the samples that are left changes the vote."""
    most = len(answers) + min(left, 4)
    certainty = DecidedVote(0.9, most).certainty(answers)
    assert 0 <= certainty <= 1
    if certainty < 1 or not any(answers):
        return
    wanted = draw(VoteOfN(most), samples(answers)).answer
    for rest in itertools.product(["1", "2", "3", "4", ""], repeat=most - len(answers)):
        assert wanted == draw(VoteOfN(most), samples([*answers, *rest])).answer


@given(ANSWERS)
def test_nothing_is_sure_before_it_is_decided(answers: list[str]) -> None:
    """With samples enough left for another answer it is never certain."""
    assert DecidedVote(0.9, 2 * len(answers) + 2).certainty(answers) < 1


def test_it_counts_every_way_in_which_it_may_be_overtaken() -> None:
    """Against the posterior predictive, drawn: two answers, and the leader's share uniform."""
    rng = np.random.default_rng(0)
    share = rng.beta(3 + 1, 1 + 1, 200_000)
    more = rng.binomial(8, share)
    stays = float(np.mean(3 + more >= 1 + 8 - more))  # a tie is the leader's, who came first
    new = rng.binomial(8, rng.beta(3 + 1, 0 + 1, 200_000))
    stays -= float(np.mean(3 + new < 8 - new))
    assert abs(stays - DecidedVote(0.9, 12).certainty(["a", "a", "a", "b"])) < 0.005


@pytest.mark.parametrize(("most", "confidence"), [(16, 0.9), (16, 0.99), (40, 0.95)])
def test_the_full_vote_is_nearly_always_the_same(most: int, confidence: float) -> None:
    """Where the shares of two answers are drawn as it takes them to be."""
    rng, other, drawn = np.random.default_rng(1), 0, 0
    rule = DecidedVote(confidence, most)
    for _ in range(2000):
        share = rng.random()
        run = samples(["a" if rng.random() < share else "b" for _ in range(most)])
        made = draw(rule, run)
        other += made.answer != draw(VoteOfN(most), run).answer
        drawn += made.samples
    assert other / 2000 <= 1 - confidence + 0.02
    assert drawn / 2000 < 0.75 * most


def test_it_asks_for_what_it_surely_wants() -> None:
    """As many as would decide it, did all agree; that many are never too many."""
    rule = DecidedVote(0.95, 16)
    assert rule.batch() == next(n for n in range(1, 17) if rule.certainty(["a"] * n) >= 0.95)
    for answers in (["a", "a"], ["a", "b", "a"], ["", "a"]):
        for sample in samples(answers):
            rule.take(sample)
        for _ in range(rule.batch() - 1):
            rule.take(samples(["a"])[0])
            assert rule.more()


def test_it_draws_less_than_adaptive_consistency_of_as_many_samples() -> None:
    """Which does not know that they come to an end."""
    rng = np.random.default_rng(2)
    ours, theirs = Counter[str](), 0
    for _ in range(500):
        share = rng.beta(4, 1)
        run = samples(["a" if rng.random() < share else "b" for _ in range(16)])
        ours["drawn"] += draw(DecidedVote(0.95, 16), run).samples
        theirs += draw(AdaptiveConsistency(0.95, 16), run).samples
    assert ours["drawn"] < theirs


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((1.0, 16), r"confidence must be in \(0, 1\), got 1.0"),
        ((math.nan, 16), r"confidence must be in \(0, 1\), got nan"),
        (("0.9", 16), r"confidence must be in \(0, 1\), got '0.9'"),
        ((None, 16), r"confidence must be in \(0, 1\), got None"),
        ((0.9, 0), "most must be a whole number >= 1, got 0"),
        ((0.9, 2.5), "most must be a whole number >= 1, got 2.5"),
        ((0.9, True), "most must be a whole number >= 1, got True"),
        ((0.9, "3"), "most must be a whole number >= 1, got '3'"),
    ],
)
def test_wrong_arguments_are_named(arguments: tuple[Any, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        DecidedVote(*arguments)
