"""What holds for every published rule, found in the list that the bench finds them in."""

from __future__ import annotations

import inspect
from typing import Any, get_args

import pytest

from stopping_core.policies import Policy, baselines
from stopping_core.policies.baselines import (
    BASELINES,
    Baseline,
    LowGroupConfidence,
    SampleRule,
    Schedule,
    SemanticRounds,
    SequentialEdfl,
    Tier,
)
from stopping_core.policies.baselines.conformal_thinking import Thresholds
from stopping_core.policies.baselines.cusum import EntropyCusum
from stopping_core.policies.baselines.end_probability import HighestEnd
from stopping_core.policies.baselines.group_confidence import GroupConfidence
from stopping_core.policies.baselines.high_confidence import Confidence
from stopping_core.policies.baselines.sequential_edfl import LiftEvidence
from stopping_core.policies.baselines.stop_string import Seen
from stopping_core.policies.baselines.think_just_enough import SequenceEntropy
from stopping_core.testing import check_policy, check_signal
from stopping_core.types import Boundary, Need

TEXT_POLICIES = [
    rule
    for kind in BASELINES
    if issubclass(kind, Policy) and kind.tier == "text"
    for rule in kind.grid()[:12]
]
NAMES = {name: getattr(baselines, name) for name in baselines.__all__} | {
    "Boundary": Boundary,
    "Thresholds": Thresholds,
    **Boundary.__members__,
}


@pytest.mark.parametrize("kind", BASELINES)
def test_a_rule_says_what_it_is(kind: type[Baseline]) -> None:
    """Its title, its tier, its kind, and where it comes from."""
    assert kind.title
    assert kind.tier in get_args(Tier)
    assert issubclass(kind, Policy | SampleRule | Schedule | SemanticRounds)
    said = inspect.getdoc(kind) or ""
    assert "References:" in said or "Source:" in said
    assert "Rule:" in said


def test_no_two_rules_have_one_title() -> None:
    """Tables go by it."""
    titles = [kind.title for kind in BASELINES]
    assert sorted(set(titles)) == sorted(titles)


def test_every_exported_rule_is_in_the_list() -> None:
    """Save the one that is a part of another."""
    rules = {
        kind
        for kind in NAMES.values()
        if isinstance(kind, type)
        and issubclass(kind, Policy | SampleRule | Schedule | SemanticRounds)
        and not inspect.isabstract(kind)
    }
    assert rules - {LowGroupConfidence} == set(BASELINES)


@pytest.mark.parametrize("kind", [kind for kind in BASELINES if kind is not SequentialEdfl])
def test_a_sweep_begins_with_the_published_setting(kind: type[Any]) -> None:
    """It is the default, no setting comes twice, and there are at most 120."""
    settings = [repr(rule) for rule in kind.grid()]
    assert repr(kind()) == settings[0]
    assert len(set(settings)) == len(settings) <= 120


@pytest.mark.parametrize("kind", BASELINES)
def test_what_a_rule_needs_has_a_name(kind: type[Baseline]) -> None:
    """That recordings know."""
    for rule in kind.grid():
        assert rule.needs() <= set(get_args(Need))


@pytest.mark.parametrize("kind", [k for k in BASELINES if not issubclass(k, Policy)])
def test_a_rule_prints_as_it_is_made(kind: type[Baseline]) -> None:
    """Those of which all settings are numbers."""
    for rule in kind.grid():
        assert repr(rule) == repr(eval(repr(rule), dict(NAMES)))


@pytest.mark.parametrize("rule", TEXT_POLICIES, ids=repr)
def test_text_rules_keep_the_contract_of_policies(rule: Policy) -> None:
    """One text is cut at one place, however it was chunked."""
    check_policy(lambda: rule)
    assert repr(rule) == repr(eval(repr(rule), dict(NAMES)))


@pytest.mark.parametrize(
    "make",
    [
        lambda: EntropyCusum(2),
        HighestEnd,
        lambda: GroupConfidence(4),
        lambda: Confidence(4),
        lambda: LiftEvidence(lambda step: -2.0),
        lambda: Seen("is", "\n\n", "cat sat"),
        SequenceEntropy,
    ],
    ids=["cusum", "end", "group", "confidence", "lift", "seen", "sequence"],
)
def test_signals_keep_the_contract_of_signals(make: Any) -> None:
    """Readings do not depend on the chunking, and a reset forgets everything."""
    check_signal(make)
