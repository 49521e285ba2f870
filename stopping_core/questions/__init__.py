"""Questions with gold answers, from the files that evaluation sets come in."""

from stopping_core.questions.load import FORMATS, load_questions
from stopping_core.questions.question import Question, is_encodable

__all__ = ["FORMATS", "Question", "is_encodable", "load_questions"]
