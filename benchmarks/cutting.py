"""Every way to be cut: what ``tokens_after_cut`` measures, and a test holds to two tokens.

Each way makes its client anew, asks one question and returns the text that came out at the end of
the chain or of the agent.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeAlias, cast

from langchain.agents import create_agent
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessageChunk, BaseMessage
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompt_values import PromptValue
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import Runnable, RunnableLambda
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
from llama_index.core.base.llms.types import ChatMessage
from llama_index.llms.openai_like import OpenAILike
from pydantic import SecretStr

from langchain_stopping import (
    AdaptiveChatModel,
    AdaptiveStopHandler,
    AdaptiveStopMiddleware,
    adaptive_stopping,
)
from llama_index.llms.stopping import adaptive_llm
from stopping_core import AdaptiveStopping, Boundary
from stopping_core.budgets import FixedBudget
from stopping_core.policies import Threshold
from stopping_core.signals import Sentences
from tests.integration_llama_index.asking import METHODS

FIRST_SENTENCE = AdaptiveStopping(
    policy=Threshold(Sentences(), at_least=1, at=Boundary.SENTENCE, reason="sentence"),
    budget=FixedBudget(128),
    attempts=1,
)
"""Cuts behind the first sentence, as soon as the next one begins."""


class Endpoint(Protocol):
    """Where an OpenAI client finds the server."""

    @property
    def base_url(self) -> str: ...

    @property
    def model(self) -> str: ...


Ask: TypeAlias = Callable[[Endpoint, AdaptiveStopping, str], str]
"""Asks an endpoint a question under a policy; the text of the answer."""


def chat_openai(server: Endpoint, **settings: Any) -> ChatOpenAI:
    """A ChatOpenAI on the server, without retries of its own."""
    return ChatOpenAI(
        base_url=server.base_url,
        model=server.model,
        api_key=SecretStr("none"),
        temperature=0,
        max_retries=0,
        **settings,
    )


def openai_like(server: Endpoint, **settings: Any) -> OpenAILike:
    """An OpenAILike on the server, without retries of its own."""
    return OpenAILike(
        api_base=server.base_url,
        model=server.model,
        api_key="none",
        temperature=0,
        max_retries=0,
        **{"is_chat_model": True, **settings},
    )


@dataclass(frozen=True, slots=True)
class Attached:
    """A model with the suite on it, by whichever means."""

    model: BaseChatModel
    callbacks: tuple[AdaptiveStopHandler, ...] = ()
    middleware: tuple[AdaptiveStopMiddleware, ...] = ()


Attach: TypeAlias = Callable[[Endpoint, AdaptiveStopping], AbstractContextManager[Attached]]


@contextmanager
def _wrapper(server: Endpoint, stopping: AdaptiveStopping) -> Iterator[Attached]:
    inner = chat_openai(server)
    yield Attached(AdaptiveChatModel(inner=inner, stopping=stopping, cut_with_tools=True))


@contextmanager
def _handler(server: Endpoint, stopping: AdaptiveStopping) -> Iterator[Attached]:
    yield Attached(chat_openai(server), callbacks=(AdaptiveStopHandler(stopping),))


@contextmanager
def _block(server: Endpoint, stopping: AdaptiveStopping) -> Iterator[Attached]:
    with adaptive_stopping(stopping):
        yield Attached(chat_openai(server))


@contextmanager
def _middleware(server: Endpoint, stopping: AdaptiveStopping) -> Iterator[Attached]:
    middleware = AdaptiveStopMiddleware(stopping, cut_with_tools=True)
    yield Attached(chat_openai(server), middleware=(middleware,))


@tool
def weather(city: str) -> str:
    """Say what the weather is."""
    return f"It rains in {city}."


@dataclass(frozen=True, slots=True)
class Asked:
    """Something to run, what it is given, and keywords for streaming it."""

    runnable: Runnable[Any, Any]
    given: Any
    streaming: Mapping[str, Any] = field(default_factory=dict)


def _model(attached: Attached, question: str) -> Asked:
    return Asked(attached.model, question)


def _chain(attached: Attached, question: str) -> Asked:
    """``prompt | model | parser``, or with an agent for the model where middleware needs one."""
    prompt = ChatPromptTemplate.from_template("{question}")
    model: Runnable[Any, Any] = attached.model
    if attached.middleware:
        agent = create_agent(attached.model, middleware=attached.middleware)
        model = RunnableLambda(_as_state) | cast(Runnable[Any, Any], agent)
        model |= RunnableLambda(_last_message)
    return Asked(prompt | model | StrOutputParser(), {"question": question})


def _as_state(prompt: PromptValue) -> dict[str, list[BaseMessage]]:
    return {"messages": prompt.to_messages()}


def _last_message(state: Any) -> BaseMessage:
    """An agent gives its state, and inside a chain that streams the update by its model's node."""
    message: BaseMessage = state.get("model", state)["messages"][-1]
    return message


