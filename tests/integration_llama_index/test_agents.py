"""Tools and structured answers pass through, and agents run."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest
from llama_index.core.agent.workflow import FunctionAgent, ReActAgent
from llama_index.core.base.llms.types import ChatMessage
from llama_index.core.llms.function_calling import FunctionCallingLLM
from llama_index.core.llms.mock import MockFunctionCallingLLM, MockLLM
from llama_index.core.prompts import PromptTemplate
from llama_index.core.tools import FunctionTool
from pydantic import BaseModel

from llama_index.llms.stopping import AdaptiveFunctionCallingLLM, AdaptiveLLM, adaptive_llm
from stopping_core import AdaptiveStopping
from stopping_core.budgets import GeometricBudget
from tests.integration_llama_index.asking import METHODS, adaptive, ask, text_of
from tests.support.sse_server import CountingServer, Script

CALLS = {"is_function_calling_model": True}
SHORT = AdaptiveStopping(budget=GeometricBudget(first=2))
ARGUMENTS = ['{"a"', ": 2", ', "b"', ": 3", "}"]


class City(BaseModel):
    """A city."""

    name: str


def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


def serve(body: Mapping[str, Any]) -> Script:
    """Call the tool, then answer from its result."""
    if body["messages"][-1]["role"] == "tool":
        return Script(["It", " is", " ", body["messages"][-1]["content"], "."])
    return Script(ARGUMENTS, tool="add", finish_reason="tool_calls")


def test_the_class_that_fits_is_chosen() -> None:
    """A model that calls functions gets the class that does, any other the plain one."""
    with CountingServer([[]]) as server:
        assert isinstance(adaptive(server, inner=CALLS), AdaptiveFunctionCallingLLM)
        assert isinstance(adaptive(server, inner=CALLS), FunctionCallingLLM)
        assert not isinstance(adaptive(server), FunctionCallingLLM)
    assert isinstance(adaptive_llm(MockLLM(), SHORT), AdaptiveLLM)


def test_the_class_that_does_not_fit_is_refused() -> None:
    """Else an agent fails later, with an AttributeError, or sends tools that nobody reads."""
    with pytest.raises(ValueError, match="must not call functions"):
        AdaptiveLLM(llm=MockFunctionCallingLLM(), stopping=SHORT)
    with CountingServer([[]]) as server:
        plain = adaptive(server).llm
    with pytest.raises(ValueError, match="must call functions"):
        AdaptiveFunctionCallingLLM(llm=plain, stopping=SHORT)  # type: ignore[arg-type]  # the mistake


@pytest.mark.parametrize("streaming", [True, False], ids=["streaming", "whole"])
async def test_a_function_agent_runs(streaming: bool) -> None:
    """It calls the tool with all its arguments, beyond any budget, and answers."""
    with CountingServer(serve, delay=0) as server:
        agent = FunctionAgent(
            tools=[FunctionTool.from_defaults(fn=add)],
            llm=adaptive(server, SHORT, inner=CALLS),
            streaming=streaming,
        )
        result = await agent.run("What is 2 + 3?")
        assert "It is 5." == str(result)
        assert 2 == len(server.calls)
        assert [None, None] == [body.get("max_tokens") for body in server.requests]
        assert 0 == server.disconnected


async def test_a_react_agent_runs() -> None:
    """Agents that write their calls as text get by with the plain class."""
    thought = ["Thought: I can answer without using any more tools.", "\nAnswer: It", " is 5."]
    with CountingServer([thought], delay=0) as server:
        agent = ReActAgent(tools=[FunctionTool.from_defaults(fn=add)], llm=adaptive(server))
        assert "It is 5." == str(await agent.run("What is 2 + 3?"))


def test_predict_and_call_uses_the_tool() -> None:
    """The synchronous way to one tool call."""
    with CountingServer(serve, delay=0) as server:
        llm = adaptive(server, SHORT, inner=CALLS)
        assert isinstance(llm, AdaptiveFunctionCallingLLM)
        result = llm.predict_and_call([FunctionTool.from_defaults(fn=add)], "What is 2 + 3?")
    assert "5" == result.response


@pytest.mark.parametrize("method", [m for m in METHODS if m.endswith("chat")])
@pytest.mark.parametrize(
    "constraint",
    [{"response_format": {"type": "json_object"}}, {"tools": [{"type": "function"}]}, {"n": 2}],
    ids=["response_format", "tools", "n"],
)
def test_constrained_calls_are_neither_cut_nor_checked(
    method: str, constraint: dict[str, Any]
) -> None:
    """Text after a closed value stays, a truncated answer is not continued, no budget is set."""
    script = Script(["{", "}", " and", " then"], finish_reason="length")
    with CountingServer([script], delay=0) as server:
        responses = ask(adaptive(server, SHORT, inner=CALLS), method, **constraint)
        assert "{} and then" == text_of(responses[-1])
        assert 1 == len(server.calls)
        assert "max_tokens" not in server.requests[0]


STRUCTURED = {
    "native": ({**CALLS, "should_use_structured_outputs": True}, Script(['{"name"', ': "Paris"}'])),
    "by function": (
        CALLS,
        Script(['{"name"', ': "Paris"}'], tool="City", finish_reason="tool_calls"),
    ),
    "as text": ({}, Script(['{"name"', ': "Paris"}'])),
}


@pytest.mark.parametrize("name", STRUCTURED)
def test_structured_prediction_is_the_inner_llms(name: str) -> None:
    """All its forms give the object, by the means that the inner LLM chooses."""
    inner, script = STRUCTURED[name]
    prompt = PromptTemplate("Name {what}.")
    with CountingServer([script], delay=0) as server:
        llm = adaptive(server, SHORT, inner=inner)
        assert City(name="Paris") == llm.structured_predict(City, prompt, what="a city")
        (*_, last) = llm.stream_structured_predict(City, prompt, what="a city")
        assert "Paris" == last.name
        whole = llm.as_structured_llm(City).complete("Name a city.")
    assert {"name": "Paris"} == json.loads(whole.text)


async def test_structured_prediction_is_the_inner_llms_async() -> None:
    """The async forms as well."""
    inner, script = STRUCTURED["native"]
    prompt = PromptTemplate("Name {what}.")
    with CountingServer([script], delay=0) as server:
        llm = adaptive(server, SHORT, inner=inner)
        assert City(name="Paris") == await llm.astructured_predict(City, prompt, what="a city")
        stream = await llm.astream_structured_predict(City, prompt, what="a city")
        found = [one.name async for one in stream if isinstance(one, City)]
    assert "Paris" == found[-1]


def test_no_tools_offered_is_an_ordinary_turn() -> None:
    """An empty list of tools constrains nothing: the answer is cut where it is done."""
    with CountingServer([["{", "}", " and", " then"] * 5], delay=0.01) as server:
        llm = adaptive(server, inner=CALLS)
        assert isinstance(llm, AdaptiveFunctionCallingLLM)
        response = llm.chat_with_tools([], user_msg="Hi", chat_history=[ChatMessage(content="A")])
        assert "{}" == response.message.content
        assert 1 == server.disconnected
