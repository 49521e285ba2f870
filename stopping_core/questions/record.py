"""JSON objects that know where they stand, so that an error names file, place and value."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stopping_core.questions.question import Question


@dataclass(frozen=True, slots=True)
class Record:
    """One object of a source.

    Args:
        source: The file, or the name of the data set.
        place: Where in it, as a reader would say it: ``line 3``, ``data[0].paragraphs[1]``. Empty
            for the whole file.
        position: The number of the record in its source, from 1 on: its id where it has none.
        fields: The object.
    """

    source: str
    place: str
    position: int
    fields: Mapping[str, Any]

    def text(self, key: str) -> str:
        """Return a text that must be there and not be blank."""
        value = self.fields.get(key)
        if not isinstance(value, str) or not value.strip():
            raise self.refusal(key, "must be a text", value)
        return value

    def optional_text(self, key: str) -> str:
        """Return a text that may be missing, null or blank: then it is empty."""
        value = self.fields.get(key)
        if value is not None and not isinstance(value, str):
            raise self.refusal(key, "must be a text", value)
        return value if value and value.strip() else ""

    def identity(self, key: str) -> str:
        """Return an id, which may be a whole number; the record's position where there is none."""
        value = self.fields.get(key)
        if value is None:
            return str(self.position)
        if isinstance(value, bool) or not isinstance(value, str | int) or not str(value).strip():
            raise self.refusal(key, "must be a text or a whole number", value)
        return str(value)

    def texts(self, key: str) -> tuple[str, ...]:
        """Return a text or a list of texts, at least one and none blank, each once."""
        value = self.fields.get(key)
        if isinstance(value, str):
            return (self.text(key),)
        if not isinstance(value, list):
            raise self.refusal(key, "must be a text or a list of texts", value)
        if not value:
            raise self.error(key, "is empty")
        for number, item in enumerate(value):
            if not isinstance(item, str) or not item.strip():
                raise self.refusal(f"{key}[{number}]", "must be a text", item)
        return tuple(dict.fromkeys(value))

    def objects(self, key: str) -> Iterator[Record]:
        """Yield the objects of a list, with their places."""
        items = self.fields.get(key)
        if not isinstance(items, list):
            name = type(items).__name__
            raise self.error(key, f"must be a list, got {name}")
        for number, item in enumerate(items):
            place = f"{self._at(key)}[{number}]"
            if not isinstance(item, dict):
                raise ValueError(f"{self.source}: {place} must be an object")
            yield Record(self.source, place, number + 1, item)

    def question(
        self,
        id: str,
        question: str,
        gold: tuple[str, ...],
        *,
        context: str = "",
        group: str = "",
        family: str = "",
        grader: str = "contains",
    ) -> Question:
        """Make the question; what is wrong with it is said with the record's place."""
        try:
            return Question(id, question, gold, context, group, family, grader)
        except ValueError as error:
            raise ValueError(f"{self.source}: {self.place}: {error}") from error

    def refusal(self, key: str, what: str, value: object) -> ValueError:
        """Return an error that names the place, what is asked for and what was found."""
        shown = repr(value)
        return self.error(key, f"{what}, got {shown if len(shown) <= 100 else shown[:100] + '…'}")

    def error(self, key: str, what: str) -> ValueError:
        """Return an error that names the place."""
        return ValueError(f"{self.source}: {self._at(key)} {what}")

    def _at(self, key: str) -> str:
        return f"{self.place}.{key}" if self.place else key


def read_document(path: str | Path) -> Any:
    """Read a JSON file, or a file of one JSON object a line as a list of :class:`Record`.

    It is lines where there are several and the first is an object by itself.

    Raises:
        ValueError: The file is empty, not UTF-8 or not JSON; the message names it and the place.
        OSError: The file cannot be opened.
    """
    try:
        text = Path(path).read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise type(error)(f"{path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        found = f"byte {error.object[error.start]:#04x} at offset {error.start}"
        raise ValueError(f"{path}: not a JSON text: not UTF-8: {found}") from error
    lines = [(n, line) for n, line in enumerate(text.split("\n"), start=1) if line.strip()]
    if not lines:
        raise ValueError(f"{path}: the file is empty")
    if len(lines) > 1 and _is_object(lines[0][1]):
        return [_line(path, number, line, at) for at, (number, line) in enumerate(lines, start=1)]
    try:
        return json.loads(text, object_pairs_hook=_unique)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: not a JSON text: {error}") from error


def _is_object(line: str) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except (ValueError, RecursionError):
        return False


def _line(path: str | Path, number: int, line: str, position: int) -> Record:
    try:
        fields = json.loads(line, object_pairs_hook=_unique)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: line {number}: not a JSON text: {error}") from error
    if not isinstance(fields, dict):
        raise ValueError(f"{path}: line {number} must be an object, got {line.strip()[:100]}")
    return Record(str(path), f"line {number}", position, fields)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Make an object of its pairs; of two equal keys, json would silently drop the first."""
    made = dict(pairs)
    if len(made) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise ValueError(f"the key {twice!r} stands twice in one object")
    return made
