"""A small certificate that cuts at once or hardly ever, and a request that it holds for."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from stopping_core import Request
from stopping_core.certificates import Certificate, CertifiedLevel, Origin, Scope
from stopping_core.policies.learned import LossModel
from stopping_core.policies.learned.answer import AnswerEvidence
from stopping_core.policies.learned.logistic import Logistic
from stopping_core.templates import load_template

PLAIN = load_template("plain")
MESSAGE = "Use this text to answer the question: It is Paris.\n\nQuestion: Which one?"
FRAME = ("<user>", "<assistant>")
ASKED = Request(
    prompt=MESSAGE, question=MESSAGE, model="models/small-1", sampling={"temperature": 0}
)


def made_scope(**changes: Any) -> Scope:
    scope = Scope(
        *("small-1", "0123456789abcdef", PLAIN, FRAME, "answer", None, 16, 2, 0.0, 256, 20),
        *((1, 9), (0, 5)),
    )
    return replace(scope, **changes)


def made_certificate(**changes: Any) -> Certificate:
    width = len(AnswerEvidence.names)
    even = Logistic((0.0,) * width, (1.0,) * width, (0.0,) * width, 0.0)
    model = LossModel("text", "answer", even)
    levels = (
        CertifiedLevel(0.01, -5.0, 500, 0, 0.009, 0.2),
        CertifiedLevel(0.05, -0.5, 500, 9, 0.04, 0.5),
    )
    fitted = Origin(("a" * 64,), ("b" * 16,), ("d" * 16,), 500, 0)
    certified = replace(fitted, families=("c" * 16,), passages=("e" * 16,))
    made = Certificate(levels, 0.95, model, made_scope(), ("contains",), fitted, certified)
    return replace(made, **changes)
