"""Text that repeats itself: the share of repeated n-grams, and loops."""

from __future__ import annotations

import re
from collections import deque
from typing import NamedTuple

from stopping_core.signals.words import WordSignal
from stopping_core.types import Step

_LETTER = re.compile(r"[^\W\d_]")
_DIGIT = re.compile(r"\d")


class Repetition(WordSignal):
    """Share of the word n-grams in the window that occurred before in it, in [0, 1].

    Rises as a text begins to go in circles, well before the circles are exact. Formulas, tables
    and lists with a fixed frame raise it too, so its threshold is for calibration to find. Words
    are cut at white space, and after every character in scripts without spaces. None until there
    is an n-gram. Memory: ``window`` words.

    Args:
        n: Words of an n-gram, >= 1.
        window: Words that are looked back on, > n.

    Examples:
        >>> signal = Repetition(n=2, window=8)
        >>> signal.update(Step("to be or not to be "))
        >>> signal.value  # 5 pairs, of which "to be" occurred before
        0.2

    References:
        Welleck et al., "Neural Text Generation With Unlikelihood Training", 2020, section 6.1
        (seq-rep-n), arXiv:1908.04319.
    """

    def __init__(self, n: int = 4, window: int = 128) -> None:
        if n < 1:
            raise ValueError(f"n must be >= 1, got {n}")
        if window <= n:
            raise ValueError(f"window must be > n ({n}), got {window}")
        self.n = n
        self.window = window
        super().__init__()

    @property
    def value(self) -> float | None:
        """The share of repeated n-grams, or None while there are none."""
        if not self._grams:
            return None
        return (len(self._grams) - len(self._counts)) / len(self._grams)

    def _clear(self) -> None:
        self._last: deque[str] = deque(maxlen=self.n)
        self._grams: deque[tuple[str, ...]] = deque()
        self._counts: dict[tuple[str, ...], int] = {}

    def _take(self, text: str, offset: int, opens: bool) -> None:
        self._last.append(text)
        if len(self._last) < self.n:
            return
        gram = tuple(self._last)
        self._grams.append(gram)
        self._counts[gram] = self._counts.get(gram, 0) + 1
        if len(self._grams) > self.window - self.n + 1:
            oldest = self._grams.popleft()
            if self._counts[oldest] == 1:
                del self._counts[oldest]
            else:
                self._counts[oldest] -= 1


class _Place(NamedTuple):
    """A word of the window, and what had been counted before it."""

    text: str
    offset: int
    plain: int  # words with a letter and without a digit
    cells: int  # words with a table's bar


class _Run:
    """How long the text has agreed with itself at one lag."""

    __slots__ = ("aligned", "begin", "length", "second")

    def __init__(self, begin: int, second: int) -> None:
        self.begin = begin  # offset of the first copy
        self.second = second  # offset of the second copy
        self.aligned = False  # whether `second` begins a line or a sentence
        self.length = 0  # words that agree


