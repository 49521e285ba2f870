"""The learned rule among the policies that a bench compares."""

from __future__ import annotations

import numpy as np

from stopping_core.cli.bench.candidates import candidates
from stopping_core.cli.bench.sweeping import Material, sweep
from stopping_core.cli.bench.table import Halves
from stopping_core.policies.learned import LearnedStopping
from stopping_core.policies.learned.loss_model import TIERS
from stopping_core.traces.columns import Columns
from tests.learned.made_answers import made_answer


def test_it_competes_in_every_tier_that_it_has() -> None:
    """Each at the settings of its grid, and under a name of its own."""
    for channel, tiers in TIERS.items():
        found = [one for one in candidates(channel) if LearnedStopping.title in one.policy]
        assert list(tiers) == [one.tier for one in found]
        assert len(tiers) == len({one.policy for one in found})
        for one in found:
            assert {(channel, one.tier)} == {(rule.channel, rule.tier) for rule in one.settings}


def test_it_is_fitted_on_the_choosing_runs() -> None:
    """And its setting chosen on folds of them; one model cuts all reported runs."""
    columns = Columns([made_answer(seed) for seed in range(120)], tags=None)
    choose = np.arange(120) % 8 < 4
    folds = tuple(choose & (np.arange(120) % 16 // 8 == i) for i in range(2))
    families = int(len({run.family for run in columns.runs}) / 2)
    halves = Halves(choose, ~choose, np.ones(120, dtype=np.bool_), families, None)
    (candidate,) = (one for one in candidates("answer") if one.policy == LearnedStopping.title)
    swept = sweep(candidate, Material(columns, halves, folds))
    assert "its setting chosen by 2-fold cross-fitting" in swept.note
    (model,) = {rule.model for rule in swept.rules}
    assert all(model.fingerprint in label for label in swept.settings)
    assert 40 == sum(one is not None for one in swept.scores)
