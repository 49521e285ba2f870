"""A cut ends the text exactly and hangs up, on every way to call a chain; the server counted it."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import Runnable, RunnableLambda

from langchain_stopping import (
    AdaptiveChatModel,
    AdaptiveStopHandler,
    AdaptiveStopMiddleware,
)
from tests.integration_langchain.setting import (
    CUT,
    FIRST_SENTENCE,
    HEARD,
    PATIENT,
    TOKENS,
    WAYS,
    ask,
    openai,
)
from tests.support.sse_server import CountingServer

SLOW = 0.06  # seconds a token: a thread that has to wait its turn is late by less


def retrieve(question: str) -> dict[str, str]:
    return {"context": "About Paris.", "question": question}


def rag(model: Runnable[Any, Any]) -> Runnable[Any, str]:
    retriever = RunnableLambda(retrieve)
    prompt = ChatPromptTemplate.from_template("{context}\n\n{question}")
    return retriever | prompt | model | StrOutputParser()


@pytest.mark.parametrize("way", WAYS)
def test_wrapper_cuts_in_a_chain(way: str) -> None:
    """The wrapped model's answer ends at the cut and no token is sent after the decision."""
    with CountingServer([PATIENT]) as server:
        chain = rag(AdaptiveChatModel(inner=openai(server), stopping=FIRST_SENTENCE))
        answers = WAYS[way](chain, "Which city?")
        assert {CUT} == set(answers)
        assert [True] * len(answers) == [sent <= HEARD for sent in server.sent_per_call]
        assert len(answers) == server.disconnected


@pytest.mark.parametrize("way", WAYS)
def test_handler_cuts_in_a_chain(way: str) -> None:
    """The callback ends the answer at the cut, and the chain goes on with it."""
    with CountingServer([PATIENT], delay=SLOW) as server:
        handler = AdaptiveStopHandler(FIRST_SENTENCE)
        chain = rag(openai(server)).with_config(callbacks=[handler])
        answers = WAYS[way](chain, "Which city?")
        assert {CUT} == set(answers)
        assert max(server.sent_per_call) <= HEARD
        assert len(answers) == server.disconnected
        assert [CUT] * len(answers) == [c.text for c in handler.completions.values()]
        assert not handler._runs


def last_text(state: Any) -> str:
    """The answer of an agent, from its state or, where it streams, from the model's update."""
    return str(state.get("model", state)["messages"][-1].text)


def ask_in(form: str, way: str, model: Any, middleware: Any, config: Any) -> list[str]:
    """Ask a model by itself, before a parser, or in an agent."""
    if form == "model":
        return [str(ask(model, way, config=config).text)]
    chain: Any = model | StrOutputParser()
    if form == "agent":
        agent: Any = create_agent(model, middleware=middleware)
        asked: Any = RunnableLambda(lambda text: {"messages": [("user", text)]})
        chain = asked | agent | RunnableLambda(last_text)
    return [str(text) for text in WAYS[way](chain.with_config(config), "Which city?")]


CELLS = [
    *(("handler", "model", way) for way in ("invoke", "stream", "ainvoke", "astream")),
    *(("handler", "parser", way) for way in ("invoke", "stream", "batch", "astream")),
    *((kind, "agent", way) for kind in ("handler", "middleware") for way in WAYS),
]


def cutting(kind: str) -> tuple[Any, Any]:
    """The middleware and the configuration of a way to cut."""
    by_handler = kind == "handler"
    middleware = [] if by_handler else [AdaptiveStopMiddleware(FIRST_SENTENCE)]
    return middleware, {"callbacks": [AdaptiveStopHandler(FIRST_SENTENCE)] if by_handler else []}


@pytest.mark.parametrize(("kind", "form", "way"), CELLS)
def test_at_most_two_tokens_come_after_the_decision(kind: str, form: str, way: str) -> None:
    """At some 15 tokens a second, whatever cuts and however it is called."""
    with CountingServer([PATIENT], delay=SLOW) as server:
        answers = ask_in(form, way, openai(server), *cutting(kind))
        assert [CUT] * len(answers) == answers
        assert max(server.sent_per_call) <= HEARD
        assert len(answers) == server.disconnected


@pytest.mark.filterwarnings("ignore::langchain_core._api.LangChainBetaWarning")
@pytest.mark.parametrize("kind", ["handler", "middleware"])
def test_an_agents_events_that_end_with_the_program(kind: str) -> None:
    """The hang-up is awaited: ``asyncio.run`` cancels what is left when the events have ended."""
    middleware, config = cutting(kind)

    async def watch(agent: Any) -> str:
        asked = {"messages": [("user", "Which city?")]}
        stream = await agent.astream_events(asked, config=config, version="v3")
        texts = [delta async for message in stream.messages async for delta in message.text]
        return "".join(texts)

    with CountingServer([PATIENT], delay=SLOW) as server:
        assert CUT == asyncio.run(watch(create_agent(openai(server), middleware=middleware)))
        assert server.sent <= HEARD
        assert 1 == server.disconnected


def test_breaking_out_hangs_up() -> None:
    """A reader that leaves the wrapper's stream early has the server stop."""
    with CountingServer([TOKENS]) as server:
        model = AdaptiveChatModel(inner=openai(server), stopping=FIRST_SENTENCE)
        for chunk in model.stream("Which city?"):
            if chunk.content:
                break
        del chunk
        assert server.sent <= 4
        assert 1 == server.disconnected


async def test_leaving_an_async_stream_hangs_up() -> None:
    """Closing the wrapper's async stream early has the server stop."""
    with CountingServer([TOKENS]) as server:
        model = AdaptiveChatModel(inner=openai(server), stopping=FIRST_SENTENCE)
        stream = model.astream("Which city?")
        await anext(stream)
        await stream.aclose()  # type: ignore[attr-defined]  # declared as an iterator
        # LangChain leaves the model's own stream to the event loop, which has to go on for it.
        assert await asyncio.to_thread(lambda: server.sent) <= 4
        assert 1 == server.disconnected


def test_a_cut_saves_time() -> None:
    """The caller has the answer long before the model would have ended."""
    with CountingServer([TOKENS], delay=0.02) as server:
        model = AdaptiveChatModel(inner=openai(server), stopping=FIRST_SENTENCE)
        model.invoke("Warm up.")
        began = time.monotonic()
        model.invoke("Which city?")
        assert time.monotonic() - began < len(TOKENS) * 0.02 / 2
