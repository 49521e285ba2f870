"""What is taken off the inner LLM's methods, and what stays."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable
from typing import Any, ClassVar
from unittest.mock import patch

import pytest
from llama_index.core.base.llms.types import CompletionResponse, CompletionResponseGen
from llama_index.core.llms.callbacks import llm_completion_callback
from llama_index.core.llms.mock import MockLLM
from llama_index.core.rate_limiter import TokenBucketRateLimiter
from llama_index.llms.openai import OpenAI
from llama_index.llms.openai_like import OpenAILike
from pydantic import ConfigDict

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
        assert isinstance(view, OpenAILike)
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

    class Once(type(MockLLM)):  # type: ignore[misc]  # pydantic's metaclass
        def __new__(cls, name: str, bases: tuple[type, ...], names: dict[str, Any]) -> Any:
            if any(base.__name__ == name for base in bases):
                raise TypeError("no more of these")
            return super().__new__(cls, name, bases, names)

    class Final(MockLLM, metaclass=Once):
        pass

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


class Registering(MockLLM):
    """Keeps the classes that are derived from it, by name."""

    registry: ClassVar[dict[str, type]] = {}

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls.registry[cls.__name__] = cls


class Registered(Registering):
    """What a factory would make by its name."""


def test_a_class_that_registers_its_subclasses_is_told_of_none() -> None:
    """Else whoever looks a class up would get a silent one."""
    view = quiet(Registered(max_tokens=None))
    assert type(view) is not Registered
    assert {"Registered": Registered} == Registering.registry


def test_a_method_that_is_patched_is_the_patched_one() -> None:
    """The class was asked before, and is asked again after."""

    class Patched(MockLLM):
        @llm_completion_callback()
        def stream_complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> Any:
            return super().stream_complete(prompt, formatted, **kwargs)

    def say(self: Any, prompt: str, formatted: bool = False, **kwargs: Any) -> Any:
        yield CompletionResponse(text="patched", delta="patched", raw={"done_reason": "stop"})

    llm = adaptive_llm(Patched(max_tokens=None), AdaptiveStopping())
    said = [llm.complete("plain").text]
    with patch.object(Patched, "stream_complete", say):
        said.append(llm.complete("plain").text)
    said.append(llm.complete("plain").text)
    assert ["plain", "patched", "plain"] == said


class Slotted(MockLLM):
    """Keeps something outside of its dictionary."""

    __slots__ = ("lock",)


class Validating(MockLLM):
    """Gets a new dictionary with each assignment."""

    model_config = ConfigDict(validate_assignment=True)


@pytest.mark.parametrize("kind", [Slotted, Validating])
def test_a_class_whose_state_cannot_be_shared_is_left_as_it_is(kind: type[MockLLM]) -> None:
    """A view would lose what is written to it, or miss what is not in the dictionary."""
    llm = kind(max_tokens=None)
    assert quiet(llm) is llm
