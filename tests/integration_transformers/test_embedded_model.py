"""The same on a real model: text, JSON and code, cut when done and continued when cut short."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from stopping_core import AdaptiveStopping, Request, Session, run
from stopping_core.budgets import GeometricBudget
from stopping_core.policies import Threshold
from stopping_core.signals import FencesClosed
from transformers_stopping import AdaptiveStoppingCriteria, TransformersBackend, generate

TEXT = "In one sentence, what is the capital of France?"
STORY = "Tell me about the sea."
JSON = 'Give a JSON object with the keys "city" and "country" for Paris. Answer with the JSON only.'
CODE = "Write a Python function add(a, b) that returns the sum. Answer with one code block."


def asked(question: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": question}]


def test_continuation_equals_the_uninterrupted_run(embedded: Any, call: Any, count: Any) -> None:
    """Cut at four places, the answer is generate's own, token for token, and nothing is reread."""
    model, tokenizer = embedded
    inputs = tokenizer.apply_chat_template(
        asked(STORY), add_generation_prompt=True, return_tensors="pt", return_dict=True
    )
    whole = model.generate(**inputs, max_new_tokens=48, do_sample=False)
    expected = whole[0, inputs["input_ids"].shape[1] :].tolist()
    backend = TransformersBackend(model, tokenizer, asked(STORY))
    counter, text = count(model), ""
    for attempt, tokens in enumerate((1, 8, 12, 20, 7), start=1):
        kind = "first" if attempt == 1 else "continue"
        steps = list(backend(call(kind, attempt, tokens, prefix=text)))
        text += "".join(step.text for step in steps)
    assert expected == list(backend.token_ids)
    assert tokenizer.decode(expected, skip_special_tokens=True) == text
    assert [inputs["input_ids"].shape[1]] + [1] * 47 == counter.read


@pytest.mark.parametrize(
    ("question", "stopping", "reason", "ending"),
    [
        (STORY, AdaptiveStopping.from_profile("realtime_chat"), "sentence", "."),
        (JSON, AdaptiveStopping.from_profile("balanced"), "json", "}"),
        (CODE, AdaptiveStopping(policy=Threshold(FencesClosed(), at_least=1)), "", "```"),
    ],
    ids=["text", "json", "code"],
)
def test_a_finished_answer_is_cut_within_a_token(
    embedded: Any,
    count: Any,
    *,
    question: str,
    stopping: AdaptiveStopping,
    reason: str,
    ending: str,
) -> None:
    """Only the last token computed may lie beyond the answer: it shows that the answer is done."""
    model, tokenizer = embedded
    backend = TransformersBackend(model, tokenizer, asked(question))
    counter = count(model)
    made = run(Session(stopping, Request()), backend)
    assert ("cut", True) == (made.finish_reason, made.complete)
    assert reason in made.reason
    assert made.text.endswith(ending)
    assert len(counter.read) == made.usage.generated == len(backend.token_ids)
    assert made.text.startswith(tokenizer.decode(backend.token_ids[:-1]))


@pytest.mark.parametrize(
    ("question", "expects", "first"),
    [(TEXT, "text", 3), (JSON, "json", 6), (CODE, "code", 9)],
    ids=["text", "json", "code"],
)
def test_a_truncated_answer_comes_back_complete(
    embedded: Any, count: Any, question: str, expects: Any, first: int
) -> None:
    """With a first budget far too small it is the answer that an ample one gives, for no more."""
    model, tokenizer = embedded
    counter, made = count(model), []
    for budget in (64, first):
        stopping = AdaptiveStopping(budget=GeometricBudget(first=budget), attempts=8)
        request = Request(expects=expects)
        made.append(generate(model, tokenizer, asked(question), stopping, request=request))
    ample, truncated = made
    assert truncated.complete
    assert {"continue"} == {attempt.kind for attempt in truncated.attempts[1:]}
    assert truncated.text == ample.text[: len(truncated.text)]
    assert truncated.usage.generated <= ample.usage.generated
    assert len(counter.read) == truncated.usage.generated + ample.usage.generated
    assert expects == "code" or truncated.text == ample.text


def test_rows_of_a_batch_stop_where_they_stop_alone(embedded: Any) -> None:
    """Three prompts of different lengths: ended by the model, cut at a sentence, cut at a brace."""
    model, tokenizer = embedded
    stopping = AdaptiveStopping.from_profile("realtime_chat")
    criteria = AdaptiveStoppingCriteria(tokenizer, stopping)
    questions = [TEXT, STORY, JSON]

    def completions(*some: str) -> list[tuple[str, str | None, str]]:
        inputs = tokenizer.apply_chat_template(
            [asked(question) for question in some],
            add_generation_prompt=True,
            padding=True,
            return_tensors="pt",
            return_dict=True,
        )
        out = model.generate(
            **inputs, max_new_tokens=40, do_sample=False, stopping_criteria=[criteria]
        )
        assert out.shape[1] < inputs["input_ids"].shape[1] + 40
        return [(c.text, c.finish_reason, c.reason) for c in criteria.completions]

    together = completions(*questions)
    assert ["", "sentence", "json"] == [reason for _, _, reason in together]
    assert together == [completions(question)[0] for question in questions]


def test_the_readmes_examples_run(embedded: Any) -> None:
    """One after the other in a process of its own, as they stand, with the embedded model."""
    readme = Path(__file__).parents[2] / "integrations" / "transformers" / "README.md"
    code = "\n".join(re.findall(r"```python\n(.*?)```", readme.read_text("utf-8"), re.DOTALL))
    result = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert result.returncode == 0, result.stderr
    assert 2 == result.stdout.count("Paris")
