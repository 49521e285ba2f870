"""Where ``stopping dashboard`` finds that requests have changed."""

from __future__ import annotations

import random
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest
from scipy.stats import binomtest

from stopping_core.cli.dashboard import drifts
from stopping_core.cli.dashboard.drifts import GENERATED, Looked
from stopping_core.feedback import Outcome

START = datetime(2025, 3, 1, 12, tzinfo=UTC)


def outcomes(lengths: Sequence[float], questions: Sequence[float]) -> list[Outcome]:
    """A request a minute; a question of 0 words is not known."""
    return [
        Outcome(
            f"r{number}",
            time=START + timedelta(minutes=number),
            generated=int(length),
            features={"question_words": float(question)} if question else {},
        )
        for number, (length, question) in enumerate(zip(lengths, questions, strict=True))
    ]


def lognormal(count: int, middle: float, seed: int = 0) -> list[float]:
    draw = random.Random(seed)
    return [round(middle * draw.lognormvariate(0, 0.5)) for _ in range(count)]


def test_a_change_is_found_where_it_is() -> None:
    """When it was seen, and the means to either side; what did not change is told as well."""
    lengths = [60.0, 80.0] * 1_000 + [120.0, 160.0] * 1_000
    looked = drifts.drifts(outcomes(lengths, lognormal(4_000, 12)))
    (found,) = looked.found
    assert (GENERATED, 4_000) == (found.feature, found.requests_before + found.requests_after)
    assert 2_000 <= found.requests_before < 2_200
    assert START + timedelta(minutes=found.requests_before) == found.seen
    assert pytest.approx((70, 140), rel=0.1) == (found.before, found.after)
    assert (4_000, 105.0) == looked.features[GENERATED]
    assert 4_000 == looked.features["question_words"][0]


def test_changes_of_two_features_are_told_in_order() -> None:
    """Each by its own requests: those that do not have a feature do not count for it."""
    lengths = [50.0, 60.0] * 1_000 + [150.0, 180.0] * 1_000
    questions = [10.0, 0.0] * 500 + [40.0, 0.0] * 1_500
    looked = drifts.drifts(outcomes(lengths, questions))
    assert ["question_words", GENERATED] == [found.feature for found in looked.found]
    words = looked.found[0]
    assert 2_000 == words.requests_before + words.requests_after
    assert pytest.approx(40) == words.after
    assert 500 <= words.requests_before < 600
    assert START + timedelta(minutes=2 * words.requests_before) == words.seen


def test_one_change_is_told_once() -> None:
    """A large one is seen again and again while the detector forgets what was before."""
    lengths = [10.0, 11.0] * 2_000 + [900.0, 1_000.0] * 2_000
    looked = drifts.drifts(outcomes(lengths, [0.0] * len(lengths)))
    assert [GENERATED] == [found.feature for found in looked.found]


def test_there_and_back_is_told_twice() -> None:
    """The mean behind the first change ends where the second one begins."""
    lengths = [50.0, 60.0] * 1_000 + [150.0, 180.0] * 1_000 + [50.0, 60.0] * 1_000
    first, second = drifts.drifts(outcomes(lengths, [0.0] * len(lengths))).found
    assert (first.after, first.requests_after) == (second.before, second.requests_before)
    assert first.before < first.after > second.after


def test_nothing_is_found_where_nothing_changes() -> None:
    """Of 40 quiet months few tell of a drift: not more than the 1% that was measured allows."""
    told = 0
    for seed in range(40):
        lengths, questions = lognormal(3_000, 80, seed), lognormal(3_000, 12, seed + 100)
        told += bool(drifts.drifts(outcomes(lengths, questions)).found)
    assert binomtest(told, 40, 0.01, alternative="greater").pvalue > 0.001


def test_only_the_commonest_features_are_looked_at() -> None:
    """So that names without end cost no work without end; how many were left out is told."""
    some = [
        Outcome(features={**{f"rare {number}": 1.0 for number in range(number)}, "common": 1.0})
        for number in range(40)
    ]
    looked = drifts.drifts(some)
    assert [GENERATED, "common", "rare 0"] == list(looked.features)[:3]
    assert (drifts.MOST_FEATURES, 29) == (len(looked.features), looked.left_out)


def test_the_largest_numbers() -> None:
    """A mean of numbers as large as there are is none too large."""
    some = [Outcome(generated=2**63 - 1, features={"x": 1.7e308}) for _ in range(50)]
    looked = drifts.drifts(some)
    assert {GENERATED: (50, 2.0**63), "x": (50, pytest.approx(1.7e308))} == looked.features


def test_nothing_to_look_at() -> None:
    """No request, no feature."""
    assert Looked({}, 0, []) == drifts.drifts([])
