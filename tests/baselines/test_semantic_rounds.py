"""The end of an agent's rounds."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from stopping_core.policies.baselines import SemanticRounds
from stopping_core.policies.baselines.semantic_rounds import cosine_distance

VECTORS = {"a": (1.0, 0.0), "b": (0.0, 1.0), "about a": (0.8, 0.6), "": (0.0, 0.0)}
"""``about a`` is 0.2 from ``a`` and 0.4 from ``b``."""


def embed(draft: str) -> tuple[float, float]:
    """Look a draft up."""
    return VECTORS[draft]


@pytest.mark.parametrize(
    ("drafts", "rounds"),
    [
        (["b", "a", "a", "a", "b"], 4),  # two rounds in a row that change nothing
        (["a", "a", "b", "b", "a"], 5),  # never two
        (["a"] * 12, 3),
        (["a", "b"] * 6, 10),  # max_iterations
    ],
)
def test_it_stops_when_drafts_do_not_move(drafts: list[str], rounds: int) -> None:
    """With a patience of two rounds."""
    assert rounds == SemanticRounds(embed).stop(drafts)


def test_what_is_close_enough_is_a_setting() -> None:
    """0.2 is, and 0.4 is not."""
    rule = SemanticRounds(embed, at_most=0.21, patience=1)
    assert 2 == rule.stop(["a", "about a", "b"])
    assert 3 == rule.stop(["b", "about a", "a"])


def test_an_empty_vector_is_far_from_everything() -> None:
    """It has no direction."""
    assert 1.0 == cosine_distance(VECTORS[""], VECTORS["a"])


def test_drafts_are_not_compared_without_an_embedding() -> None:
    """Nor by a stand-in for it."""
    assert {"rounds"} == SemanticRounds().needs()
    with pytest.raises(ValueError, match="embed must be given"):
        SemanticRounds().stop(["a", "a"])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: SemanticRounds(at_most=2.1), r"at_most must be in \[0, 2\], got 2.1"),
        (lambda: SemanticRounds(patience=0), "patience must be >= 1, got 0"),
        (lambda: SemanticRounds(rounds=0), "rounds must be >= 1, got 0"),
    ],
)
def test_settings_out_of_their_interval(make: Callable[[], SemanticRounds], message: str) -> None:
    """The error names setting, interval and value."""
    with pytest.raises(ValueError, match=message):
        make()
