"""JSON files that are read strictly: of one kind and version, whole and unchanged."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from stopping_core.plain_data import finite, listed
from stopping_core.strict_json import NotJson, decode

T = TypeVar("T")

_HEX = frozenset("0123456789abcdef")

VERSION = 1
"""Of both kinds of files. Another one is refused, not guessed at."""


def write_file(path: str | Path, kind: str, content: Mapping[str, Any]) -> None:
    """Write a file, with a digest of what is in it.

    Args:
        path: The file; replaced where it exists.
        kind: What it holds, in a word.
        content: As JSON takes it.

    Raises:
        OSError: It cannot be written.
    """
    whole = {"kind": kind, "version": VERSION, **content}
    whole["digest"] = _digest(whole)
    Path(path).write_text(json.dumps(whole, indent=1, allow_nan=False) + "\n", encoding="utf-8")


def read_file(path: str | Path, kind: str, make: Callable[[Mapping[str, Any]], T]) -> T:
    """Read a file.

    Args:
        path: The file.
        kind: What it has to hold.
        make: Makes a value of the content; its ``ValueError`` names key and value.

    Raises:
        ValueError: It is no such file, or of another version, or damaged, or changed; the message
            names the file and the key.
        OSError: It cannot be read.
    """
    whole = _parsed(path, Path(path).read_bytes())
    for key, wanted in (("kind", kind), ("version", VERSION)):
        if key not in whole:
            raise ValueError(f"{path}: {key} is missing")
        if whole[key] != wanted or isinstance(whole[key], bool):
            raise ValueError(f"{path}: {key} must be {wanted!r}, got {whole[key]!r}")
    if "digest" not in whole:
        raise ValueError(f"{path}: digest is missing")
    content = {key: whole[key] for key in whole if key not in ("kind", "version", "digest")}
    try:
        made = make(content)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    if whole.pop("digest") != _digest(whole):
        raise ValueError(f"{path}: digest must be that of the content: the file was changed")
    return made


def between(value: Any, key: str, low: float, high: float) -> float:
    """Return a number in [low, high].

    Raises:
        ValueError: It is none.
    """
    number = finite(value, key)
    if not low <= number <= high:
        raise ValueError(f"{key} must be in [{low:g}, {high:g}], got {value!r}")
    return number


def text(value: Any, key: str) -> str:
    """Return a text.

    Raises:
        ValueError: It is none.
    """
    if not isinstance(value, str):
        raise ValueError(f"{key} must be a text, got {value!r}")
    return value


def texts(value: Any, key: str) -> tuple[str, ...]:
    """Return a list of texts.

    Raises:
        ValueError: It is none.
    """
    return tuple(text(one, f"{key}[{place}]") for place, one in enumerate(listed(value, key)))


def hashes(value: Any, key: str, digits: int) -> tuple[str, ...]:
    """Return a list of hashes, none of them twice.

    Raises:
        ValueError: It is none.
    """
    found = texts(value, key)
    for place, one in enumerate(found):
        if len(one) != digits or not set(one) <= _HEX:
            raise ValueError(f"{key}[{place}] must be {digits} hex digits, got {one!r}")
    if not found or len(set(found)) < len(found):
        raise ValueError(f"{key} must hold one hash or more, each once, got {len(found)}")
    return found


def pair(value: Any, key: str) -> tuple[str, str] | None:
    """Return two texts, or None for null.

    Raises:
        ValueError: It is neither.
    """
    if value is None:
        return None
    found = texts(value, key)
    if len(found) != 2:
        raise ValueError(f"{key} must be null or two texts, got {value!r}")
    return found[0], found[1]


def _parsed(path: str | Path, content: bytes) -> dict[str, Any]:
    try:
        said = content.decode("utf-8").strip()
        whole, end = decode(said)
    except (ValueError, RecursionError, NotJson) as error:
        raise ValueError(f"{path}: not a JSON text: {error}") from error
    if not isinstance(whole, dict) or end < len(said):
        raise ValueError(f"{path}: must be one JSON object")
    return whole


def _digest(whole: Mapping[str, Any]) -> str:
    canonical = json.dumps(whole, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(canonical.encode()).hexdigest()
