"""Words by which a model says that it turns round."""

from __future__ import annotations

import string

from stopping_core.signals.words import WordSignal

_AROUND = string.punctuation + "…“”‘’"


class MarkerWords(WordSignal):
    """Counts certain words in the text of a channel, or their share of its words.

    A word counts once it has ended: at the character after it, or at a boundary.

    Args:
        words: The words, at least one, in the case that they are written in, without punctuation.
        share: Whether to divide the count by the number of words so far.
    """

    def __init__(self, words: tuple[str, ...], *, share: bool = False) -> None:
        if not words:
            raise ValueError("words must hold at least one word, got none")
        self.words = words
        self.share = share
        super().__init__()

    @property
    def value(self) -> float | None:
        """The count; the share, in [0, 1], once there is a word."""
        if not self.share:
            return float(self._marked)
        return self._marked / self._all if self._all else None

    def _clear(self) -> None:
        self._marked = 0
        self._all = 0

    def _take(self, text: str, offset: int, opens: bool) -> None:
        self._all += 1
        self._marked += text.strip(_AROUND) in self.words
