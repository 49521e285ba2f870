"""What an endpoint's stream has said of every token, as it was taken in."""

from __future__ import annotations

import codecs
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

_TAGS = 4
"""Tokens of the tags around a reasoning channel, each with the line's end after it."""

_Floats: TypeAlias = NDArray[np.float32]


class Entry(NamedTuple):
    """A token as the endpoint tells it.

    Args:
        spelling: Its bytes; empty for one that ends the text.
        logprob: Nats, <= 0, NaN where it is not told.
        top: The most likely tokens there, each with its logprob.
    """

    spelling: bytes
    logprob: float
    top: tuple[tuple[bytes, float], ...]


@dataclass(slots=True)
class Reply:
    """A stream as it was taken in, a value a token.

    Args:
        start: When the call was made, by ``time.perf_counter``.
    """

    start: float
    tokens: list[str] = field(default_factory=list)
    entries: list[Entry | None] = field(default_factory=list)
    thinking: list[bool] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    finish_reason: str | None = None
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    system_fingerprint: str | None = None
    model: str | None = None

    @property
    def told(self) -> bool:
        """Whether the endpoint told log-probabilities."""
        return any(entry is not None for entry in self.entries)

    def take(self, text: str, entries: Sequence[Entry], thinking: bool = False) -> None:
        """Take a piece of text with its tokens, as far as they were told.

        The text is what counts. Where the tokens do not spell it (a server may keep back a part of
        a character, and with it a token), it stands with the last of them.
        """
        spelt = [entry for entry in entries if entry.spelling]
        pieces = _decoded([entry.spelling for entry in spelt])
        if "".join(pieces) != text:
            pieces = [""] * (len(spelt) - 1) + [text] if text else [""] * len(spelt)
        now = time.perf_counter() - self.start
        for place, piece in enumerate(pieces):
            self.tokens.append(piece)
            self.entries.append(spelt[place] if spelt else None)
            self.thinking.append(thinking)
            self.seconds.append(now)

    def check(self) -> None:
        """Refuse a stream that does not show its tokens one by one.

        What the endpoint counts is the measure. It may count besides what is no text: a token that
        ended it, or was cut inside a character, and the tags around a reasoning channel. Without
        its count only tokens that came with logprobs are known to be single ones.

        Raises:
            ValueError: Several tokens came as one, as where an endpoint without logprobs sends
                them together, or llama.cpp keeps back the parts of a character; or one as several.
        """
        shown = len(self.tokens)
        if self.completion_tokens is None:
            if None in self.entries:
                raise ValueError(
                    "the endpoint tells neither usage nor the logprob of every token: what came "
                    "cannot be counted"
                )
            return
        hidden = 1 + _TAGS * any(self.thinking)
        if not 0 <= self.completion_tokens - shown <= hidden:
            raise ValueError(
                f"the endpoint counts {self.completion_tokens} tokens, its stream shows {shown}: "
                f"they cannot be told apart"
            )

    def columns(self, top: int, told: bool) -> dict[str, Any]:
        """The values of a run: NaN where a token has none, None where nothing was told.

        Entropy is left out: of the most likely tokens alone it cannot be known.

        Args:
            top: How many of the largest logprobs were asked for.
            told: Whether this endpoint tells log-probabilities: what an empty run goes by.
        """
        logprobs = tops = margin = end = None
        if self.told or told:
            logprobs = np.full(len(self.tokens), np.nan, np.float32)
            tops = np.full((len(self.tokens), top), np.nan, np.float32)
            margin, end = logprobs.copy(), logprobs.copy()
            for place, entry in enumerate(self.entries):
                if entry is None:
                    continue
                logprobs[place] = entry.logprob
                best = sorted((logprob for _, logprob in entry.top), reverse=True)[:top]
                tops[place, : len(best)] = best
                if len(best) > 1:
                    margin[place] = math.exp(best[0]) - math.exp(best[1])
                ends = [math.exp(logprob) for spelling, logprob in entry.top if not spelling]
                if ends:
                    end[place] = min(sum(ends), 1.0)
        return {
            "tokens": tuple(self.tokens),
            "finish_reason": self.finish_reason or "",
            "logprobs": _seen(logprobs),
            "top_logprobs": _seen(tops) if top else None,
            "margin": _seen(margin) if top > 1 else None,
            "end_probability": _seen(end) if top else None,
            "seconds": np.array(self.seconds, np.float32),
            "reasoning": np.array(self.thinking, bool) if any(self.thinking) else None,
        }


def _seen(column: _Floats | None) -> _Floats | None:
    """A column; None where it has tokens and a value for none of them."""
    if column is None or (len(column) and not np.isfinite(column).any()):
        return None
    return column


def _decoded(spellings: Sequence[bytes]) -> list[str]:
    """The text of each token; a character stands with the token that ends it."""
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    return [
        decoder.decode(spelling, final=place == len(spellings) - 1)
        for place, spelling in enumerate(spellings)
    ]
