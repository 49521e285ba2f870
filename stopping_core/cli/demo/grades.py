"""Graded answers, and what they add up to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from stopping_core import metrics
from stopping_core.cli.demo.corpus import Question
from stopping_core.cli.demo.stacks import Answer


@dataclass(frozen=True, slots=True)
class Graded:
    """One answer with its grades: containment of a gold answer, and SQuAD's F1."""

    framework: str
    mode: str
    question: Question
    answer: Answer
    right: bool
    f1: float


def grade(framework: str, mode: str, question: Question, answer: Answer) -> Graded:
    """Grade an answer."""
    right = metrics.contains(answer.text, question.answers)
    return Graded(
        framework, mode, question, answer, right, metrics.f1(answer.text, question.answers)
    )


def summarize(results: list[Graded]) -> list[dict[str, Any]]:
    """Add up a row for each framework and mode."""
    rows = []
    for framework, mode in dict.fromkeys((r.framework, r.mode) for r in _ordered(results)):
        group = [r for r in results if (r.framework, r.mode) == (framework, mode)]
        rows.append(
            {
                "framework": framework,
                "mode": mode,
                "questions": len(group),
                "tokens": sum(r.answer.tokens for r in group),
                "seconds": round(sum(r.answer.seconds for r in group), 2),
                "right": sum(r.right for r in group),
                "f1": round(sum(r.f1 for r in group) / len(group), 4),
                "retries": sum(r.answer.retries for r in group),
            }
        )
    return rows


def changes(results: list[Graded], framework: str) -> tuple[int, int]:
    """Count the questions right only plain, and right only adaptive."""
    right = {(r.question.id, r.mode): r.right for r in results if r.framework == framework}
    pairs = [(right[i, "plain"], right[i, "adaptive"]) for i, mode in right if mode == "plain"]
    return sum(a and not b for a, b in pairs), sum(b and not a for a, b in pairs)


def _ordered(results: list[Graded]) -> list[Graded]:
    return sorted(results, key=lambda r: (r.framework, r.mode != "plain"))