class Loop(WordSignal):
    """1.0 while the text ends in copies of one unit that go on and on, else 0.0.

    Greedy decoding, small and quantised models get caught in loops and write the same words until
    the budget ends. Good answers repeat themselves too: table borders, rules, closing brackets,
    matrices of zeros, refrains. What counts as a loop therefore depends on the unit:

    ======================================================  ===============  ======  ==========
    unit                                                    copies           words   characters
    ======================================================  ===============  ======  ==========
    three or more plain words (a letter, no digit), no bar  ``min_repeats``  >= 12   >= 24
    fewer plain words, or cells of a table                  24                       >= 64
    no plain word: rules, brackets, digits, white space     24                       >= 200
    ======================================================  ===============  ======  ==========

    A run without white space is cut into pieces after 32 characters, so a single character has to
    be repeated 232 times. White space between words is not compared. The text after a loop's last
    whole word may be cut off anywhere.

    It misses loops in which a number counts up, and units longer than ``max_period``. It is wrong
    about texts that repeat a sentence ``min_repeats`` times on purpose (litanies, boilerplate
    code). Each word costs as many comparisons as it has occurrences among the last ``max_period``
    words; memory is ``max_period`` words.

    Args:
        min_repeats: Copies of a sentence that make a loop, >= 2.
        max_period: Longest unit, words (characters in scripts without spaces), >= 1.

    Examples:
        >>> signal = Loop()
        >>> signal.update(Step("Well. " + 3 * "I do not know. "))
        >>> signal.value, signal.loop_start
        (1.0, 21)

    References:
        Holtzman et al., "The Curious Case of Neural Text Degeneration", 2020, section 4,
        arXiv:1904.09751.
    """

    def __init__(self, min_repeats: int = 3, max_period: int = 64) -> None:
        if min_repeats < 2:
            raise ValueError(f"min_repeats must be >= 2, got {min_repeats}")
        if max_period < 1:
            raise ValueError(f"max_period must be >= 1, got {max_period}")
        self.min_repeats = min_repeats
        self.max_period = max_period
        super().__init__()

    @property
    def value(self) -> float | None:
        """1.0 while the text ends in a loop, else 0.0."""
        return 0.0 if self._lag == 0 else 1.0

    @property
    def loop_start(self) -> int | None:
        """Offset where the second copy begins, in characters of the channel; None without a loop.

        The text before it holds one copy. Of the places where a copy can be said to begin it is
        the first that begins a line or a sentence, where there is one.
        """
        return None if self._lag == 0 else self._runs[self._lag].second

    def _clear(self) -> None:
        self._count = 0
        self._plain = 0
        self._cells = 0
        self._lag = 0  # words of the loop's unit, 0 without a loop
        self._ring: deque[_Place] = deque()
        self._places: dict[str, deque[int]] = {}
        self._runs: dict[int, _Run] = {}

    def _take(self, text: str, offset: int, opens: bool) -> None:
        ring = self._ring
        if len(ring) > self.max_period:
            oldest = ring.popleft().text
            places = self._places[oldest]
            places.popleft()
            if not places:
                del self._places[oldest]
        ring.append(_Place(text, offset, self._plain, self._cells))
        self._plain += _is_plain(text)
        self._cells += "|" in text
        runs: dict[int, _Run] = {}
        seen = self._places.setdefault(text, deque())
        for place in reversed(seen):
            lag = self._count - place
            run = self._runs.get(lag) or _Run(ring[-lag - 1].offset, offset)
            if opens and not run.aligned and run.length < lag:
                run.second, run.aligned = offset, True
            run.length += 1
            runs[lag] = run
        seen.append(self._count)
        self._count += 1
        self._runs = runs
        end = offset + len(text)
        self._lag = next((lag for lag in runs if self._is_loop(lag, end)), 0)

    def _is_loop(self, lag: int, end: int) -> bool:
        run = self._runs[lag]
        if run.length < (self.min_repeats - 1) * lag:
            return False
        for shorter in self._runs:  # in ascending order
            if shorter == lag:
                break
            if lag % shorter == 0 and self._runs[shorter].length >= lag - shorter:
                return False  # the unit is itself copies of a shorter one, judged before
        unit = self._ring[-lag]
        plain = self._plain - unit.plain
        characters = end - run.begin
        words = run.length + lag
        if plain >= 3 and self._cells == unit.cells:
            return words >= 12 and characters >= 24
        return words >= 24 * lag and characters >= (64 if plain else 200)

    def _awaits(self, pending: str) -> bool:
        return self._lag > 0 and self._ring[-self._lag].text.startswith(pending)


def find_loop(text: str) -> int | None:
    """Find the loop that a text ends in, as :class:`Loop` does with its default settings.

    Args:
        text: A text, which may be cut off in the middle of a word.

    Returns:
        Offset where the second copy begins, so that ``text[:offset]`` keeps one; None where the
        text does not end in a loop.

    Examples:
        >>> text = "Well. " + 5 * "I do not know. " + "I do n"
        >>> text[: find_loop(text)]
        'Well. I do not know. '
    """
    loop = Loop()
    loop.update(Step(text, finish_reason="cut"))
    return loop.loop_start


def _is_plain(word: str) -> bool:
    if word.isalpha():
        return True
    return _LETTER.search(word) is not None and _DIGIT.search(word) is None
