"""Rules that ask what the model would answer now, and rules that speak of many runs at once."""

from __future__ import annotations

import numpy as np
import pytest

from stopping_core import (
    AdaptiveStopping,
    Boundary,
    Checkpoint,
    Decision,
    Engine,
    Policy,
    Request,
    Session,
)
from stopping_core.policies import MaxTokens, MinTokens, Patience
from stopping_core.testing import check_policy, words
from stopping_core.traces.columns import Columns, Mask, Stops
from stopping_core.types import CONTINUE, PROBE, Need, Probe, Step

TEXT = "One here. Two here. Three here. Four here. Five."


class Asks(Policy):
    """Asks at every sentence, and stops where the answer is ``wanted``."""

    def __init__(self, wanted: str, *, forced: bool = False) -> None:
        self.wanted = wanted
        self.forced = forced

    def decide(self, checkpoint: Checkpoint) -> Decision:
        return PROBE if checkpoint.boundary & Boundary.SENTENCE else CONTINUE

    def weigh(self, checkpoint: Checkpoint, probe: Probe) -> Decision:
        return Decision(probe.text == self.wanted, "asked", self.forced)

    def needs(self) -> frozenset[Need]:
        return frozenset({"probes"})


def play(policy: Policy, *answers: str) -> tuple[str, str, int]:
    """The text up to the stop, its reason, and how many answers were asked for."""
    given = iter(answers)
    asked: list[int] = []

    def prober(checkpoint: Checkpoint) -> Probe:
        asked.append(checkpoint.offset)
        return Probe(next(given), tokens=1, reread=10)

    engine = Engine(policy, Request(), every=99, prober=prober)
    for piece in words(TEXT):
        engine.feed(Step(piece))
    return (engine.text if engine.decision.stop else ""), engine.decision.reason, len(asked)


def test_a_rule_that_asks_is_told() -> None:
    """At the place where it asked, before the next step."""
    assert ("One here. Two here.", "asked", 2) == play(Asks("b"), "a", "b")


def test_two_rules_that_ask_at_one_place_pay_for_one_answer() -> None:
    """The first that stops is named."""
    assert ("One here. Two here.", "asked", 2) == play(Asks("b") | Asks("c"), "a", "b")
    assert ("", "", 4) == play(Asks("b") & Asks("c"), "a", "b", "c", "d")


def test_a_part_that_did_not_ask_keeps_its_word() -> None:
    """Its decision counts beside the answers."""
    assert ("One here. Two here.", "asked", 2) == play(Asks("b") & MinTokens(3), "b", "b")
    assert ("One here.", "asked", 1) == play(Asks("b") & MinTokens(2), "b", "b")
    assert ("One here.", "max tokens", 0) == play(Asks("b") | MaxTokens(2), "b")


def test_patience_counts_answers() -> None:
    """Two that please in a row; a forced stop is not waited for."""
    answers = ("b", "a", "b", "b")
    asked_everywhere = Patience(Asks("b"), 2)
    assert ("One here. Two here. Three here. Four here.", "asked", 4) == play(
        asked_everywhere, *answers
    )
    assert ("One here.", "asked", 1) == play(Patience(Asks("b", forced=True), 2), *answers)


def test_nobody_can_ask_in_vain() -> None:
    """An engine without a prober, and a session, refuse such a rule."""
    with pytest.raises(ValueError, match="prober must be given for a policy that probes, got None"):
        Engine(MaxTokens(9) | Patience(Asks("a"), 2), Request())
    with pytest.raises(ValueError, match="reasoning must not need probes where the model cannot"):
        Session(AdaptiveStopping(reasoning=Asks("a"), probe="</think>So:"), Request())
    with pytest.raises(ValueError, match="probe must hold the tag that closes the reasoning"):
        AdaptiveStopping(reasoning=Asks("a"), probe="So:")


class Early(MaxTokens):
    """Says at once what it does not say to the engine."""

    def stops(self, columns: Columns) -> Stops:
        return columns.stops(columns.tokens >= self.tokens - 1)


class Greedy(Asks):
    """Says at once that it asks everywhere."""

    def asks(self, columns: Columns) -> Mask:
        return np.ones(len(columns), dtype=np.bool_)

    def stops(self, columns: Columns) -> Stops:
        return columns.stops(columns.nowhere())


def test_a_rule_that_says_two_things_is_found() -> None:
    """One that stops elsewhere, one that asks elsewhere."""
    with pytest.raises(AssertionError, match=r"MaxTokens\(7\) says at once .* and to the engine"):
        check_policy(lambda: Early(7))
    with pytest.raises(AssertionError, match="says at once"):
        check_policy(lambda: Greedy("never"))


def test_a_rule_that_asks_keeps_the_contract() -> None:
    """With and without a vectorised form."""
    check_policy(lambda: Asks("1"))
    check_policy(lambda: Patience(Asks("1"), 2) | MaxTokens(40))
