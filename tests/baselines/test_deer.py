"""DEER."""

from __future__ import annotations

import math
from typing import Any, Literal

import pytest

from stopping_core.policies.baselines.deer import Deer
from stopping_core.types import Boundary, Probe
from tests.baselines.scripted import probed, recorded, stop, words

STEPS = (
    "It ",
    "is ",
    "4.\n\n",
    "Wait",
    ",",
    " let ",
    "me ",
    "look.\n\n",
    "It ",
    "is ",
    "4.\n\n",
    "So",
)
"""Line ends after tokens 3, 8 and 11; the transition before 4."""


def _at(places: tuple[int, ...], probability: float) -> dict[int, Probe]:
    return {place: probed("4", probability) for place in places}


def test_it_tries_an_answer_after_a_transition_word() -> None:
    """It asks at the first line end after "Wait", once, and stops if the answer is sure."""
    assert (8, 1) == stop(Deer(), recorded(STEPS, _at((8,), 0.96)))
    assert (None, 1) == stop(Deer(), recorded(STEPS, _at((8,), 0.95)))


def test_without_a_transition_it_never_asks() -> None:
    """The word that is awaited is one of its settings, and is a word of its own."""
    run = recorded(("Waiting. ", "wait ", "so\n", "on"), {})
    assert (None, 0) == stop(Deer(), run)
    assert (None, 0) == stop(Deer(words=("Hmm",)), recorded(STEPS, {}))


def test_inside_a_line_it_asks_at_the_next_regular_checkpoint() -> None:
    """Sentence ends are passed over; two transitions before the checkpoint are asked about once."""
    run = recorded(("Wait. ", "So. ", "Wait. ", *("word ",) * 30), _at((16,), 0.99))
    assert (16, 1) == stop(Deer(), run)


@pytest.mark.parametrize(
    ("probabilities", "stops"),
    [((0.1, 0.96, 0.96), True), ((1.0, 0.96, 0.9), False), ((1.0,), False), ((), False)],
)
def test_the_first_token_is_left_out(probabilities: tuple[float, ...], stops: bool) -> None:
    """The mean is over the others; where there are none there is nothing to be sure of."""
    probe = Probe("4", 3, 10, tuple(map(math.log, probabilities)))
    assert (8 if stops else None, 1) == stop(Deer(), recorded(STEPS, {8: probe}))


def test_the_first_token_may_be_the_answer() -> None:
    """Kept, a single token is judged, and one that is unsure counts."""
    rule = Deer(at=Boundary.LINE, keep_first=True)
    one, unsure = (
        Probe("4", n, 10, (math.log(p), *[0.0] * (n - 1))) for n, p in ((1, 0.96), (2, 0.8))
    )
    assert 3 == stop(rule, recorded(STEPS, dict.fromkeys((3, 8, 11), one)))[0]
    assert None is stop(rule, recorded(STEPS, dict.fromkeys((3, 8, 11), unsure)))[0]
    assert "Deer(0.95, at=LINE, mean='arithmetic', checks=10, keep_first=True)" == repr(rule)
    assert any(setting.keep_first for setting in Deer.grid())


@pytest.mark.parametrize(("mean", "stops"), [("arithmetic", True), ("geometric", False)])
def test_both_means(mean: Literal["arithmetic", "geometric"], stops: bool) -> None:
    """0.5 and 1 have the arithmetic mean 0.75 and the geometric mean 0.71."""
    probe = Probe("4", 3, 10, (0.0, math.log(0.5), 0.0))
    rule = Deer(0.73, at=Boundary.LINE, mean=mean)
    assert (3 if stops else None) == stop(rule, recorded(STEPS, {3: probe, 8: probe, 11: probe}))[0]


def test_twenty_tokens_of_an_answer_count() -> None:
    """What a longer probe goes on to say is not part of the trial answer."""
    probe = Probe("4 and so on", 30, 10, (0.0,) * 20 + (-9.0,) * 10)
    assert (8, 1) == stop(Deer(), recorded(STEPS, {8: probe}))


def test_it_asks_at_most_ten_times() -> None:
    """After the tenth check it lets the run go on, as it was published."""
    run = words(60, {4 * i: probed("4", 0.99 if i == 11 else 0.5) for i in range(1, 16)})
    assert (None, 10) == stop(Deer(at=4), run)
    assert (44, 11) == stop(Deer(at=4, checks=11), run)


def test_the_published_settings() -> None:
    """Threshold 0.95, ten checks, at "Wait"."""
    rule = Deer()
    assert (0.95, 10, ("Wait",), "arithmetic") == (
        rule.threshold,
        rule.checks,
        rule.transitions and rule.transitions.words,
        rule.mean,
    )
    assert frozenset({"probes", "logprobs"}) == rule.needs()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"threshold": 1.0}, r"threshold must be in \(0, 1\), got 1.0"),
        ({"checks": 0}, "checks must be >= 1, got 0"),
        ({"mean": "harmonic"}, "mean must be 'arithmetic' or 'geometric', got 'harmonic'"),
        ({"words": ()}, "words must hold at least one word"),
        ({"at": Boundary.NONE}, "at must be a boundary or >= 1 token"),
    ],
)
def test_settings_out_of_their_interval_are_refused(settings: dict[str, Any], message: str) -> None:
    """The error names the setting and its value."""
    with pytest.raises(ValueError, match=message):
        Deer(**settings)
