"""Mean logprob, entropy and margin over a window of tokens."""

from __future__ import annotations

import copy
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stopping_core.protocols import Signal
from stopping_core.signals.confidence import Margin, MeanLogprob, TopKEntropy
from stopping_core.types import Boundary, Request, Step

KINDS = [Margin, MeanLogprob, TopKEntropy]
logprobs = st.floats(min_value=-50.0, max_value=0.0)
bad = st.sampled_from([None, math.nan, math.inf, -math.inf])
chunks = st.lists(st.tuples(st.one_of(logprobs, bad), st.integers(0, 20)), max_size=60)


def run(signal: Signal, steps: list[Step]) -> float | None:
    signal.reset(Request())
    for step in steps:
        signal.update(step)
    return signal.value


@given(chunks, st.integers(1, 20))
def test_mean_is_that_of_the_last_tokens(
    pairs: list[tuple[float | None, int]], window: int
) -> None:
    """The mean equals a plain average over the last tokens that had a logprob."""
    known = [x for x, n in pairs for _ in range(n) if x is not None and math.isfinite(x)]
    value = run(MeanLogprob(window), [Step("x", tokens=n, logprob=x) for x, n in pairs])
    if len(known) < window:
        assert value is None
    else:
        assert value == pytest.approx(math.fsum(known[-window:]) / window, abs=1e-9)


def test_mean_does_not_drift() -> None:
    """After a long stream of mixed magnitudes the mean is as exact as at its beginning."""
    signal = MeanLogprob(window=4)
    for i in range(100_000):
        signal.update(Step("x", logprob=-99.9 if i % 3 == 0 else -1e-9))
    for _ in range(4):
        signal.update(Step("x", logprob=-1e-9))
    assert signal.value == pytest.approx(-1e-9, rel=1e-4)


def test_memory_is_bounded_by_the_window() -> None:
    """However long the stream and large its chunks, no more than a window of readings is held."""
    signal = MeanLogprob(window=8)
    for i in range(1000):
        signal.update(Step("x", tokens=1 + i % 50, logprob=-0.5))
    assert len(signal._readings) <= 8
    assert signal.value == -0.5


@given(st.lists(logprobs, min_size=1, max_size=20))
def test_entropy_is_within_its_bounds(top: list[float]) -> None:
    """With k logprobs and the rest as one outcome, entropy is between 0 and log(k + 1)."""
    value = run(TopKEntropy(1), [Step("x", top_logprobs=tuple(top))])
    assert value is not None
    assert 0.0 <= value <= math.log(len(top) + 1) + 1e-9


@given(st.lists(st.floats(0.001, 1.0), min_size=2, max_size=12), st.integers(1, 12))
def test_entropy_of_the_top_is_a_lower_bound(weights: list[float], k: int) -> None:
    """Leaving out the tail of a distribution never raises the entropy that is read."""
    total = math.fsum(weights)
    full = sorted((w / total for w in weights), reverse=True)
    entropy = -math.fsum(p * math.log(p) for p in full)
    top = tuple(math.log(p) for p in full[:k])
    value = run(TopKEntropy(1), [Step("x", top_logprobs=top)])
    assert value is not None
    assert value <= entropy + 1e-9


def test_known_entropy_and_margin_come_first() -> None:
    """Where a local model gives the full entropy and the margin, the top logprobs are not read."""
    step = Step("x", top_logprobs=(math.log(0.5), math.log(0.5)), entropy=2.5, margin=0.125)
    assert run(TopKEntropy(1), [step]) == 2.5
    assert run(Margin(1), [step]) == 0.125


@given(st.lists(logprobs, min_size=2, max_size=8))
def test_margin_is_the_lead_of_the_best(top: list[float]) -> None:
    """The margin is in [0, 1] and does not depend on the order of the logprobs."""
    value = run(Margin(1), [Step("x", top_logprobs=tuple(top))])
    assert value is not None
    assert 0.0 <= value <= 1.0
    assert run(Margin(1), [Step("x", top_logprobs=tuple(reversed(top)))]) == value


def test_margin_of_one_logprob_is_no_evidence() -> None:
    """One logprob alone does not say how far behind the second token is."""
    assert run(Margin(1), [Step("x", top_logprobs=(-0.1,))]) is None


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("reading", [None, math.nan, math.inf, -math.inf])
def test_missing_readings_are_no_evidence(kind: type[Signal], reading: float | None) -> None:
    """A missing, NaN or infinite reading neither raises nor changes the value."""
    top = None if reading is None else (reading, reading)
    nothing = Step("x", logprob=reading, top_logprobs=top, entropy=reading, margin=reading)
    signal = kind()
    for _ in range(20):
        signal.update(nothing)
    assert signal.value is None
    for _ in range(16):
        signal.update(Step("x", logprob=-0.5, top_logprobs=(-0.5, -1.5)))
    before = signal.value
    signal.update(nothing)
    assert before is not None
    assert signal.value == before


@pytest.mark.parametrize("kind", KINDS)
def test_value_waits_for_a_full_window(kind: type[Signal]) -> None:
    """There is no value until as many tokens as the window holds had a reading."""
    signal = kind()
    step = Step("x", logprob=-0.5, top_logprobs=(-0.5, -1.5))
    readings = []
    for _ in range(16):
        readings.append(signal.value)
        signal.update(step)
    assert readings == [None] * 16
    assert signal.value is not None


@pytest.mark.parametrize("kind", KINDS)
def test_answer_begins_a_new_window(kind: type[Signal]) -> None:
    """The confidence of the reasoning is not taken for that of the answer; a mark is neither."""
    signal = kind()
    signal.update(
        Step("x", tokens=16, logprob=-0.5, top_logprobs=(-0.5, -1.5), channel="reasoning")
    )
    signal.update(Step("", tokens=0, boundary=Boundary.LINE))
    assert signal.value is not None
    signal.update(Step("x", logprob=-0.5, top_logprobs=(-0.5, -1.5)))
    assert signal.value is None


@pytest.mark.parametrize("kind", KINDS)
def test_copies_and_resets_are_independent(kind: type[Signal]) -> None:
    """A deep copy shares no state, and a reset forgets the last stream."""
    signal = kind()
    signal.update(Step("x", tokens=16, logprob=-0.5, top_logprobs=(-0.5, -1.5)))
    twin = copy.deepcopy(signal)
    signal.reset(Request())
    assert signal.value is None
    assert twin.value is not None


def test_placeholders_do_not_outweigh_the_window() -> None:
    """A logprob of -9999 counts as -100, one above zero as zero, and none overflows."""
    assert run(MeanLogprob(2), [Step("x", logprob=-9999.0), Step("x", logprob=0.25)]) == -50.0
    assert run(MeanLogprob(2), [Step("x", tokens=9, logprob=-1e308)]) == -100.0


@pytest.mark.parametrize("kind", KINDS)
def test_window_is_validated(kind: type[Margin]) -> None:
    """A window of no tokens is the caller's mistake."""
    with pytest.raises(ValueError, match=r"window must be >= 1, got 0"):
        kind(0)
