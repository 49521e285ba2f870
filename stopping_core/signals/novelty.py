"""Whether the text still brings anything new."""

from __future__ import annotations

import re
from collections import deque

from stopping_core.signals.words import WordSignal

_CORE = re.compile(r"\w(?:.*\w)?", re.DOTALL)


class Novelty(WordSignal):
    """Share of the last words that the text had not used before them, in [0, 1].

    An answer that is done goes on in words that it has used already: it sums up, rephrases, repeats
    the question. Words are compared without case and without punctuation around them; words that
    are punctuation only do not count. In scripts without spaces every character is a word, and the
    share falls much sooner: calibrate those apart. None until there are ``window`` words.

    Memory: the ``window`` words and the 8192 distinct words that were used last; a word that was
    not used since 8192 others were counts as new again.

    Args:
        window: Words that are looked back on, >= 1.

    Examples:
        >>> from stopping_core.types import Step
        >>> signal = Novelty(window=4)
        >>> signal.update(Step("Paris is big. Is Paris big? Yes: "))
        >>> signal.value  # of "Is Paris big? Yes:" only the last is new
        0.25
    """

    capacity = 8192

    def __init__(self, window: int = 32) -> None:
        if window < 1:
            raise ValueError(f"window must be >= 1, got {window}")
        self.window = window
        super().__init__()

    @property
    def value(self) -> float | None:
        """The share of new words, or None until the window is full."""
        if len(self._new) < self.window:
            return None
        return self._sum / self.window

    def _clear(self) -> None:
        self._seen: dict[str, None] = {}  # the word used last comes last
        self._new: deque[bool] = deque()
        self._sum = 0

    def _take(self, text: str, offset: int, opens: bool) -> None:
        core = text if text.isalnum() else _core(text)
        if not core:
            return
        word = core.casefold()
        new = word not in self._seen
        if not new:
            del self._seen[word]
        self._seen[word] = None
        if len(self._seen) > self.capacity:
            del self._seen[next(iter(self._seen))]
        self._new.append(new)
        self._sum += new
        if len(self._new) > self.window:
            self._sum -= self._new.popleft()


def _core(word: str) -> str:
    match = _CORE.search(word)
    return match[0] if match else ""
