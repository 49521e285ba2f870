"""What is known of one request after it, as the monitors take it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a cut at a level lost of one request, where that is known.

    A request that would not be cut loses nothing, and that is known without an audit. One that
    would be is run to the end with the probability ``share`` instead, and only then is its loss
    known. Fed as loss / share where it is known and as 0 where not, the losses of *all* requests
    have the right mean (Horvitz and Thompson), and none is above 1 / share.

    Args:
        level: Whose threshold is meant; None: nothing is cut.
        would_stop: Whether the policy at this level cuts the request.
        audited: Whether it ran to the end although it would be cut.
        loss: In [0, 1]: 1 where the cut loses the answer. None where not known, and needless where
            the request would not be cut.
        share: Probability, in (0, 1], with which such a request runs to the end. It may depend on
            the request and on the past, not on the answer after the cut, and it is settled before
            the lot is drawn.

    Raises:
        ValueError: What it holds is out of its interval, or does not go together.

    References:
        Horvitz and Thompson (1952), A Generalization of Sampling Without Replacement From a Finite
        Universe. Journal of the American Statistical Association 47.
    """

    level: float | None
    would_stop: bool
    audited: bool = False
    loss: float | None = None
    share: float = 1.0

    def __post_init__(self) -> None:
        if self.level is not None and not 0 < self.level < 1:
            raise ValueError(f"level must be in (0, 1) or None, got {self.level}")
        if not 0 < self.share <= 1:
            raise ValueError(f"share must be in (0, 1], got {self.share}")
        if self.loss is not None and not 0 <= self.loss <= 1:
            raise ValueError(f"loss must be in [0, 1] or None, got {self.loss}")
        if self.would_stop and self.level is None:
            raise ValueError("would_stop must be False where level is None, got True")
        if not self.would_stop and self.loss not in (None, 0):
            raise ValueError(f"loss must be 0 or None where nothing is cut, got {self.loss}")
        if self.would_stop and self.audited != (self.loss is not None):
            raise ValueError(
                f"loss must be known where audited, and only there, got {self.loss} "
                f"with audited {self.audited}"
            )

    @property
    def weighted(self) -> tuple[float, float]:
        """Loss and weight, as ``update`` of a monitor takes them."""
        if self.would_stop and self.audited and self.loss is not None:
            return self.loss, 1 / self.share
        return 0.0, 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation(Outcome):
    """One request: what it lost at the level in use, and what is known beside.

    Args:
        segment: Values by field, such as tenant and model; see
            :class:`~stopping_core.monitoring.segments.Segments`.
        features: Numbers by name, in which drift is looked for.
        time: Seconds, on any clock that does not go back.
        shadow: What a cut at the next more aggressive level would have lost, where a run that went
            to the end tells. Its ``share`` is the probability that this request ran to the end: 1
            where the level in use did not cut it.
    """

    segment: Mapping[str, str] = field(default_factory=dict)
    features: Mapping[str, float] = field(default_factory=dict)
    time: float = 0.0
    shadow: Outcome | None = None

    def __post_init__(self) -> None:
        Outcome.__post_init__(self)  # super() does not know a class with slots
        if not math.isfinite(self.time):
            raise ValueError(f"time must be finite, got {self.time}")
