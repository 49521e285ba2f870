"""What fields may hold: a check names the field and the value, save where that may be private.

A caller who mixes up two arguments may have put a prompt where a number belongs, and errors end up
in logs. So of a text, or anything else but a number, only the type is told.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

from stopping_core.plain_data import finite, whole_number

_MOST = 2**63
"""What no count reaches: databases hold no larger one."""

_NAME = 20
"""Characters of the longest choice: what is longer is a text."""


def text(name: str, value: object) -> str:
    """Return a text.

    Raises:
        ValueError: It is none.
    """
    if not isinstance(value, str):
        raise ValueError(f"{name} must be a str, got {type(value)}")
    return value


def identifier(name: str, value: object) -> None:
    """Refuse what is no text, or an empty one.

    Raises:
        ValueError: It is none.
    """
    if not text(name, value):
        raise ValueError(f"{name} must not be empty, got {value!r}")


def choice(name: str, value: object, known: tuple[str, ...]) -> None:
    """Refuse what is none of the choices.

    Raises:
        ValueError: It is none.
    """
    if value not in known:
        short = isinstance(value, str) and len(value) <= _NAME
        shown = repr(value) if short else type(value)
        raise ValueError(f"{name} must be one of {', '.join(known)}, got {shown}")


def flag(name: str, value: object) -> None:
    """Refuse what is no bool.

    Raises:
        ValueError: It is none.
    """
    if not isinstance(value, bool):
        raise ValueError(f"{name} must be True or False, got {_shown(value)}")


def count(name: str, value: object) -> None:
    """Refuse what is no whole number that a database holds.

    Raises:
        ValueError: It is none.
    """
    if not isinstance(value, int | float | None):
        raise ValueError(f"{name} must be a whole number >= 0, got {type(value)}")
    if whole_number(value, name) >= _MOST:
        raise ValueError(f"{name} must be < 2**63, got {value}")


def number(name: str, value: object) -> float:
    """Return a finite number.

    Raises:
        ValueError: It is none.
    """
    if not isinstance(value, int | float | None):
        raise ValueError(f"{name} must be a finite number, got {type(value)}")
    return finite(value, name)


def share(name: str, value: object) -> float:
    """Return a number in [0, 1].

    Raises:
        ValueError: It is none.
    """
    if not 0 <= (found := number(name, value)) <= 1:
        raise ValueError(f"{name} must be in [0, 1], got {value}")
    return found


def amount(name: str, value: object) -> float:
    """Return a number that is at least 0.

    Raises:
        ValueError: It is none.
    """
    if (found := number(name, value)) < 0:
        raise ValueError(f"{name} must be >= 0, got {value}")
    return found


def numbers(name: str, values: object) -> dict[str, float]:
    """Return numbers by name.

    Raises:
        ValueError: They are none.
    """
    if not isinstance(values, Mapping):
        raise ValueError(f"{name} must map names to numbers, got {type(values)}")
    return {
        text(f"a name in {name}", key): number(f"{name}[{key!r}]", value)
        for key, value in values.items()
    }


def utc(name: str, time: object) -> datetime:
    """Return a time in UTC.

    Raises:
        ValueError: It is none, or knows no time zone.
    """
    if not isinstance(time, datetime) or time.utcoffset() is None:
        raise ValueError(f"{name} must be a datetime with a time zone, got {_shown(time)}")
    try:
        return time.astimezone(UTC)
    except OverflowError:
        raise ValueError(f"{name} must be a time that UTC has, got {time!r}") from None


def _shown(value: object) -> str:
    return repr(value if isinstance(value, int | float | datetime | None) else type(value))
