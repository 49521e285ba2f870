"""HALT-CoT."""

from __future__ import annotations

from typing import Any

import pytest

from stopping_core.policies.baselines.halt_cot import HaltCot
from stopping_core.types import Probe
from tests.baselines.scripted import probed, recorded, stop

LINES = ("so ", "on\n") * 3 + ("End",)


def test_it_stops_below_the_threshold() -> None:
    """Where the entropy over the first token is below it, and not where it is unknown."""
    probes = {
        2: probed("4", entropy=None),
        4: probed("4", entropy=0.3),
        6: probed("4", entropy=0.29),
    }
    assert (6, 3) == stop(HaltCot(0.3), recorded(LINES, probes))


def test_it_may_read_the_whole_answer() -> None:
    """Three tokens of probability 0.9 have the surprisal 0.32; an answer of none has none."""
    probes = {2: Probe("", 0, 10, ()), 4: probed("4", 0.9), 6: probed("4", 0.95)}
    assert (4, 2) == stop(HaltCot(0.32, over="answer"), recorded(LINES, probes))
    assert (6, 3) == stop(HaltCot(0.31, over="answer"), recorded(LINES, probes))


def test_it_needs_what_it_reads_of_its_probes() -> None:
    """The entropy of the first token, or the logprobs of all."""
    assert frozenset({"probes", "top_logprobs"}) == HaltCot().needs()
    assert frozenset({"probes", "logprobs"}) == HaltCot(over="answer").needs()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"threshold": 0.0}, "threshold must be > 0, got 0.0"),
        ({"over": "all"}, "over must be 'first token' or 'answer', got 'all'"),
    ],
)
def test_settings_out_of_their_interval_are_refused(settings: dict[str, Any], message: str) -> None:
    """The error names the setting and its value."""
    with pytest.raises(ValueError, match=message):
        HaltCot(**settings)
