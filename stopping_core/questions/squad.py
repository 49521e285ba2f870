"""SQuAD v1.1: articles, paragraphs and questions on them, or a row a question as on the Hub.

References:
    Rajpurkar et al. (2016), SQuAD: 100,000+ Questions for Machine Comprehension of Text.
    arXiv:1606.05250.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from stopping_core.questions.question import Question
from stopping_core.questions.record import Record


@dataclass(frozen=True, slots=True)
class Paragraph:
    """A paragraph of an article with the questions on it, of which there may be none."""

    id: str
    title: str
    context: str
    questions: tuple[Question, ...]


def read_paragraphs(source: str, document: Any) -> Iterator[Paragraph]:
    """Yield the paragraphs of a SQuAD v1.1 document.

    Raises:
        ValueError: It is not SQuAD v1.1; the message names the file and the place.
    """
    if not isinstance(document, dict):
        wanted = "must be an object with the key 'data'"
        raise ValueError(f"{source}: {wanted}, not a list or a value")
    count = 0
    for article in Record(source, "", 1, document).objects("data"):
        title = article.text("title")
        for paragraph in article.objects("paragraphs"):
            count += 1
            name, context = f"{title}-{count}", paragraph.text("context")
            asked = tuple(_question(one, name, title, context) for one in paragraph.objects("qas"))
            yield Paragraph(name, title, context, asked)


def fits(fields: Mapping[str, Any]) -> bool:
    """Tell a row of the Hub's SQuAD: a context and answers as columns."""
    answers = fields.get("answers")
    return "context" in fields and isinstance(answers, Mapping) and "text" in answers


def read(record: Record) -> Question:
    """Read a row: ``id``, ``title``, ``context``, ``question``, ``answers.text``."""
    answers = record.fields.get("answers")
    if not isinstance(answers, Mapping):
        raise record.refusal("answers", "must be an object with the key 'text'", answers)
    return record.question(
        record.identity("id"),
        record.text("question"),
        Record(record.source, f"{record.place}.answers", 1, answers).texts("text"),
        context=record.text("context"),
        family=record.optional_text("title"),
    )


def _question(record: Record, group: str, title: str, context: str) -> Question:
    identity, asked = record.text("id"), record.text("question")
    answers = tuple(dict.fromkeys(one.text("text") for one in record.objects("answers")))
    if not answers:
        raise record.error("answers", "is empty")
    return record.question(identity, asked, answers, context=context, group=group, family=title)
