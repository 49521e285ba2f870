"""Made-up runs under a template of the package, from which a policy can be learned."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import typer
from typer.testing import CliRunner

from stopping_core.cli.certify.command import certify, certify_vote
from stopping_core.cli.fit.command import fit
from stopping_core.questions import Question
from stopping_core.templates import Template, load_template
from stopping_core.traces.run import Header, Run, Trace
from tests.support.sse_server import MODEL

CITIES = ("Paris", "Rome", "Oslo", "Lima", "Cairo", "Quito", "Delhi", "Seoul", "Tunis", "Sofia")
TEMPLATE = load_template("plain")
FRAME = ("<|user|>", "<eos><|assistant|>")
"""What the chat template of ``tests/integration_transformers`` puts around a message."""

app = typer.Typer(pretty_exceptions_enable=False)
app.command()(fit)
app.command()(certify)
app.command()(certify_vote)


def stopping(*arguments: object) -> tuple[int, str]:
    """Run the command line in this process; return its exit code and what it printed."""
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, " ".join(result.output.split())


def certifiable(
    questions: int = 400, seed: int = 0, template: Template = TEMPLATE, **changes: Any
) -> Trace:
    """Answer in the first or second sentence, then ramble; two runs a group, four a family.

    A third is wrong throughout.
    """
    rng = np.random.default_rng(seed)
    runs = [_run(number, rng, template) for number in range(questions)]
    known: dict[str, Any] = {
        "model": MODEL,
        "model_fingerprint": "0123456789abcdef",
        "template": template.name,
        "template_fingerprint": template.fingerprint,
        "max_tokens": 100,
    }
    return Trace(Header(**{**known, **changes}), tuple(runs))


def _run(number: int, rng: np.random.Generator, template: Template) -> Run:
    city, other = (CITIES[n] for n in rng.choice(len(CITIES), 2, replace=False))
    context = f"River {number // 2} rises near {other}. It flows through {city} to the sea."
    question = f"Which city does river {number // 2} flow through, asked {number}?"
    said = other if number % 3 == 2 else city
    tokens = [" Let", " us", " see", "."] * int(rng.integers(0, 2))
    tokens += [" River", f" {number // 2}", " flows", " through", f" {said}", "."]
    for _ in range(int(rng.integers(3, 7))):
        tokens += [" That", " is", " what", " the", " text", " says", " about", " it", "."]
    asked = Question(f"q{number}", question, (city,), context)
    return Run(
        question_id=asked.id,
        question=question,
        context=context,
        gold=asked.gold,
        group=f"g{number // 2}",
        family=f"f{number // 4}",
        prompt=_prompt(template, asked),
        prompt_tokens=40,
        finish_reason="stop",
        tokens=tuple(tokens),
    )


def _prompt(template: Template, asked: Question) -> str:
    if not template.chat:
        return template.text(asked)
    contents: Sequence[str] = [one["content"] for one in template.messages(asked)]
    return FRAME[0] + contents[-1] + FRAME[1]
