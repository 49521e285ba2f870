"""Grades by the words of an answer: exact match, F1, containment."""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Sequence
from functools import lru_cache

from stopping_core.metrics.cuts import DECIMAL, is_word, settled_length

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_PUNCTUATION = str.maketrans("", "", string.punctuation)


def normalize(text: str) -> str:
    """Lower the case, drop punctuation and articles, join white space: SQuAD's normalisation.

    References:
        Rajpurkar et al. (2016), SQuAD, section 6.1 and its evaluation script. arXiv:1606.05250.
    """
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_PUNCTUATION)).split())


def exact_match(text: str, gold: Sequence[str], *, open_end: bool = False) -> bool:
    """Whether the normalised answer equals a normalised gold answer.

    Args:
        text: The answer.
        gold: The gold answers.
        open_end: Whether the text was cut inside its last word: then it equals nothing.

    References:
        As for :func:`normalize`, section 6.1.
    """
    if open_end and settled_length(text) < len(text):
        return False
    answer = normalize(text)
    return any(answer == _normalized(one) for one in gold)


def f1(text: str, gold: Sequence[str], *, open_end: bool = False) -> float:
    """Best token F1 of the answer against a gold answer, in [0, 1]; rambling lowers it.

    Args:
        text: The answer.
        gold: The gold answers.
        open_end: Whether the text was cut inside its last word: then that word is no gold word.

    References:
        As for :func:`normalize`, section 6.1.
    """
    words = normalize(text).split()
    counted = Counter(words)
    if open_end and settled_length(text) < len(text):
        counted.subtract(normalize(text.rsplit(maxsplit=1)[-1]).split()[-1:])
    return max((_f1(len(words), counted, *_counted(one)) for one in gold), default=0.0)


def contains(text: str, gold: Sequence[str], *, open_end: bool = False) -> bool:
    """Whether a gold answer stands in the answer as whole words; rambling cannot lower it.

    Punctuation inside a gold answer counts (``__init__``, ``3.5``); case does not. A number is
    whole with its decimals and thousands: 3 does not stand in 3.5, nor in 3,000.

    A text that a cut ended inside a word may end like a whole one: "the art" of "the artist". The
    text alone cannot tell, so the caller does: :func:`~stopping_core.metrics.cuts_word`.

    Args:
        text: The answer.
        gold: The gold answers.
        open_end: Whether the text was cut inside its last word: then a gold answer that ends with
            this word does not count.

    Examples:
        >>> contains("It raises a TypeError.", ["typeerror"])
        True
        >>> contains("It raises TypeErrors.", ["TypeError"])
        False
        >>> contains("By the art", ["art"]), contains("By the art", ["art"], open_end=True)
        (True, False)
    """
    folded = " ".join(text.casefold().split())
    unsettled = len(text) - settled_length(text) if open_end else 0
    return any(_stands_in(folded, _folded(one), len(folded) - unsettled) for one in gold)


def _stands_in(text: str, gold: str, settled: int) -> bool:
    at = text.find(gold)
    while at >= 0:
        end = at + len(gold)
        if end <= settled and _begins(text, at) and _ends(text, end):
            return True
        at = text.find(gold, at + 1)
    return False


def _begins(text: str, at: int) -> bool:
    """Whether no word and no number goes on from before a place to after it."""
    if at == 0:
        return True
    before = text[at - 1]
    decimal = before in DECIMAL and text[at].isdigit() and at > 1 and text[at - 2].isdigit()
    return not (is_word(before) or decimal)


def _ends(text: str, end: int) -> bool:
    """The same at the end of a gold answer."""
    after = text[end : end + 1]
    if not after:
        return True
    decimal = after in DECIMAL and text[end - 1].isdigit() and text[end + 1 : end + 2].isdigit()
    return not (is_word(after) or decimal)


def _f1(length: int, answer: Counter[str], gold_length: int, gold: Counter[str]) -> float:
    if not length or not gold_length:
        return float(length == gold_length)
    common = sum(min(count, answer[word]) for word, count in gold.items())
    return 2 * common / (length + gold_length)


# Gold answers come again with every prefix of a run, and with every policy.
@lru_cache(maxsize=4096)
def _folded(gold: str) -> str:
    return " ".join(gold.casefold().split())


@lru_cache(maxsize=4096)
def _normalized(gold: str) -> str:
    return normalize(gold)


@lru_cache(maxsize=4096)
def _counted(gold: str) -> tuple[int, Counter[str]]:
    words = normalize(gold).split()
    return len(words), Counter(words)
