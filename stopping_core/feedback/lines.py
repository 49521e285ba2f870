"""One record, one line of JSON: how outcomes and feedback stand in a spool."""

from __future__ import annotations

import json
from dataclasses import fields
from datetime import datetime
from typing import Any, TypeAlias

from stopping_core.feedback.outcomes import Feedback, Outcome

Record: TypeAlias = Outcome | Feedback
"""What is spooled."""

_ENCODER = json.JSONEncoder(separators=(",", ":"), allow_nan=False)
_DECODER = json.JSONDecoder()
_KINDS: dict[str, type[Record]] = {"outcome": Outcome, "feedback": Feedback}
_FIELDS = {
    kind: (name, tuple(field.name for field in fields(kind))) for name, kind in _KINDS.items()
}


def to_line(record: Record) -> bytes:
    r"""Return the line of a record: ASCII, so that no text of a user can break or fake one.

    Examples:
        >>> to_line(Feedback("a\n\ud800", "thumbs", 1)).startswith(b'{"feedback":{"request_id":"a')
        True
    """
    name, names = _FIELDS[type(record)]
    values: dict[str, Any] = {field: getattr(record, field) for field in names}
    values["time"] = record.time.isoformat()
    return _ENCODER.encode({name: values}).encode() + b"\n"


def from_line(line: bytes) -> Record:
    """Read a line.

    Raises:
        ValueError: It holds no record. The message does not quote it: it may hold a user's text.
    """
    try:
        ((name, values),) = _DECODER.decode(line.decode().rstrip("\n")).items()
        values["time"] = datetime.fromisoformat(values["time"])
        return _KINDS[name](**values)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        raise ValueError(f"line must hold one record, got {len(line)} bytes that do not") from None
