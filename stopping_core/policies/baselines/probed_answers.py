"""Answers that were asked for on the way: when two say the same, and whether one wavers."""

from __future__ import annotations

import re
from fractions import Fraction
from functools import lru_cache
from typing import TypeAlias

from stopping_core.final_answers import last_answer
from stopping_core.metrics import first_sentence, normalize

Key: TypeAlias = str | Fraction
"""What two answers that say the same have in common."""

_HESITATION = re.compile(r"\b(?:wait|hold|but|okay|no|hmm)\b", re.IGNORECASE)
_AROUND = " \t*_`\"'“”‘’()[]{}\\"
_NUMBER = re.compile(
    r"(?P<sign>[-+−]?)[$€£]?"
    r"(?P<over>\d{1,3}(?:,\d{3}){1,9}(?:\.\d{1,30})?|\d{1,30}(?:\.\d{1,30})?|\.\d{1,30})"
    r"(?:/(?P<under>\d{1,30}))?"
)


@lru_cache(maxsize=65536)
def answer_key(text: str) -> Key:
    r"""What to compare of a probed answer; ``""`` where there is none.

    It is the answer that the first sentence states (``The answer is 42.``, ``\boxed{42}``), or else
    that sentence: a probe of twenty tokens may run on after the answer. Numbers are compared as
    numbers, all else after SQuAD's normalisation.

    Examples:
        >>> answer_key("The answer is 1,600.0.") == answer_key("$1600")
        True
        >>> answer_key(" The Broncos. They won."), answer_key(" ... ")
        ('broncos', '')
    """
    sentence = first_sentence(text.strip())
    answer = last_answer(sentence) or sentence
    number = _NUMBER.fullmatch(answer.strip(_AROUND).rstrip(".,;:!").strip(_AROUND))
    if number is None:
        return normalize(answer)
    under = Fraction(number["under"] or 1)
    if not under:
        return normalize(answer)
    value = Fraction(number["over"].replace(",", "")) / under
    return -value if number["sign"] in ("-", "−") else value


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
