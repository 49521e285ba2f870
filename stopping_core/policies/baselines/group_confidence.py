"""Group confidence, the signal of DeepConf: live, and over a recorded sample at once."""

from __future__ import annotations

import math
from typing import Any, Self, TypeAlias

import numpy as np
from numpy.typing import NDArray

from stopping_core.policies.policy import Policy
from stopping_core.protocols import Signal
from stopping_core.signals import MeanLogprob
from stopping_core.types import CONTINUE, Checkpoint, Decision, Step

Floats: TypeAlias = NDArray[np.float64]

_FLOOR = -100.0  # nats; some providers write -9999 for "too unlikely to say"


class GroupConfidence(MeanLogprob):
    """Minus the mean logprob of the top candidates, over the last ``window`` tokens, nats, >= 0.

    High where one candidate stands out and the others are far below it, so it depends on how many
    candidates the provider returns. None until ``window`` tokens had any.

    Args:
        window: Tokens of a group, >= 1.

    Examples:
        >>> signal = GroupConfidence(window=2)
        >>> for row in ((-1.0, -3.0), (-0.5, -7.5)):  # 2 and 4
        ...     signal.update(Step(" a", top_logprobs=row))
        >>> signal.value
        3.0
    """

    needs = frozenset({"top_logprobs"})

    def _read(self, step: Step) -> float | None:
        known = [min(max(x, _FLOOR), 0.0) for x in step.top_logprobs or () if math.isfinite(x)]
        return -math.fsum(known) / len(known) if known else None


class Overheard(Policy):
    """Never stops, and keeps the confidence of every token of one stream, for who votes by them.

    Attributes:
        confidences: Nats, as of :class:`GroupConfidence`; NaN where a token has none. The copies
            that engines make write to it, over all calls of the stream.
    """

    def __init__(self) -> None:
        self.confidences: list[float] = []

    def decide(self, checkpoint: Checkpoint) -> Decision:
        return CONTINUE

    def signals(self) -> tuple[Signal, ...]:
        return (_Listener(self.confidences),)

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self


class _Listener(GroupConfidence):
    """Keeps each reading, whatever it is asked."""

    def __init__(self, kept: list[float]) -> None:
        super().__init__(window=1)
        self._kept = kept

    def update(self, step: Step) -> None:
        reading = self._read(step)
        self._kept.extend([math.nan if reading is None else reading] * step.tokens)


def token_confidences(top_logprobs: NDArray[np.floating[Any]]) -> Floats:
    """Return minus the mean of each token's top logprobs, nats; NaN where it has none.  # (n,).

    Args:
        top_logprobs: NaN where there is no further one.  # (n, k)
    """
    known = np.isfinite(top_logprobs)
    number = known.sum(axis=1)
    sums = np.clip(np.where(known, top_logprobs, 0.0), _FLOOR, 0.0).sum(axis=1, dtype=np.float64)
    return np.where(number > 0, -sums / np.maximum(number, 1), np.nan)


def groups(confidences: Floats, window: int) -> tuple[Floats, NDArray[np.int_]]:
    """Return the mean of each full window of tokens, and the token at whose end it is full.

    Tokens without a confidence are passed over.

    Examples:
        >>> means, ends = groups(np.array([4.0, math.nan, 2.0, 1.0]), 2)
        >>> means.tolist(), ends.tolist()
        ([3.0, 1.5], [3, 4])
    """
    known = np.flatnonzero(~np.isnan(confidences))
    if known.size < window:
        return np.empty(0), np.empty(0, dtype=np.int_)
    views = np.lib.stride_tricks.sliding_window_view(confidences[known], window)
    return views.mean(axis=1), known[window - 1 :] + 1


def lowest_group(confidences: Floats, window: int) -> float:
    """Return the lowest group confidence, nats; the mean of all tokens where no window is full.

    0.0, the least there is, where no token has a confidence.
    """
    means, _ = groups(confidences, window)
    if means.size:
        return float(means.min())
    known = confidences[~np.isnan(confidences)]
    return float(known.mean()) if known.size else 0.0
