"""Whether a text has a given form, or states a final answer."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from stopping_core.types import Draft, Request, Verdict

_STATED = re.compile(
    r"\banswer(?:[*_ \t]*[:：=]|[*_ \t]+is\b[ \t]*:?)[\s*_:`]*(?![\s*_:`.,])\S", re.IGNORECASE
)
_HASHES = re.compile(r"^####[ \t]*[-+]?[$€£]?\d[\d,.]*(?:/\d+)?[ \t]*%?[ \t]*$", re.MULTILINE)
_BOX = re.compile(r"\\(?:boxed|fbox)\s*\{")
_BRACES = re.compile(r"\\.|[{}]", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Matches:
    r"""Incomplete unless the whole text, without white space around it, matches a pattern.

    For a pattern that may stand anywhere, use :class:`AnswerPresent`. A pattern that backtracks
    without end takes that long here too.

    Args:
        pattern: A regular expression, or its source.

    Raises:
        ValueError: If the pattern does not compile.

    Examples:
        >>> Matches(r"yes|no")(Request(), Draft("yes\n")).complete
        True
    """

    pattern: str | re.Pattern[str]
    _compiled: re.Pattern[str] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_compiled", _compile(self.pattern))

    def __call__(self, request: Request, draft: Draft, /) -> Verdict:
        """Match the text."""
        if self._compiled.fullmatch(draft.text.strip()):
            return Verdict(True)
        return Verdict(False, f"the answer does not match {_short(self._compiled)}")


@dataclass(frozen=True, slots=True)
class AnswerPresent:
    r"""Incomplete unless a final answer is stated.

    Without a pattern these count: ``answer is X``, ``answer: X`` with or without emphasis, a closed
    and non-empty ``\boxed{X}``, and ``#### N`` on a line of its own. What X says is not judged:
    "The answer is unknown" is present. Nor whether it is finished: combine with
    :class:`FinishReason`. English; give a pattern for other languages.

    Args:
        pattern: A regular expression, or its source, searched for in the text. Where it has groups,
            the first that took part must not be blank.

    Raises:
        ValueError: If the pattern does not compile.

    Examples:
        >>> AnswerPresent()(Request(), Draft("So the answer is 42.")).complete
        True
    """

    pattern: str | re.Pattern[str] | None = None
    _compiled: re.Pattern[str] | None = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        compiled = None if self.pattern is None else _compile(self.pattern)
        object.__setattr__(self, "_compiled", compiled)

    def __call__(self, request: Request, draft: Draft, /) -> Verdict:
        """Search for the answer."""
        if self._compiled is None:
            return Verdict(True) if _is_stated(draft.text) else Verdict(False, _NONE_STATED)
        for match in self._compiled.finditer(draft.text):
            groups = [group for group in match.groups() if group is not None]
            if not groups or groups[0].strip():
                return Verdict(True)
        return Verdict(False, f"nothing in the answer matches {_short(self._compiled)}")


_NONE_STATED = "no final answer is stated"


def _is_stated(text: str) -> bool:
    return bool(_STATED.search(text) or _HASHES.search(text) or _has_box(text))


def _has_box(text: str) -> bool:
    """Whether there is a box that is closed and holds something."""
    boxes = {box.end() for box in _BOX.finditer(text)}
    opened: list[int] = []
    for mark in _BRACES.finditer(text) if boxes else ():
        if mark[0] == "{":
            opened.append(mark.end())
        elif mark[0] == "}" and opened:
            start = opened.pop()
            if start in boxes and text[start : mark.start()].strip():
                return True
    return False


def _compile(pattern: str | re.Pattern[str]) -> re.Pattern[str]:
    try:
        return re.compile(pattern)
    except re.error as error:
        raise ValueError(
            f"pattern must be a regular expression, got {pattern!r}: {error}"
        ) from error


def _short(pattern: re.Pattern[str]) -> str:
    source = pattern.pattern
    return repr(source if len(source) <= 80 else f"{source[:79]}…")
