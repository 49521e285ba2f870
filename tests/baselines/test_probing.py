"""What all rules that probe have in common."""

from __future__ import annotations

import pytest

from stopping_core.policies.baselines.answer_convergence import AnswerConvergence
from stopping_core.policies.baselines.deer import Deer
from stopping_core.policies.baselines.dynasor import Dynasor
from stopping_core.policies.baselines.eat import Eat
from stopping_core.policies.baselines.halt_cot import HaltCot
from stopping_core.policies.baselines.k_stable import KStable
from stopping_core.policies.baselines.probing import HORIZON
from stopping_core.traces.columns import Columns
from stopping_core.traces.sweep import cut
from stopping_core.types import Channel
from tests.baselines.scripted import babble, probed, stop, words

RULES = (AnswerConvergence, Deer, Dynasor, Eat, HaltCot, KStable)


@pytest.mark.parametrize("kind", RULES)
@pytest.mark.parametrize("channel", ["answer", "reasoning"])
@pytest.mark.parametrize("seed", range(5))
def test_engine_and_arrays_agree_on_any_run(
    kind: type[Dynasor], channel: Channel, seed: int
) -> None:
    """At every setting of the grid they stop at one place, after as many probes."""
    run = babble(seed, channel)
    for rule in kind.grid():
        stop(rule, run, channel)


@pytest.mark.parametrize("kind", RULES)
def test_every_setting_of_a_grid_is_another(kind: type[Dynasor]) -> None:
    """Five to fifty of them; each prints what tells it apart."""
    grid = kind.grid()
    assert 5 <= len(grid) <= 50
    assert len(grid) == len({repr(rule) for rule in grid})


@pytest.mark.parametrize("kind", RULES)
def test_the_runs_do_not_know_each_other(kind: type[Dynasor]) -> None:
    """Arrays over several runs say of each what they say of it alone."""
    runs = [babble(seed) for seed in range(4)]
    for rule in kind.grid():
        cuts = cut(Columns(runs, tags=None), rule)
        tokens = [None if row < 0 else int(cuts.columns.tokens[row]) for row in cuts.row]
        assert [stop(rule, run)[0] for run in runs] == tokens


def test_it_asks_every_few_tokens_whatever_the_engine_does() -> None:
    """Seven divides no regular distance of checkpoints."""
    assert (None, 14) == stop(Dynasor(99, 7), words(100, {7 * i: probed("") for i in range(1, 15)}))


def test_after_the_horizon_it_asks_at_regular_checkpoints() -> None:
    """The last mark is before the horizon; then every 16 tokens is as often as it can."""
    assert max(Dynasor(3, 10).marks()) < HORIZON
    places = [*range(10, HORIZON, 10), HORIZON + 16, HORIZON + 32]
    run = words(HORIZON + 40, {place: probed("") for place in places})
    assert (None, len(places)) == stop(Dynasor(3, 10), run)
