"""Structured prediction through the wrapper: the inner LLM's, with the wrapper's settings."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from llama_index.core.base.llms.types import ChatMessage
from llama_index.core.callbacks import CallbackManager, TokenCountingHandler
from llama_index.core.prompts import PromptTemplate
from pydantic import BaseModel

from llama_index.llms.stopping import adaptive_llm
from stopping_core import AdaptiveStopping
from tests.integration_llama_index.asking import QUESTION, adaptive, scripted
from tests.support.sse_server import CountingServer, Script

PROMPT = PromptTemplate("Name a city like {other}.")
CALLS = {"is_function_calling_model": True}
LONG = ['{"name"', ': "Par', "is", *["s"] * 100, '"}']


class City(BaseModel):
    """What is asked for."""

    name: str | None = None
    country: str | None = None


def serve(inner: dict[str, Any]) -> CountingServer:
    """Serve a long object, as text or as a call of a function."""
    return CountingServer([Script(LONG, tool="City" if inner else "")], delay=0.03)


@pytest.mark.parametrize("inner", [{}, CALLS], ids=["text", "function"])
@pytest.mark.usefixtures("kept_exceptions")
def test_a_structured_stream_that_is_left_hangs_up(inner: dict[str, Any]) -> None:
    """Both what the wrapper streams itself and what its structured LLM does."""
    for way in range(2):
        with serve(inner) as server:
            llm = adaptive(server, inner=inner)
            stream: Any = (
                llm.as_structured_llm(City).stream_chat([ChatMessage(content=QUESTION)])
                if way
                else llm.stream_structured_predict(City, PROMPT, other="Rome")
            )
            next(stream)
            stream.close()
            server.wait()
            assert 1 == server.disconnected
            assert server.sent < 20


@pytest.mark.parametrize("inner", [{}, CALLS], ids=["text", "function"])
@pytest.mark.usefixtures("kept_exceptions")
async def test_an_async_structured_stream_that_is_left_hangs_up(inner: dict[str, Any]) -> None:
    """The same, async."""
    for way in range(2):
        with serve(inner) as server:
            llm = adaptive(server, inner=inner)
            stream: Any = await (
                llm.as_structured_llm(City).astream_chat([ChatMessage(content=QUESTION)])
                if way
                else llm.astream_structured_predict(City, PROMPT, other="Rome")
            )
            await anext(stream)
            await stream.aclose()
            await asyncio.to_thread(server.wait)
            assert 1 == server.disconnected
            assert server.sent < 20


def test_a_structured_llm_is_refused() -> None:
    """Its text is an object that is written anew at each chunk: a cut gave a wrong one."""
    with CountingServer([[]]) as server:
        structured = scripted(server).as_structured_llm(City)
    with pytest.raises(ValueError, match=r"as_structured_llm\(\) on the wrapper"):
        adaptive_llm(structured, AdaptiveStopping())


def test_settings_given_anew_hold_in_structured_prediction() -> None:
    """A callback manager set after wrapping counts; a system prompt of the wrapper's is sent."""
    counter = TokenCountingHandler(tokenizer=str.split)
    with CountingServer([Script(['{"name"', ': "Paris"}'])], delay=0) as server:
        llm = adaptive(server, system_prompt="Be brief.")
        llm.callback_manager = CallbackManager([counter])
        predicted = llm.structured_predict(City, PROMPT, other="Rome")
        assert City(name="Paris") == predicted
        assert "Be brief." in str(server.requests[0]["messages"])
        assert getattr(llm.llm, "_client", None) is not None
    assert 1 == len(counter.llm_token_counts)
    assert llm.llm.system_prompt is None


def test_a_structured_llm_of_the_wrapper_gives_whole_objects() -> None:
    """It is LlamaIndex's own, and nothing is cut."""
    tokens = ['{"name"', ': "Paris"', ', "country"', ': "France"', "}"]
    with CountingServer([Script(tokens)], delay=0) as server:
        answer = adaptive(server).as_structured_llm(City).complete(QUESTION)
    assert City(name="Paris", country="France") == City.model_validate_json(answer.text)
