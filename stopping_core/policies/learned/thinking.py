"""What a model has concluded so far in its reasoning, and how surely it wrote it."""

from __future__ import annotations

import math
import re
from collections import Counter
from typing import TYPE_CHECKING, ClassVar

from stopping_core.final_answers import last_answer
from stopping_core.policies.baselines.probed_answers import Key, answer_key
from stopping_core.policies.learned.evidence import Evidence
from stopping_core.types import Boundary, Probe, Request, Step

if TYPE_CHECKING:
    from stopping_core.policies.learned.loss_model import Tier

_LONGEST = 2000  # characters at the end of a line that are looked at
_CAPACITY = 1024  # conclusions, and results, that are remembered
_FLOOR = -100.0  # nats; some providers write -9999 for "too unlikely to say"
_DIP = -0.7  # nats, log(1/2): below it the token was less likely than all others together

_NUMBER = re.compile(r"(?:(?<!\S)-)?\d[\d,]*(?:\.\d+)?")
_DIGIT = re.compile(r"\d")
_LABEL = re.compile(r"\W*(?:(?:step|case|part)\s+)?\d{1,2}[.):]\s", re.IGNORECASE)


def _words(*words: str) -> re.Pattern[str]:
    return re.compile(rf"\b(?:{'|'.join(words)})\b", re.IGNORECASE)


_DOUBT = _words(
    *("wait", "hmm+", "but", "hold on", "actually", "however", "alternatively", "once more"),
    *("again", "verify", "make sure", "(?:double[- ]?|re-?)?check"),
)
_SURE = _words(
    *("sure", "certain", "confident", "clear(?:ly)?", "easy", "good", "great", "perfect", "done"),
    *("correct", "right", "yes", "same", "match(?:es)?", "agrees?", "confirm(?:s|ed)?"),
    *("consistent", "therefore", "thus"),
)
_FAULT = _words(
    *("not the same", "differs?", "different", "mistaken?", "wrong", "incorrect", "errors?"),
    *("oops", "sorry", "instead", "no"),
)


