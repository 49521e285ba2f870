"""Tools and structured answers pass through, and agents run."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from typing import Any, cast

import pytest
from llama_index.core.agent.workflow import AgentStream, FunctionAgent, ReActAgent
from llama_index.core.base.llms.types import ChatMessage, ChatResponse
from llama_index.core.llms.function_calling import FunctionCallingLLM
from llama_index.core.llms.mock import MockFunctionCallingLLM, MockLLM
from llama_index.core.prompts import PromptTemplate
from llama_index.core.tools import FunctionTool
from pydantic import BaseModel
from workflows.errors import WorkflowCancelledByUser, WorkflowRuntimeError

from llama_index.llms.stopping import AdaptiveFunctionCallingLLM, AdaptiveLLM, adaptive_llm
from stopping_core import AdaptiveStopping
from stopping_core.budgets import GeometricBudget
from stopping_core.completeness import AnswerPresent, all_of, default_check
from stopping_core.policies import MaxTokens, Policy, Threshold
from stopping_core.signals import Sentences
from tests.integration_llama_index.asking import METHODS, adaptive, ask, text_of, told
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


# -- text answers of calls that offer tools

CUT_AFTER_A_SENTENCE = AdaptiveStopping(policy=Threshold(Sentences(), at_least=1))
REST = [f" {n} more." for n in range(40)]


def announces(body: Mapping[str, Any]) -> Script:
    """Call the tool; answer from its result, and go on and on."""
    if body["messages"][-1]["role"] == "tool":
        return Script(["It", " is", " 5", ".", *REST])
    return Script(ARGUMENTS, tool="add", finish_reason="tool_calls")


@pytest.mark.parametrize("streaming", [True, False], ids=["streaming", "whole"])
@pytest.mark.parametrize("cut", [True, False], ids=["cut", "uncut"])
async def test_the_final_answer_of_a_function_agent_is_cut_where_asked_for(
    streaming: bool, cut: bool
) -> None:
    """The tool call has all its arguments and no budget; the answer ends with its sentence."""
    with CountingServer(announces, delay=0.01) as server:
        stopping = CUT_AFTER_A_SENTENCE.replace(budget=GeometricBudget(first=2))
        llm = adaptive(server, stopping, inner=CALLS, cut_with_tools=cut)
        agent = FunctionAgent(
            tools=[FunctionTool.from_defaults(fn=add)], llm=llm, streaming=streaming
        )
        result = await agent.run("What is 2 + 3?")
        assert "It is 5." + ("" if cut else "".join(REST)) == str(result)
        assert [None, None] == [body.get("max_tokens") for body in server.requests]
        assert len(ARGUMENTS) == server.sent_per_call[0]
        assert int(cut) == server.disconnected


async def test_an_agent_that_is_cancelled_hangs_up() -> None:
    """Its stream is closed down to the socket, though its call was left alone."""
    with CountingServer([["word "] * 200], delay=0.02) as server:
        agent = FunctionAgent(
            tools=[FunctionTool.from_defaults(fn=add)], llm=adaptive(server, inner=CALLS)
        )
        handler = agent.run("What is 2 + 3?")
        async for event in handler.stream_events():
            if isinstance(event, AgentStream) and event.delta:
                await handler.cancel_run()
                break
        with pytest.raises(WorkflowCancelledByUser):
            await handler
        await asyncio.to_thread(server.wait)
        assert 1 == server.disconnected
        assert server.sent < 50


@pytest.mark.parametrize("method", [m for m in METHODS if m.endswith("chat")])
@pytest.mark.parametrize(
    "policy",
    [Threshold(Sentences(), at_least=1), MaxTokens(3)],
    ids=["a sentence", "a forced stop"],
)
def test_a_tool_call_is_never_cut(method: str, policy: Policy) -> None:
    """Whatever its arguments look like, by whatever policy, and however few tokens are granted."""
    arguments = ['{"a": "', "One sentence", ". ", "Two", ". ", "Three", '."}']
    script = Script(arguments, tool="note", finish_reason="tool_calls")
    with CountingServer([script], delay=0.01) as server:
        stopping = AdaptiveStopping(policy=policy, budget=GeometricBudget(first=2))
        llm = adaptive(server, stopping, inner=CALLS, cut_with_tools=True)
        responses = ask(llm, method, tools=[{"type": "function"}])
        assert isinstance(llm, AdaptiveFunctionCallingLLM)
        (call,) = llm.get_tool_calls_from_response(cast(ChatResponse, responses[-1]))
        assert (1, 0) == (len(server.calls), server.disconnected)
    assert ("note", {"a": "One sentence. Two. Three."}) == (call.tool_name, call.tool_kwargs)
    report = told(responses)
    assert (True, "a tool was called") == (report["complete"], report["verdict"])
    assert report["tokens"]["generated"] >= len(arguments)


def test_a_tool_call_that_breaks_off_is_asked_for_again() -> None:
    """Half a call is of no use; what the stream had held of it is dropped."""
    broken = Script(ARGUMENTS, tool="add", finish_reason="tool_calls", drop_after=3)
    whole = Script(ARGUMENTS, tool="add", finish_reason="tool_calls")
    with CountingServer([broken, whole], delay=0) as server:
        stopping = AdaptiveStopping(backoff=(0.0, 0.0))
        llm = adaptive(server, stopping, inner=CALLS, cut_with_tools=True)
        assert isinstance(llm, AdaptiveFunctionCallingLLM)
        result = llm.predict_and_call([FunctionTool.from_defaults(fn=add)], "What is 2 + 3?")
        assert 2 == len(server.calls)
    assert "5" == result.response


def test_the_form_of_an_answer_is_left_alone_even_so() -> None:
    """cut_with_tools is about tools: a response format constrains the call as before."""
    script = Script(["{", "}", " and", " then"], finish_reason="length")
    with CountingServer([script], delay=0) as server:
        llm = adaptive(server, inner=CALLS, cut_with_tools=True)
        responses = ask(llm, "chat", response_format={"type": "json_object"})
    assert "{} and then" == text_of(responses[-1])


# -- agents that write their steps as text

STEP = [
    "Thought: I have to add them.",
    " This needs a tool.",
    "\nAction: add\n",
    'Action Input: {"a": 2,',
    ' "b": 3}',
]
ANSWER = ["Thought: I can answer without using any more tools.", "\nAnswer: It", " is 5."]
KNOWS_STEPS = all_of(default_check(), AnswerPresent(r"(?s)\nAnswer:.|Action Input:\s*\{.*\}"))


def steps(body: Mapping[str, Any]) -> Script:
    """Take the step that calls the tool, then the one that answers, and go on."""
    seen = any("Observation: 5" in str(one["content"]) for one in body["messages"])
    return Script([*ANSWER, *REST] if seen else STEP)


@pytest.mark.parametrize("streaming", [True, False], ids=["streaming", "whole"])
@pytest.mark.parametrize(
    ("stopping", "expected"),
    [
        (AdaptiveStopping(), "It is 5." + "".join(REST)),
        (CUT_AFTER_A_SENTENCE.replace(completeness=KNOWS_STEPS), "It is 5."),
    ],
    ids=["careful", "first sentence that completes a step"],
)
async def test_a_react_agents_steps_are_not_broken(
    stopping: AdaptiveStopping, expected: str, streaming: bool
) -> None:
    """The tool is called with all its arguments, by the careful default and by a fitting check."""
    with CountingServer(steps, delay=0.005) as server:
        agent = ReActAgent(
            tools=[FunctionTool.from_defaults(fn=add)],
            llm=adaptive(server, stopping),
            streaming=streaming,
        )
        assert expected == str(await agent.run("What is 2 + 3?"))
        assert 2 == len(server.calls)


async def test_an_aggressive_policy_alone_breaks_a_react_agents_steps() -> None:
    """Its first sentence is a thought, which the agent cannot read: give it a check that can."""
    with CountingServer(steps, delay=0.005) as server:
        agent = ReActAgent(
            tools=[FunctionTool.from_defaults(fn=add)],
            llm=adaptive(server, CUT_AFTER_A_SENTENCE),
        )
        with pytest.raises(WorkflowRuntimeError, match="Max iterations"):
            await agent.run("What is 2 + 3?", max_iterations=3)