def _agent(attached: Attached, question: str, *tools: Any) -> Asked:
    agent = create_agent(attached.model, tools=list(tools), middleware=attached.middleware)
    return Asked(agent, {"messages": [("user", question)]}, {"stream_mode": "messages"})


def _agent_with_tool(attached: Attached, question: str) -> Asked:
    return _agent(attached, question, weather)


ATTACH: Mapping[str, Attach] = {
    "wrapper": _wrapper,
    "handler": _handler,
    "with block": _block,
    "middleware": _middleware,
}
COLUMNS: Mapping[str, tuple[Callable[[Attached, str], Asked], str]] = {
    "invoke": (_model, "invoke"),
    "stream": (_model, "stream"),
    "chain": (_chain, "invoke"),
    "chain, streamed": (_chain, "stream"),
    "agent": (_agent, "invoke"),
    "agent, streamed": (_agent, "stream"),
    "agent with a tool": (_agent_with_tool, "invoke"),
}
LEFT_OUT = {
    *(("middleware", column) for column in ("invoke", "stream")),  # it acts in agents
    *((row, "agent with a tool") for row in ("handler", "with block")),  # they leave tools alone
}


def langchain_ways(*, with_tool: bool = True) -> dict[tuple[str, str], Ask]:
    """Rows and columns of LangChain's table; a tool is left out where the model cannot have one."""
    return {
        (f"{row}, async" if is_async else row, column): _langchain(row, column, is_async=is_async)
        for row in ATTACH
        for is_async in (False, True)
        for column in COLUMNS
        if (row, column) not in LEFT_OUT and (with_tool or column != "agent with a tool")
    }


def llama_index_ways() -> dict[tuple[str, str], Ask]:
    """Rows and columns of LlamaIndex's table."""
    return {
        (row, method): _llama_index(method, is_chat_model=row == "chat model")
        for row in ("chat model", "completion model")
        for method in METHODS
    }


def _langchain(row: str, column: str, *, is_async: bool) -> Ask:
    build, way = COLUMNS[column]

    def ask(server: Endpoint, stopping: AdaptiveStopping, question: str) -> str:
        with ATTACH[row](server, stopping) as attached:
            asked = build(attached, question)
            config = {"callbacks": list(attached.callbacks)}
            if is_async:
                return asyncio.run(_arun(asked, way, config))
            return _run(asked, way, config)

    return ask


def _run(asked: Asked, way: str, config: Any) -> str:
    if way == "invoke":
        return _text(asked.runnable.invoke(asked.given, config))
    parts = asked.runnable.stream(asked.given, config, **asked.streaming)
    return "".join(_text(part) for part in parts)


async def _arun(asked: Asked, way: str, config: Any) -> str:
    if way == "invoke":
        return _text(await asked.runnable.ainvoke(asked.given, config))
    parts = asked.runnable.astream(asked.given, config, **asked.streaming)
    return "".join([_text(part) async for part in parts])


def _text(part: Any) -> str:
    """The text of what a parser, a model or an agent gives, or of what they stream."""
    if isinstance(part, dict):
        part = part["messages"][-1]
    if isinstance(part, tuple):  # an agent's message with its metadata
        part = part[0] if isinstance(part[0], AIMessageChunk) else ""
    return part if isinstance(part, str) else _content(part)


def _content(message: BaseMessage) -> str:
    return str(message.content)


def _llama_index(method: str, *, is_chat_model: bool) -> Ask:
    def ask(server: Endpoint, stopping: AdaptiveStopping, question: str) -> str:
        inner = openai_like(server, is_chat_model=is_chat_model)
        llm = adaptive_llm(inner, stopping)
        given = question if method.endswith("complete") else [ChatMessage(content=question)]
        if method.startswith("a"):
            return asyncio.run(_last(inner, getattr(llm, method), given))
        answer = getattr(llm, method)(given)
        responses = list(answer) if method.startswith("stream") else [answer]
        return _said(responses[-1])

    return ask


async def _last(inner: OpenAILike, method: Callable[[Any], Any], given: Any) -> str:
    """Await the answer, and close the client, which does not outlive its event loop."""
    try:
        answer = await method(given)
        if isinstance(answer, AsyncIterator):
            answer = [one async for one in answer][-1]
        return _said(answer)
    finally:
        await inner._aclient.close()


def _said(response: Any) -> str:
    return str(response.text if hasattr(response, "text") else response.message.content)
