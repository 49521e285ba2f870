"""What a bill comes to, and what a policy saves of it."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stopping_core.costs import API, CACHED_API, LOCAL, REGIMES, CostRegime
from stopping_core.types import Usage

COUNTS = st.integers(0, 10**6)
USAGES = st.builds(
    Usage, prompt=COUNTS, generated=COUNTS, reread=COUNTS, probed=COUNTS, unseen=COUNTS
)


def test_dense_probes_cost_many_times_the_plain_call() -> None:
    """A probe each 64 tokens of a 1,024-token answer to a 400-token prompt, and no cache."""
    full = Usage(prompt=400, generated=1024)
    places = range(64, 1025, 64)
    dense = Usage(
        prompt=400, generated=1024, probed=20 * 16, reread=sum(400 + n + 10 for n in places)
    )
    assert 400 / 4 + 1024 == API.cost(full)
    assert 100 + 1024 + 320 + (410 * 16 + 64 * 136) / 4 == API.cost(dense)
    assert 100 + 1024 + 320 + (410 * 16 + 64 * 136) / 40 == CACHED_API.cost(dense)
    assert 1024 + 320 == LOCAL.cost(dense)


def test_what_is_billed_unseen_counts_and_estimates_do_not() -> None:
    """Tokens after a hang-up are paid; what the cut avoided, or threw away, is in no bill twice."""
    usage = Usage(generated=10, unseen=5, retried=4, discarded=3, avoided=2)
    assert dict.fromkeys(REGIMES, 15.0) == {n: r.cost(usage) for n, r in REGIMES.items()}


def test_a_saving_is_of_the_sums() -> None:
    """A long run weighs as much as it costs: no mean of shares."""
    full = [Usage(generated=900), Usage(generated=100)]
    cut = [Usage(generated=900), Usage(generated=0)]
    assert LOCAL.saving(cut, full) == pytest.approx(0.1)


@given(usage=USAGES, more=USAGES)
def test_a_regime_is_linear(usage: Usage, more: Usage) -> None:
    """The bill of two requests is the sum of the two, whatever they hold."""
    both = Usage(
        prompt=usage.prompt + more.prompt,
        generated=usage.generated + more.generated,
        reread=usage.reread + more.reread,
        probed=usage.probed + more.probed,
        unseen=usage.unseen + more.unseen,
    )
    for regime in REGIMES.values():
        assert regime.cost(usage) + regime.cost(more) == pytest.approx(regime.cost(both))


def test_a_saving_is_negative_where_probes_cost_more_than_the_cut_saves() -> None:
    """And no saving is known where the full runs cost nothing."""
    assert LOCAL.saving([Usage(generated=5, probed=20)], [Usage(generated=10)]) == -1.5
    assert math.isnan(LOCAL.saving([Usage()], [Usage(prompt=4)]))


@pytest.mark.parametrize(
    ("prices", "message"),
    [
        ((-1.0, 0.0, 1.0), r"input must be in \[0, inf\), got -1.0"),
        ((0.0, math.nan, 1.0), r"cached must be in \[0, inf\), got nan"),
        ((0.0, 0.0, math.inf), r"output must be in \[0, inf\), got inf"),
        ((0.0, 0.0, 0.0), r"output must be > 0, got 0.0"),
    ],
)
def test_a_wrong_price_is_named(prices: tuple[float, float, float], message: str) -> None:
    """The argument, its interval and its value."""
    with pytest.raises(ValueError, match=message):
        CostRegime("mine", *prices)
