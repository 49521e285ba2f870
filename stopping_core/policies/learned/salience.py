"""How likely each word of a context is part of the answer, before the model has said anything."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from stopping_core.question_kinds import KINDS, kind_of

if TYPE_CHECKING:
    from stopping_core.policies.learned.logistic import Logistic

# Scripts without spaces between words: Thai, Lao, Tibetan, Burmese, Khmer, kana, ideographs.
_SPACELESS = "\u0e00-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
WORD = rf"(?=\w)(?:[{_SPACELESS}]|([^\W{_SPACELESS}]+))"
"""Matches a word; its group is None for a character of a script without spaces, a word too."""

_SMALL = """
    the a an of in on at to and or is are was were be been being by for with as that this these
    those it its from which who whom what when where how why much many did do does had has have
    not no they them he him she her his hers their theirs s t we us you i my your our according text
    passage context question answer also but than then there here such so if into about over after
    before between during under more most other some any all each can could may might will would
    shall should up out only both because through while until against among very same et al
"""
_MONTH_NAMES = """
    january february march april may june july august september october november december
"""
_NUMBER_WORDS = """
    one two three four five six seven eight nine ten eleven twelve hundred thousand million billion
    half third quarter
"""
_LEADING_WORDS = "by in on at the of is was called named as to for with than because"

SMALL = frozenset(_SMALL.split())
"""Words that are never what was asked for."""

_MONTHS = frozenset(_MONTH_NAMES.split())
_NUMBERS = frozenset(_NUMBER_WORDS.split())
_LEADING = frozenset(_LEADING_WORDS.split())
_YEAR = re.compile(r"1\d{3}|20\d\d")
_WORD = re.compile(WORD)
_SENTENCE = re.compile(r"(?<=[.!?。！？])\s*(?=\s)|(?<=[。！？])")
_KINDS = len(KINDS)
_SHAPES = 7
_NAME, _FIRST_NAME = 4, 5  # shapes: a capital letter, and one that begins a sentence
_FAR = 40  # words: a word of the question further off is none
_PLAIN = 16
_LOGARITHMS = [3, 4, 6]  # of the plain features: distance, count, words of the sentence
WIDTH = (_KINDS + 1) * _SHAPES + _PLAIN + 4
"""Features of a word of the context."""


@dataclass(frozen=True, slots=True)
class Context:
    """The words of a context, and of the question about it.

    Args:
        words: Of the context, in order, in lower case.
        sentence: The number of each word's sentence.
        asked: Stems of the words of the question, small words left out.
        features: Of each word.  # (words, WIDTH)
    """

    words: tuple[str, ...]
    sentence: tuple[int, ...]
    asked: frozenset[str]
    features: NDArray[np.float64]

    def weights(self, salience: Logistic) -> NDArray[np.float64]:
        """The probability of each word to be part of the answer.  # (words,)."""
        return salience.probability(self.features)

    def labels(self, gold: Sequence[str]) -> NDArray[np.bool_]:
        """Whether each word stands in a gold answer that is in the context.  # (words,)."""
        labels = np.zeros(len(self.words), dtype=np.bool_)
        for answer in gold:
            wanted = tuple(word.lower() for word in find_words(answer))
            for begin in range(len(self.words) - len(wanted) + 1) if wanted else ():
                if self.words[begin : begin + len(wanted)] == wanted:
                    labels[begin : begin + len(wanted)] = True
        return labels


def find_words(text: str) -> list[str]:
    """Cut a text into words."""
    return [match[0] for match in _WORD.finditer(text)]


def stem(word: str) -> str:
    """What two forms of a word have in common: its first five characters."""
    return word[:5]


def read_context(question: str, context: str) -> Context:
    """Cut a context into words, and say of each what may tell whether it is asked for.

    That is: the kind of the question with the shape of the word, how near it is to words of the
    question, how much of the question its sentence holds, how often it occurs, and what stands
    beside it. The words that tell kinds and shapes are English; in other languages nearness and
    number are what is left.

    Args:
        question: The question.
        context: The passages it is about.
    """
    asked = frozenset(word for word in map(str.lower, find_words(question)) if word not in SMALL)
    stems = frozenset(map(stem, asked))
    sentences = [found for part in _SENTENCE.split(context) if (found := find_words(part))]
    lower = [[word.lower() for word in sentence] for sentence in sentences]
    count = Counter(word for sentence in lower for word in sentence)
    rarity: dict[str, float] = {}  # 1 / count of the rarest form
    for word in asked:
        rarity[stem(word)] = max(1 / (count[word] or 1), rarity.get(stem(word), 0.0))
    overlap = [
        sum(sorted(rarity[one] for one in stems & set(map(stem, sentence)))) for sentence in lower
    ]
    total = max(1, len(stems))
    plain, shapes = _plain(sentences, lower, stems, np.array(overlap), total)
    return Context(
        tuple(word for sentence in lower for word in sentence),
        tuple(number for number, sentence in enumerate(lower) for _ in sentence),
        stems,
        _features(kind_of(question), shapes, plain),
    )


