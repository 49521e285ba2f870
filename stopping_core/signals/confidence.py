"""How sure the model is of its last tokens: mean logprob, entropy, margin.

A reading that is missing, NaN or infinite is no evidence: its tokens are passed over and the window
keeps the tokens before them. A window never spans reasoning and answer: it begins anew where the
stream goes from one to the other.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections import deque
from typing import ClassVar

from stopping_core.types import Channel, Need, Request, Step

_FLOOR = -100.0  # nats; some providers write -9999 for "too unlikely to say"
_CEILING = 100.0  # nats; more than the entropy of any vocabulary


class _WindowMean(ABC):
    """Mean reading over the last ``window`` tokens; a step's reading stands for all its tokens.

    The running sum is added up afresh after every ``window`` tokens, so rounding errors do not
    build up over a long stream and a token still costs O(1) amortised.
    """

    needs: ClassVar[frozenset[Need]] = frozenset({"top_logprobs"})

    def __init__(self, window: int = 16) -> None:
        if window < 1:
            raise ValueError(f"window must be >= 1, got {window}")
        self.window = window
        self._clear(None)

    def reset(self, request: Request) -> None:
        """Forget the last stream."""
        self._clear(None)

    def update(self, step: Step) -> None:
        """Take the reading of the next piece, where it has one."""
        if step.tokens == 0:
            return
        if step.channel != self._channel:
            self._clear(step.channel)
        reading = self._read(step)
        if reading is not None:
            self._add(reading, min(step.tokens, self.window))

    @property
    def value(self) -> float | None:
        """The mean, or None until the window is full."""
        return self._sum / self.window if self._tokens == self.window else None

    @abstractmethod
    def _read(self, step: Step) -> float | None:
        """The step's reading, finite, or None."""

    def _clear(self, channel: Channel | None) -> None:
        self._channel = channel
        self._readings: deque[tuple[float, int]] = deque()
        self._tokens = 0
        self._sum = 0.0
        self._stale = 0

    def _add(self, reading: float, tokens: int) -> None:
        self._readings.append((reading, tokens))
        self._tokens += tokens
        self._sum += reading * tokens
        while self._tokens > self.window:
            oldest, count = self._readings.popleft()
            gone = min(count, self._tokens - self.window)
            if gone < count:
                self._readings.appendleft((oldest, count - gone))
            self._tokens -= gone
            self._sum -= oldest * gone
        self._stale += tokens
        if self._stale >= self.window:
            self._stale = 0
            self._sum = math.fsum(value * count for value, count in self._readings)


class MeanLogprob(_WindowMean):
    """Mean logprob of the last ``window`` tokens, in nats, <= 0.

    The logarithm of their geometric mean probability. None until ``window`` tokens had a logprob:
    the mean of a few tokens is noise, and a threshold on it would fire at the start of an answer.
    Logprobs below -100 count as -100, so that one placeholder does not outweigh the window.

    Args:
        window: Tokens that are averaged, >= 1.

    Examples:
        >>> signal = MeanLogprob(window=4)
        >>> signal.update(Step("Paris is", tokens=3, logprob=-0.5))
        >>> signal.value
        >>> signal.update(Step(" big", logprob=-2.5))
        >>> signal.value
        -1.0
    """

    needs = frozenset({"logprobs"})

    def _read(self, step: Step) -> float | None:
        logprob = step.logprob
        if logprob is None or not math.isfinite(logprob):
            return None
        return min(max(logprob, _FLOOR), 0.0)


class TopKEntropy(_WindowMean):
    """Mean Shannon entropy of the next-token distribution over the last tokens, in nats.

    Taken from ``Step.entropy`` where a local model knows it. Providers return only the top k
    logprobs; the mass that they leave out then counts as one more outcome, so the reading is a
    lower bound on the full entropy and at most log(k + 1). Thresholds for the two kinds differ.
    None until ``window`` tokens had a reading.

    Args:
        window: Tokens that are averaged, >= 1.

    Examples:
        >>> signal = TopKEntropy(window=1)
        >>> signal.update(Step("heads", top_logprobs=(math.log(0.5), math.log(0.5))))
        >>> round(signal.value, 4)  # log 2
        0.6931
    """

    def _read(self, step: Step) -> float | None:
        if step.entropy is not None and 0.0 <= step.entropy < _CEILING:
            return step.entropy
        probabilities = _probabilities(step)
        if not probabilities:
            return None
        probabilities.append(1.0 - math.fsum(probabilities))
        return -math.fsum(p * math.log(p) for p in probabilities if p > 0.0) + 0.0


class Margin(_WindowMean):
    """Mean lead of the best token over the second, as a difference of probabilities, in [0, 1].

    Taken from ``Step.margin`` where there is one, else from the two largest of the top logprobs.
    None until ``window`` tokens had a reading.

    Args:
        window: Tokens that are averaged, >= 1.

    Examples:
        >>> signal = Margin(window=1)
        >>> signal.update(Step("yes", top_logprobs=(math.log(0.75), math.log(0.25))))
        >>> round(signal.value, 4)
        0.5

    References:
        Scheffer, Decomain and Wrobel, "Active Hidden Markov Models for Information Extraction",
        2001, section 3 (the margin as a measure of confidence).
    """

    def _read(self, step: Step) -> float | None:
        if step.margin is not None and 0.0 <= step.margin <= 1.0:
            return step.margin
        probabilities = sorted(_probabilities(step), reverse=True)
        if len(probabilities) < 2:
            return None
        return probabilities[0] - probabilities[1]


def _probabilities(step: Step) -> list[float]:
    """The step's known probabilities, which sum to at most 1."""  # (<= k,)
    known = [math.exp(min(x, 0.0)) for x in step.top_logprobs or () if math.isfinite(x)]
    total = math.fsum(known)
    return [p / total for p in known] if total > 1.0 else known
