"""Grades of one answer against its gold answers, each a small function."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Protocol, TypeAlias

from stopping_core.metrics.choices import choice
from stopping_core.metrics.cuts import cuts_word
from stopping_core.metrics.numbers import last_number
from stopping_core.metrics.sentences import first_sentence
from stopping_core.metrics.words import contains, exact_match, f1, normalize

__all__ = [
    "GRADERS",
    "CutGrader",
    "Grader",
    "choice",
    "contains",
    "cuts_word",
    "exact_match",
    "f1",
    "first_sentence",
    "last_number",
    "normalize",
]

Grader: TypeAlias = Callable[[str, Sequence[str]], float]
"""Grades an answer text against its gold answers, in [0, 1]; right is 1."""


class CutGrader(Protocol):
    """A :data:`Grader` that can be told that the text was cut inside its last word."""

    def __call__(self, text: str, gold: Sequence[str], *, open_end: bool = False) -> float:
        """Grade."""
        ...


GRADERS: Mapping[str, CutGrader] = MappingProxyType(
    {
        "contains": contains,
        "exact_match": exact_match,
        "f1": f1,
        "last_number": last_number,
        "choice": choice,
    }
)
"""The graders by the name that a question gives."""
