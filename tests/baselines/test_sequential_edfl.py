"""Sequential-EDFL: its e-process, and where it stops."""

from __future__ import annotations

import math
import random

import pytest
from scipy import stats

from stopping_core.policies.baselines import SequentialEdfl
from stopping_core.policies.baselines.sequential_edfl import LiftEvidence
from stopping_core.traces.replay import replay
from stopping_core.types import Boundary, Request, Step
from tests.baselines.readings import run
from tests.baselines.scripted import stop

WEAK = -2.0  # nats; what the skeleton gives every token


def skeleton(step: Step) -> float | None:
    """A skeleton that is equally bad everywhere."""
    return WEAK


def sentences(lift: float) -> tuple[str, ...]:
    """Sentences of ten tokens."""
    return ("It", *(" is",) * 8, " so. ") * 20


def test_it_stops_at_the_sentence_end_after_the_evidence_is_in() -> None:
    """A lift of 2 nats in 4 is x = 3/4 all along: b = 0.8 alone makes it 1/4 * 0.8 a token."""
    text = sentences(2.0)
    lifted = run(text, logprobs=(WEAK + 2.0,) * len(text))
    tokens, _ = stop(SequentialEdfl(skeleton), lifted)
    assert tokens is not None
    assert 0 == tokens % 10
    # The best of five bets makes a fifth of the wealth, so that log(5 / delta) / 0.2 tokens are
    # enough, and fewer than log(1 / delta) / 0.2 are not.
    assert math.log(10.0) / 0.2 < tokens < math.log(50.0) / 0.2 + 10 + 2


def test_without_a_lift_it_never_stops() -> None:
    """The skeleton knows as much."""
    text = sentences(0.0)
    assert (None, 0) == stop(SequentialEdfl(skeleton), run(text, logprobs=(WEAK,) * len(text)))


def test_false_stops_are_as_rare_as_promised() -> None:
    """Lifts of 1 nat up or down, fair, 300 tokens: at most delta of 600 streams, at any time."""
    rng, delta, streams = random.Random(0), 0.1, 600
    signal = LiftEvidence(skeleton)
    false = 0
    for _ in range(streams):
        signal.reset(Request())
        for _ in range(300):
            signal.update(Step(" a", logprob=WEAK + rng.choice((-1.0, 1.0))))
        false += (signal.value or 0.0) >= -math.log(delta)
    assert stats.binomtest(false, streams, delta, alternative="greater").pvalue > 1e-4


def test_a_chunk_of_tokens_counts_as_many() -> None:
    """And steps without a logprob, or that the skeleton does not know, count as none."""
    one, many = LiftEvidence(skeleton), LiftEvidence(skeleton)
    for _ in range(3):
        one.update(Step(" a", logprob=-1.0))
    many.update(Step(" a a a", tokens=3, logprob=-1.0))
    many.update(Step(" a"))
    assert one.value == many.value
    ignorant = LiftEvidence(lambda step: None)
    ignorant.update(Step(" a", logprob=-1.0))
    assert ignorant.value is None


def test_there_is_nothing_to_sweep_without_a_skeleton() -> None:
    """No recorded run holds one."""
    assert () == SequentialEdfl.grid()
    assert {"logprobs"} == SequentialEdfl(skeleton).needs()
    assert (0.1, Boundary.SENTENCE) == (SequentialEdfl(skeleton).delta, SequentialEdfl(skeleton).at)


def test_logprobs_have_to_be_recorded() -> None:
    """The lift begins with them."""
    with pytest.raises(ValueError, match="needs logprobs"):
        replay(run(("It is so. ", "End")), SequentialEdfl(skeleton), tags=None)


def test_settings_out_of_their_interval() -> None:
    """The error names setting, interval and value."""
    with pytest.raises(ValueError, match=r"delta must be in \(0, 1\), got 1.0"):
        SequentialEdfl(skeleton, 1.0)
    with pytest.raises(ValueError, match=r"bound must be in \(0, inf\), got 0.0"):
        SequentialEdfl(skeleton, bound=0.0)
