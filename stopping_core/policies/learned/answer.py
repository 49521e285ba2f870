"""What an answer has said so far of what its context holds."""

from __future__ import annotations

import math
import re
from itertools import islice
from typing import ClassVar, NamedTuple

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
        context = read_context(request.question, request.context)
        self._words, self._sentence, self._asked = context.words, context.sentence, context.asked
        self._places: dict[str, list[int]] = {}
        for place, word in enumerate(context.words):
            self._places.setdefault(word, []).append(place)
        self._at: list[float] = []  # the weight at each place
        if self.salience is not None:
            self._at = context.weights(self.salience).tolist()
        self._weights: dict[str, float] = {}
        for word, weight in zip(context.words, self._at, strict=False):
            if self._may_be_asked(word):
                self._weights[word] = max(weight, self._weights.get(word, 0.0))
        self._falling = sorted(self._weights, key=lambda word: -self._weights[word])
        self._total = math.fsum(self._weights.values()) or 1.0
        self._said = _Said()
        self._seen: set[str] = set()
        self._runs: set[tuple[str, ...]] = set()
        self._finished = 0.0
        self._tokens = 0
        self._part = ""  # a word that may go on
        self._part_at = 0  # tokens up to its end so far

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
        said, part = self._said, self._part.lower()
        if part in self._places:
            said = self._with(part, self._part_at)
        else:
            part = ""
        nan = math.nan
        since = _NOTHING_NEW if said.new_at is None else min(self._tokens - said.new_at, _RECENT)
        length, ahead = self._copying(said, part)
        known = bool(self._weights)
        return (
            math.log(max(1, self._tokens)),
            said.mass / self._total if known else nan,
            self._finished if known else nan,
            math.log(self._unsaid(said) + _RARE) if known else nan,
            ahead / self._total if known else nan,
            float(since),
            said.repeated / (1 + said.words),
            float(length) if self._places else nan,
        )

    def _may_be_asked(self, word: str) -> bool:
        return word not in SMALL and stem(word) not in self._asked

    def _take(self, word: str, at: int) -> None:
        self._said = self._with(word, at)
        if self._may_be_asked(word) and len(self._seen) < _CAPACITY:
            self._seen.add(word)
        if len(self._runs) < _CAPACITY:
            self._runs.add(self._said.run)

    def _with(self, word: str, at: int) -> _Said:
        """What is said when one more word is, which ends after ``at`` tokens."""
        said = self._said
        words = self._words
        copies = {
            place + 1: min(length + 1, _COPIED)
            for place, length in said.copies.items()
            if place + 1 < len(words) and words[place + 1] == word
        }
        for place in islice(self._places.get(word, ()), _COPIES):
            copies.setdefault(place, 1)
        run = (*said.run, word)[-_RUN:]
        changed = said._replace(
            words=said.words + 1,
            run=run,
            repeated=said.repeated + (run in self._runs),
            copies=dict(islice(copies.items(), 2 * _COPIES)),
        )
        if word in self._seen or not self._may_be_asked(word):
            return changed
        weight, rank, falling = self._weights.get(word, 0.0), said.rank, self._falling
        while rank < len(falling) and (falling[rank] in self._seen or falling[rank] == word):
            rank += 1
        return changed._replace(
            mass=said.mass + weight, largest=max(said.largest, weight), rank=rank, new_at=at
        )

    def _unsaid(self, said: _Said) -> float:
        """The largest weight that was not said, 0 where all were."""
        return self._weights[self._falling[said.rank]] if said.rank < len(self._falling) else 0.0

    def _copying(self, said: _Said, part: str) -> tuple[int, float]:
        """How many words the text copies, and the weight of what comes next and is new."""
        if not said.copies:
            return 0, 0.0
        place, length = next(iter(said.copies.items()))
        if self._at:
            place, length = max(said.copies.items(), key=lambda one: (one[1], self._at[one[0]]))
        if length < 2:
            return length, 0.0
        words, sentence = self._words, self._sentence
        following = [
            self._weights.get(words[after], 0.0)
            for after in range(place + 1, min(place + 1 + _AHEAD, len(words)))
            if sentence[after] == sentence[place]
            and words[after] not in self._seen
            and words[after] != part
        ]
        return length, math.fsum(following)

    def _ends(self, mark: str) -> bool:
        """Whether a mark ends a sentence: a dot after an abbreviation or a number does not."""
        if mark != "." or not self._said.run:
            return True
        last = self._said.run[-1]
        return len(last) > 1 and not last[-1].isdigit() and last not in ABBREVIATIONS
