"""The tier that asks what the model would answer now, where it pays."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pytest

from stopping_core.policies.learned import LearnedStopping, LossModel
from stopping_core.policies.learned.fitting_thinking import fit_thinking
from stopping_core.policies.learned.thinking import ThinkingEvidence
from stopping_core.traces.columns import Columns
from stopping_core.traces.replay import replay
from stopping_core.traces.sweep import cut
from stopping_core.types import Boundary, Probe, Request, Step
from tests.learned.test_thinking_fit import OTHERS, TRAINED

MODEL = fit_thinking(*TRAINED, "probes")


def test_a_probe_is_told_by_what_the_lines_said() -> None:
    """Agreement with the last conclusion, with all, with results; then how sure it is."""
    evidence = ThinkingEvidence()
    evidence.reset(Request(question="What is 2 + 2?"))
    assert math.isnan(evidence.of_probe(Probe(" 4.", 1, 9))[0])
    for line in ("2 + 2 = 5.", "It is 4.", "It is 4.", "It is 6."):
        evidence.update(Step(line, channel="reasoning"))
        evidence.update(Step("", tokens=0, channel="reasoning", boundary=Boundary.LINE))
    sure = Probe(" 6.", 2, 9, (-0.1, -0.3), 0.5)
    assert pytest.approx((1.0, 1.0, 1.0, -0.4, -0.3, 0.5)) == evidence.of_probe(sure)
    assert (0.0, 2.0, 1.0) == evidence.of_probe(Probe("4", 1, 9))[:3]
    assert (0.0, 0.0, 1.0) == evidence.of_probe(Probe("5", 1, 9))[:3]
    assert (0.0, 0.0, 0.0) == evidence.of_probe(Probe("7", 1, 9))[:3]
    assert len(evidence.probe_names) == len(evidence.of_probe(sure))


def test_the_model_is_that_of_the_logprobs_with_a_second_one() -> None:
    """Fitted again it is the same, and JSON gives it back."""
    assert fit_thinking(*TRAINED, "logprobs").scorer == MODEL.scorer
    assert MODEL == fit_thinking(*TRAINED, "probes")
    assert MODEL == LossModel.from_dict(json.loads(json.dumps(MODEL.to_dict())))
    assert MODEL.margin > 0


def test_it_asks_and_stops_as_a_replay_does() -> None:
    """Run by run: where, how many probes were bought, and what was paid."""
    columns = Columns(OTHERS, channel="reasoning")
    bought = []
    for threshold in (-8.0, -6.0, -4.0, -2.0):
        rule = LearnedStopping(threshold, MODEL)
        assert frozenset({"logprobs", "probes"}) == rule.needs()
        cuts = cut(columns, rule)
        outcomes = [replay(run, rule, channel="reasoning") for run in OTHERS]
        assert [outcome.tokens for outcome in outcomes] == cuts.tokens.tolist()
        assert [outcome.probes for outcome in outcomes] == cuts.probes.tolist()
        assert [one.usage for one in outcomes] == [cuts.usage(i) for i in range(len(OTHERS))]
        bought.append(int(cuts.probes.sum()))
    assert cuts.stopped.all()
    assert 0 == bought[0] < bought[-1]


def test_a_wider_margin_buys_more_and_a_probe_may_refuse() -> None:
    """It stops nowhere where the score without a probe would not allow for it."""
    columns = Columns(OTHERS, channel="reasoning").asked()
    narrow, wide = (LearnedStopping(-5.0, replace(MODEL, margin=margin)) for margin in (0.0, 3.0))
    assert narrow.asks(columns).sum() < wide.asks(columns).sum()
    for rule in (narrow, wide):
        stops, asks = rule.stops(columns).where, rule.asks(columns)
        assert not (stops & ~asks).any()
        assert (asks & ~stops).any()
        effective, gate = rule.scores(columns)
        looks = rule.looks(columns)
        assert bool(np.all(effective[looks] >= gate[looks]))


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("probed", None, "model.probed must go with the tier 'probes', got the tier 'probes'"),
        ("tier", "logprobs", "model.probed must go with the tier 'probes', got the tier 'logprobs"),
        ("margin", -1.0, r"model\.margin must be >= 0, got -1\.0"),
        ("probed", MODEL.to_dict()["scorer"], r"model\.probed must read 27 features, got 21"),
    ],
)
def test_a_damaged_model_is_told(key: str, value: object, message: str) -> None:
    """By the key and its value."""
    with pytest.raises(ValueError, match=message):
        LossModel.from_dict(MODEL.to_dict() | {key: value})
