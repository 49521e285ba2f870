"""GSM8K: grade-school mathematics, the worked answer ending in ``#### N``.

References:
    Cobbe et al. (2021), Training Verifiers to Solve Math Word Problems. arXiv:2110.14168.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from stopping_core.questions.question import Question
from stopping_core.questions.record import Record


def fits(fields: Mapping[str, Any]) -> bool:
    """Tell a question with a worked answer and nothing else that could be gold."""
    return {"question", "answer"} <= fields.keys() and not {"gold", "answers", "context"} & set(
        fields
    )


def read(record: Record) -> Question:
    """Read one object; gold is N, without its thousands separators."""
    answer = record.text("answer")
    _, mark, number = answer.rpartition("####")
    gold = number.strip().replace(",", "")
    if not mark or not gold:
        wanted = "must end in '#### N' (the format is taken for gsm8k)"
        raise record.refusal("answer", wanted, answer[-60:])
    return record.question(
        record.identity("id"), record.text("question"), (gold,), grader="last_number"
    )
