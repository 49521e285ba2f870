"""The header of a trace file as JSON, and what a header must be to be one."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import MISSING, asdict, fields
from pathlib import Path
from typing import Any, get_args

from stopping_core.traces.run import Header
from stopping_core.types import Need

VERSION = 1
"""Of the format. A file of another version is refused, not guessed at."""

METADATA = b"stopping-trace"
"""The key under which a Parquet file's own metadata hold version and header."""

_KINDS: Mapping[Any, tuple[Any, str]] = {
    "str": (str, "a text"),
    "int": (int, "a whole number"),
    "float": ((int, float), "a number"),
}
_ALIKE = (
    "model",
    "model_fingerprint",
    "template_fingerprint",
    "max_tokens",
    "temperature",
    "reasoning_tags",
)
_TAGS = ("reasoning_tags", "asked_reasoning_tags")


def metadata(header: Header) -> dict[bytes, bytes]:
    """Return a header as a Parquet file's metadata."""
    content = {"version": VERSION, "header": plain_header(header)}
    return {METADATA: json.dumps(content, sort_keys=True).encode()}


def plain_header(header: Header) -> dict[str, Any]:
    """Return a header's values as JSON takes them."""
    tags = {name: getattr(header, name) for name in _TAGS}
    told = {name: value and list(value) for name, value in tags.items()}
    return asdict(header) | told | {"holds": sorted(header.holds)}


def read_header(path: str | Path, found: Mapping[bytes, bytes]) -> Header:
    """Read the header from a file's metadata.

    Raises:
        ValueError: It is no trace file, or one of another version, or its header is damaged.
    """
    if METADATA not in found:
        raise ValueError(f"{path}: not a trace file: its metadata has no {METADATA.decode()!r}")
    try:
        told = json.loads(found[METADATA])
        version, values = told["version"], dict(told["header"])
    except (ValueError, TypeError, KeyError) as error:
        raise ValueError(f"{path}: the header cannot be read: {error!r}") from error
    if version != VERSION:
        raise ValueError(f"{path}: the format's version is {version!r}, this reads {VERSION!r}")
    return header_of(path, values)


def header_of(path: str | Path, values: Any) -> Header:
    """Make a header of its plain values, as JSON gives them; ``path`` is for errors.

    Raises:
        ValueError: A key is unknown, or missing where it has no default, or its value is of
            another type.
    """
    if not isinstance(values, Mapping):
        raise ValueError(f"{path}: the header cannot be read: it is {values!r}")
    if unknown := sorted(set(values) - {field.name for field in fields(Header)}):
        raise ValueError(f"{path}: the header's key {unknown[0]!r} is unknown")
    for field in fields(Header):
        if field.name in values:
            _check(path, field.name, _KINDS.get(field.type), values[field.name])
        elif field.default is MISSING:
            raise ValueError(f"{path}: the header's key {field.name!r} is missing")
    tags = {name: tuple(values[name]) for name in _TAGS if values.get(name) is not None}
    return Header(**{**values, **tags, "holds": frozenset(values.get("holds", ()))})


def check_alike(path: str | Path, header: Header, other: str | Path, another: Header) -> None:
    """Refuse files whose runs do not go together.

    Where the runs hold reasoning, the probes say where a policy may be asked, and must be as dense.

    Args:
        path: Of the one file, for errors.
        header: Its header.
        other: Of the other file.
        another: Its header.

    Raises:
        ValueError: They differ in model, template, cap, temperature or what is reasoning.
    """
    places = () if header.reasoning_tags is None else ("probe_every",)
    for name in (*_ALIKE, *places):
        one, two = getattr(header, name), getattr(another, name)
        if one != two:
            raise ValueError(
                f"traces must have the same {name}, got {one!r} in {path} and {two!r} in {other}"
            )


def _check(path: str | Path, name: str, kind: tuple[Any, str] | None, value: Any) -> None:
    """Refuse a value of another type."""
    if kind is not None:
        right = isinstance(value, kind[0]) and not isinstance(value, bool)
        wanted = kind[1]
    elif name == "holds":
        known = get_args(Need)
        right = isinstance(value, list) and all(one in known for one in value)
        wanted = f"a list of some of {', '.join(known)}"
    else:
        right = value is None or (
            isinstance(value, list) and [type(one) for one in value] == [str, str]
        )
        wanted = "null or a list of two texts"
    if not right:
        raise ValueError(f"{path}: the header's key {name!r} must be {wanted}, got {value!r}")
