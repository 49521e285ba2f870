"""k-stable answers."""

from __future__ import annotations

import pytest

from stopping_core.policies.baselines.k_stable import KStable
from stopping_core.traces.run import Run
from stopping_core.types import Boundary
from tests.baselines.scripted import probed, recorded, stop


def _lines(*texts: str) -> Run:
    """A run with these answers at its line ends, after tokens 2, 4, 6 ..."""
    probes = {2 * i: probed(text) for i, text in enumerate(texts, 1)}
    return recorded((*("so ", "on\n") * len(texts), "End"), probes)


def test_it_stops_at_the_third_equal_answer() -> None:
    """Two are not enough, and an empty one begins the count anew."""
    assert (10, 5) == stop(KStable(), _lines("5", "5", "4", "4.0", "$4", "4"))
    assert (4, 2) == stop(KStable(2), _lines("5", "5", "4", "4.0", "$4", "4"))
    assert (None, 5) == stop(KStable(), _lines("4", "4", "", "4", "4"))


def test_the_published_setting() -> None:
    """Three answers."""
    assert (3, Boundary.LINE) == (KStable().k, KStable().at)
    assert frozenset({"probes"}) == KStable().needs()
    assert "KStable(3, at=LINE)" == repr(KStable.grid()[0])


def test_one_answer_is_not_stable() -> None:
    """The error names the setting."""
    with pytest.raises(ValueError, match="k must be >= 2, got 1"):
        KStable(1)
