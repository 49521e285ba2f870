"""Usage is always told: the provider's where it says it, else an estimate that is marked as one."""

from __future__ import annotations

from typing import Any

import pytest
from langchain_core.callbacks import get_usage_metadata_callback
from langchain_core.messages import HumanMessage
from langchain_core.messages.utils import count_tokens_approximately
from langchain_core.tools import tool

from langchain_stopping import AdaptiveChatModel
from langchain_stopping.reply import with_estimates
from stopping_core import Attempt, Completion, Usage, Verdict
from stopping_core.budgets import GeometricBudget
from stopping_core.embedded import EmbeddedServer
from tests.integration_langchain.setting import (
    DECIDED,
    FIRST_SENTENCE,
    SMALL,
    TEXT,
    TOKENS,
    ask,
    openai,
    wrapped,
)
from tests.support.sse_server import MODEL, PROMPT_TOKENS, CountingServer, Script

WAYS = ["invoke", "stream", "ainvoke", "astream"]
GUESS = count_tokens_approximately([HumanMessage("Count.")])


def usage(read: int, written: int) -> dict[str, int]:
    return {"input_tokens": read, "output_tokens": written, "total_tokens": read + written}


@pytest.mark.parametrize("way", WAYS)
def test_after_a_cut_it_is_an_estimate(way: str) -> None:
    """The prompt is estimated by its length, the answer by its chunks, and it says so."""
    with CountingServer([TOKENS]) as server:
        answer = ask(wrapped(server, FIRST_SENTENCE), way)
    tokens = answer.response_metadata["stopping"]["tokens"]
    assert usage(GUESS, DECIDED) == answer.usage_metadata
    assert [GUESS, DECIDED, True] == [tokens[key] for key in ("prompt", "generated", "estimated")]


@pytest.mark.parametrize("way", WAYS)
def test_it_is_the_providers_and_summed_over_the_calls(way: str) -> None:
    """Two calls that ended by themselves are added up as the provider counted them."""
    with CountingServer([TEXT, TEXT[4:]]) as server:
        answer = ask(wrapped(server, SMALL, prefill=True), way)
    tokens = answer.response_metadata["stopping"]["tokens"]
    assert usage(2 * PROMPT_TOKENS, 8) == answer.usage_metadata
    assert [PROMPT_TOKENS, PROMPT_TOKENS, False] == [
        tokens[key] for key in ("prompt", "reread", "estimated")
    ]


@pytest.mark.parametrize("way", WAYS)
def test_calls_with_and_without_a_count_add_up(way: str) -> None:
    """A cut after a truncated call: the first is counted, the prompt of the second follows."""
    with CountingServer([TOKENS, TOKENS[4:]]) as server:
        stopping = FIRST_SENTENCE.replace(budget=GeometricBudget(first=4, growth=8))
        answer = ask(wrapped(server, stopping, prefill=True), way)
    done = answer.response_metadata["stopping"]
    assert ["length", "cut"] == [attempt["finish_reason"] for attempt in done["attempts"]]
    assert usage(PROMPT_TOKENS + PROMPT_TOKENS + 4, DECIDED) == answer.usage_metadata
    assert done["tokens"]["estimated"]


def test_a_refused_call_costs_nothing() -> None:
    """HTTP 503 has read no prompt."""
    with CountingServer([Script(status=503), TEXT]) as server:
        stopping = SMALL.replace(budget=GeometricBudget(first=64))
        answer = wrapped(server, stopping).invoke("Count.")
    assert usage(PROMPT_TOKENS, 8) == answer.usage_metadata


def attempt(kind: Any, generated: int, **settings: Any) -> Attempt:
    settings = {"prompt_tokens": None, "finish_reason": "cut", "avoided": 5, **settings}
    return Attempt(kind=kind, budget=9, generated=generated, reasoning=0, seconds=0.0, **settings)


@pytest.mark.parametrize(
    ("attempts", "read"),
    [
        ([attempt("first", 4), attempt("continue", 4)], [100, 104]),
        ([attempt("first", 4, discarded=1), attempt("reseed", 4)], [100, 103]),
        ([attempt("first", 4, discarded=4), attempt("restart", 4)], [100, 100]),
        ([attempt("first", 0, error="refused"), attempt("restart", 4)], [None, 100]),
        ([attempt("first", 4, prompt_tokens=90), attempt("continue", 4)], [90, 104]),
    ],
)
@pytest.mark.parametrize("budgeted", [True, False])
def test_estimates(attempts: list[Attempt], read: list[int | None], budgeted: bool) -> None:
    """What a call has read is the prompt and what stood by then; nothing is saved of no budget."""
    completion = Completion(
        text="",
        reasoning="",
        complete=True,
        verdict=Verdict(True),
        finish_reason="cut",
        reason="",
        usage=Usage(avoided=10),
        attempts=tuple(attempts),
        seconds=0.0,
    )
    filled = with_estimates(completion, lambda: 100, budgeted=budgeted)
    assert read == [one.prompt_tokens for one in filled.attempts]
    assert [read[0] or 0, read[1]] == [filled.usage.prompt, filled.usage.reread]
    assert {9 if budgeted else None} == {one.budget for one in filled.attempts}
    assert (10 if budgeted else 0) == filled.usage.avoided


def test_tools_count_as_prompt() -> None:
    """Schemas of tools are sent and billed with each call."""

    @tool
    def weather(city: str) -> str:
        """Say what the weather is, in a city that the user names."""
        return city

    with CountingServer([TOKENS]) as server:
        model = wrapped(server, FIRST_SENTENCE, cut_with_tools=True)
        answer = model.bind_tools([weather]).invoke("Count.")
    assert answer.usage_metadata is not None
    assert GUESS + 20 < answer.usage_metadata["input_tokens"]


def test_langchains_usage_callback_counts_cut_answers() -> None:
    """It asks for the model's name, which a server tells at the end of a stream only."""
    with CountingServer([TOKENS]) as server, get_usage_metadata_callback() as callback:
        wrapped(server, FIRST_SENTENCE).invoke("Count.")
    assert {MODEL: usage(GUESS, DECIDED)} == callback.usage_metadata


def test_the_estimate_is_near_the_truth(embedded_server: EmbeddedServer) -> None:
    """Of a prompt in plain English the real model reads what was estimated, within a third."""
    question = "Explain in a few paragraphs what a list is in the language Python, and why." * 4
    inner = openai(embedded_server, temperature=0)  # type: ignore[arg-type]  # has what is needed
    known = inner.invoke(question, max_tokens=1).usage_metadata
    answer = AdaptiveChatModel(inner=inner, stopping=FIRST_SENTENCE).invoke(question)
    assert answer.response_metadata["stopping"]["tokens"]["estimated"]
    assert known is not None
    assert answer.usage_metadata is not None
    assert 0.67 < answer.usage_metadata["input_tokens"] / known["input_tokens"] < 1.5
