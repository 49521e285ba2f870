"""What limits an answer, by whatever name, and what is counted."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from langchain_core.callbacks import CallbackManagerForLLMRun
from langchain_core.language_models import FakeListChatModel
from langchain_core.messages import (
    BaseMessage,
)
from langchain_core.outputs import ChatGenerationChunk
from langchain_core.rate_limiters import BaseRateLimiter
from pydantic import Field

from langchain_stopping import AdaptiveChatModel
from langchain_stopping.client import hides_usage
from stopping_core.budgets import GeometricBudget
from tests.integration_langchain.setting import FIRST_SENTENCE, SMALL, TEXT, ask, openai, wrapped
from tests.support.sse_server import PROMPT_TOKENS, CountingServer, Script


class CountingLimiter(BaseRateLimiter):
    """Counts how often it is asked."""

    def __init__(self) -> None:
        self.asked = 0

    def acquire(self, *, blocking: bool = True) -> bool:
        """Let the call through."""
        self.asked += 1
        return True

    async def aacquire(self, *, blocking: bool = True) -> bool:
        """Let the call through."""
        return self.acquire()


class Recording(FakeListChatModel):
    """Keeps the keywords of its calls."""

    seen: list[dict[str, Any]] = Field(default_factory=list)

    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> Iterator[ChatGenerationChunk]:
        self.seen.append(kwargs)
        yield from super()._stream(messages, stop, run_manager)


def test_a_limit_given_with_the_call_is_hard() -> None:
    """All calls together stay within ``max_tokens``, and the answer is marked incomplete."""
    with CountingServer([TEXT, TEXT[4:]]) as server:
        answer = wrapped(server, SMALL, prefill=True).invoke("Count.", max_tokens=6)
        assert [4, 2] == [request["max_completion_tokens"] for request in server.requests]
        assert "One two three four five six" == answer.content
        assert not answer.response_metadata["stopping"]["complete"]


@pytest.mark.parametrize("limit", [-1, 0, None])
def test_no_limit_may_be_said(limit: int | None) -> None:
    """Providers take a limit below 1 for none."""
    with CountingServer([TEXT, TEXT[4:]]) as server:
        answer = wrapped(server, SMALL, prefill=True).invoke("Count.", max_tokens=limit)
        assert 4 == server.requests[0]["max_completion_tokens"]
    assert "".join(TEXT) == answer.content


def test_the_profile_limits_the_budget() -> None:
    """The model's own limit on output tokens is never exceeded."""
    with CountingServer([TEXT]) as server:
        inner = openai(server, profile={"max_output_tokens": 3})
        model = AdaptiveChatModel(inner=inner, stopping=SMALL)
        model.invoke("Count.")
        assert [3] == [request["max_completion_tokens"] for request in server.requests]
        assert {"max_output_tokens": 3} == model.profile


@pytest.mark.parametrize("way", ["invoke", "stream", "ainvoke", "astream"])
def test_usage_is_asked_for(way: str) -> None:
    """Where nothing was cut, usage is the provider's, though LangChain would not have asked."""
    stopping = SMALL.replace(budget=GeometricBudget(first=64))
    with CountingServer([TEXT]) as server:
        answer = ask(wrapped(server, stopping), way)
        assert {"include_usage": True} == server.requests[0]["stream_options"]
    usage = {"input_tokens": PROMPT_TOKENS, "output_tokens": 8, "total_tokens": PROMPT_TOKENS + 8}
    assert usage == answer.usage_metadata


@pytest.mark.parametrize(
    ("of_model", "of_call"),
    [
        ({"stream_usage": False}, {}),
        ({}, {"stream_usage": False}),
        ({"model_kwargs": {"stream_options": {"include_usage": False}}}, {}),
        ({}, {"stream_options": {"include_usage": False}}),
    ],
)
def test_usage_is_not_asked_for_against_the_callers_word(
    of_model: dict[str, Any], of_call: dict[str, Any]
) -> None:
    """A server that knows no stream options is not sent any where the caller said so."""
    stopping = SMALL.replace(budget=GeometricBudget(first=64))
    with CountingServer([TEXT]) as server:
        model = AdaptiveChatModel(inner=openai(server, **of_model), stopping=stopping)
        answer = model.invoke("Count.", **of_call)
        assert not (server.requests[0].get("stream_options") or {}).get("include_usage")
    tokens = answer.response_metadata["stopping"]["tokens"]
    assert [8, True] == [tokens["generated"], tokens["estimated"]]


