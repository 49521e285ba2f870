"""Which level is chosen, and that none but the offered ones can be."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stopping_core.steering import LevelBandit, Satisfaction

LEVELS = ((None, 0.0), (0.01, 0.2), (0.05, 0.5))


def chosen(bandit: LevelBandit, price: float = 1.0, **who: str) -> Counter[float | None]:
    return Counter(bandit.choose(LEVELS, price=price, **who) for _ in range(500))


def test_without_complaints_the_largest_saving_wins() -> None:
    """Mostly: what is not known is tried."""
    known = Satisfaction(memory=1.0)
    for level in ("none", "0.01", "0.05"):
        for _ in range(200):
            known.add(level, 0.9)
    assert chosen(LevelBandit(known, seed=0))[0.05] > 490


def test_complaints_lead_back_to_a_careful_level_for_those_who_complain() -> None:
    """And for the others only as far as they share a group."""
    known = Satisfaction(memory=1.0)
    rng = np.random.default_rng(0)
    for _ in range(300):
        known.add("0.05", float(rng.random() < 0.3), tenant="angry")
        known.add("0.05", float(rng.random() < 0.9), tenant="calm")
        for level in ("none", "0.01"):
            for tenant in ("angry", "calm"):
                known.add(level, float(rng.random() < 0.9), tenant=tenant)
    bandit = LevelBandit(known, seed=1)
    assert chosen(bandit, tenant="angry")[0.05] < 25
    assert chosen(bandit, tenant="calm")[0.05] > 450


def test_a_price_moves_towards_saving() -> None:
    """Whatever is said, as far as levels are offered."""
    known = Satisfaction(memory=1.0)
    for _ in range(300):
        known.add("0.05", 0.4)
        known.add("0.01", 0.9)
    bandit = LevelBandit(known, seed=2)
    cheap, dear = (chosen(bandit, price)[0.05] for price in (1.0, 100.0))
    assert (0, 500) == (cheap, dear)


def test_it_learns_to_do_as_well_as_who_knows() -> None:
    """Its regret a request falls below a fiftieth, from feedback on what it chose alone."""
    known = Satisfaction(memory=1.0)
    bandit, rng = LevelBandit(known, token_worth=0.5, seed=3), np.random.default_rng(4)
    pleased = {None: 0.9, 0.01: 0.89, 0.05: 0.6}
    worth = {risk: pleased[risk] + 0.5 * saving for risk, saving in LEVELS}
    regret = []
    for _ in range(4000):
        risk = bandit.choose(LEVELS)
        regret.append(max(worth.values()) - worth[risk])
        known.add("none" if risk is None else f"{risk:g}", float(rng.random() < pleased[risk]))
    assert sum(regret[-1000:]) / 1000 < 0.02 < sum(regret[:100]) / 100


@given(
    st.lists(
        st.tuples(st.sampled_from([None, 0.005, 0.01, 0.02]), st.floats(-1, 1)),
        min_size=1,
        max_size=4,
    ),
    st.floats(1, 100),
)
def test_only_what_is_offered_is_chosen(
    offered: list[tuple[float | None, float]], price: float
) -> None:
    """Whatever the price."""
    assert LevelBandit(Satisfaction()).choose(offered, price=price) in [one[0] for one in offered]


def test_settings_are_checked() -> None:
    """The error names what is wrong."""
    with pytest.raises(ValueError, match="token_worth must be >= 0, got -1"):
        LevelBandit(Satisfaction(), -1)
    with pytest.raises(ValueError, match="offered must hold at least one level"):
        LevelBandit(Satisfaction()).choose([])
