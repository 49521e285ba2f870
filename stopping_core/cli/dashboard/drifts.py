"""Where the requests changed: a test of their lengths and features, in the order of time."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from stopping_core.feedback import Outcome
from stopping_core.monitoring import DriftDetectors

Floats: TypeAlias = NDArray[np.float64]

GENERATED: Final = "generated"
"""The name of the generated tokens among the features."""

MOST_FEATURES: Final = 12
"""That are looked at: the generated tokens, and the features that the most requests have."""

DELTA: Final = 0.002
"""Sensitivity of all features together; see :class:`~stopping_core.monitoring.DriftDetectors`."""

_SAME: Final = 500
"""Requests within which what is found again is still the same change."""


@dataclass(frozen=True, slots=True)
class Drift:
    """A change of one feature.

    Args:
        feature: Its name.
        seen: When the request ended at which it was found; it began before.
        before: Mean from the change before, or the first request, to there.
        after: Mean from there to the next change, or the last request.
        requests_before: Requests in the first mean.
        requests_after: In the second one.
    """

    feature: str
    seen: datetime
    before: float
    after: float
    requests_before: int
    requests_after: int


@dataclass(frozen=True, slots=True)
class Looked:
    """What was looked at, and what was found.

    Args:
        features: How many requests have each feature that was looked at, and its mean.
        left_out: Features that were not, as there are more than :data:`MOST_FEATURES`.
        found: In the order of time.
    """

    features: dict[str, tuple[int, float]]
    left_out: int
    found: list[Drift]


def drifts(outcomes: Sequence[Outcome]) -> Looked:
    """Look for drift in the generated tokens and in all features that are stored.

    Args:
        outcomes: In the order of time.

    Raises:
        MissingPackage: river is not installed.
    """
    counted = Counter(name for one in outcomes for name in one.features if name != GENERATED)
    common = sorted(counted, key=lambda name: (-counted[name], name))[: MOST_FEATURES - 1]
    names = [GENERATED, *common] if outcomes else []
    detectors = DriftDetectors(names, DELTA)
    told: dict[str, list[int]] = {name: [] for name in names}
    for place, one in enumerate(outcomes):
        for name in detectors.update({**one.features, GENERATED: one.generated}):
            told[name].append(place)
    features: dict[str, tuple[int, float]] = {}
    found: list[Drift] = []
    for name in names:
        places, values = _series(outcomes, name)
        features[name] = len(values), _mean(values)
        seen = [bisect_left(places, place) for place in told[name]]
        for first, start, end in _parts(seen, len(values)):
            found.append(
                Drift(
                    feature=name,
                    seen=outcomes[places[start]].time,
                    before=_mean(values[first:start]),
                    after=_mean(values[start:end]),
                    requests_before=start - first,
                    requests_after=end - start,
                )
            )
    return Looked(features, len(counted) - len(common), sorted(found, key=lambda drift: drift.seen))


def _series(outcomes: Sequence[Outcome], name: str) -> tuple[list[int], Floats]:
    """Return which requests have a feature, and its values."""
    if name == GENERATED:
        places = list(range(len(outcomes)))
        return places, np.array([one.generated for one in outcomes], dtype=np.float64)
    places = [place for place, one in enumerate(outcomes) if name in one.features]
    return places, np.array([outcomes[place].features[name] for place in places])


def _parts(seen: Sequence[int], end: int) -> Iterator[tuple[int, int, int]]:
    """Yield where each change begins, with the change before and the one after."""
    new = [place for before, place in pairwise([-_SAME, *seen]) if place - before >= _SAME]
    edges = [0, *new, end]
    yield from zip(edges, edges[1:], edges[2:], strict=False)


def _mean(values: Floats) -> float:
    """The mean, also of the largest numbers."""
    return float((values / len(values)).sum())
