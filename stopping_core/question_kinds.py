"""What a question asks for, by its words: a number, a time, a person, ..."""

from __future__ import annotations

import re
from types import MappingProxyType

_WORDS = MappingProxyType(
    {
        "number": "how many|how much|how long|how old|how far|what percent|what number",
        "time": "when|what year|what date|what month|what day",
        "person": "who|whom|whose",
        "place": "where|what city|what country|in which",
        "reason": "why",
        "manner": "how",
        "which": "which",
        "what": "what",
    }
)
_PATTERNS = tuple(re.compile(rf"\b(?:{words})\b") for words in _WORDS.values())

KINDS = (*_WORDS, "other")
"""Names of the kinds, in the order of their numbers."""


def kind_of(question: str) -> int:
    """Return the number of the kind of a question, in [0, len(KINDS)): the first that fits.

    English only: a question in another language is of the kind ``"other"``.

    Examples:
        >>> KINDS[kind_of("How many pears are there?")]
        'number'
    """
    lowered = question.lower()
    found = (kind for kind, pattern in enumerate(_PATTERNS) if pattern.search(lowered))
    return next(found, len(_PATTERNS))
