"""Which questions of a file are asked, where not all of them are."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import zip_longest

from stopping_core.questions import Question


def choose(
    questions: Sequence[Question], limit: int | None, offset: int, spread: bool
) -> list[Question]:
    """Take ``limit`` questions after the first ``offset``, of the file's order or spread over it.

    Spread, the families take turns, and within a family its groups: a few questions are then not
    all about one text. There is no chance in it, and more questions begin with those of fewer, so
    that a recording can be extended.

    Raises:
        ValueError: Nothing is left after ``offset``.
    """
    ordered = list(questions)
    if spread and (limit is not None or offset):
        families = _shared(ordered, lambda question: question.family or question.group)
        ordered = _in_turn(
            _in_turn(_shared(family, lambda question: question.group)) for family in families
        )
    chosen = ordered[offset:] if limit is None else ordered[offset : offset + limit]
    if not chosen:
        raise ValueError(f"--offset must be below {len(ordered)}, the questions, got {offset}")
    return chosen


def _shared(questions: Sequence[Question], of: Callable[[Question], str]) -> list[list[Question]]:
    """Questions with one name together, in the order of their first."""
    shared: dict[str, list[Question]] = {}
    for question in questions:
        shared.setdefault(of(question), []).append(question)
    return list(shared.values())


def _in_turn(lists: Iterable[Sequence[Question]]) -> list[Question]:
    """The first of each list, then the second of each, and so on."""
    return [one for turn in zip_longest(*lists) for one in turn if one is not None]
