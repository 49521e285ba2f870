"""Completeness checks: whether a draft is a complete answer, and what is missing."""

from stopping_core.completeness.compose import all_of, any_of, fast_part
from stopping_core.completeness.default import NotEmpty, default_check
from stopping_core.completeness.fences import ClosedFences
from stopping_core.completeness.finish import FinishReason, broke_off, is_blocked, is_truncated
from stopping_core.completeness.json_text import ClosedJson, JsonText
from stopping_core.completeness.judge import Judge
from stopping_core.completeness.pattern import AnswerPresent, Matches
from stopping_core.completeness.schema import JsonSchema
from stopping_core.completeness.sentence import EndsSentence

__all__ = [
    "AnswerPresent",
    "ClosedFences",
    "ClosedJson",
    "EndsSentence",
    "FinishReason",
    "JsonSchema",
    "JsonText",
    "Judge",
    "Matches",
    "NotEmpty",
    "all_of",
    "any_of",
    "broke_off",
    "default_check",
    "fast_part",
    "is_blocked",
    "is_truncated",
]
