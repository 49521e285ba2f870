"""The middleware: agents are cut and continued, and otherwise behave as without it."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain.agents.middleware import AgentMiddleware, ModelRequest, ModelResponse
from langchain.agents.structured_output import ProviderStrategy, ToolStrategy
from langchain_core.messages import AIMessageChunk
from langchain_core.tools import tool
from langchain_core.tracers.run_collector import RunCollectorCallbackHandler
from pydantic import BaseModel

import langchain_stopping
from langchain_stopping import AdaptiveChatModel, AdaptiveStopHandler, AdaptiveStopMiddleware
from stopping_core import MissingPackage
from stopping_core.budgets import GeometricBudget
from tests.integration_langchain.setting import (
    CUT,
    DECIDED,
    FIRST_SENTENCE,
    HEARD,
    PATIENT,
    SMALL,
    TEXT,
    TOKENS,
    openai,
)
from tests.support.sse_server import CountingServer, Script

SLOW = 0.03
ASKED: Any = {"messages": [("user", "Which city?")]}
WHOLE = "".join(TEXT)
GROWING = SMALL.replace(budget=GeometricBudget(first=4, growth=3.0))


class City(BaseModel):
    """A city."""

    name: str


@tool
def weather(city: str) -> str:
    """Say what the weather is."""
    return f"It rains in {city}."


CALL = Script(['{"city":', ' "Paris. Then"', "}"], tool="weather", finish_reason="tool_calls")
CITY = Script(['{"name":', ' "Paris"', "}"], tool="City", finish_reason="tool_calls")


def run(agent: Any, way: str, config: Any = None) -> str:
    """Run an agent one of four ways; the text of its last message."""

    async def astream() -> list[Any]:
        return [state async for state in agent.astream(ASKED, config, stream_mode="values")]

    if way == "stream":
        state = list(agent.stream(ASKED, config, stream_mode="values"))[-1]
    elif way == "astream":
        state = asyncio.run(astream())[-1]
    elif way == "ainvoke":
        state = asyncio.run(agent.ainvoke(ASKED, config))
    else:
        state = agent.invoke(ASKED, config)
    return str(state["messages"][-1].text)


def shown(agent: Any, mode: str, *, in_async: bool) -> list[Any]:
    """What an agent streams in one mode."""

    async def gather() -> list[Any]:
        return [part async for part in agent.astream(ASKED, stream_mode=mode)]

    return asyncio.run(gather()) if in_async else list(agent.stream(ASKED, stream_mode=mode))


def tokens(parts: list[Any]) -> str:
    """The text of message chunks, all attempts that were shown."""
    return "".join(m.text for m, _ in parts if isinstance(m, AIMessageChunk))


both = pytest.mark.parametrize("in_async", [False, True], ids=["sync", "async"])


@pytest.mark.parametrize("way", ["invoke", "stream", "ainvoke", "astream"])
def test_an_agent_is_cut(way: str) -> None:
    """The agent's answer ends at the cut, the server stops, and all runs are successes."""
    runs = RunCollectorCallbackHandler()
    with CountingServer([PATIENT], delay=SLOW) as server:
        agent = create_agent(openai(server), middleware=[AdaptiveStopMiddleware(FIRST_SENTENCE)])
        assert CUT == run(agent, way, {"callbacks": [runs]})
        assert server.sent <= HEARD
        assert 1 == server.disconnected
    assert {None} == {one.error for one in runs.traced_runs}


@both
def test_streamed_messages_are_cut(in_async: bool) -> None:
    """What LangGraph shows token by token ends at the cut as well."""
    with CountingServer([PATIENT], delay=SLOW) as server:
        agent = create_agent(openai(server), middleware=[AdaptiveStopMiddleware(FIRST_SENTENCE)])
        assert CUT == tokens(shown(agent, "messages", in_async=in_async))
        assert server.sent <= HEARD


@both
@pytest.mark.parametrize("prefill", [True, False])
def test_a_continued_answer_is_shown_once(prefill: bool, in_async: bool) -> None:
    """An answer that broke off goes on where it stopped; nothing of it is shown again."""
    repeated = [] if prefill else [" two", " three", " four"]
    with CountingServer([TEXT, [*repeated, *TEXT[4:]]]) as server:
        middleware = AdaptiveStopMiddleware(GROWING, prefill=prefill)
        agent = create_agent(openai(server), middleware=[middleware])
        parts = shown(agent, "messages", in_async=in_async)
        assert [WHOLE, 2] == [tokens(parts), len(server.calls)]


@both
def test_what_is_shown_is_never_started_over(in_async: bool) -> None:
    """An answer that would be thrown away is continued where its text was shown."""
    with CountingServer([['{"a": 1'], ["}"]]) as server:
        agent = create_agent(
            openai(server), middleware=[AdaptiveStopMiddleware(SMALL, prefill=True)]
        )
        assert '{"a": 1}' == tokens(shown(agent, "messages", in_async=in_async))
        assert 2 == len(server.calls)


