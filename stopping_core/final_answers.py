r"""How final answers are stated in English: the set ways, once.

A policy that stops at an answer and a check that asks for one read the same rules, so that what the
policy cut is not refused by the check. Known are ``the answer is X`` and ``Answer: X`` at the
beginning of a line or clause, with or without emphasis, ``\boxed{X}``, and ``#### N`` alone on its
line. What X says is not judged, but that the answer is *not* X states none.

Nothing here keeps state, and time is linear in the length of the text.
"""

from __future__ import annotations

import re

from stopping_core.sentence_ends import FREE_TERMINATORS, TERMINATORS

_STATEMENT = re.compile(
    r"""
    (?: \b (?: (?:the|my|our)\s[*_]*+ (?:(?:final|correct|short)\s)? | (?:final|correct)\s ) answer
        [\s*_]++ (?:is|would\sbe)\b
      | (?: ^(?:[^\S\n]|[>#*_-])*+ | (?<=[.!?;,]\s)[*_]*+ | \b(?=final\s) )
        (?:(?:the|my|our)\s[*_]*+)? (?:(?:final|correct|short)\s)? answer
        [\s*_]*+ (?:[:：]|(?:is|would\sbe)\b)
    )
    (?: [\s*_:] | (?:\$\$|\\\[)[^\S\n]*+(?:\n|\Z) )*+      # up to X, past a formula's first line
    (?! not\b | [`.,:!?…。*_]*+(?:\s|\Z) | [$(\[{\\\ ]{0,4}\\f?box    # nothing, or a box to fill
      | ["""
    + FREE_TERMINATORS
    + r"""] )
    """,
    re.IGNORECASE | re.MULTILINE | re.VERBOSE,
)
_NUMBER = re.compile(
    r"^\#{4}[ \t]*+([-+]?[$€£]?[-+]?\d[\d,.]*+(?:/\d++)?(?:[ \t]?%)?)\.?[^\S\n]*+$", re.MULTILINE
)
_BOX = re.compile(r"\\(?:boxed|fbox)\s*+\{")
_BRACES = re.compile(r"\\.|[{}]", re.DOTALL)


def states_answer(text: str) -> bool:
    """Say whether a final answer is stated anywhere in a text, finished or not.

    Examples:
        >>> states_answer("So the answer is 4"), states_answer("So the answer is:")
        (True, False)
    """
    if _NUMBER.search(text) or _find_box(text) is not None:
        return True
    return _STATEMENT.search(_without_announcement(text)) is not None


def last_answer(text: str, *, line_ended: bool = True) -> str | None:
    """Return the answer that the last line of a text states, or the last one that is boxed.

    Where it finds one, :func:`states_answer` says True of every text that ends in these lines.

    Args:
        text: Some lines, the last of which has come to the end of a sentence or of the line.
        line_ended: Whether it is the end of the line, so that a number is alone there.

    Examples:
        >>> last_answer("Five and five is ten. The answer is **10**.")
        '10'
    """
    boxed = _find_box(text)
    if boxed is not None:
        return boxed
    line = text.rfind("\n") + 1
    if line_ended and (number := _NUMBER.match(text, line)):
        return number[1].rstrip(".,")
    text = _without_announcement(text)
    for statement in _STATEMENT.finditer(text):
        if statement.end() >= line and (stated := text[statement.end() :].rstrip(" \t\r*_")):
            return stated.rstrip(" \t*_.!?…。") or stated
    return None


def _without_announcement(text: str) -> str:
    """Leave out a last sentence that ends in a colon: it only says that something follows."""
    kept = text.rstrip("*_ \t\r\n")
    if not kept.endswith((":", "：")):
        return text
    return text[: 1 + max(kept.rfind(end) for end in f"\n{TERMINATORS}{FREE_TERMINATORS}")]


def _find_box(text: str) -> str | None:
    """Return what is in the last box that is closed and not blank."""
    boxes = {box.end() for box in _BOX.finditer(text)}
    opened: list[int] = []
    found = None
    for mark in _BRACES.finditer(text, min(boxes) - 1) if boxes else ():
        if mark[0] == "{":
            opened.append(mark.end())
        elif mark[0] == "}" and opened:
            start = opened.pop()
            if start in boxes and not text[start : mark.start()].isspace() and start < mark.start():
                found = text[start : mark.start()]
    return found
