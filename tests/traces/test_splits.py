"""Parts that share nothing."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stopping_core.traces.run import Run
from stopping_core.traces.splits import family_of, split

RUN = Run("q", "?", ("a",), ("a",), "stop")
SHARES = {"fit": 0.4, "certify": 0.3, "report": 0.3}


def runs_of(sizes: list[int], kind: str = "family") -> list[Run]:
    """Families of these sizes."""
    named = [(f, i) for f, size in enumerate(sizes) for i in range(size)]
    ids: list[dict[str, Any]] = [{"question_id": f"q{f}.{i}", kind: f"f{f}"} for f, i in named]
    return [replace(RUN, **one) for one in ids]


@given(
    st.lists(st.integers(1, 30), min_size=12, max_size=60),
    st.integers(0, 9),
    st.sampled_from(["family", "group", "question_id"]),
)
def test_what_belongs_together_stays_together(sizes: list[int], seed: int, kind: str) -> None:
    """Every run is in one part, and each family in one."""
    runs = runs_of(sizes, kind)
    parts = split(runs, SHARES, seed)
    assert list(range(len(runs))) == sorted(n for part in parts.values() for n in part)
    for part in parts.values():
        assert part == sorted(part)
    names = [{getattr(runs[n], kind) for n in part} for part in parts.values()]
    assert sum(map(len, names)) == len(set().union(*names))


@given(st.lists(st.integers(1, 30), min_size=12, max_size=60), st.integers(0, 9))
def test_the_shares_are_met_to_within_a_family(sizes: list[int], seed: int) -> None:
    """No part is off by more than the largest one."""
    runs = runs_of(sizes)
    parts = split(runs, SHARES, seed)
    for name, share in SHARES.items():
        assert abs(len(parts[name]) - share * len(runs)) <= max(sizes)


@given(st.lists(st.integers(1, 9), min_size=12, max_size=30), st.integers(0, 9))
def test_the_order_of_the_runs_does_not_matter(sizes: list[int], seed: int) -> None:
    """The same questions are in the same parts."""
    runs = runs_of(sizes)
    mixed = random.Random(seed).sample(runs, len(runs))
    one, two = split(runs, SHARES, seed), split(mixed, SHARES, seed)
    for name in SHARES:
        assert {runs[n].question_id for n in one[name]} == {mixed[n].question_id for n in two[name]}


def test_another_seed_is_another_split() -> None:
    """Of many families."""
    runs = runs_of([1] * 40)
    assert split(runs, SHARES, 0) == split(runs, SHARES, 0) != split(runs, SHARES, 1)


@pytest.mark.parametrize("sizes", [[342, 309, 246, 241, 225, 220, 154, 147, 116], [200] * 6])
@pytest.mark.parametrize("shares", [{"choose": 0.5, "report": 0.5}, SHARES])
def test_seeds_deal_few_large_families_in_different_ways(
    sizes: list[int], shares: dict[str, float]
) -> None:
    """Which are together changes; how many runs a part has hardly does."""
    runs = runs_of(sizes)
    dealt = [split(runs, shares, seed) for seed in range(10)]
    together = {
        frozenset(frozenset(runs[n].family for n in part) for part in parts.values())
        for parts in dealt
    }
    assert len(together) >= 5
    for parts in dealt:
        for name, share in shares.items():
            assert abs(len(parts[name]) - share * len(runs)) <= max(sizes) / 2


def test_no_part_is_left_empty_where_an_order_would_fill_it() -> None:
    """The small family goes first to the large part in every second order."""
    runs = runs_of([9, 1])
    for seed in range(20):
        assert [9, 1] == [len(part) for part in split(runs, {"a": 0.9, "b": 0.1}, seed).values()]


def test_a_group_and_a_family_of_one_name_are_not_the_same() -> None:
    """Nor is a question."""
    runs = [replace(RUN, family="a"), replace(RUN, group="a"), replace(RUN, question_id="a")]
    assert [1, 1, 1] == sorted(map(len, split(runs, SHARES, 0).values()))
    assert [("family", "a"), ("group", "a"), ("question", "a")] == list(map(family_of, runs))


@pytest.mark.parametrize(
    ("shares", "message"),
    [
        ({}, "shares must be one or more numbers > 0"),
        ({"a": 1.5, "b": -0.5}, "shares must be one or more numbers > 0"),
        ({"a": 0.5, "b": 0.4}, r"shares must sum to 1, got \{'a': 0.5, 'b': 0.4\}"),
        ({"a": 0.9, "b": 0.1}, "no part empty, got 0.1 for 'b' of 3 runs in 1 families"),
    ],
)
def test_a_mistake_is_named(shares: dict[str, float], message: str) -> None:
    """With its value."""
    with pytest.raises(ValueError, match=message):
        split(runs_of([3]), shares, 0)