@both
def test_an_answer_started_over_is_shown_once(in_async: bool) -> None:
    """Where only whole messages are shown, an answer may be started over; one is seen."""
    with CountingServer([['{"a": 1'], ['{"a": 1}']]) as server:
        agent = create_agent(openai(server), middleware=[AdaptiveStopMiddleware(SMALL)])
        parts = shown(agent, "updates", in_async=in_async)
        seen = [m.text for part in parts for m in part["model"]["messages"]]
        assert [['{"a": 1}'], 2] == [seen, len(server.calls)]


@both
def test_updates_of_a_continued_answer(in_async: bool) -> None:
    """The update of the model node holds the whole answer."""
    with CountingServer([TEXT, TEXT[4:]]) as server:
        middleware = AdaptiveStopMiddleware(GROWING, prefill=True)
        agent = create_agent(openai(server), middleware=[middleware])
        parts = shown(agent, "updates", in_async=in_async)
    assert [[WHOLE]] == [[m.text for m in part["model"]["messages"]] for part in parts]


FORMATS: dict[str, dict[str, Any]] = {
    "tools": {"tools": [weather]},
    "tool-strategy": {"response_format": ToolStrategy(City)},
    "provider-strategy": {"response_format": ProviderStrategy(City)},
    "auto": {"response_format": City},
    "auto-with-tools": {"response_format": City, "tools": [weather]},
}


@both
@pytest.mark.parametrize("name", ["gpt-4o", "llama"])
@pytest.mark.parametrize("kind", FORMATS)
def test_what_is_sent_is_as_without_it(kind: str, name: str, in_async: bool) -> None:
    """Tools and structured responses: the same calls, and the same state at the end."""
    settings = FORMATS[kind]
    structured = "response_format" in settings
    by_tool = kind == "tool-strategy" or (name == "llama" and kind.startswith("auto"))
    last = CITY if by_tool else ['{"name": ', '"Paris"}'] if structured else ["It rains."]
    sent, ended = [], []
    for middleware in ([], [AdaptiveStopMiddleware(FIRST_SENTENCE)]):
        scripts = [CALL, last] if "tools" in settings else [last]
        with CountingServer(scripts, delay=0.0) as server:
            model = openai(server).model_copy(update={"model_name": name, "profile": {}})
            agent = create_agent(model, middleware=middleware, **settings)
            state = asyncio.run(agent.ainvoke(ASKED)) if in_async else agent.invoke(ASKED)
            said: list[Any] = [(m.type, m.text) for m in state["messages"]]
            calls = [getattr(m, "tool_calls", None) for m in state["messages"]]
            ended.append([said, calls, state.get("structured_response")])
            sent.append(server.requests)
    assert ended[0] == ended[1]
    assert sent[0] == sent[1]


@both
def test_text_answers_beside_tools_are_cut_if_asked(in_async: bool) -> None:
    """With ``cut_with_tools`` the tool call stays whole and the answer after it is cut."""
    with CountingServer([CALL, PATIENT], delay=SLOW) as server:
        middleware = AdaptiveStopMiddleware(FIRST_SENTENCE, cut_with_tools=True)
        agent = create_agent(openai(server), tools=[weather], middleware=[middleware])
        state = asyncio.run(agent.ainvoke(ASKED)) if in_async else agent.invoke(ASKED)
        kinds = [m.type for m in state["messages"]]
        assert ["human", "ai", "tool", "ai"] == kinds
        assert "It rains in Paris. Then." == state["messages"][2].text
        assert CUT == state["messages"][-1].text
        assert server.sent_per_call[1] <= HEARD


