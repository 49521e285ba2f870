"""What is known of a request before its first token, as numbers."""

from __future__ import annotations

import math
import re

from stopping_core.question_kinds import KINDS, kind_of
from stopping_core.types import Request

_READ = 1000  # characters of a question's end that are searched for words: a prompt ends with it
_SMALL = ["one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"]
_VALUES = {word: value for value, word in enumerate(_SMALL, 1)}
_ASKED = re.compile(
    rf"\b(\d{{1,4}}|{'|'.join(_SMALL)})\s+(?:\w+\s+)?(?:(sentence|line|paragraph)|(word)|"
    r"(reason|example|step|way|point|item|fact|thing|difference|advantage|name|bullet))s?\b"
)
_CUES = {
    "lists": r"list|enumerate|name (?:all|the|some|two|three|four|five)|examples? of|which of",
    "explains": r"explain|describe|discuss|elaborate|detail|summari[sz]e|outline|essay|story",
    "compares": r"compare|contrast|differences?|versus|vs",
    "instructs": r"steps?|how (?:do|can|should) (?:i|we|you)|how to|instructions?|recipe",
    "is brief": r"brief(?:ly)?|short|concise(?:ly)?|in (?:a|one) (?:word|sentence)|yes or no|only",
    "codes": r"code|function|script|program|class|sql|json|regex",
}
_PATTERNS = tuple(re.compile(rf"\b(?:{words})\b") for words in _CUES.values())
_YES_OR_NO = re.compile(
    r"\s*(?:is|are|was|were|do|does|did|has|have|had|can|could|will|would|should|may|must)\b"
)
_NUMBER = re.compile(r"\d+")
_SENTENCE = re.compile(r"[.?!。？！]+(?=\s|$)")

NAMES = (
    "characters of the question",
    "words of the question",
    "sentences of the question",
    "numbers in the question",
    "sentences asked for",
    "words asked for",
    "items asked for",
    "is yes or no",
    *_CUES,
    *(f"asks for {kind}" for kind in KINDS),
    "characters of the context",
    "words of the context",
    "tokens of the prompt",
)
"""Of the features, in order. Lengths and counts are logarithms of 1 + the count."""

_OF_QUESTION = len(NAMES) - 3


def features_of(request: Request) -> tuple[float, ...]:
    """Return the features of a request: never an error, and never infinite.

    Args:
        request: Of a long question, as it stands where a whole prompt passes for one, words are
            looked for in the last 1000 characters, lengths are those of all of it.

    Returns:
        In the order of ``NAMES``; NaN where one is not known: no question, no context, no count of
        tokens.  # (d,)

    Examples:
        >>> found = features_of(Request(question="List three reasons why tea is dear."))
        >>> round(math.expm1(found[NAMES.index("items asked for")]))
        3
    """
    context, tokens = request.context, request.prompt_tokens
    return (
        *_of_question(request.question),
        math.log1p(len(context)) if context else math.nan,
        math.log1p(_words(context)) if context else math.nan,
        math.log1p(tokens) if tokens else math.nan,
    )


def _words(text: str) -> int:
    """How many words a text has, about: white space of one kind parts them."""
    return 1 + text.count(" ") + text.count("\n")


def _of_question(question: str) -> tuple[float, ...]:
    if not question or question.isspace():
        return (math.nan,) * _OF_QUESTION
    end = question[-_READ:].lower()
    kind = kind_of(end)
    sentences, words, items = _asked_for(end)
    return (
        math.log1p(len(question)),
        math.log1p(_words(question)),
        math.log1p(len(_SENTENCE.findall(end))),
        math.log1p(len(_NUMBER.findall(end))),
        sentences,
        words,
        items,
        float(_YES_OR_NO.match(end) is not None),
        *(float(pattern.search(end) is not None) for pattern in _PATTERNS),
        *(float(kind == number) for number in range(len(KINDS))),
    )


def _asked_for(question: str) -> tuple[float, float, float]:
    """How many sentences, words and items a question asks for, as logarithms; 0 for none."""
    most = [0, 0, 0]
    for match in _ASKED.finditer(question):
        written = match[1]
        value = _VALUES.get(written) or int(written)
        kind = next(number for number in range(3) if match[number + 2])
        most[kind] = max(most[kind], value)
    sentences, words, items = map(math.log1p, most)
    return sentences, words, items
