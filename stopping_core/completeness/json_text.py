"""Whether a text is JSON, strictly."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any, NamedTuple

from stopping_core.results import Draft, Verdict
from stopping_core.strict_json import NotJson, decode
from stopping_core.types import Request

_SPACE = " \t\r\n"
_OPENS_OBJECT = re.compile(
    r"""\s*(?:```(?:json)?\s*)?(?=\{\s*(?:["}]|\Z)|\[\s*(?:\{\s*(?:["}]|\Z)|\Z))""", re.IGNORECASE
)
_MARKS = re.compile(r'"(?:[^"\\]|\\.)*+"?|[\[\]{}]', re.DOTALL)


class Parsed(NamedTuple):
    """A JSON value with its text, or the reason why there is none."""

    value: Any = None
    text: str = ""
    reason: str = ""


@dataclass(frozen=True, slots=True)
class JsonText:
    """Incomplete unless the text is one JSON text (RFC 8259), bare or in a single code fence.

    Any value will do, a number or a string too; note that ``12`` is complete even where the model
    was about to write ``123``. Every proper prefix of an object or an array is incomplete. NaN and
    Infinity are not JSON. Nesting too deep for Python's parser counts as incomplete.

    Args:
        prefix_ok: Accept a JSON value at the beginning that is followed by something else.

    Examples:
        >>> JsonText()(Request(), Draft('{"city": "Par')).reason
        'the JSON text is not finished: unterminated string starting at line 1 column 10'
        >>> JsonText(prefix_ok=True)(Request(), Draft('{"city": "Paris"} Done!')).complete
        True
    """

    prefix_ok: bool = False

    def __call__(self, request: Request, draft: Draft, /) -> Verdict:
        """Parse the text."""
        reason = parse(draft.text, prefix_ok=self.prefix_ok).reason
        return Verdict(not reason, reason)


@dataclass(frozen=True, slots=True)
class ClosedJson:
    """Incomplete where the text begins as a JSON object, or an array of them, and never closes it.

    Only brackets and strings are looked at, so a text that is no JSON after all, or has something
    after it, is not held back.

    Examples:
        >>> ClosedJson()(Request(), Draft('{"cities": ["Paris", "Rome"')).reason
        'the JSON that the text begins with is not closed: 2 brackets are open'
    """

    def __call__(self, request: Request, draft: Draft, /) -> Verdict:
        """Count the brackets."""
        start = _OPENS_OBJECT.match(draft.text)
        if start is None:
            return Verdict(True)
        depth = 0
        for mark in _MARKS.finditer(draft.text, start.end()):
            if mark[0][0] != '"':
                depth += 1 if mark[0] in "[{" else -1
                if depth == 0:
                    return Verdict(True)
        noun = "bracket is" if depth == 1 else "brackets are"
        return Verdict(
            False, f"the JSON that the text begins with is not closed: {depth} {noun} open"
        )


def parse(text: str, *, prefix_ok: bool = False) -> Parsed:
    """Parse a JSON text, bare or in a single code fence. Never raises on any text."""
    body = text.strip(_SPACE)
    if body.startswith("```"):
        inner = _unfence(body, prefix_ok=prefix_ok)
        if inner is None:
            return Parsed(reason="not a JSON text: it is not in a single, closed ```json fence")
        body = inner.strip(_SPACE)
    if not body:
        return Parsed(reason="there is no JSON text")
    try:
        value, end = decode(body)
    except json.JSONDecodeError as error:
        return Parsed(reason=_explain(error))
    except NotJson as error:
        return Parsed(reason=f"not a JSON text: {error} is not JSON")
    except RecursionError:
        return Parsed(reason="the JSON text is nested too deeply to be checked")
    if end < len(body) and not prefix_ok:
        line = body.count("\n", 0, end) + 1
        return Parsed(reason=f"not a JSON text: something follows the value on line {line}")
    return Parsed(value, body[:end])


def _unfence(body: str, *, prefix_ok: bool) -> str | None:
    """The text in the fence that ``body`` begins with, or None where it is not closed."""
    opening, *lines = body.split("\n")
    info = opening.lstrip("`")
    if info.strip().lower() not in ("", "json"):
        return None
    ticks = opening.removesuffix(info)
    for number, line in enumerate(lines, start=1):
        if line.strip() == ticks:
            # A JSON string holds no line break, so this fence is not inside one.
            alone = prefix_ok or number == len(lines)
            return "\n".join(lines[: number - 1]) if alone else None
    return None


def _explain(error: json.JSONDecodeError) -> str:
    what = f"{error.msg[:1].lower()}{error.msg[1:].removesuffix(' at')}"
    place = f"line {error.lineno} column {error.colno}"
    ran_out = error.pos >= len(error.doc) or error.msg.startswith("Unterminated")
    begun = "the JSON text is not finished" if ran_out else "not a JSON text"
    return f"{begun}: {what} at {place}"
