"""Words of a stream, cut the same however the stream was chunked."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from typing import TypeAlias

from stopping_core.sentence_ends import ends_sentence
from stopping_core.types import Boundary, Channel, Request, Step

Word: TypeAlias = tuple[str, int, bool]
"""Its text, the offset where it begins, and whether it begins a line or a sentence."""

_FIRST_PIECE = 32  # characters of an unbroken run that are one word
_NEXT_PIECE = 8  # a longer run goes on as words of this length

# Tibetan, Thai, Lao, Burmese, Khmer, kana and CJK ideographs with their punctuation.
_SPACELESS = (
    "\u0e00-\u0fff\u1000-\u109f\u1780-\u17ff\u3001-\u312f\u31f0-\u31ff"
    "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\uff01-\uffef\U00020000-\U0003ffff"
)
_RUNS = re.compile(rf"\s+|([{_SPACELESS}])|[^\s{_SPACELESS}]+")


class Words:
    """Cuts a text, fed in any chunks, into words.

    A word is a run of characters between white space. In scripts that are written without spaces
    every character is a word. A run of more than 32 characters, white space included, goes on as
    words of 8 characters, so that a stream that never comes to an end of a word is seen too.

    Args:
        offset: Offset of the first character to come.
    """

    def __init__(self, offset: int = 0) -> None:
        self.offset = offset
        self._part = ""
        self._space = False
        self._piece = _FIRST_PIECE
        self._opens = True

    @property
    def pending(self) -> str:
        """The word that has begun and not ended, or ``""``."""
        return "" if self._space else self._part

    def feed(self, text: str) -> list[Word]:
        """Take the next characters and return the words that they end."""
        words: list[Word] = []
        for match in _RUNS.finditer(text):
            run = match[0]
            if match[1] is not None:
                self._close(words)
                self.offset += 1
                self._emit(words, run, self.offset - 1)
                continue
            space = run.isspace()
            if space != self._space:
                self._close(words)
                self._space = space
            if space and not self._opens and "\n" in run:
                self._opens = True
            self.offset += len(run)
            self._part += run
            if len(self._part) >= self._piece:
                self._cut(words)
        return words

    def end(self) -> list[Word]:
        """Return the word that is still open, as if white space followed."""
        words: list[Word] = []
        self._close(words)
        return words

    def _cut(self, words: list[Word]) -> None:
        part, begin = self._part, 0
        while len(part) - begin >= self._piece:
            piece = part[begin : begin + self._piece]
            if not self._space or self._piece == _NEXT_PIECE:
                self._emit(words, piece, self.offset - len(part) + begin)
            begin += self._piece
            self._piece = _NEXT_PIECE
        self._part = part[begin:]

    def _close(self, words: list[Word]) -> None:
        if self._part and not self._space:
            self._emit(words, self._part, self.offset - len(self._part))
        self._part = ""
        self._piece = _FIRST_PIECE

    def _emit(self, words: list[Word], text: str, offset: int) -> None:
        words.append((text, offset, self._opens))
        if text[-1].isalnum():
            self._opens = False
        else:
            self._opens = ends_sentence(text)


class WordSignal(ABC):
    """A signal that reads the text word by word.

    It reads the channel that is being written and begins anew when the stream goes from reasoning
    to the answer: an answer that repeats its reasoning repeats nothing.
    """

    def __init__(self) -> None:
        self._begin()

    def reset(self, request: Request) -> None:
        """Forget the last stream."""
        self._begin()

    def update(self, step: Step) -> None:
        """Take the next piece of text, or end the open word at a boundary."""
        if step.text:
            if step.channel != self._channel:
                self._turn(step.channel)
            for text, offset, opens in self._words.feed(step.text):
                self._take(text, offset, opens)
        ended = step.boundary is not Boundary.NONE or step.finish_reason is not None
        if ended and self._words.pending and not self._awaits(self._words.pending):
            for text, offset, opens in self._words.end():
                self._take(text, offset, opens)

    @property
    @abstractmethod
    def value(self) -> float | None:
        """The reading now."""

    @abstractmethod
    def _clear(self) -> None:
        """Forget all words."""

    @abstractmethod
    def _take(self, text: str, offset: int, opens: bool) -> None:
        """Take the next word."""

    def _awaits(self, pending: str) -> bool:
        """Whether the open word is to be left open at a boundary."""
        return False

    def _begin(self) -> None:
        self._channel: Channel | None = None
        self._lengths: dict[Channel, int] = {}
        self._words = Words()
        self._clear()

    def _turn(self, channel: Channel) -> None:
        if self._channel is not None:
            self._lengths[self._channel] = self._words.offset
            self._clear()
        self._channel = channel
        self._words = Words(self._lengths.get(channel, 0))
