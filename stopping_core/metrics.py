"""Grades of one answer against its gold answers."""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Sequence

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_PUNCTUATION = str.maketrans("", "", string.punctuation)


def normalize(text: str) -> str:
    """Lower the case, drop punctuation and articles, join white space: SQuAD's normalisation.

    References:
        Rajpurkar et al. (2016), SQuAD, section 6.1 and its evaluation script. arXiv:1606.05250.
    """
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_PUNCTUATION)).split())


def exact_match(text: str, gold: Sequence[str]) -> bool:
    """Whether the normalised answer equals a normalised gold answer."""
    return normalize(text) in {normalize(g) for g in gold}


def f1(text: str, gold: Sequence[str]) -> float:
    """Best token F1 of the answer against a gold answer, in [0, 1]; rambling lowers it."""
    return max((_f1(normalize(text).split(), normalize(g).split()) for g in gold), default=0.0)


def contains(text: str, gold: Sequence[str]) -> bool:
    """Whether a gold answer stands in the answer as whole words; rambling cannot lower it.

    Punctuation inside a gold answer counts (``__init__``, ``3.5``); case does not.

    Examples:
        >>> contains("It raises a TypeError.", ["typeerror"])
        True
        >>> contains("It raises TypeErrors.", ["TypeError"])
        False
    """
    folded = " ".join(text.lower().split())
    return any(
        re.search(rf"(?<!\w){re.escape(' '.join(g.lower().split()))}(?!\w)", folded) for g in gold
    )


def _f1(answer: list[str], gold: list[str]) -> float:
    if not answer or not gold:
        return float(answer == gold)
    common = sum((Counter(answer) & Counter(gold)).values())
    return 2 * common / (len(answer) + len(gold))