class ThinkingEvidence(Evidence):
    """Reads at the end of each line of the reasoning what it concludes, repeats and doubts.

    A line concludes what it states as an answer, by the rules of
    :mod:`~stopping_core.final_answers`, or the one number that it holds beside its label, where it
    holds no equals sign and asks nothing. Its result is what it concludes, or else the last number
    of a line with an equals sign. Numbers are compared as numbers. Doubt, sureness and fault are
    told by English words: "wait", "sure", "wrong". Blank lines are no lines.

    Of the text:

    - ``tokens``: logarithm of the tokens so far
    - ``question``: characters of the question
    - ``worked``: equals signs so far, for each number of the question but one
    - ``concluded``: how many lines concluded anything
    - ``agreeing``: how many of them concluded what the last of them did
    - ``repeated``: whether the last of them concluded what the one before it did
    - ``distinct``: how many different things were concluded
    - ``since_conclusion``: lines since the last of them; NaN before the first
    - ``concludes``: whether this line concludes anything
    - ``known``: whether the result of this line is that of a line before it
    - ``doubts``, ``sure``, ``faults``: how many lines say so
    - ``since_doubt``: lines since one that doubts, or since the start

    Of the logprobs, nats:

    - ``lowest``: the lowest so far
    - ``lowest_here``, ``lowest_lately``: in this line, in the last two
    - ``numbers``: sum over all tokens with digits
    - ``lowest_number``: the lowest of these
    - ``conclusion``: sum over those of the last line that concluded
    - ``since_dip``: lines since one with a token below -0.7, or since the start

    Of a probe, where one is bought:

    - ``agrees``: whether it answers what the last line that concluded anything did; NaN before it
    - ``said``: how many lines concluded what it answers
    - ``found``: whether a line had it for its result
    - ``answer``, ``lowest_answered``: sum and lowest of its logprobs, nats
    - ``entropy``: over its first token, nats

    The logprobs are NaN in the tier ``"text"``, and while no token had a logprob. White space after
    a line belongs to the next. The last 2000 characters of a line are read; of results and
    conclusions 1024 are remembered.

    Args:
        tier: ``"text"``, or ``"logprobs"`` to read these too.

    Raises:
        ValueError: There is no such tier.
    """

    names: ClassVar[tuple[str, ...]] = (
        *("tokens", "question", "worked", "concluded", "agreeing", "repeated", "distinct"),
        *("since_conclusion", "concludes", "known", "doubts", "sure", "faults", "since_doubt"),
        *("lowest", "lowest_here", "lowest_lately", "numbers", "lowest_number", "conclusion"),
        "since_dip",
    )
    probe_names: ClassVar[tuple[str, ...]] = (
        *("agrees", "said", "found", "answer", "lowest_answered", "entropy"),
    )

    def __init__(self, tier: Tier = "text") -> None:
        if tier not in ("text", "logprobs"):
            raise ValueError(f"tier must be 'text' or 'logprobs', got {tier!r}")
        self.tier = tier
        self.needs = frozenset({"logprobs"}) if tier == "logprobs" else frozenset()
        self.reset(Request())

    def reset(self, request: Request) -> None:
        question = request.question
        self._length = float(len(question)) if question else math.nan
        self._steps = max(1, len(_NUMBER.findall(question)) - 1)
        self._tokens = 0
        self._line = ""
        self._lines = 0
        self._equals = 0
        self._concluded = 0
        self._conclusions: Counter[Key] = Counter()
        self._last: Key | None = None
        self._repeated = False
        self._concluded_at: int | None = None
        self._results: set[Key] = set()
        self._known = False
        self._doubts = self._sure = self._faults = self._doubted_at = 0
        self._logprobs = _Logprobs()

    def update(self, step: Step) -> None:
        if step.channel != "reasoning":
            return
        self._tokens += step.tokens
        if step.text:
            self._line = (self._line + step.text)[-_LONGEST:]
        if self.tier == "logprobs" and step.logprob is not None:
            self._logprobs.add(step.logprob, step.tokens, step.text)
        if step.boundary & Boundary.LINE:
            line, self._line = self._line.strip(), ""
            if line:
                self._take(line)

    def row(self) -> tuple[float, ...]:
        at, asked = self._concluded_at, not math.isnan(self._length)
        return (
            math.log(max(1, self._tokens)),
            self._length,
            self._equals / self._steps if asked else math.nan,
            float(self._concluded),
            float(0 if self._last is None else self._conclusions[self._last]),
            float(self._repeated),
            float(len(self._conclusions)),
            math.nan if at is None else float(self._lines - at),
            float(at == self._lines),
            float(self._known),
            float(self._doubts),
            float(self._sure),
            float(self._faults),
            float(self._lines - self._doubted_at),
            *self._logprobs.row(self._lines),
        )

    def of_probe(self, probe: Probe) -> tuple[float, ...]:
        key, logprobs = answer_key(probe.text), [max(one, _FLOOR) for one in probe.logprobs]
        return (
            math.nan if self._last is None else float(key == self._last),
            float(self._conclusions[key]),
            float(key in self._results),
            math.fsum(logprobs) if logprobs else math.nan,
            min(logprobs, default=math.nan),
            math.nan if probe.entropy is None else probe.entropy,
        )

    def _take(self, line: str) -> None:
        """Take the next line, without white space around it."""
        self._lines += 1
        equals = line.count("=")
        self._equals += equals
        self._sure += _SURE.search(line) is not None
        self._faults += _FAULT.search(line) is not None
        if _DOUBT.search(line):
            self._doubts += 1
            self._doubted_at = self._lines
        label = _LABEL.match(line)
        numbers = _NUMBER.findall(line, label.end() if label else 0)
        result = conclusion = _conclusion(line, numbers)
        if conclusion is not None:
            self._conclude(conclusion)
        elif numbers and equals:
            result = answer_key(numbers[-1])
        self._logprobs.end_line(self._lines, conclusion is not None)
        self._known = result in self._results
        if result is not None and len(self._results) < _CAPACITY:
            self._results.add(result)

    def _conclude(self, conclusion: Key) -> None:
        self._concluded += 1
        self._concluded_at = self._lines
        self._repeated = conclusion == self._last
        self._last = conclusion
        if conclusion in self._conclusions or len(self._conclusions) < _CAPACITY:
            self._conclusions[conclusion] += 1


class _Logprobs:
    """How likely the tokens were, line by line."""

    def __init__(self) -> None:
        self._seen = False
        self._lowest = self._lowest_number = 0.0
        self._numbers = self._numbers_here = 0.0
        self._here = 0.0  # the lowest of the line that is being written
        self._lines = (0.0, 0.0)  # of the last two that have ended
        self._conclusion = math.nan
        self._dip_at = 0

    def add(self, logprob: float, tokens: int, text: str) -> None:
        """Take some tokens and their mean logprob."""
        if not math.isfinite(logprob):
            return
        self._seen = True
        logprob = min(max(logprob, _FLOOR), 0.0)
        self._here = min(self._here, logprob)
        if _DIGIT.search(text):
            self._numbers_here += logprob * tokens
            self._lowest_number = min(self._lowest_number, logprob)

    def end_line(self, line: int, concludes: bool) -> None:
        """Take the end of a line, by its number."""
        self._lowest = min(self._lowest, self._here)
        self._lines = self._lines[1], self._here
        if self._here < _DIP:
            self._dip_at = line
        self._numbers += self._numbers_here
        if concludes and self._seen:
            self._conclusion = self._numbers_here
        self._here = self._numbers_here = 0.0

    def row(self, lines: int) -> tuple[float, ...]:
        """The features, after so many lines."""
        if not self._seen:
            return (math.nan,) * 7
        return (
            self._lowest,
            self._lines[1],
            min(self._lines),
            self._numbers,
            self._lowest_number,
            self._conclusion,
            float(lines - self._dip_at),
        )


def _conclusion(line: str, numbers: list[str]) -> Key | None:
    """What a line concludes, or None."""
    if (stated := last_answer(line)) is not None:
        return answer_key(stated)
    if len(numbers) == 1 and "=" not in line and not line.endswith("?"):
        return answer_key(numbers[0])
    return None
