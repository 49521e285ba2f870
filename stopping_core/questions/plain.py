"""Plain questions, one JSON object a line: the format for a set of one's own.

It holds ``question`` and ``gold`` (or ``answers``), a text or a list of texts, and where wanted
``id``, ``context``, ``group``, ``family`` and ``grader``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from stopping_core.questions.question import Question
from stopping_core.questions.record import Record


def fits(fields: Mapping[str, Any]) -> bool:
    """Tell a plain question: the last resort, so that a missing gold answer is what is named."""
    return "question" in fields


def read(record: Record) -> Question:
    """Read one object."""
    if "gold" in record.fields and "answers" in record.fields:
        raise record.error("gold", "and answers are two names of one thing: give one")
    return record.question(
        record.identity("id"),
        record.text("question"),
        record.texts("answers" if "answers" in record.fields else "gold"),
        context=record.optional_text("context"),
        group=record.optional_text("group"),
        family=record.optional_text("family"),
        grader=record.optional_text("grader") or "contains",
    )
