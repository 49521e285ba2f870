"""HotpotQA: questions that need two of the passages they come with.

References:
    Yang et al. (2018), HotpotQA: A Dataset for Diverse, Explainable Multi-hop Question Answering.
    arXiv:1809.09600.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from stopping_core.questions.question import Question
from stopping_core.questions.record import Record


def fits(fields: Mapping[str, Any]) -> bool:
    """Tell a question with one answer and a context of titled passages."""
    return {"question", "answer", "context"} <= fields.keys() and isinstance(
        fields["context"], list | Mapping
    )


def read(record: Record) -> Question:
    """Read one object: of the authors' files (``_id``) or of the Hub (``id``).

    The context is all passages, a title and its sentences each. Yes and no are graded as a choice:
    as words they stand in many a wrong answer.
    """
    answer = record.text("answer")
    is_choice = answer.strip().lower() in {"yes", "no"}
    return record.question(
        record.identity("_id" if "_id" in record.fields else "id"),
        record.text("question"),
        (answer,),
        context="\n\n".join(f"{title}: {text}" for title, text in _passages(record)),
        grader="choice" if is_choice else "contains",
    )


def _passages(record: Record) -> Iterator[tuple[str, str]]:
    """Yield title and text: of pairs, or of the two columns that the Hub makes of them."""
    context = record.fields.get("context")
    pairs: Any = context
    if isinstance(context, Mapping):
        titles, sentences = context.get("title"), context.get("sentences")
        if not isinstance(titles, list) or not isinstance(sentences, list):
            raise record.error("context", "must hold the lists title and sentences")
        if len(titles) != len(sentences):
            raise record.error("context", "must hold as many sentences as titles")
        pairs = [list(pair) for pair in zip(titles, sentences, strict=True)]
    if not isinstance(pairs, list):
        raise record.refusal("context", "must be a list of title and sentences", pairs)
    for number, pair in enumerate(pairs):
        match pair:
            case [str(title), [*sentences]] if all(isinstance(one, str) for one in sentences):
                yield title, " ".join(one.strip() for one in sentences)
            case _:
                raise record.refusal(f"context[{number}]", "must be a title and sentences", pair)
