"""PubMedQA: a research question, the abstract without its conclusion, and yes, no or maybe.

References:
    Jin et al. (2019), PubMedQA: A Dataset for Biomedical Research Question Answering.
    arXiv:1909.06146.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from stopping_core.questions.question import Question
from stopping_core.questions.record import Record


def rows(source: str, document: Mapping[str, Any]) -> Iterator[Record]:
    """Yield the objects of the authors' files, which are one object by id."""
    for position, (identity, fields) in enumerate(document.items(), start=1):
        if not isinstance(fields, dict) or "QUESTION" not in fields:
            raise ValueError(
                f"{source}: {identity} must be an object with the key 'QUESTION' (the format is "
                f"taken for pubmedqa), got {fields!r:.100}"
            )
        yield Record(source, identity, position, {"pubid": identity, **fields})


def fits(fields: Mapping[str, Any]) -> bool:
    """Tell a question with a final decision: of the authors' files, or a row of the Hub."""
    return "QUESTION" in fields or "final_decision" in fields


def read(record: Record) -> Question:
    """Read ``QUESTION`` and ``CONTEXTS``, or the Hub's ``question`` and ``context.contexts``."""
    fields = record.fields
    nested = fields.get("context")
    if "QUESTION" in fields:
        asked, contexts = record.text("QUESTION"), record.texts("CONTEXTS")
    elif isinstance(nested, Mapping):
        inner = Record(record.source, f"{record.place}.context", record.position, nested)
        asked, contexts = record.text("question"), inner.texts("contexts")
    else:
        raise record.refusal("context", "must be an object with the key 'contexts'", nested)
    return record.question(
        record.identity("pubid"),
        asked,
        (record.text("final_decision"),),
        context="\n".join(contexts),
        grader="choice",
    )
