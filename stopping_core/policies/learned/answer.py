"""What an answer has said so far of what its context holds."""

from __future__ import annotations

import copy
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from typing import Any, ClassVar, NamedTuple, Self

from stopping_core.policies.learned.evidence import Evidence
from stopping_core.policies.learned.logistic import Logistic
from stopping_core.policies.learned.salience import SMALL, WORD, read_context, stem
from stopping_core.sentence_ends import ABBREVIATIONS, FREE_TERMINATORS, TERMINATORS
from stopping_core.types import Request, Step

_PIECE = re.compile(rf"({WORD})|[{re.escape(TERMINATORS)}{FREE_TERMINATORS}\n]")
_RUN = 3  # words
_LONGEST = 64  # characters of a word that are looked at
_CAPACITY = 8192  # words, and runs of three words, that are remembered
_COPIES = 64  # places of the context at which the text may be copying
_COPIED = 12  # words of a copy that count
_AHEAD = 24  # words of the context after a copy that may come next
_RECENT = 40.0  # tokens since the last new word that count
_NOTHING_NEW = -5.0  # the same, before the first one
_RARE = 3e-3  # a weight that is as good as none
_KEPT = 16  # requests whose contexts stay read: each call of a request makes an engine


class _Said(NamedTuple):
    """What was said up to a word."""

    words: int = 0
    mass: float = 0.0  # sum of the weights of what was said
    largest: float = 0.0  # of them
    rank: int = 0  # of the largest weight that was not said
    new_at: int | None = None  # tokens at the end of the last new word
    repeated: int = 0  # runs of three words that had occurred
    run: tuple[str, ...] = ()  # the last three words
    copies: dict[int, int] = {}  # noqa: RUF012  # place in the context -> words copied up to it


@dataclass(frozen=True, slots=True, eq=False)
class _Asked:
    """What is known of a request before the answer begins; all its streams share it.

    Args:
        words: Of the context, in order, in lower case.
        sentence: The number of each word's sentence.
        asked: Stems of the words of the question.
        places: Where each word of the context stands.
        at: The weight at each place; empty where there are none.
        weights: The largest weight of each word that may be the answer.
        falling: These words, from the largest weight on.
        total: Sum of the weights, or 1.
    """

    words: Sequence[str]
    sentence: Sequence[int]
    asked: frozenset[str]
    places: Mapping[str, Sequence[int]]
    at: Sequence[float]
    weights: Mapping[str, float]
    falling: Sequence[str]
    total: float

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self  # nothing in it changes, and every stream copies its policy

    def may_be(self, word: str) -> bool:
        """Whether a word may be the answer: no small word, and none of the question."""
        return word not in SMALL and stem(word) not in self.asked


@lru_cache(_KEPT)
def _read(question: str, context: str, salience: Logistic | None) -> _Asked:
    read = read_context(question, context)
    places: dict[str, list[int]] = {}
    for place, word in enumerate(read.words):
        places.setdefault(word, []).append(place)
    asked = read.asked
    at: list[float] = [] if salience is None else read.weights(salience).tolist()
    weights = {
        word: max(0.0, *(at[place] for place in where))
        for word, where in places.items()
        if at and word not in SMALL and stem(word) not in asked
    }
    falling = sorted(weights, key=weights.__getitem__, reverse=True)
    total = math.fsum(weights.values()) or 1.0
    return _Asked(read.words, read.sentence, asked, places, at, weights, falling, total)


