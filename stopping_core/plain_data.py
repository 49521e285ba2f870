"""Plain data of a model, read strictly: what is wrong is named, and nothing is guessed."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any


def members(data: Any, names: Iterable[str], key: str) -> Mapping[str, Any]:
    """Return an object that has exactly these members.

    Args:
        data: What stands at ``key``.
        names: Of the members.
        key: Where it stands, for errors.

    Raises:
        ValueError: It is no object, or a member is missing, or one is not known.
    """
    if not isinstance(data, Mapping):
        raise ValueError(f"{key} must be an object, got {_shown(data)}")
    wanted = list(names)
    for name in wanted:
        if name not in data:
            raise ValueError(f"{key}.{name} is missing")
    for name in data:
        if name not in wanted:
            raise ValueError(f"{key}.{name} is not known, got {_shown(data[name])}")
    return data


def finite(value: Any, key: str) -> float:
    """Return a finite number.

    Raises:
        ValueError: It is none.
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or not _is_finite(value):
        raise ValueError(f"{key} must be a finite number, got {_shown(value)}")
    return float(value)


def numbers(value: Any, key: str) -> tuple[float, ...]:
    """Return a list of finite numbers.

    Raises:
        ValueError: It is none, or one of them is none.
    """
    if not isinstance(value, list | tuple):
        raise ValueError(f"{key} must be a list of numbers, got {_shown(value)}")
    return tuple(finite(one, f"{key}[{place}]") for place, one in enumerate(value))


def whole_number(value: Any, key: str, least: int = 0) -> int:
    """Return a whole number of at least ``least``.

    Raises:
        ValueError: It is none.
    """
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ValueError(f"{key} must be a whole number >= {least}, got {_shown(value)}")
    return value


def listed(value: Any, key: str) -> list[Any]:
    """Return a list.

    Raises:
        ValueError: It is none.
    """
    if not isinstance(value, list):
        raise ValueError(f"{key} must be a list, got {_shown(value)}")
    return value


def _is_finite(value: float) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # an integer that no float holds
        return False


def _shown(value: Any) -> str:
    shown = repr(value)
    return shown if len(shown) <= 80 else f"{shown[:77]}..."
