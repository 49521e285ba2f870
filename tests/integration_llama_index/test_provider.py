"""What the table of providers says of the inner LLM, and what a call gets of it."""

from __future__ import annotations

import time
from typing import Any

import pytest
from llama_index.core.base.llms.types import ChatMessage, CompletionResponse, LLMMetadata
from llama_index.core.llms.custom import CustomLLM
from llama_index.core.llms.mock import MockLLM
from llama_index.llms.openai import OpenAI
from pydantic import Field

from llama_index.llms.stopping import AdaptiveLLM, adaptive_llm
from llama_index.llms.stopping.limits import provider_of
from stopping_core import AdaptiveStopping, TransportFailed
from stopping_core.budgets import GeometricBudget
from tests.integration_llama_index.asking import (
    HEAD,
    METHODS,
    QUESTION,
    SHORT,
    TAIL,
    adaptive,
    ask,
    goes_on,
    scripted,
    text_of,
    told,
)
from tests.support.sse_script import Stall
from tests.support.sse_server import CountingServer, Script

GROQ = "https://api.groq.com/openai/v1"
CUT = Script(["{", "}", *HEAD, *TAIL] * 5)


class Silent(MockLLM):
    """Keeps what it is asked with."""

    asked: list[dict[str, Any]] = Field(default_factory=list)
    additional_kwargs: dict[str, Any] = Field(default_factory=lambda: {"top_k": 3})

    def stream_complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> Any:
        """Say a word."""
        self.asked.append({"kwargs": kwargs, "settings": self.additional_kwargs})
        yield CompletionResponse(text="word", delta="word", raw={"done_reason": "stop"})


class Ollama(Silent):
    """Named as LlamaIndex's client, whose budget is among its own settings."""


class GoogleGenAI(Silent):
    """Named as LlamaIndex's client, whose budget is in a dictionary of the call."""


def test_the_row_is_found_by_class_and_address() -> None:
    """The nearest class that is known, and for OpenAI's protocol the host that is called."""
    with CountingServer([[]]) as server:
        assert "openai-compatible" == provider_of(scripted(server)).name
        groq = provider_of(scripted(server).model_copy(update={"api_base": GROQ}))
    assert ("groq", False) == (groq.name, groq.hang_up_ends_bill)
    assert "openai" == provider_of(OpenAI(api_key="none")).name
    assert "unknown" == provider_of(MockLLM()).name
    assert "ollama" == provider_of(Ollama(max_tokens=None)).name


def test_what_is_given_goes_before_the_table() -> None:
    """None is the table's word; anything else the user's."""
    inner = OpenAI(api_key="none", api_base=GROQ)
    row = adaptive_llm(inner, SHORT)._provider()
    own = adaptive_llm(
        inner, SHORT, prefill=False, hang_up_ends_bill=True, budget_keyword="max_completion_tokens"
    )._provider()
    assert (True, False, "max_tokens") == (row.prefill, row.hang_up_ends_bill, row.budget_keyword)
    assert (False, True, "max_completion_tokens") == (
        own.prefill,
        own.hang_up_ends_bill,
        own.budget_keyword,
    )


@pytest.mark.parametrize(
    ("inner", "kwargs", "settings"),
    [
        (Ollama(max_tokens=None), {}, {"top_k": 3, "num_predict": 4}),
        (
            GoogleGenAI(max_tokens=None),
            {"generation_config": {"max_output_tokens": 4}},
            {"top_k": 3},
        ),
    ],
    ids=["a setting", "the call"],
)
def test_a_dotted_keyword_leads_into_a_dictionary(
    inner: Silent, kwargs: dict[str, Any], settings: dict[str, Any]
) -> None:
    """Into one of the LLM's own, beside what is there, or into the call's."""
    ask(AdaptiveLLM(llm=inner, stopping=SHORT.replace(up_front=SHORT.budget)), "complete")
    assert [{"kwargs": kwargs, "settings": settings}] == inner.asked
    assert {"top_k": 3} == inner.additional_kwargs


@pytest.mark.parametrize("method", METHODS)
def test_where_a_hang_up_does_not_end_the_bill_the_budget_is_set_up_front(method: str) -> None:
    """A small budget first; what may follow the cut is booked, nothing counts as avoided."""
    with CountingServer([CUT], delay=0.02) as server:
        stopping = AdaptiveStopping(up_front=GeometricBudget(first=9))
        responses = ask(adaptive(server, stopping, hang_up_ends_bill=False), method)
        assert [9] == [body["max_tokens"] for body in server.requests]
    report = told(responses)
    tokens = report["tokens"]
    assert (0, 9) == (tokens["avoided"], tokens["generated"] + tokens["unseen"])
    assert "a hang-up does not end the bill" in report["note"]