class Swap(AgentMiddleware):
    """Puts another model into the request, as routers and fallbacks do."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def wrap_model_call(
        self, request: ModelRequest, handler: Callable[[ModelRequest], ModelResponse]
    ) -> ModelResponse:
        return handler(request.override(model=self.model))

    async def awrap_model_call(
        self, request: ModelRequest, handler: Callable[[ModelRequest], Awaitable[ModelResponse]]
    ) -> ModelResponse:
        return await handler(request.override(model=self.model))


@both
def test_a_swapped_model_is_cut(in_async: bool) -> None:
    """Last in the list, the middleware wraps the model that another one has chosen."""
    way = "ainvoke" if in_async else "invoke"
    with CountingServer([PATIENT], delay=SLOW) as server, CountingServer([TOKENS]) as unused:
        stop = AdaptiveStopMiddleware(FIRST_SENTENCE)
        agent = create_agent(openai(unused), middleware=[Swap(openai(server)), stop])
        assert CUT == run(agent, way)
        assert server.sent <= HEARD
        assert not unused.calls
        first = create_agent(openai(unused), middleware=[stop, Swap(openai(server, n=1))])
        server.delay = 0.0
        assert "".join(TOKENS) == run(first, way)  # behind it, another model is not seen


def test_two_models_through_one_middleware() -> None:
    """Each is wrapped by itself, in whatever order they come."""
    stop = AdaptiveStopMiddleware(FIRST_SENTENCE)
    with CountingServer([TOKENS]) as one, CountingServer([["Rome", ".", *TOKENS[5:]]]) as two:
        agents = [create_agent(openai(server), middleware=[stop]) for server in (one, two, one)]
        assert [CUT, "Rome.", CUT] == [run(agent, "invoke") for agent in agents]
        assert [2, 1] == [len(one.calls), len(two.calls)]


@pytest.mark.parametrize("prefill", [True, False])
def test_its_settings_reach_the_model(prefill: bool) -> None:
    """How it is continued, by which keyword it takes a budget, whether a hang-up ends the bill."""
    with CountingServer([TEXT, TEXT[4:]]) as server:
        middleware = AdaptiveStopMiddleware(
            GROWING.replace(up_front=GeometricBudget(first=3)),
            prefill=prefill,
            prefill_kwargs={"extra_body": {"add_generation_prompt": False}},
            budget_keyword="max_tokens",
            hang_up_ends_bill=False,
        )
        run(create_agent(openai(server), middleware=[middleware]), "invoke")
        first, second = server.requests[:2]
    assert 3 == first.get("max_completion_tokens", first.get("max_tokens"))
    assert ("assistant" if prefill else "user") == second["messages"][-1]["role"]
    assert prefill == ("add_generation_prompt" in second)


def test_an_adaptive_model_keeps_its_own_policy() -> None:
    """A model that is adaptive already, given or swapped in, is passed through."""
    with CountingServer([TEXT]) as server:
        own = AdaptiveChatModel(inner=openai(server), stopping=SMALL.replace(mode="off"))
        stop = AdaptiveStopMiddleware(GROWING.replace(attempts=1))
        assert WHOLE == run(create_agent(own, middleware=[stop]), "invoke")
        swapped = create_agent(openai(server), middleware=[Swap(own), stop])
        assert WHOLE == run(swapped, "invoke")


def test_a_handler_beside_it_leaves_it_alone() -> None:
    """No second opinion on a model that the middleware has wrapped."""
    handler = AdaptiveStopHandler(FIRST_SENTENCE)
    with CountingServer([TEXT, TEXT[4:]]) as server:
        middleware = AdaptiveStopMiddleware(GROWING, prefill=True)
        agent = create_agent(openai(server), middleware=[middleware])
        assert WHOLE == run(agent, "invoke", {"callbacks": [handler]})
    assert not handler.completions


@pytest.mark.parametrize("way", ["invoke", "stream", "ainvoke", "astream"])
def test_a_handler_alone_cuts_an_agent(way: str) -> None:
    """The callback does the same for an agent without the middleware."""
    handler, runs = AdaptiveStopHandler(FIRST_SENTENCE), RunCollectorCallbackHandler()
    with CountingServer([PATIENT], delay=SLOW) as server:
        agent = create_agent(openai(server))
        assert CUT == run(agent, way, {"callbacks": [handler, runs]})
        assert server.sent <= HEARD
    assert {None} == {one.error for one in runs.traced_runs}
    assert not handler._runs


@pytest.mark.filterwarnings("ignore::langchain_core._api.LangChainBetaWarning")
@pytest.mark.parametrize("kind", ["handler", "middleware"])
def test_messages_of_a_graphs_events_are_cut(kind: str) -> None:
    """LangGraph's own v3 stream has the text up to the cut, its reason and an estimated usage."""
    config: Any = {"callbacks": [AdaptiveStopHandler(FIRST_SENTENCE)] if kind == "handler" else []}
    middleware = [AdaptiveStopMiddleware(FIRST_SENTENCE)] if kind == "middleware" else []
    with CountingServer([PATIENT], delay=SLOW) as server:
        agent: Any = create_agent(openai(server), middleware=middleware)
        (message,) = agent.stream_events(ASKED, config=config, version="v3").messages
        assert [CUT, CUT] == ["".join(message.text), message.output.text]
        assert server.sent <= HEARD
    assert DECIDED == message.output.usage_metadata["output_tokens"]
    assert "sentence" == message.output.response_metadata["stopping"]["reason"]


def test_without_langchain_the_error_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """The package is asked for when the name is; all else works without it."""
    monkeypatch.setitem(sys.modules, "langchain.agents.middleware.types", None)
    monkeypatch.delitem(sys.modules, "langchain_stopping.middleware")
    with pytest.raises(MissingPackage, match="langchain is needed here") as caught:
        _ = langchain_stopping.AdaptiveStopMiddleware
    assert "langchain" == caught.value.package


def test_without_langchain_the_rest_is_imported() -> None:
    """``import *`` as well."""
    code = "import sys; sys.modules['langchain'] = None\nfrom langchain_stopping import *\n"
    done = subprocess.run([sys.executable, "-c", code + "print(adaptive_stopping)"], check=False)
    assert 0 == done.returncode


def test_an_unknown_name_is_an_attribute_error() -> None:
    """As of any module."""
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        _ = langchain_stopping.Nothing
