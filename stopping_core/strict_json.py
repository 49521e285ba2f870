"""JSON as RFC 8259 has it, and no more: the one parser of the checks and the signals."""

from __future__ import annotations

import json
from typing import Any

_SAFE_DIGITS = 600  # below the least limit that Python sets on int()


class NotJson(ValueError):
    """A constant that Python's parser accepts and JSON does not have; its text is the argument."""


def decode(text: str) -> tuple[Any, int]:
    """Return the JSON value that a text begins with, and the offset of its end.

    Numbers of any length are JSON: an integer too long for Python becomes a float. What too deep
    means is Python's matter, so each caller says what follows from it.

    Args:
        text: Begins with the value itself, without white space before it.

    Raises:
        json.JSONDecodeError: If it begins with no JSON value.
        NotJson: If NaN, Infinity or -Infinity is in it.
        RecursionError: If it is nested too deeply for Python's parser.

    Examples:
        >>> decode('{"a": 1} and more')
        ({'a': 1}, 8)
    """
    return _DECODER.raw_decode(text)


def _reject(constant: str) -> Any:
    raise NotJson(constant)


def _integer(digits: str) -> int | float:
    return int(digits) if len(digits) < _SAFE_DIGITS else float(digits)


_DECODER = json.JSONDecoder(parse_constant=_reject, parse_int=_integer)
