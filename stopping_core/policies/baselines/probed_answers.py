"""Answers that were asked for on the way: when two say the same, and whether one wavers."""

from __future__ import annotations

import re
from fractions import Fraction
from functools import lru_cache
from typing import TypeAlias

from stopping_core.final_answers import last_answer
from stopping_core.metrics import first_sentence

Key: TypeAlias = str | Fraction
"""What two answers that say the same have in common."""

_HESITATION = re.compile(r"\b(?:wait|hold|but|okay|no|hmm)\b", re.IGNORECASE)
_MARKS = "*_`\"'“”‘’"
_AROUND = f" \t{_MARKS}()[]{{}}\\"
_CLOSING = ".,;:!?…"
_NUMBER = re.compile(
    r"(?P<sign>[-+−]?)[$€£]?"
    r"(?P<over>\d{1,3}(?:,\d{3}){1,9}(?:\.\d{1,30})?|\d{1,30}(?:\.\d{1,30})?|\.\d{1,30})"
    r"(?:/(?P<under>\d{1,30}))?"
)
_THOUSANDS = re.compile(r"(?<![\w.,(\[{])\d{1,3}(?:,\d{3})++(?!,?\d)")
_INITIALS = re.compile(r"(?:[^\W\d_]\.)+[^\W\d_]")
_RULE = re.compile(r"[-#]{3,}")


@lru_cache(maxsize=65536)
def answer_key(text: str) -> Key:
    r"""What to compare of a probed answer; ``""`` where there is none.

    It is the answer that the first sentence states (``The answer is 42.``, ``\boxed{42}``), or else
    that sentence: a probe of twenty tokens may run on after the answer. Numbers are compared as
    numbers, all else as words: without case, without marks of emphasis and quotes around a word,
    without a comma or a full stop after it, and without an article before them all. Other signs
    tell answers apart: ``1.5 km`` is not ``15 km``, and ``C++`` not ``C``.

    Examples:
        >>> answer_key("The answer is 1,600.0.") == answer_key("$1600")
        True
        >>> answer_key(" The Broncos. They won."), answer_key(" ... ")
        ('broncos', '')
        >>> answer_key("**A**."), answer_key("x = −4")
        ('a', 'x = -4')
    """
    sentence = first_sentence(text.strip())
    answer = last_answer(sentence) or sentence
    answer = answer.lstrip(f"{_AROUND}:").rstrip(_AROUND + _CLOSING)
    if answer[:1] == answer[-1:] == "$":  # a formula
        answer = answer.strip("$").lstrip(_AROUND).rstrip(_AROUND + _CLOSING)
    number = _NUMBER.fullmatch(answer)
    if number is None:
        return _words(answer)
    under = Fraction(number["under"] or 1)
    if not under:
        return _words(answer)
    value = Fraction(number["over"].replace(",", "")) / under
    return -value if number["sign"] in ("-", "−") else value


def _words(answer: str) -> str:
    """What to compare of an answer that is no number, without what stands around it."""
    plain = answer.casefold().replace("−", "-").replace("’", "'")
    words = [word.strip(_MARKS) for word in plain.split()]
    # "A C" are two choices
    if len(words) > 1 and (
        words[0] == "the" or (words[0] in ("a", "an") and len(words[1].rstrip(".,")) > 1)
    ):
        del words[0]
    key = " ".join(filter(None, map(_word, words)))
    return "" if _RULE.fullmatch(key) else _THOUSANDS.sub(lambda one: one[0].replace(",", ""), key)


def _word(word: str) -> str:
    """Drop the punctuation after a word, and the full stops of initials: ``D.C.`` is ``DC``."""
    word = word.rstrip(f".,{_MARKS}")
    return word.replace(".", "") if _INITIALS.fullmatch(word) else word


def hesitates(text: str) -> bool:
    """Whether an answer holds wait, hold, but, okay, no or hmm, as whole words.

    Examples:
        >>> hesitates("Hmm, wait"), hesitates("I know")
        (True, False)
    """
    return _HESITATION.search(text) is not None


class Streak:
    """How many answers in a row, up to the last, say the same."""

    def __init__(self) -> None:
        self._key: Key = ""
        self._length = 0

    def add(self, text: str) -> int:
        """Take the next answer; return the length, 0 where it is empty."""
        key = answer_key(text)
        if key == "":
            self._length = 0
        else:
            self._length = self._length + 1 if key == self._key else 1
        self._key = key
        return self._length
