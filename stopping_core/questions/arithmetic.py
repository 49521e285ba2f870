"""Arithmetic word problems with one number as the answer: MultiArith, AddSub and SVAMP.

References:
    Roy and Roth (2015), Solving General Arithmetic Word Problems. arXiv:1608.01413. (MultiArith)
    Hosseini et al. (2014), Learning to Solve Arithmetic Word Problems with Verb Categorization.
    EMNLP. (AddSub)
    Patel et al. (2021), Are NLP Models really able to Solve Simple Math Word Problems?
    arXiv:2103.07191. (SVAMP)
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from typing import Any

from stopping_core.questions.question import Question
from stopping_core.questions.record import Record


def fits(fields: Mapping[str, Any]) -> bool:
    """Tell MultiArith's and AddSub's keys, or SVAMP's."""
    return "sQuestion" in fields or {"Body", "Question"} <= fields.keys()


def read(record: Record) -> Question:
    """Read ``sQuestion`` and ``lSolutions`` (one), or ``Body``, ``Question`` and ``Answer``."""
    if "sQuestion" in record.fields:
        asked = record.text("sQuestion")
        key, solutions = "lSolutions", record.fields.get("lSolutions")
        if not isinstance(solutions, list) or len(solutions) != 1:
            raise record.refusal(key, "must be a list of one number", solutions)
        identity, value = record.identity("iIndex"), solutions[0]
    else:
        body, asked = record.text("Body").strip(), record.text("Question")
        asked = f"{body}{'' if body[-1] in '.!?,' else '.'} {asked}"
        key, identity, value = "Answer", record.identity("ID"), record.fields.get("Answer")
    gold = _plain(value)
    if gold is None:
        raise record.refusal(key, "must be a number", value)
    return record.question(identity, " ".join(asked.split()), (gold,), grader="last_number")


def _plain(value: Any) -> str | None:
    """Spell a number as people do: 8.0 as 8, 0.60 as 0.6."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    try:
        number = Decimal(str(value).strip())
    except InvalidOperation:
        return None
    return f"{number.normalize():f}" if number.is_finite() else None
