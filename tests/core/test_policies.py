"""Stopping rules and the engine that asks them."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stopping_core import AdaptiveStopping, Boundary, Checkpoint, Decision, Engine, Policy, Request
from stopping_core.policies import AllOf, AnyOf, Deadline, MaxTokens, MinTokens, Patience, Threshold
from stopping_core.signals import AnswerPattern, Margin, MeanLogprob, Repetition, Sentences
from stopping_core.testing import chunkings, words
from stopping_core.types import CONTINUE, Step

HERE = Checkpoint(offset=10, tokens=5, seconds=1.0, boundary=Boundary.SENTENCE)


class Says(Policy):
    """Says what it is told to, checkpoint by checkpoint."""

    def __init__(self, *decisions: Decision) -> None:
        self.decisions = list(decisions)

    def decide(self, checkpoint: Checkpoint) -> Decision:
        return self.decisions.pop(0)


class Reads:
    """A signal with one reading."""

    def __init__(self, value: float | None) -> None:
        self.value = value

    def reset(self, request: Request) -> None: ...

    def update(self, step: Step) -> None: ...


STOP, LOOP = Decision(True, "done"), Decision(True, "loop", forced=True)


def test_either_stops_an_or() -> None:
    """The first stop counts, but a forced one goes before it."""
    assert (Says(CONTINUE) | Says(STOP)).decide(HERE) == STOP
    assert (Says(STOP) | Says(LOOP)).decide(HERE) == LOOP
    assert (Says(CONTINUE) | Says(CONTINUE)).decide(HERE) == CONTINUE


def test_both_stop_an_and() -> None:
    """At one and the same checkpoint."""
    assert (Says(CONTINUE) & Says(STOP)).decide(HERE) == CONTINUE
    assert (Says(STOP) & Says(Decision(True, "short"))).decide(HERE) == Decision(
        True, "done & short"
    )


def test_parts_of_one_kind_are_flattened() -> None:
    """``a | b | c`` is one policy of three parts."""
    a, b, c = Says(), Says(), Says()
    three = a | b | c
    assert isinstance(three, AnyOf)
    assert three.parts == (a, b, c)
    mixed = (a | b) & c
    assert isinstance(mixed, AllOf)
    assert len(mixed.parts) == 2


def test_every_part_sees_every_checkpoint() -> None:
    """A part that counts does so even while another one stops."""
    first, second = Says(STOP, CONTINUE), Says(CONTINUE, CONTINUE)
    both = first | second
    both.decide(HERE)
    both.decide(HERE)
    assert second.decisions == []


def test_patience_wants_k_in_a_row() -> None:
    """A break begins the count anew; a forced stop is not waited for."""
    patient = Patience(Says(STOP, CONTINUE, STOP, STOP), 2)
    assert [patient.decide(HERE).stop for _ in range(4)] == [False, False, False, True]
    assert Patience(Says(LOOP), 9).decide(HERE) == LOOP


@pytest.mark.parametrize("reading", [None, math.nan])
def test_a_missing_reading_never_stops(reading: float | None) -> None:
    """No evidence, for or against."""
    assert Threshold(Reads(reading), at_least=-math.inf).decide(HERE) == CONTINUE
    assert Threshold(Reads(reading), at_most=math.inf).decide(HERE) == CONTINUE


def test_a_threshold_looks_where_it_is_told_to() -> None:
    """Only at the kinds of boundary it names."""
    assert Threshold(Reads(1), at_least=1, at=Boundary.SENTENCE).decide(HERE).stop
    assert not Threshold(Reads(1), at_least=1, at=Boundary.LINE).decide(HERE).stop


def test_a_threshold_says_where_it_looks() -> None:
    """In its repr, so that two that differ only there can be told apart."""
    ends = Boundary.SENTENCE | Boundary.LINE
    assert "Threshold(Reads, >= 1, at SENTENCE|LINE)" == repr(
        Threshold(Reads(1), at_least=1, at=ends)
    )
    assert "Threshold(Reads, <= 1)" == repr(Threshold(Reads(1), at_most=1))


def test_a_threshold_says_how_its_signal_is_set() -> None:
    """In its repr, where that is not the default."""
    assert "Threshold(Margin, >= 0.5)" == repr(Threshold(Margin(), at_least=0.5))
    assert "Threshold(Margin(window=8), >= 0.5)" == repr(Threshold(Margin(8), at_least=0.5))
    assert "Threshold(Repetition(n=2), >= 1)" == repr(Threshold(Repetition(2), at_least=1))
    about = "Threshold(AnswerPattern(pattern=re.compile('A: (.*)')), >= 1)"
    assert about == repr(Threshold(AnswerPattern("A: (.*)"), at_least=1))


def test_limits() -> None:
    """Position and time."""
    assert MinTokens(5).decide(HERE).stop
    assert not MinTokens(6).decide(HERE).stop
    assert MaxTokens(5).decide(HERE).forced
    assert Deadline(1.0).decide(HERE).reason == "deadline"
    assert not Deadline(1.1).decide(HERE).stop


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: MinTokens(-1), "tokens must be >= 0, got -1"),
        (lambda: MaxTokens(0), "tokens must be >= 1, got 0"),
        (lambda: Deadline(0), r"seconds must be in \(0, inf\), got 0"),
        (lambda: Deadline(math.nan), r"seconds must be in \(0, inf\), got nan"),
        (lambda: Patience(Says(), 0), "k must be >= 1, got 0"),
        (AnyOf, "at least one policy"),
        (lambda: Threshold(Reads(1)), "exactly one of at_least and at_most"),
        (lambda: Threshold(Reads(1), at_least=1, at_most=1), "exactly one"),
        (lambda: Threshold(Reads(1), at_most=math.nan), "at_most must be a number, got nan"),
        (lambda: Engine(Says(), Request(), every=0), "every must be >= 1, got 0"),
        (lambda: AdaptiveStopping(attempts=0), "attempts must be a whole number >= 1, got 0"),
        (lambda: AdaptiveStopping(max_seconds=-1), r"max_seconds must be in \(0, inf\), got -1"),
        (
            lambda: AdaptiveStopping(max_total_tokens=0),
            "max_total_tokens must be a whole number >= 1, got 0",
        ),
        (lambda: AdaptiveStopping(backoff=(2, 1)), "backoff must hold"),
        (lambda: AdaptiveStopping(mode="on"), "mode must be one of .*got 'on'"),  # type: ignore[arg-type]  # the mistake
        (
            lambda: AdaptiveStopping(reasoning_tags=("", "x")),
            "reasoning_tags must be two non-empty",
        ),
        (lambda: AdaptiveStopping.from_profile("fast"), "profile must be one of .*got 'fast'"),
        (lambda: AdaptiveStopping().replace(polcy=1), r"no such field: \['polcy'\]"),
        (lambda: Request(max_tokens=-5), "max_tokens must be >= 1, got -5"),
        (lambda: Step("a", tokens=-1), "tokens must be >= 0, got -1"),
    ],
)
def test_a_callers_mistake_names_argument_and_value(make: Any, message: str) -> None:
    """Raised where the object is made, not where it is used."""
    with pytest.raises(ValueError, match=message):
        make()


def test_the_wrong_kind_is_a_type_error() -> None:
    """A policy is a Policy, a check can be called."""
    with pytest.raises(TypeError, match="policy must be a Policy, got 3"):
        AdaptiveStopping(policy=3)  # type: ignore[arg-type]  # the mistake
    with pytest.raises(TypeError, match="completeness must be callable and no class, got 3"):
        AdaptiveStopping(completeness=3)  # type: ignore[arg-type]  # the mistake
    with pytest.raises(TypeError, match="parts must be policies, got 3"):
        AnyOf(3)  # type: ignore[arg-type]  # the mistake


def test_streams_do_not_disturb_each_other() -> None:
    """One policy object, two interleaved streams: each has its own signals."""
    policy = Threshold(Sentences(), at_least=2)
    one, two = Engine(policy, Request()), Engine(policy, Request())
    for step in words("A first one. A second one. A third."):
        one.feed(Step(step))
        two.feed(Step("No end here"))
    assert one.decision.stop
    assert not two.decision.stop
    assert policy.signal.value != 2


def test_a_shared_signal_is_updated_once() -> None:
    """Two thresholds on one signal object count each sentence once."""
    sentences = Sentences()
    policy = Threshold(sentences, at_least=2) | Threshold(sentences, at_least=9)
    engine = Engine(policy, Request())
    engine.feed(Step("One here. Two here. Three here. "))
    assert engine.text == "One here. Two here."


def test_one_object_in_two_places_counts_in_each_apart() -> None:
    """A checkpoint is one checkpoint, however often a rule names the policy that counts it."""
    text = "One here. Two here. Three here. Four. "
    once = Patience(Threshold(Sentences(), at_least=1), 2)
    for policy in (once, once | once, (once | MaxTokens(99)) & once, Patience(once & once, 1)):
        engine = Engine(policy, Request(), every=99)
        engine.feed(Step(text))
        assert "One here. Two here." == engine.text


def test_a_token_limit_is_met_exactly() -> None:
    """A named count is a checkpoint, though it is no multiple of ``every``."""
    engine = Engine(MaxTokens(5), Request())
    for step in words("a b c d e f g h i"):
        engine.feed(Step(step))
    assert engine.text == "a b c d e"


def test_confidence_is_read_at_token_checkpoints() -> None:
    """Inside a long sentence the policy is asked every ``every`` tokens."""
    policy = Threshold(MeanLogprob(window=4), at_most=-2.0)
    engine = Engine(policy, Request(), every=4)
    for i in range(20):
        engine.feed(Step(" word", logprob=-1.0 if i < 8 else -3.0))
    assert engine.checkpoint is not None
    assert engine.checkpoint.tokens == 12


@given(st.lists(st.sampled_from(["One.", " Two", "\n", " 3.5", "! ", '"', "```", "{", "}"])))
def test_the_stop_does_not_depend_on_the_chunking(parts: list[str]) -> None:
    """Same place, same reason, same text."""
    text = "".join(parts)
    policy = Threshold(Sentences(), at_least=2) | MaxTokens(17)
    outcomes = set()
    for steps in chunkings(text, seed=len(text)):
        engine = Engine(policy, Request())
        shown = "".join(engine.feed(step) for step in steps)
        assert shown == engine.text
        assert engine.text + engine.held == text[: engine.offset] + (
            "" if engine.decision.stop else text[engine.offset :]
        )
        outcomes.add((engine.text, engine.decision, engine.checkpoint))
    assert len(outcomes) == 1