class AnswerEvidence(Evidence):
    """Reads which of the words that may be the answer were said, and whether anything new comes.

    Each word of the context has a weight, its probability to be part of the answer
    (:mod:`~stopping_core.policies.learned.salience`). Small words and words of the question have
    none. A word counts once it has ended, or reads as one that context or question hold.

    - ``tokens``: logarithm of the tokens so far
    - ``said``: share of all weight that was said
    - ``finished``: the largest weight that was said by the end of the last sentence
    - ``unsaid``: logarithm of the largest weight that was not said
    - ``ahead``: while the text copies the context, share of the weight in what comes next there
    - ``since_new``: tokens since the last new word
    - ``repeated``: share of the runs of three words that had occurred
    - ``copied``: words up to here that stand in the context in the same order

    Those that need weights are NaN where there is no context, or no ``salience``.

    Memory: the words of the context, and 8192 words and runs of words of the text; what comes after
    these is not remembered.

    Args:
        salience: Gives the weights; None for none.
    """

    names: ClassVar[tuple[str, ...]] = (
        "tokens",
        "said",
        "finished",
        "unsaid",
        "ahead",
        "since_new",
        "repeated",
        "copied",
    )

    def __init__(self, salience: Logistic | None = None) -> None:
        self.salience = salience
        self.reset(Request())

    def reset(self, request: Request) -> None:
        self._about = _read(request.question, request.context, self.salience)
        self._said = _Said()
        self._guess: tuple[str, int, _Said] | None = None  # the part as a word, if it was read
        self._seen: set[str] = set()
        self._runs: set[tuple[str, ...]] = set()
        self._finished = 0.0
        self._tokens = 0
        self._part = ""  # a word that may go on
        self._part_at = 0  # tokens up to its end so far

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        twin = copy.copy(self)
        twin._seen, twin._runs = self._seen.copy(), self._runs.copy()
        return twin

    def update(self, step: Step) -> None:
        if step.channel != "answer":
            return
        before, size = self._tokens, len(step.text)
        self._tokens += step.tokens
        if not size:
            return
        begun, text = len(self._part), self._part + step.text
        self._part = ""
        for match in _PIECE.finditer(text):
            piece, end = match[0], match.end()
            # A word ends after the token that its last character is in, as in the segmenter.
            at = self._part_at if end <= begun else before - step.tokens * (begun - end) // size
            if match[1] is None:
                if self._ends(piece):
                    self._finished = self._said.largest
            elif end == len(text) and match[2] is not None:
                self._part, self._part_at = piece[:_LONGEST], at
            else:
                self._take(piece[:_LONGEST].lower(), at)

    def row(self) -> tuple[float, ...]:
        about, said, part = self._about, self._said, self._part.lower()
        if part in about.places:
            said = self._with(part, self._part_at)
            self._guess = part, self._part_at, said
        else:
            part = ""
        nan = math.nan
        since = _NOTHING_NEW if said.new_at is None else min(self._tokens - said.new_at, _RECENT)
        length, ahead = self._copying(said, part)
        known = bool(about.weights)
        return (
            math.log(max(1, self._tokens)),
            said.mass / about.total if known else nan,
            self._finished if known else nan,
            math.log(self._unsaid(said) + _RARE) if known else nan,
            ahead / about.total if known else nan,
            float(since),
            said.repeated / (1 + said.words),
            float(length) if about.places else nan,
        )

    def _take(self, word: str, at: int) -> None:
        guess, self._guess = self._guess, None
        known = guess is not None and guess[0] == word and guess[1] == at
        self._said = guess[2] if known and guess is not None else self._with(word, at)
        if len(self._seen) < _CAPACITY and self._about.may_be(word):
            self._seen.add(word)
        if len(self._runs) < _CAPACITY:
            self._runs.add(self._said.run)

    def _with(self, word: str, at: int) -> _Said:
        """What is said when one more word is, which ends after ``at`` tokens."""
        about, said, seen = self._about, self._said, self._seen
        words, end = about.words, len(about.words)
        copies: dict[int, int] = {}
        for place, length in said.copies.items():
            if place + 1 < end and words[place + 1] == word:
                copies[place + 1] = min(length + 1, _COPIED)
        for place in about.places.get(word, ())[:_COPIES]:
            copies.setdefault(place, 1)
        if len(copies) > 2 * _COPIES:
            copies = dict(islice(copies.items(), 2 * _COPIES))
        run = (*said.run, word)[-_RUN:]
        mass, largest, rank, new_at = said.mass, said.largest, said.rank, said.new_at
        if word not in seen and about.may_be(word):
            weight, falling = about.weights.get(word, 0.0), about.falling
            while rank < len(falling) and (falling[rank] in seen or falling[rank] == word):
                rank += 1
            mass, largest, new_at = mass + weight, max(largest, weight), at
        repeated = said.repeated + (run in self._runs)
        return _Said(said.words + 1, mass, largest, rank, new_at, repeated, run, copies)

    def _unsaid(self, said: _Said) -> float:
        """The largest weight that was not said, 0 where all were."""
        about = self._about
        return about.weights[about.falling[said.rank]] if said.rank < len(about.falling) else 0.0

    def _copying(self, said: _Said, part: str) -> tuple[int, float]:
        """How many words the text copies, and the weight of what comes next and is new."""
        if not said.copies:
            return 0, 0.0
        about, seen = self._about, self._seen
        place, length = next(iter(said.copies.items()))
        if about.at:
            for other, copied in said.copies.items():  # the longest, of these the weightiest
                if copied > length or (copied == length and about.at[other] > about.at[place]):
                    place, length = other, copied
        if length < 2:
            return length, 0.0
        words, sentence = about.words, about.sentence
        following = [
            about.weights.get(words[after], 0.0)
            for after in range(place + 1, min(place + 1 + _AHEAD, len(words)))
            if sentence[after] == sentence[place]
            and words[after] not in seen
            and words[after] != part
        ]
        return length, math.fsum(following)

    def _ends(self, mark: str) -> bool:
        """Whether a mark ends a sentence: a dot after an abbreviation or a number does not."""
        if mark != "." or not self._said.run:
            return True
        last = self._said.run[-1]
        return len(last) > 1 and not last[-1].isdigit() and last not in ABBREVIATIONS
