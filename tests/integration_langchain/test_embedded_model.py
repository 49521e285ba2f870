"""The real thing: a model behind llama.cpp's server, which counts what it generated."""

from __future__ import annotations

import time
from typing import Any

import pytest
from langchain_core.messages import AIMessage
from langchain_openai import ChatOpenAI
from pydantic import SecretStr

from langchain_stopping import AdaptiveChatModel, AdaptiveStopHandler
from stopping_core import AdaptiveStopping, Boundary
from stopping_core.budgets import GeometricBudget
from stopping_core.embedded import EmbeddedServer
from stopping_core.policies import Never, Threshold
from stopping_core.signals import FencesClosed, Sentences

TEXT = "Explain in a few paragraphs what a Python list is."
CODE = (
    "Write a Python function that adds two numbers. Give the code in a fenced block, then explain."
)
JSON = (
    "Describe Ann, who is 30, as a JSON object with name and age. Then explain each key in a long "
    "paragraph."
)
WHOLE = {
    "text": "What is the capital of France? Answer in one or two sentences.",
    "code": "Write a Python function add(a, b). Only code in a ```python block, nothing else.",
    "json": "Give me a JSON object with the keys name and age for a person called Ann who is 30. "
    "Answer with JSON only, no code fence.",
    "json and text": 'Give JSON: {"name": ..., "age": ...} for Ann, 30, and then a long '
    "explanation of JSON.",
}

POLICIES = {
    TEXT: Threshold(Sentences(), at_least=1, at=Boundary.SENTENCE, reason="sentence"),
    CODE: Threshold(FencesClosed(), at_least=1, at=Boundary.FENCE, reason="code"),
    JSON: AdaptiveStopping().policy,
}


def openai(server: EmbeddedServer, **settings: Any) -> ChatOpenAI:
    return ChatOpenAI(
        base_url=server.base_url,
        model=server.model,
        api_key=SecretStr("none"),
        temperature=0,
        **settings,
    )


def settled(server: EmbeddedServer) -> int:
    """Tokens generated so far, once the count stands still: hang-ups are booked a moment later."""
    count = -1
    while count != (count := server.tokens_generated()):
        time.sleep(0.3)
    return count


def check_cut(question: str, answer: AIMessage, generated: int, *, spare: int) -> None:
    done = answer.response_metadata["stopping"]
    text = str(answer.content)
    assert generated <= done["tokens"]["generated"] + spare
    if question == TEXT:
        assert text.endswith(".")
        assert 1 == text.count(". ") + 1
    else:
        assert text.endswith("```")
        assert 2 == text.count("```")
    assert [True, "cut"] == [done["complete"], done["finish_reason"]]


@pytest.mark.parametrize("question", POLICIES)
def test_wrapper_cuts_at_done(embedded_server: EmbeddedServer, question: str) -> None:
    """Text, code and JSON end where they are done; the model generates at most two tokens more."""
    stopping = AdaptiveStopping(policy=POLICIES[question], budget=GeometricBudget(first=160))
    before = settled(embedded_server)
    model = AdaptiveChatModel(inner=openai(embedded_server), stopping=stopping, prefill=True)
    answer = model.invoke(question)
    check_cut(question, answer, settled(embedded_server) - before, spare=2)


@pytest.mark.parametrize("question", POLICIES)
def test_handler_cuts_at_done(embedded_server: EmbeddedServer, question: str) -> None:
    """The callback does the same; where it has to search for the stream the model writes on."""
    handler = AdaptiveStopHandler(AdaptiveStopping(policy=POLICIES[question]))
    model = openai(embedded_server, max_tokens=160)
    # The first stream of a process imports: garbage collection then takes it for an old object.
    list(model.stream("Warm up.", max_tokens=1))
    before = settled(embedded_server)
    answer = model.invoke(question, config={"callbacks": [handler]})
    check_cut(question, answer, settled(embedded_server) - before, spare=5)


@pytest.mark.parametrize("form", WHOLE)
def test_a_truncated_answer_comes_back_whole(embedded_server: EmbeddedServer, form: str) -> None:
    """Continued greedily in several calls, the answer is that of one call, letter by letter."""
    question = WHOLE[form]
    once = openai(embedded_server, max_tokens=200).invoke(question)
    assert "stop" == once.response_metadata["finish_reason"]
    stopping = AdaptiveStopping(
        policy=Never(), budget=GeometricBudget(first=6, growth=4.0), attempts=5
    )
    model = AdaptiveChatModel(inner=openai(embedded_server), stopping=stopping, prefill=True)
    answer = model.invoke(question)
    done = answer.response_metadata["stopping"]
    assert once.content == answer.content
    assert [True, True] == [done["complete"], len(done["attempts"]) > 1]
    assert once.content == "".join(str(chunk.content) for chunk in model.stream(question))