@pytest.mark.parametrize("way", ["invoke", "stream", "ainvoke", "astream"])
@pytest.mark.parametrize("status", [400, 422])
def test_a_server_that_refuses_the_question_is_not_asked_again(way: str, status: int) -> None:
    """One that knows no ``stream_options`` is called without it, from then on at once."""

    def script(body: Mapping[str, Any]) -> Script:
        return Script(status=status) if "stream_options" in body else Script(TEXT)

    with CountingServer(script) as server, CountingServer([TEXT]) as willing:
        model = wrapped(server, SMALL.replace(budget=GeometricBudget(first=64)))
        answers = [ask(model, way) for _ in range(2)]
        assert ["".join(TEXT)] * 2 == [answer.content for answer in answers]
        assert [True, False, False] == ["stream_options" in body for body in server.requests]
        ask(model.model_copy(update={"inner": openai(willing)}), way)
        assert "stream_options" in willing.requests[0]


def test_the_responses_protocol_is_not_asked_for_usage() -> None:
    """It reports usage anyway, and its client refuses the keyword."""
    with CountingServer([TEXT]) as server:
        assert hides_usage(openai(server), {})
        assert not hides_usage(openai(server, use_responses_api=True), {})


def test_nested_budget_keywords_leave_the_others() -> None:
    """A budget inside a dictionary is merged into the caller's own."""
    inner = Recording(responses=["One."])
    model = AdaptiveChatModel(inner=inner, stopping=SMALL, budget_keyword="options.num_predict")
    options = {"temperature": 0}
    model.invoke("Count.", options=options)
    assert [{"options": {"temperature": 0, "num_predict": 4}}] == inner.seen
    assert {"temperature": 0} == options
    model.invoke("Count.", options={"num_predict": 3})
    assert {"options": {"num_predict": 3}} == inner.seen[-1]


def test_a_limit_under_the_budgets_own_name_is_hard() -> None:
    """The caller's limit holds under the name that the inner model has for it."""
    inner = Recording(responses=["One."])
    model = AdaptiveChatModel(inner=inner, stopping=FIRST_SENTENCE, budget_keyword="maxTokens")
    model.invoke("Count.", maxTokens=5)
    assert [{"maxTokens": 5}] == inner.seen


@pytest.mark.parametrize("way", ["invoke", "stream", "ainvoke", "astream"])
def test_the_rate_limiter_is_asked_for_every_call(way: str) -> None:
    """A continuation counts against the rate as the first call does."""
    limiter = CountingLimiter()
    with CountingServer([TEXT, TEXT[4:]]) as server:
        inner = openai(server, rate_limiter=limiter)
        model = AdaptiveChatModel(inner=inner, stopping=SMALL, prefill=True)
        assert "".join(TEXT) == ask(model, way).content
        assert [2, 2] == [len(server.calls), limiter.asked]


def test_tokens_are_counted_by_the_inner_model() -> None:
    """A model that knows its tokenizer is asked, unless the wrapper was given another."""

    class Knows(FakeListChatModel):
        def get_token_ids(self, text: str) -> list[int]:
            return [len(text)]

        def get_num_tokens(self, text: str) -> int:
            return 42

    model = AdaptiveChatModel(inner=Knows(responses=[""]), stopping=SMALL)
    assert ([5], 42) == (model.get_token_ids("Paris"), model.get_num_tokens("Paris"))
    other = model.model_copy(update={"custom_get_token_ids": lambda text: [1, 2]})
    assert ([1, 2], 2) == (other.get_token_ids("Paris"), other.get_num_tokens("Paris"))
