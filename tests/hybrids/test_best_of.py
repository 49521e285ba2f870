"""The best of N: what one more is worth, what it stops at, and what it takes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import integrate, stats

from stopping_core.hybrids import BestOf
from stopping_core.hybrids.best_of import expected_improvement
from stopping_core.policies.baselines import Sample, VoteOfN, draw

SCORES = st.lists(st.floats(-10, 10), min_size=2, max_size=12)
ANY = st.none() | st.floats(-2, 2) | st.sampled_from([math.nan, math.inf, -math.inf])
SAMPLES = st.lists(
    st.builds(
        lambda said, score: Sample(said, 10, score=score), st.sampled_from(["a", "b", ""]), ANY
    ),
    max_size=20,
)


def samples(scores: Sequence[float | None]) -> list[Sample]:
    """Each with an answer of its own."""
    return [Sample(str(place), 10, 7, score=score) for place, score in enumerate(scores)]


def told(rule: BestOf, scores: Sequence[float | None]) -> BestOf:
    for sample in samples(scores):
        rule.take(sample)
    return rule


@given(SCORES)
def test_what_one_more_is_worth(scores: list[float]) -> None:
    """Against the integral of what it is above the best, under the normal that it is taken for."""
    spread = float(np.std(scores, ddof=1)) * math.sqrt(1 + 1 / len(scores))
    if spread < 1e-6:
        return
    next_one = stats.norm(np.mean(scores), spread)
    best = max(scores)
    wanted, _ = integrate.quad(
        lambda x: (x - best) * next_one.pdf(x), best, best + 40 * spread, points=[best + spread]
    )
    assert pytest.approx(wanted, rel=1e-6, abs=1e-9 * spread) == expected_improvement(scores)


@given(SCORES, st.floats(0.1, 10), st.integers(-20, 20))
def test_it_is_worth_as_much_on_any_scale(scores: list[float], unit: float, zero: int) -> None:
    """In the unit of the scores, wherever their zero lies."""
    moved = [unit * score + zero for score in scores]
    wanted = unit * expected_improvement(scores)
    assert pytest.approx(wanted, rel=1e-6, abs=1e-12) == expected_improvement(moved)


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), max_size=12))
def test_no_score_is_too_large(scores: list[float]) -> None:
    """It is a number, and not below zero."""
    assert expected_improvement(scores) >= 0


def test_what_one_more_is_worth_where_little_is_known() -> None:
    """Of one score anything; of equal ones nothing; beyond floats anything."""
    assert math.inf == expected_improvement([]) == expected_improvement([0.5])
    assert 0 == expected_improvement([0.1] * 3) == expected_improvement([-1e300] * 7)
    assert math.inf == expected_improvement([1e308, -1e308, 0.0])


@pytest.mark.parametrize(
    ("rule", "scores", "drawn", "winner"),
    [
        (BestOf(4), [0.1, 0.9, 0.5, 0.2, 1.0], 4, 1),
        (BestOf(1), [0.1, 0.9], 1, 0),
        (BestOf(8, enough=0.9), [0.1, 0.9, 1.0], 2, 1),  # exactly enough
        (BestOf(8, enough=0.9), [0.8, 0.89, 0.7], 3, 1),
        (BestOf(8, enough=-1.0), [-3.0, -1.5, -0.5, 0.0], 3, 2),
        (BestOf(8, price=0.05), [0.5, 0.5, 0.5, 9.0], 3, 0),  # equal: the first
        (BestOf(8, price=0.05, least=2), [0.5, 0.5, 9.0], 2, 0),
        (BestOf(8, price=0.05), [None, 0.5, "", math.nan, 0.5, 0.5, 9.0], 6, 1),
        (BestOf(2, price=0.05), [0.5, 0.5, 0.5], 2, 0),  # fewer than `least`
        (BestOf(5), [0.5] * 5, 5, 0),  # nothing to gain, and at no price
        (BestOf(8, enough=1.0, price=9.0), [0.0, 0.5, 0.9, 1.0], 3, 2),
        (BestOf(8, enough=1.0, price=9.0), [1.0, 0.0, 0.0], 1, 0),
    ],
)
def test_it_stops_by_hand(
    rule: BestOf, scores: list[float | str | None], drawn: int, winner: int
) -> None:
    """Enough, or not worth its price, or the last that it may draw; ``""`` gives no answer."""
    some = [
        Sample("", 10, score=99.0) if isinstance(one, str) else Sample(str(place), 10, score=one)
        for place, one in enumerate(scores)
    ]
    made = draw(rule, some)
    assert (drawn, winner, str(winner)) == (made.samples, made.winner, made.answer)


def test_the_price_is_compared_with_what_one_more_is_worth() -> None:
    """At exactly as much it stops, at a little less it does not."""
    scores = [0.5, 0.7, 0.6]
    worth = expected_improvement(scores)
    assert not told(BestOf(price=worth), scores).more()
    assert told(BestOf(price=math.nextafter(worth, 0)), scores).more()


@given(
    SAMPLES,
    st.integers(1, 12),
    st.none() | st.floats(-1, 2),
    st.sampled_from([0.0, 0.01, 0.1, 1.0]),
    st.integers(2, 5),
)
def test_it_takes_the_best_of_what_it_drew(
    some: list[Sample], most: int, enough: float | None, price: float, least: int
) -> None:
    """And stops at the first sample at which it may, and asks for none that it may not want."""
    rule = BestOf(most, enough=enough, price=price, least=least)
    made = draw(rule, some)
    asked = 0
    for place, sample in enumerate(some[: made.samples]):
        assert rule.more()
        asked = max(asked, place + rule.batch())
        rule.take(sample)
    assert made.samples <= most
    assert made.short == rule.more()
    assert made.short or asked <= made.samples
    assert made.samples == len(some) or not made.short
    known = [(one.score, -place) for place, one in enumerate(some[: made.samples]) if may_win(one)]
    if not known:
        assert ("", None) == (made.answer, made.winner)
        return
    score, place = max(known)
    assert made.winner == -place
    assert (some[made.winner].score, some[made.winner].answer) == (score, made.answer)


def may_win(sample: Sample) -> bool:
    return sample.answer != "" and sample.score is not None and math.isfinite(sample.score)


def test_the_best_text_stands_for_an_answer_that_others_gave_before() -> None:
    """Two say the same; the second says it better."""
    some = [Sample("4", 10, score=0.2), Sample("5", 10, score=0.5), Sample("4", 10, score=0.9)]
    best, most = draw(BestOf(3), some), draw(VoteOfN(3), some)
    assert ("4", 2) == (best.answer, best.winner)
    assert ("4", 0) == (most.answer, most.winner)


@pytest.mark.parametrize(
    ("rule", "scores", "batch"),
    [
        (BestOf(16), [], 16),
        (BestOf(16), [0.5, None], 14),
        (BestOf(16, price=0.1), [], 3),
        (BestOf(16, price=0.1), [0.5], 2),
        (BestOf(16, price=0.1), [None, None], 3),  # neither has a score
        (BestOf(16, price=0.1), [0.1, 0.5, 0.9], 1),
        (BestOf(2, price=0.1), [], 2),
        (BestOf(16, enough=1.0), [], 1),
        (BestOf(16, enough=1.0, price=0.1), [], 1),
    ],
)
def test_it_asks_for_what_it_surely_wants(
    rule: BestOf, scores: list[float | None], batch: int
) -> None:
    """All of them, or as many as the price waits for, or one that may be enough."""
    assert batch == told(rule, scores).batch()


def test_samples_that_are_asked_for_at_once_read_the_prompt_once() -> None:
    """Three, then two one by one."""
    assert 0 == draw(BestOf(5), samples([0.1, 0.2, 0.3, 0.4, 0.5])).usage.reread
    made = draw(BestOf(5, price=1e-9), samples([0.1, 0.2, 0.3, 0.4, 0.5]))
    assert (5, 14) == (made.samples, made.usage.reread)


def test_a_price_saves_samples_and_is_worth_it() -> None:
    """Of normal scores: what is left after all are paid for is more than with all samples."""
    rng = np.random.default_rng(0)
    drawn, left, all_of_them = 0, 0.0, 0.0
    for _ in range(500):
        scores = [float(score) for score in rng.normal(0, 1, 32)]
        made = draw(BestOf(32, price=0.1), samples(scores))
        assert made.winner is not None
        drawn += made.samples
        left += scores[made.winner] - 0.1 * made.samples
        all_of_them += max(scores) - 0.1 * 32
    assert drawn / 500 < 16
    assert left > all_of_them


def test_the_settings_that_are_tried() -> None:
    """Each prints itself as it is made."""
    grid = BestOf.grid()
    assert {16, 40} == {rule.most for rule in grid}
    assert len({rule.price for rule in grid}) > 3
    assert list(map(repr, grid)) == [repr(eval(repr(rule))) for rule in grid]
    assert "BestOf(16, enough=None, price=0.0, least=3)" == repr(BestOf())
    assert frozenset({"samples"}) == BestOf().needs()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"most": 0}, "most must be a whole number >= 1, got 0"),
        ({"most": 2.5}, "most must be a whole number >= 1, got 2.5"),
        ({"most": True}, "most must be a whole number >= 1, got True"),
        ({"most": "3"}, "most must be a whole number >= 1, got '3'"),
        ({"enough": math.nan}, "enough must be finite or None, got nan"),
        ({"enough": math.inf}, "enough must be finite or None, got inf"),
        ({"enough": "1"}, "enough must be finite or None, got '1'"),
        ({"price": -0.1}, r"price must be in \[0, inf\), got -0.1"),
        ({"price": math.inf}, r"price must be in \[0, inf\), got inf"),
        ({"price": math.nan}, r"price must be in \[0, inf\), got nan"),
        ({"price": None}, r"price must be in \[0, inf\), got None"),
        ({"least": 1}, "least must be a whole number >= 2, got 1"),
        ({"least": 2.5}, "least must be a whole number >= 2, got 2.5"),
    ],
)
def test_wrong_arguments_are_named(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        BestOf(**settings)
