"""EAT."""

from __future__ import annotations

from typing import Any

import pytest

from stopping_core.policies.baselines.eat import Eat
from stopping_core.traces.run import Run
from stopping_core.types import Boundary
from tests.baselines.scripted import probed, recorded, stop

PARAGRAPH = ("So ", "it ", "is.\n\n")


def _paragraphs(*entropies: float | None) -> Run:
    """A run with these entropies at its blank lines, after tokens 3, 6, 9 ..."""
    probes = {3 * i: probed("4", entropy=x) for i, x in enumerate(entropies, 1)}
    return recorded((*PARAGRAPH * len(entropies), "End"), probes)


def test_the_variance_is_that_of_the_exponential_mean() -> None:
    """With readings 1, 0, 0, 0 and alpha 0.5 the variances are 0, 0.125, 0.09375 and 0.0546875."""
    run = _paragraphs(1.0, 0.0, 0.0, 0.0)
    assert (3, 1) == stop(Eat(0.5, 1e-9, steps=1), run)
    assert (6, 2) == stop(Eat(0.5, 0.126, steps=2), run)
    assert (9, 3) == stop(Eat(0.5, 0.0938, steps=2), run)
    assert (12, 4) == stop(Eat(0.5, 0.0547, steps=2), run)
    assert (None, 4) == stop(Eat(0.5, 0.0546, steps=2), run)


def test_it_waits_for_four_over_alpha_steps() -> None:
    """A constant entropy stops it at the twentieth blank line, by its published settings."""
    assert (60, 20) == stop(Eat(), _paragraphs(*(0.7,) * 25))
    assert (24, 8) == stop(Eat(0.5), _paragraphs(*(0.7,) * 25))


def test_a_probe_without_entropy_is_no_step() -> None:
    """It is paid for and tells nothing."""
    assert (9, 3) == stop(Eat(steps=2), _paragraphs(0.7, None, 0.7, 0.7))


def test_the_published_settings() -> None:
    """Weight 0.2, delta 1e-4, at blank lines; smaller waits stand in the grid."""
    rule = Eat()
    assert (0.2, 1e-4, 20, Boundary.PARAGRAPH) == (rule.alpha, rule.delta, rule.steps, rule.at)
    assert repr(rule) == repr(Eat.grid()[0])
    assert min(one.steps for one in Eat.grid()) < 20
    assert frozenset({"probes", "top_logprobs"}) == rule.needs()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"alpha": 0.0}, r"alpha must be in \(0, 1\], got 0.0"),
        ({"delta": 0.0}, "delta must be > 0, got 0.0"),
        ({"steps": 0}, "steps must be >= 1, got 0"),
        ({"at": 0}, "at must be a boundary or >= 1 token, got 0"),
    ],
)
def test_settings_out_of_their_interval_are_refused(settings: dict[str, Any], message: str) -> None:
    """The error names the setting and its value."""
    with pytest.raises(ValueError, match=message):
        Eat(**settings)
