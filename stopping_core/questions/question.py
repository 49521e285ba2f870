"""A question with its gold answers: what every file of questions is read into."""

from __future__ import annotations

from dataclasses import dataclass

from stopping_core.metrics import GRADERS


@dataclass(frozen=True, slots=True)
class Question:
    """A question and the answers that count as right.

    Args:
        id: Unique among the questions of its source.
        question: What is asked.
        gold: Spellings of one fact, at least one: a text that gives any of them is right.
        context: The text that the answer stands in; empty where the question needs none.
        group: What shares a context: splits keep it whole, a bootstrap draws it as one. The id by
            default.
        family: What splits keep whole beyond the group (a SQuAD article); empty for the group.
        grader: Name of the grader in :data:`~stopping_core.metrics.GRADERS` that fits this gold.

    Raises:
        ValueError: A text is missing, or the grader is unknown or cannot judge this gold.
    """

    id: str
    question: str
    gold: tuple[str, ...]
    context: str = ""
    group: str = ""
    family: str = ""
    grader: str = "contains"

    def __post_init__(self) -> None:
        for name in ("id", "question"):
            value = getattr(self, name)
            if not isinstance(value, str) or not value.strip():
                raise ValueError(f"{name} must be a text that is not blank, got {value!r}")
        for name in ("context", "group", "family"):
            if not isinstance(getattr(self, name), str):
                raise ValueError(f"{name} must be a text, got {getattr(self, name)!r}")
        gold = self.gold
        spelt = isinstance(gold, tuple) and all(
            isinstance(one, str) and one.strip() for one in gold
        )
        if not gold or not spelt:
            raise ValueError(f"gold must be a tuple of texts that are not blank, got {gold!r}")
        if self.grader not in GRADERS:
            known = ", ".join(GRADERS)
            raise ValueError(f"grader must be one of {known}, got {self.grader!r}")
        GRADERS[self.grader]("", gold)
        for text in (self.id, self.question, self.context, self.group, self.family, *gold):
            if not is_encodable(text):
                raise ValueError(f"texts must be whole Unicode characters, got {text!r}")
        if not self.group:
            object.__setattr__(self, "group", self.id)


def is_encodable(text: str) -> bool:
    """Whether a text has no halves of characters, which no file can hold."""
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
