"""Dynasor / Certaindex."""

from __future__ import annotations

import pytest

from stopping_core.policies.baselines.dynasor import Dynasor
from stopping_core.types import Probe
from tests.baselines.scripted import probed, stop, words

PUBLISHED = {(8, 64), (5, 64), (3, 64), (2, 64), (2, 32)}


def _every(chunk: int, *texts: str) -> dict[int, Probe]:
    return {chunk * i: probed(text) for i, text in enumerate(texts, 1)}


def test_it_stops_when_the_last_answers_agree() -> None:
    """The third equal answer is the fourth probe, the fourth the fifth: so many are paid for."""
    run = words(60, _every(8, "5", "4", "4.", " 4.0", "4", "4", "4"))
    assert (32, 4) == stop(Dynasor(3, 8), run)
    assert (40, 5) == stop(Dynasor(4, 8), run)


def test_unequal_answers_never_stop_it() -> None:
    """Answers that change are paid for until the end."""
    assert (None, 7) == stop(Dynasor(2, 8), words(60, _every(8, *"1234567")))


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        (("4", "4, wait", "4", "4"), (32, 4)),
        (("know", "know", "4", "4"), (16, 2)),
        (("", "", "4", "4"), (32, 4)),
    ],
)
def test_hesitant_and_empty_answers_do_not_count(
    texts: tuple[str, ...], expected: tuple[int, int]
) -> None:
    """They break the row; a word that only holds a hesitation word does not."""
    assert expected == stop(Dynasor(2, 8), words(33, _every(8, *texts)))


def test_the_published_settings() -> None:
    """Three answers 64 tokens apart by default; all five stand in the grid, and smaller chunks."""
    grid = [(rule.window, rule.at) for rule in Dynasor.grid()]
    assert (3, 64) == (Dynasor().window, Dynasor().at)
    assert set(grid) >= PUBLISHED
    assert min(chunk for _, chunk in grid) <= 16
    assert frozenset({"probes"}) == Dynasor().needs()


@pytest.mark.parametrize(("name", "settings"), [("window", (0, 64)), ("chunk", (3, 0))])
def test_settings_out_of_their_interval_are_refused(name: str, settings: tuple[int, int]) -> None:
    """The error names the setting."""
    with pytest.raises(ValueError, match=f"{name} must be >= 1, got 0"):
        Dynasor(*settings)
