"""Whether code fences and display formulas are closed."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import NamedTuple

from stopping_core.results import Draft, Verdict
from stopping_core.types import Request

# Fences may stand in quotes and list items; four spaces make no difference to a model.
_FENCE = re.compile(r"(?:[ \t>]|[-*+][ \t]|\d{1,9}[.)][ \t])*(`{3,}|~{3,})(.*)")
_CODE_SPAN = re.compile(r"(`+)(?!`).*?(?<!`)\1(?!`)")
_FORMULA = re.compile(r"\\.|\$\$", re.DOTALL)


class Open(NamedTuple):
    """What is open at the end of a text, and the line on which it was opened, from 1."""

    what: str
    line: int


@dataclass(frozen=True, slots=True)
class ClosedFences:
    r"""Incomplete while a code fence (backticks or tildes) or a ``$$`` formula is open.

    Fences follow CommonMark: a fence is closed by a line with nothing but at least as many of the
    same character. ``$$`` does not count in code, nor after a backslash.

    Examples:
        >>> ClosedFences()(Request(), Draft("Run this:\n```sh\nls")).reason
        'code fence opened on line 2 is not closed'
    """

    def __call__(self, request: Request, draft: Draft, /) -> Verdict:
        """Check that nothing is open at the end."""
        left = find_open(draft.text)
        if left is None:
            return Verdict(True)
        return Verdict(False, f"{left.what} opened on line {left.line} is not closed")


def find_open(text: str) -> Open | None:
    """Return the code fence or formula that is open at the end of the text."""
    fence: tuple[str, int] | None = None
    formula: int | None = None
    for number, line in enumerate(text.split("\n"), start=1):
        match = _FENCE.match(line)
        if fence is not None:
            if match and match[1].startswith(fence[0]) and not match[2].strip():
                fence = None
        elif match and (match[1][0] == "~" or "`" not in match[2]):
            fence = (match[1], number)
        else:
            for mark in _FORMULA.findall(_CODE_SPAN.sub("", line)):
                if mark == "$$":
                    formula = number if formula is None else None
    if fence is not None:
        return Open("code fence", fence[1])
    return None if formula is None else Open("formula ($$)", formula)
