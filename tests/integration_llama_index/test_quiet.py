"""What is taken off the inner LLM's methods, and what stays."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable
from typing import Any

import pytest
from llama_index.core.base.llms.types import CompletionResponse, CompletionResponseGen
from llama_index.core.llms.callbacks import llm_completion_callback
from llama_index.core.llms.mock import MockLLM
from llama_index.core.rate_limiter import TokenBucketRateLimiter
from llama_index.llms.openai import OpenAI

from llama_index.llms.stopping import adaptive_llm
from llama_index.llms.stopping.quiet import METHODS, quiet
from stopping_core import AdaptiveStopping
from tests.integration_llama_index.asking import QUESTION, SHORT, adaptive, ask, goes_on, scripted
from tests.support.sse_server import CountingServer

CALLED: list[str] = []


def noted(name: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Decorate a method so that its calls are noted: what a retry would be."""

    def decorate(method: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(method)
        def called(*args: Any, **kwargs: Any) -> Any:
            CALLED.append(name)
            return method(*args, **kwargs)

        return called

    return decorate


class Decorated(MockLLM):
    """Has a decorator below the callback in one method, and around it in the other."""

    @llm_completion_callback()
    @noted("below")
    def complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponse:
        """Say a word."""
        return CompletionResponse(text="word")

    @noted("around")
    @llm_completion_callback()
    def stream_complete(
        self, prompt: str, formatted: bool = False, **kwargs: Any
    ) -> CompletionResponseGen:
        """Stream a word."""
        yield CompletionResponse(text="word", delta="word")


def test_all_eight_methods_of_openais_class_are_quiet() -> None:
    """Their code is that of the integration, with nothing of LlamaIndex's core around it.

    If this fails, LlamaIndex decorates its methods in another way.
    """
    view = quiet(OpenAI(api_key="none"))
    assert isinstance(view, OpenAI)
    for name in METHODS:
        assert getattr(OpenAI, name) is not getattr(type(view), name)
        assert "quiet" in getattr(type(view), name).__module__


def test_the_view_has_all_its_state_in_common() -> None:
    """A client that is made, or a setting that is changed, is there on both sides."""
    with CountingServer([[]]) as server:
        llm = scripted(server)
        view = quiet(llm)
        assert view._get_client() is llm._client
        llm.temperature = 0.25
        assert (0.25, llm.metadata, repr(llm)) == (view.temperature, view.metadata, repr(view))
    assert type(llm).__name__ == type(view).__name__


def test_decorators_below_the_callback_stay() -> None:
    """Retries are among them. One around the callback is left as it is."""
    CALLED.clear()
    view = quiet(Decorated(max_tokens=None))
    assert "word" == view.complete("Hi").text
    assert ["word"] == [one.text for one in view.stream_complete("Hi")]
    assert ["below", "around"] == CALLED


def test_the_rate_limiter_of_the_inner_llm_still_counts() -> None:
    """Once a call, as LlamaIndex's decorator does: two calls are two requests."""

    class Counting(TokenBucketRateLimiter):
        acquired: int = 0

        def acquire(self, num_tokens: int = 0) -> None:
            self.acquired += 1

        async def async_acquire(self, num_tokens: int = 0) -> None:
            self.acquired += 1

    with CountingServer(goes_on, delay=0) as server:
        for method in METHODS:
            limiter = Counting(requests_per_minute=1)
            llm = adaptive(server, SHORT, prefill=True, inner={"rate_limiter": limiter})
            ask(llm, method)
            assert 2 == limiter.acquired, method


def test_a_class_that_cannot_be_derived_from_reports_beside_ours(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The answer is the same, and the log says what to expect."""

    class Final(MockLLM):
        def __init_subclass__(cls, **kwargs: Any) -> None:
            raise TypeError("no more of these")

    llm = Final(max_tokens=None)
    with caplog.at_level(logging.WARNING):
        assert quiet(llm) is llm
        ask(adaptive_llm(llm, AdaptiveStopping()), "complete", QUESTION)
    assert ["Final will report its calls beside ours"] == [
        record.message.split(":")[0] for record in caplog.records
    ]


def test_what_a_class_does_when_it_goes_is_not_done_by_a_view() -> None:
    """It would close the client that the LLM itself still uses."""
    closed: list[str] = []

    class Closing(MockLLM):
        def __del__(self) -> None:
            closed.append("closed")

    llm = Closing(max_tokens=None)
    for _ in range(2):
        ask(adaptive_llm(llm, AdaptiveStopping()), "complete", QUESTION)
    assert [] == closed
