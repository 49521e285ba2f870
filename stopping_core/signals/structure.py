"""Readings of what has ended so far: sentences, lines, closed structures, a final answer.

All of them read the answer channel alone, and only the text and its marks: they need no logprobs.
"""

from __future__ import annotations

import re
from typing import ClassVar

from stopping_core.final_answers import last_answer
from stopping_core.patterns import compile_pattern
from stopping_core.strict_json import decode
from stopping_core.types import Boundary, Request, Step

WINDOW = 500
"""Characters of a line, counted from its end, that :class:`AnswerPattern` keeps."""

_HEAD = 256  # characters within which it shows whether an answer is JSON
_FENCED = re.compile(r"(?:`{3,}|~{3,})[ \t]*(\w*)[^\n`]*\n\s*")
_LINE_ENDED = Boundary.LINE | Boundary.PARAGRAPH
_FINISHED = Boundary.SENTENCE | _LINE_ENDED


class _Count:
    """How many marks of one kind came; a count, >= 0."""

    _kind: ClassVar[Boundary]

    def __init__(self) -> None:
        self._count = 0

    def reset(self, request: Request) -> None:
        self._count = 0

    def update(self, step: Step) -> None:
        if step.boundary and step.channel == "answer" and self._kind in step.boundary:
            self._count += 1

    @property
    def value(self) -> float | None:
        return float(self._count)


class Sentences(_Count):
    """Number of sentences that have ended in the answer; a count, >= 0.

    The plainest measure of how much was said. Headings, list items without a full stop, code and
    JSON do not count, and an end that is in doubt is missed rather than made up: it runs late.

    Examples:
        >>> signal = Sentences()
        >>> signal.update(Step("Paris."))
        >>> signal.update(Step("", tokens=0, boundary=Boundary.SENTENCE | Boundary.LINE))
        >>> signal.value
        1.0
    """

    _kind = Boundary.SENTENCE


class Lines(_Count):
    """Number of lines with text on them that have ended in the answer; a count, >= 0.

    For answers that have a line a fact: tables, code, verse. The last line ends with the text
    only, and a paragraph of any length is one line.
    """

    _kind = Boundary.LINE


class Paragraphs(_Count):
    """Number of paragraphs that have ended in the answer; a count, >= 0.

    A blank line is the strongest sign of a new thought that plain text has. In a loose list every
    item is a paragraph, and blank lines in code and in JSON are none.
    """

    _kind = Boundary.PARAGRAPH


class FencesClosed(_Count):
    """Number of code fences that have closed in the answer; a count, >= 0.

    Where code was asked for, what follows its fence is comment. A line inside a fence that begins
    like a closing one and goes on with other text counts too early.
    """

    _kind = Boundary.FENCE


class ListsClosed(_Count):
    """Number of lists that have ended in the answer; a count, >= 0.

    Where items were asked for, what follows the list is comment. It shows only when something
    else begins after a blank line, and a list in two parts with text between them counts as two.
    """

    _kind = Boundary.LIST


class JsonClosed:
    """1.0 once the JSON value that is the answer has closed and parses, 0.0 before; no unit.

    What a model writes after its value breaks the caller's parser, so that a stop here loses
    nothing. The value is parsed once, at its closing bracket, by the standard's rules: NaN and
    Infinity are refused, and a value that does not parse leaves the reading at 0.0 for good.

    None where the answer is not JSON. It is JSON where it begins with ``{``, with a json fence, or
    with ``[`` if ``{``, ``[`` or ``"`` follows or the request expects JSON: ``[1] According to``
    begins with a citation. JSON after an introduction in words is not seen.

    The text of the value is kept until it closes, the one exception to constant memory. Where it
    is nested too deeply for the parser, brackets that match are taken for validity: the end of the
    value is certain, so a stop still loses nothing. The check
    :class:`~stopping_core.completeness.JsonText` has to vouch for the value, and refuses it then.

    Examples:
        >>> signal = JsonClosed()
        >>> signal.update(Step('{"a": 1}'))
        >>> signal.value
        0.0
        >>> signal.update(Step("", tokens=0, boundary=Boundary.JSON))
        >>> signal.value
        1.0
    """

    def __init__(self) -> None:
        self.reset(Request())

    def reset(self, request: Request) -> None:
        self._expected = request.expects == "json"
        self._head: str | None = ""  # None when it is decided
        self._parts: list[str] | None = None  # None where nothing more is to be read
        self._value: float | None = None

    def update(self, step: Step) -> None:
        if step.channel != "answer":
            return
        if self._head is not None:
            self._decide((self._head + step.text).lstrip())
        elif self._parts is not None and step.text:
            self._parts.append(step.text)
        if step.boundary and Boundary.JSON in step.boundary and self._parts is not None:
            self._value = float(_parses("".join(self._parts)))
            self._parts = None

    @property
    def value(self) -> float | None:
        return self._value

    def _decide(self, head: str) -> None:
        start = _find_value(head[:_HEAD], expected=self._expected)
        if start is None and len(head) < _HEAD:
            self._head = head
            return
        self._head = None
        if start is not None and start >= 0:
            self._value, self._parts = 0.0, [head[start:]]


