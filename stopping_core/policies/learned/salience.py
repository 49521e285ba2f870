"""How likely each word of a context is part of the answer, before the model has said anything."""

from __future__ import annotations

import re
from bisect import bisect_left
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
    total, most = max(1, len(stems)), max(overlap, default=0.0)
    kind = kind_of(question)
    rows: list[tuple[float, ...]] = []
    shapes: list[int] = []
    for number, (sentence, words) in enumerate(zip(lower, sentences, strict=True)):
        size = len(sentence)
        in_question = [stem(word) in stems for word in sentence]
        places = [place for place, inside in enumerate(in_question) if inside]
        held, best = overlap[number] / total, overlap[number] >= most - 1e-9
        for place, word in enumerate(sentence):
            before, after = place > 0, place + 1 < size
            shapes.append(_shape(words[place], word, first=not before))
            rows.append(
                (
                    in_question[place],
                    held,
                    best,
                    1 + _distance(place, places),
                    count[word],
                    place / size,
                    size + 1,
                    before and in_question[place - 1],
                    after and in_question[place + 1],
                    (number + 0.5) / len(sentences),
                    len(word),
                    before and sentence[place - 1] in _LEADING,
                    before and words[place - 1][0].isupper(),
                    after and words[place + 1][0].isupper(),
                    bool(places) and place > places[-1],
                    most / total,
                )
            )
    return Context(
        tuple(word for sentence in lower for word in sentence),
        tuple(number for number, sentence in enumerate(lower) for _ in sentence),
        stems,
        _features(kind, shapes, np.array(rows, dtype=np.float64).reshape(-1, _PLAIN)),
    )


def _features(kind: int, shapes: list[int], plain: NDArray[np.float64]) -> NDArray[np.float64]:
    """Put together the features of words: kind by shape, shape, and plain ones with products."""
    features = np.zeros((len(shapes), WIDTH))
    at, shape = np.arange(len(shapes)), np.array(shapes, dtype=np.int64)
    features[at, kind * _SHAPES + shape] = 1
    features[at, _KINDS * _SHAPES + shape] = 1
    plain[:, _LOGARITHMS] = np.log(plain[:, _LOGARITHMS])
    held, best, far = plain[:, 1], plain[:, 2], plain[:, 3]
    products = np.stack([held * far, best * far, held * best, far**2], axis=1)
    features[:, (_KINDS + 1) * _SHAPES :] = np.hstack([plain, products])
    return features


def _shape(word: str, lowered: str, *, first: bool) -> int:
    """What a word looks like: small, a year, a number, a month, a name, ..."""
    if lowered in SMALL:
        return 0
    if _YEAR.fullmatch(lowered):
        return 1
    if lowered[0].isdigit() or lowered in _NUMBERS:
        return 2
    if lowered in _MONTHS:
        return 3
    if word[0].isupper():
        return 5 if first else 4
    return 6


def _distance(place: int, places: Sequence[int]) -> int:
    """Words between a place and the nearest of some places, which are sorted; at most 40."""
    after = bisect_left(places, place)
    near = [abs(place - places[i]) for i in (after - 1, after) if 0 <= i < len(places)]
    return min([_FAR, *near])
