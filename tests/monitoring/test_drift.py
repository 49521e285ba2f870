"""Drift of features: what is told, and what is passed over."""

from __future__ import annotations

import math
import sys
from typing import Any

import numpy as np
import pytest

from stopping_core.errors import MissingPackage
from stopping_core.monitoring import DriftDetectors, Monitor, Observation


def test_only_what_moved_is_named() -> None:
    """Of two features the one that grows is named, and only after it grew."""
    rng, detectors = np.random.default_rng(0), DriftDetectors(["question", "context"])
    question, context = rng.lognormal(4, 0.5, (2, 2000))
    context[1000:] *= 1.5
    told = {
        (name, place >= 1000)
        for place, (first, second) in enumerate(zip(question, context, strict=True))
        for name in detectors.update({"question": float(first), "context": float(second)})
    }
    assert {("context", True)} == told


def test_missing_and_unknown_features_are_passed_over() -> None:
    """NaN, a missing feature and one that is not watched change nothing."""
    rng = np.random.default_rng(0)
    plain, holed = DriftDetectors(["a"]), DriftDetectors(["a"])
    expected, found = [], []
    for place, value in enumerate(np.where(np.arange(600) < 300, 1, 3) + rng.random(600)):
        expected.append(plain.update({"a": float(value)}))
        found.append(holed.update({"a": float(value), "b": place}))
        assert () == holed.update({"a": math.nan}) == holed.update({})
    assert (expected, True) == (found, ("a",) in found)


def test_infinite_values_do_no_harm() -> None:
    """A value that no scale holds counts as a very large one, and the detector goes on."""
    detectors = DriftDetectors(["a"])
    for value in (math.inf, -math.inf, 1e308, -1e308, 0.0) * 50:
        detectors.update({"a": value})
    detectors.reset()
    assert () == detectors.update({"a": 1.0})


def test_without_river_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """Features need river; a monitor without any does not."""
    monkeypatch.setitem(sys.modules, "river", None)
    monkeypatch.setitem(sys.modules, "river.drift", None)
    with pytest.raises(MissingPackage, match=r"stopping-core\[monitor\]"):
        DriftDetectors(["a"])
    monitor = Monitor([0.02], start=0.02)
    seen = Observation(level=0.02, would_stop=False, features={"a": 1.0})
    assert () == monitor.observe(seen).drifted


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"names": ["a", "a"]}, "names must be different texts"),
        ({"names": "ab"}, "names must be different texts, got 'ab'"),
        ({"names": ["a"], "delta": 0}, r"delta must be in \(0, 1\), got 0"),
    ],
)
def test_settings_out_of_their_interval(arguments: dict[str, Any], message: str) -> None:
    """A caller's mistake is named with its interval and value."""
    with pytest.raises(ValueError, match=message):
        DriftDetectors(**arguments)
