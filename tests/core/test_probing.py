"""Policies that want to know what the model would answer now."""

from __future__ import annotations

import pytest

from stopping_core import AdaptiveStopping, Session
from stopping_core.engine import Engine
from stopping_core.policies import AllOf, AnyOf, MinTokens, Patience, Policy
from stopping_core.types import (
    CONTINUE,
    PROBE,
    Checkpoint,
    Decision,
    Need,
    Probe,
    Request,
    Step,
)


class Agrees(Policy):
    """Probes at every sentence, and stops where the model would say so."""

    def __init__(self, word: str) -> None:
        self.word = word

    def decide(self, checkpoint: Checkpoint) -> Decision:
        return PROBE if checkpoint.boundary else CONTINUE

    def weigh(self, checkpoint: Checkpoint, probe: Probe) -> Decision:
        return Decision(True, "agreed") if probe.text == self.word else CONTINUE

    def needs(self) -> frozenset[Need]:
        return frozenset({"probes"})

    def __repr__(self) -> str:
        return f"Agrees({self.word!r})"


class Prober:
    """Answers with the number of the sentence, and remembers where it was asked."""

    def __init__(self) -> None:
        self.asked: list[int] = []

    def __call__(self, checkpoint: Checkpoint) -> Probe:
        self.asked.append(checkpoint.offset)
        return Probe(str(len(self.asked)), tokens=1, reread=10)


TEXT = "One is here. Two is here. Three is here. Four"
ENDS = [12, 25, 40]


def _run(policy: Policy, prober: Prober) -> Engine:
    engine = Engine(policy, Request(), every=1000, prober=prober)
    for word in TEXT.split(" "):
        engine.feed(Step(f"{word} "))
    return engine


def test_a_policy_is_asked_again_with_the_probe_it_wanted() -> None:
    """It stops at the sentence whose probe it waits for, and not before."""
    prober = Prober()
    engine = _run(Agrees("2"), prober)
    assert (True, "agreed", ENDS[1]) == (
        engine.decision.stop,
        engine.decision.reason,
        engine.offset,
    )
    assert ENDS[:2] == prober.asked


def test_a_probe_is_bought_once_for_all_parts() -> None:
    """Two parts that ask at one checkpoint share the answer."""
    prober = Prober()
    assert ENDS[2] == _run(AnyOf(Agrees("9"), Agrees("3")), prober).offset
    assert ENDS == prober.asked


@pytest.mark.parametrize(
    ("policy", "offset"),
    [
        (AllOf(Agrees("2"), MinTokens(4)), ENDS[1]),
        (AnyOf(Agrees("2"), MinTokens(4)), len("One is here. Two")),
        (AnyOf(Agrees("2"), MinTokens(9)), ENDS[1]),
        (Patience(AnyOf(Agrees("2"), Agrees("3")), k=2), ENDS[2]),
    ],
    ids=repr,
)
def test_rules_made_of_rules_probe_as_their_parts_do(policy: Policy, offset: int) -> None:
    """Composites combine the decision of a part that probed with those that did not."""
    assert offset == _run(policy, Prober()).offset


@pytest.mark.parametrize(
    "wrap", [lambda p: p, lambda p: p & MinTokens(1), lambda p: Patience(p, 2)]
)
def test_a_policy_that_probes_needs_a_prober(wrap: object) -> None:
    """Without one neither an engine nor a session is made, and no settings without the words."""
    assert callable(wrap)
    policy = wrap(Agrees("1"))
    with pytest.raises(ValueError, match="prober must be given"):
        Engine(policy, Request())
    with pytest.raises(ValueError, match="probe must be the words that ask, for policy="):
        AdaptiveStopping(policy=policy)
    stopping = AdaptiveStopping(policy=policy, probe="So it is")
    with pytest.raises(ValueError, match="policy must not need probes where the model cannot be"):
        Session(stopping, Request())
    assert not Session(stopping.replace(mode="off"), Request()).done