def _plain(
    sentences: Sequence[Sequence[str]],
    lower: Sequence[Sequence[str]],
    stems: frozenset[str],
    overlap: NDArray[np.float64],
    total: int,
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Take the plain features of words, and their shapes.

    Args:
        sentences: The words of each sentence.
        lower: The same in lower case.
        stems: Of the question.
        overlap: How much of the question each sentence holds, in rare words.  # (sentences,)
        total: Stems of the question, at least 1.

    Returns:
        The features, # (words, 16), and the shapes, # (words,).
    """
    sizes = np.array([len(sentence) for sentence in lower], dtype=np.int64)
    of = np.repeat(np.arange(len(lower)), sizes)  # the sentence of each word
    begin, size = (np.cumsum(sizes) - sizes)[of], sizes[of]
    at = np.arange(len(of))
    first, last = at == begin, at + 1 == begin + size

    number: dict[str, int] = {}
    word = [number.setdefault(one, len(number)) for sentence in lower for one in sentence]
    inside, leading, length = (
        np.array([of_word(one) for one in number], dtype=np.int64)[word]
        for of_word in (lambda one: stem(one) in stems, _LEADING.__contains__, len)
    )
    written: dict[str, int] = {}
    form = [written.setdefault(one, len(written)) for sentence in sentences for one in sentence]
    shapes, upper = (
        np.array([of_form(one) for one in written], dtype=np.int64)[form]
        for of_form in (_shape, lambda one: one[0].isupper())
    )
    shapes[first & (shapes == _NAME)] = _FIRST_NAME

    previous = np.maximum.accumulate(np.where(inside, at, -1))
    following = np.minimum.accumulate(np.where(inside, at, len(at))[::-1])[::-1]
    behind, ahead = previous >= begin, following < begin + size
    far = np.minimum(np.where(behind, at - previous, _FAR), np.where(ahead, following - at, _FAR))
    most = overlap.max(initial=0.0)
    plain = (
        inside,
        (overlap / total)[of],
        (overlap >= most - 1e-9)[of],
        1 + np.minimum(far, _FAR),
        np.bincount(word, minlength=len(number))[word],
        (at - begin) / size,
        size + 1,
        np.roll(inside, 1) * ~first,
        np.roll(inside, -1) * ~last,
        (of + 0.5) / len(lower) if len(lower) else of,
        length,
        np.roll(leading, 1) * ~first,
        np.roll(upper, 1) * ~first,
        np.roll(upper, -1) * ~last,
        behind & ~ahead,
        np.full(len(at), most / total),
    )
    return np.stack(plain, axis=1, dtype=np.float64), shapes


def _features(
    kind: int, shapes: NDArray[np.int64], plain: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Put together the features of words: kind by shape, shape, and plain ones with products."""
    features = np.zeros((len(shapes), WIDTH))
    at = np.arange(len(shapes))
    features[at, kind * _SHAPES + shapes] = 1
    features[at, _KINDS * _SHAPES + shapes] = 1
    plain[:, _LOGARITHMS] = np.log(plain[:, _LOGARITHMS])
    held, best, far = plain[:, 1], plain[:, 2], plain[:, 3]
    products = np.stack([held * far, best * far, held * best, far**2], axis=1)
    features[:, (_KINDS + 1) * _SHAPES :] = np.hstack([plain, products])
    return features


def _shape(word: str) -> int:
    """What a word looks like: small, a year, a number, a month, a name, ..."""
    lowered = word.lower()
    if lowered in SMALL:
        return 0
    if _YEAR.fullmatch(lowered):
        return 1
    if lowered[0].isdigit() or lowered in _NUMBERS:
        return 2
    if lowered in _MONTHS:
        return 3
    return _NAME if word[0].isupper() else 6