# -- stalls


def stalls_once(after: int) -> list[Script]:
    """A server that says nothing any more after some tokens, and the next time goes on."""
    return [Script([*HEAD, *TAIL], faults={after: Stall()}), Script([*HEAD, *TAIL][after:])]


@pytest.mark.parametrize("chat_model", [True, False], ids=["chat model", "completion model"])
@pytest.mark.parametrize("method", METHODS)
def test_a_stalled_call_is_continued(method: str, chat_model: bool) -> None:
    """The client's read time-out in the sync methods, the driver's in the async ones."""
    stopping = AdaptiveStopping(stall_seconds=1.0, backoff=(0.0, 0.0))
    with CountingServer(stalls_once(4), delay=0) as server:
        start = time.monotonic()
        responses = ask(
            adaptive(server, stopping, prefill=True, inner={"is_chat_model": chat_model}), method
        )
        assert time.monotonic() - start < 10
    assert "".join([*HEAD, *TAIL]) == text_of(responses[-1])
    assert ["first", "continue"] == [attempt["kind"] for attempt in told(responses)["attempts"]]


@pytest.mark.parametrize("method", ["stream_chat", "stream_complete"])
def test_a_tighter_time_out_of_the_clients_own_stays(method: str) -> None:
    """The inner LLM's setting, a call's own, and one among its additional keywords."""
    ways: list[tuple[dict[str, Any], dict[str, Any]]] = [
        ({"timeout": 0.3}, {}),
        ({}, {"timeout": 0.3}),
        ({"additional_kwargs": {"timeout": 0.3}}, {}),
    ]
    for inner, kwargs in ways:
        stopping = AdaptiveStopping(stall_seconds=60, attempts=1)
        with CountingServer(stalls_once(4), delay=0) as server:
            start = time.monotonic()
            with pytest.raises(TransportFailed) as caught:
                ask(adaptive(server, stopping, inner=inner), method, **kwargs)
            assert time.monotonic() - start < 10
        assert "".join(HEAD) == caught.value.completion.text


def test_nothing_is_sent_where_no_time_out_is_wanted() -> None:
    """stall_seconds=None leaves the client's own alone."""
    llm = Silent(max_tokens=None)
    ask(AdaptiveLLM(llm=llm, stopping=AdaptiveStopping(stall_seconds=None)), "complete")
    assert "timeout" not in llm.asked[0]["kwargs"]
    with CountingServer(goes_on, delay=0) as server:
        wrapped = adaptive(server, AdaptiveStopping(stall_seconds=None))
        assert "".join([*HEAD, *TAIL]) == str(
            wrapped.chat([ChatMessage(content=QUESTION)]).message.content
        )


class Strict(CustomLLM):
    """A class that nobody knows, which hands on what it is given to something that takes little."""

    @property
    def metadata(self) -> LLMMetadata:
        """Say nothing."""
        return LLMMetadata()

    def complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponse:
        """Answer."""
        return CompletionResponse(text=self._answer(**kwargs))

    def stream_complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> Any:
        """Answer in one piece."""
        text = self._answer(**kwargs)
        yield CompletionResponse(text=text, delta=text)

    def _answer(self, temperature: float = 0.0) -> str:
        return "Paris is the capital of France."


@pytest.mark.parametrize("method", METHODS)
def test_a_class_that_nobody_knows_gets_no_budget(method: str) -> None:
    """Its methods may take no such keyword; and no limit was reached where none was sent."""
    responses = ask(adaptive_llm(Strict(), SHORT), method)
    assert "Paris is the capital of France." == text_of(responses[-1])
    assert [4] == [attempt["budget"] for attempt in told(responses)["attempts"]]


class Limited(Silent):
    """Notes the limit among its own settings, which outweighs a call's."""

    limits: list[int | None] = Field(default_factory=list)

    def stream_complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> Any:
        """Say a word."""
        self.limits.append(self.max_tokens)
        return super().stream_complete(prompt, formatted=formatted, **kwargs)


def test_a_callers_own_limit_stays_where_no_budget_is_sent() -> None:
    """It takes the place of the inner LLM's, as it does in any other call."""
    llm = Limited(max_tokens=7)
    wrapped = AdaptiveLLM(llm=llm, stopping=AdaptiveStopping(), budget_keyword="")
    ask(wrapped, "complete", max_tokens=3)
    ask(wrapped, "complete")
    assert [3, 7] == llm.limits
