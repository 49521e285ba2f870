"""What levels save in fact, shrunk to what their certificate says."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stopping_core.steering import LevelBandit, Satisfaction, Savings

SHARES = st.floats(0, 1)


@given(SHARES, st.text(max_size=3), st.floats(0.1, 1e6))
def test_nothing_known_is_what_the_certificate_says(
    certified: float, tenant: str, strength: float
) -> None:
    """Of every level and tenant, to the last digit."""
    assert certified == Savings(strength).share("0.02", certified, tenant=tenant)


@given(SHARES, SHARES, st.floats(0.1, 50.0), st.sampled_from(["", "acme"]))
def test_much_known_is_the_truth(
    certified: float, truth: float, strength: float, tenant: str
) -> None:
    """And on the way there it lies between the two, ever nearer."""
    known = Savings(strength, memory=1.0)
    before = abs(certified - truth)
    for _ in range(5):
        for _ in range(400):
            known.add("0.02", 200 * truth, 200, tenant=tenant)
        off = abs(known.share("0.02", certified, tenant=tenant) - truth)
        assert off <= before + 1e-9
        before = off
    assert before < 0.03


def test_a_level_is_half_way_after_as_many_requests_as_its_prior_is_worth() -> None:
    """And a tenant half way on from there; worked out by hand."""
    known = Savings(strength=10, memory=1.0)
    for _ in range(10):
        known.add("a", 0, 100, tenant="t")
    assert pytest.approx(0.4) == known.share("a", 0.8)
    assert pytest.approx(0.4) == known.share("a", 0.8, tenant="other")
    assert pytest.approx(0.2) == known.share("a", 0.8, tenant="t")
    assert 0.8 == known.share("b", 0.8, tenant="t")


def test_long_answers_count_for_more() -> None:
    """It is a share of tokens, as the certificate's, and no mean of shares."""
    known = Savings(strength=1e-9)
    known.add("a", 90, 100)
    known.add("a", 0, 900)
    assert pytest.approx(0.09, abs=1e-4) == known.share("a", 0.5)


def test_weights_make_up_for_stops_that_nobody_saw_to_their_ends() -> None:
    """Eight of ten are stopped, a tenth of these is seen: without weights it would be far off."""
    rng, share = np.random.default_rng(0), 0.1
    weighted, plain = Savings(1.0, memory=1.0), Savings(1.0, memory=1.0)
    for _ in range(20_000):
        if rng.random() >= 0.8:
            weighted.add("a", 0, 100)
            plain.add("a", 0, 100)
        elif rng.random() < share:
            weighted.add("a", 50, 100, 1 / share)
            plain.add("a", 50, 100)
    assert pytest.approx(0.4, abs=0.02) == weighted.share("a", 0.9)
    assert plain.share("a", 0.9) < 0.2


def test_old_requests_fade() -> None:
    """After a change the new ones count."""
    fading, keeping = Savings(10.0, memory=0.98), Savings(10.0, memory=1.0)
    for known in (fading, keeping):
        for saved in [80] * 500 + [10] * 200:
            known.add("a", saved, 100)
    assert fading.share("a", 0.5) < 0.2
    assert keeping.share("a", 0.5) > 0.5


def test_memory_is_bounded() -> None:
    """Who was heard of longest ago is as all again."""
    known = Savings(most=3)
    for number in range(50):
        known.add("a", 0, 100, tenant=f"t{number}")
    assert 1 + 3 == len(known.to_dict()["sums"])
    assert known.share("a", 0.5) == known.share("a", 0.5, tenant="t0")
    assert known.share("a", 0.5) > known.share("a", 0.5, tenant="t49")


def test_the_bandit_goes_by_what_is_saved_in_fact() -> None:
    """A level that saves nothing is left for one that does, whatever its certificate says."""
    content = Satisfaction(1e6)
    offered = ((None, 0.0), (0.02, 0.4), (0.05, 0.6))
    known = Savings()
    bandit = LevelBandit(content, seed=0, savings=known)
    assert {0.05} == {bandit.choose(offered) for _ in range(100)}
    for _ in range(2000):
        known.add("0.05", 0, 100)
    assert {0.02} == {bandit.choose(offered) for _ in range(100)}


def test_it_goes_through_json() -> None:
    """And says the same."""
    known = Savings(7.0, 0.99, 12)
    for saved in (10, 0, 70):
        known.add("0.05", saved, 100, 4.0, tenant="t")
    known.add("0.02", 5, 10)
    twin = Savings.from_dict(json.loads(json.dumps(known.to_dict())))
    assert known.to_dict() == twin.to_dict()
    assert known.share("0.05", 0.5, tenant="t") == twin.share("0.05", 0.5, tenant="t")


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (["a", "", 1.0, 2.0], r"savings.sums\[0\] must be a level, a tenant and three numbers"),
        ([1, "", 1.0, 2.0, 3.0], r"savings.sums\[0\] must be a level, a tenant and three"),
        (["a", "", 1.0, 4.0, 3.0], r"must hold requests >= 0 and saved in \[0, whole\]"),
        (["a", "", 1.0, "4", 3.0], r"savings.sums\[0\] must be a finite number, got '4'"),
    ],
)
def test_what_is_damaged_is_named(row: list[Any], message: str) -> None:
    """By its place."""
    with pytest.raises(ValueError, match=message):
        Savings.from_dict({**Savings().to_dict(), "sums": [row]})


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"strength": 0.0}, "strength must be > 0, got 0.0"),
        ({"strength": float("inf")}, "strength must be > 0, got inf"),
        ({"memory": 0.0}, r"memory must be in \(0, 1\], got 0.0"),
        ({"most": 0}, "most must be >= 1, got 0"),
    ],
)
def test_settings_are_checked(settings: dict[str, Any], message: str) -> None:
    """The error names the setting and its value."""
    with pytest.raises(ValueError, match=message):
        Savings(**settings)
    with pytest.raises(ValueError, match=r"saved must be in \[0, whole\], got 2 of 1"):
        Savings().add("a", 2, 1)
    with pytest.raises(ValueError, match=r"weight must be >= 1, got 0\.5"):
        Savings().add("a", 1, 2, 0.5)
