"""Whether a text has a given form, or states a final answer."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from stopping_core.final_answers import states_answer
from stopping_core.patterns import compile_pattern
from stopping_core.results import Draft, Verdict
from stopping_core.types import Request


@dataclass(frozen=True, slots=True)
class Matches:
    r"""Incomplete unless the whole text, without white space around it, matches a pattern.

    For a pattern that may stand anywhere, use :class:`AnswerPresent`. A pattern that backtracks
    without end takes that long here too.

    Args:
        pattern: A regular expression, or its source.

    Raises:
        ValueError: If ``pattern`` is no regular expression for text.

    Examples:
        >>> Matches(r"yes|no")(Request(), Draft("yes\n")).complete
        True
    """

    pattern: str | re.Pattern[str]
    _compiled: re.Pattern[str] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_compiled", compile_pattern(self.pattern))

    def __call__(self, request: Request, draft: Draft, /) -> Verdict:
        """Match the text."""
        if self._compiled.fullmatch(draft.text.strip()):
            return Verdict(True)
        return Verdict(False, f"the answer does not match {_short(self._compiled)}")


@dataclass(frozen=True, slots=True)
class AnswerPresent:
    r"""Incomplete unless a final answer is stated.

    Without a pattern these count: ``the answer is X``, ``Answer: X`` at the beginning of a line or
    clause, with or without emphasis, a closed and non-empty ``\boxed{X}``, and ``#### N`` on a line
    of its own. What X says is not judged: "The answer is unknown" is present. Nor whether it is
    finished: combine with :class:`FinishReason`. English; give a pattern for other languages. The
    signal :class:`~stopping_core.signals.AnswerPattern` goes by the same rules.

    Args:
        pattern: A regular expression, or its source, searched for in the text. Where it has groups,
            the first that took part must not be blank.

    Raises:
        ValueError: If ``pattern`` is no regular expression for text.

    Examples:
        >>> AnswerPresent()(Request(), Draft("So the answer is 42.")).complete
        True
    """

    pattern: str | re.Pattern[str] | None = None
    _compiled: re.Pattern[str] | None = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        compiled = None if self.pattern is None else compile_pattern(self.pattern)
        object.__setattr__(self, "_compiled", compiled)

    def __call__(self, request: Request, draft: Draft, /) -> Verdict:
        """Search for the answer."""
        if self._compiled is None:
            stated = states_answer(draft.text)
            return Verdict(stated, "" if stated else "no final answer is stated")
        for match in self._compiled.finditer(draft.text):
            groups = [group for group in match.groups() if group is not None]
            if not groups or groups[0].strip():
                return Verdict(True)
        return Verdict(False, f"nothing in the answer matches {_short(self._compiled)}")


def _short(pattern: re.Pattern[str]) -> str:
    source = pattern.pattern
    return repr(source if len(source) <= 80 else f"{source[:79]}…")
