"""Grades by the choice that an answer makes: yes, no or maybe, or a letter."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from stopping_core.metrics.cuts import settled_length

_STATEMENT = r"""
    (?: \b(?i:answer|choice|option)\b (?i:\s++to\s++(?:the|this|your)\s++question\b)?+
        \s*+ (?i:is\b|would\s++be\b|:)?+ [\s:*_"'`“‘]*+
      | \\boxed\{ )
    (?:\\text\{)?
"""
_OPENING = r"\A[\s*_\"'`“‘]*+"
_OTHER = r"[\s,*_\"'`]*+ (?:\b(?i:or|and)\b|[&/]) [\s*_\"'`]*+"
_STOP = r"(?= [*_\"'`”’)\] \t]*+ (?:[.,;:!?\n]|\Z) )"


@dataclass(frozen=True, slots=True)
class _Options:
    """How one kind of choice is written: stated as the answer, at the beginning, by itself."""

    stated: re.Pattern[str]
    opening: re.Pattern[str]
    alone: re.Pattern[str]

    @classmethod
    def of(cls, option: str, opening_end: str, alone: str) -> _Options:
        both = f"(?P<first>{option}) (?: {_OTHER} (?P<second>{option}) )?"
        return cls(
            re.compile(f"{_STATEMENT} {both}", re.VERBOSE),
            re.compile(f"{_OPENING} {both} {opening_end}", re.VERBOSE),
            re.compile(alone, re.VERBOSE | re.MULTILINE),
        )

    def find(self, text: str) -> str | None:
        """Return the choice that a text makes, in lower case; None where it makes none."""
        if found := self.stated.search(text) or self.opening.match(text):
            first, second = _plain(found["first"]), _plain(found["second"] or found["first"])
            return first if first == second else None
        choices = {_plain(found[0]) for found in self.alone.finditer(text)}
        return choices.pop() if len(choices) == 1 else None


_WORD = r"(?i:yes|no|maybe)\b"
_LETTER = r"(?:[(\[][A-Ea-e][)\]]|[A-E]\b)"
_WORDS = _Options.of(_WORD, "", rf"(?<!not\s)\b{_WORD}{_STOP}")
_LETTERS = _Options.of(
    _LETTER,
    _STOP,
    r"(?<!not\s)\([A-Ea-e]\) | ^[ \t*_]*+[A-E][.)]?[ \t*_]*+$",
)


def choice(text: str, gold: Sequence[str], *, open_end: bool = False) -> bool:
    r"""Whether the answer makes the gold choice: yes, no or maybe, or a letter from A to E.

    Read is what the text first states as its answer ("the answer is (B)", ``\boxed{B}``), else what
    it begins with ("No, it does not"), else the only choice that stands by itself ("(B)", "so:
    yes."). Two choices at that place ("A or B") are none, and so is a bare "A" that may be an
    article.

    Args:
        text: The answer.
        gold: The gold choices, of one kind.
        open_end: Whether the text was cut inside its last word: then that word is no choice.

    Raises:
        ValueError: A gold answer is no such choice.

    References:
        Jin et al. (2019), PubMedQA, for yes, no and maybe. arXiv:1909.06146. Wang et al. (2024),
        MMLU-Pro, for reading the letter off "the answer is". arXiv:2406.01574.

    Examples:
        >>> choice("The answer is (B), since A is out.", ["B"]), choice("A or B.", ["A"])
        (True, False)
    """
    options, wanted = _kind(tuple(gold))
    if open_end and settled_length(text) < len(text):
        text = text[: -len(text.rsplit(maxsplit=1)[-1])]
    return options.find(text) in wanted


def _plain(choice: str) -> str:
    return choice.strip("()[]*_. \t").lower()


@lru_cache(maxsize=4096)
def _kind(gold: tuple[str, ...]) -> tuple[_Options, frozenset[str]]:
    """Return how the options are written, and which of them are gold."""
    wanted = frozenset(_plain(one) for one in gold)
    if wanted <= {"yes", "no", "maybe"}:
        return _WORDS, wanted
    if wanted <= set("abcde"):
        return _LETTERS, wanted
    raise ValueError(f"gold must be yes, no or maybe, or a letter from A to E, got {list(gold)}")
