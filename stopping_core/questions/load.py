"""Reads a file of questions, or a data set of the Hub, whichever of the known formats it has."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from stopping_core.questions import arithmetic, gsm8k, hotpotqa, hub, plain, pubmedqa, squad
from stopping_core.questions.question import Question
from stopping_core.questions.record import Record, read_document

_Format = tuple[Callable[[Mapping[str, Any]], bool], Callable[[Record], Question]]

FORMATS: Mapping[str, _Format] = MappingProxyType(
    {
        "squad": (squad.fits, squad.read),
        "hotpotqa": (hotpotqa.fits, hotpotqa.read),
        "pubmedqa": (pubmedqa.fits, pubmedqa.read),
        "arithmetic": (arithmetic.fits, arithmetic.read),
        "gsm8k": (gsm8k.fits, gsm8k.read),
        "jsonl": (plain.fits, plain.read),
    }
)
"""Name of a format: whether a record has it, and how it is read. The first that fits is taken."""


def load_questions(source: str | Path, format: str | None = None) -> list[Question]:
    """Read all questions of a source.

    Questions that share a context, or ask the same without one, share a group where the source
    names none: else the same paragraph could stand on both sides of a split.

    Args:
        source: A file; or ``hub:NAME``, ``hub:NAME:CONFIG``, ``hub:NAME:CONFIG:SPLIT`` for a data
            set of the Hub or a local folder that ``datasets`` reads (CONFIG may be left empty).
        format: A name in ``FORMATS``. None tells it from the first record.

    Raises:
        ValueError: The source is malformed, holds no question, repeats an id, or has a group in
            two families; the message names the source and the place.
        OSError: The file cannot be opened.
        MissingPackage: The source is on the Hub and ``datasets`` is not installed.
    """
    if format is not None and format not in FORMATS:
        raise ValueError(f"format must be one of {', '.join(FORMATS)}, got {format!r}")
    name = str(source)
    if name.startswith("hub:"):
        questions = _read(hub.rows(name), format)
    else:
        questions = _read_file(source, read_document(source), format)
    if not questions:
        raise ValueError(f"{name}: holds no question")
    return _grouped(name, questions)


def _read_file(path: str | Path, document: Any, format: str | None) -> list[Question]:
    """Read a whole document: SQuAD's tree, PubMedQA's object of objects, a list, or one object."""
    name = str(path)
    if isinstance(document, list):
        return _read((_item(name, at, item) for at, item in enumerate(document)), format)
    if not isinstance(document, dict):
        raise ValueError(f"{name}: must be a list or an object, got {document!r:.100}")
    if "data" in document and format in {None, "squad"}:
        paragraphs = squad.read_paragraphs(name, document)
        return [question for paragraph in paragraphs for question in paragraph.questions]
    if any(fits(document) for fits, _ in FORMATS.values()):
        return _read([Record(name, "line 1", 1, document)], format)
    return _read(pubmedqa.rows(name, document), format)


def _item(name: str, at: int, item: Any) -> Record:
    if isinstance(item, Record):
        return item
    if not isinstance(item, dict):
        raise ValueError(f"{name}: [{at}] must be an object, got {item!r:.100}")
    return Record(name, f"[{at}]", at + 1, item)


def _read(records: Iterable[Record], format: str | None) -> list[Question]:
    questions = []
    for record in records:
        format = format or _detect(record)
        questions.append(FORMATS[format][1](record))
    return questions


def _detect(record: Record) -> str:
    for name, (fits, _) in FORMATS.items():
        if fits(record.fields):
            return name
    keys = ", ".join(map(str, record.fields)) or "none"
    known = ", ".join(FORMATS)
    raise ValueError(
        f"{record.source}: {record.place} has the keys {keys}: none of the formats {known}"
    )


def _grouped(name: str, questions: Sequence[Question]) -> list[Question]:
    """Check that ids are unique, and give questions without a group that of their context."""
    numbers: dict[str, int] = {}
    shared: dict[tuple[str, str], str] = {}
    families: dict[str, str] = {}
    grouped = []
    for number, question in enumerate(questions, start=1):
        before = numbers.setdefault(question.id, number)
        if before < number:
            raise ValueError(
                f"{name}: questions {before} and {number} have one id, {question.id!r}"
            )
        group = question.group
        key = (question.context or question.question, question.family)
        first = shared.setdefault(key, group)
        if group == question.id:
            group = first
        family = families.setdefault(group, question.family)
        if family != question.family:
            raise ValueError(
                f"{name}: the group {group!r} stands in two families, {family!r} and "
                f"{question.family!r}"
            )
        grouped.append(replace(question, group=group))
    return grouped