def _find_value(head: str, *, expected: bool) -> int | None:
    """Return where the JSON value of an answer begins, -1 if it has none, None if that is open."""
    start = 0
    if head.startswith(("`", "~")):
        fence = _FENCED.match(head)
        if fence is None:
            return -1 if "\n" in head else None
        if fence[1].lower() not in ({"json", ""} if expected else {"json"}):
            return -1
        start, expected = fence.end(), True
    following = head[start + 1 :].lstrip()[:1]
    match head[start : start + 1]:
        case "":
            return None
        case "[" if not (expected or following):
            return None
        case "[" if expected or following in '{["':
            return start
        case "{":
            return start
        case _:
            return -1


def _parses(text: str) -> bool:
    """Say whether a text whose brackets match is JSON as the standard has it."""
    try:
        return decode(text)[1] == len(text)
    except RecursionError:
        return True
    except ValueError:
        return False


class AnswerPattern:
    r"""1.0 once a final answer was stated and the statement has finished, 0.0 before; no unit.

    Reasoning models say what they conclude in a few set ways; what comes after is repetition. With
    no pattern of one's own it finds "The (final) answer is X." and "Answer: X", finished by the end
    of the sentence or line, a balanced ``\boxed{X}``, and "#### N" alone on its line, by the rules
    of the check :class:`~stopping_core.completeness.AnswerPresent`. It looks when a sentence, line
    or paragraph ends, at the last ``WINDOW`` characters of the current line and of the line before
    it that is not blank. The first find holds: an answer that the model takes back later, or states
    for one part of the question, is final here, and a statement longer than the window is missed.

    Args:
        pattern: A regular expression to search for instead. The answer is its group ``answer``, or
            else its first group, or else the whole match.

    Raises:
        ValueError: If ``pattern`` is no regular expression for text.

    Examples:
        >>> signal = AnswerPattern()
        >>> signal.update(Step("So the answer is 42."))
        >>> signal.value, signal.answer
        (0.0, None)
        >>> signal.update(Step("", tokens=0, boundary=Boundary.SENTENCE))
        >>> signal.value, signal.answer
        (1.0, '42')
    """

    def __init__(self, pattern: str | re.Pattern[str] | None = None) -> None:
        self.pattern = None if pattern is None else compile_pattern(pattern)
        self.reset(Request())

    def reset(self, request: Request) -> None:
        self.answer: str | None = None
        self._line = ""
        self._previous = ""

    def update(self, step: Step) -> None:
        if self.answer is not None or step.channel != "answer":
            return
        if step.text:
            *ended, last = (self._line + step.text).split("\n")
            for line in ended:
                kept = line[-WINDOW:]
                if not kept.isspace() and kept:
                    self._previous = kept
            self._line = last[-WINDOW:]
        elif step.boundary & _FINISHED:
            window = f"{self._previous}\n{self._line}" if self._previous else self._line
            self.answer = self._search(window, line_ended=bool(step.boundary & _LINE_ENDED))

    @property
    def value(self) -> float | None:
        """The reading now."""
        return float(self.answer is not None)

    def _search(self, window: str, *, line_ended: bool) -> str | None:
        if self.pattern is None:
            return last_answer(window, line_ended=line_ended)
        found = self.pattern.search(window)
        if found is None:
            return None
        if "answer" in self.pattern.groupindex:
            return found["answer"] or ""
        return found[min(1, self.pattern.groups)] or ""
