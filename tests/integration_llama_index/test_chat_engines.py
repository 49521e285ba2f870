"""Chat engines and response synthesizers over the wrapped LLM, in each of their ways to ask."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from llama_index.core import Document, SummaryIndex
from llama_index.core.base.response.schema import AsyncStreamingResponse, StreamingResponse
from llama_index.core.chat_engine import (
    CondensePlusContextChatEngine,
    ContextChatEngine,
    SimpleChatEngine,
)
from llama_index.core.response_synthesizers import ResponseMode, get_response_synthesizer
from llama_index.core.schema import NodeWithScore, TextNode

from llama_index.llms.stopping import AdaptiveLLM
from stopping_core import AdaptiveStopping
from stopping_core.policies import Threshold
from stopping_core.signals import Sentences
from tests.integration_llama_index.asking import HEAD, QUESTION, TAIL, adaptive
from tests.support.sse_server import CountingServer, patient

ANSWER = [*HEAD, *TAIL]
REST = [f" {n} more." for n in range(40)]
FIRST_SENTENCE = AdaptiveStopping(policy=Threshold(Sentences(), at_least=1))
SEVERAL = [
    NodeWithScore(node=TextNode(text=f"Paris is the capital. {n}. " * 40), score=1.0)
    for n in range(3)
]


def engines(llm: AdaptiveLLM) -> dict[str, Any]:
    """The chat engines that ask an LLM."""
    index = SummaryIndex.from_documents([Document(text="Paris is the capital of France.")])
    retriever = index.as_retriever()
    return {
        "simple": SimpleChatEngine.from_defaults(llm=llm),
        "context": ContextChatEngine.from_defaults(retriever=retriever, llm=llm),
        "condense_plus_context": CondensePlusContextChatEngine.from_defaults(
            retriever=retriever, llm=llm
        ),
    }


async def say(engine: Any, method: str) -> str:
    """Say something to a chat engine in one of its four ways, and read all it answers."""
    if method == "chat":
        return str(await asyncio.to_thread(engine.chat, QUESTION))
    if method == "stream_chat":
        return await asyncio.to_thread(lambda: "".join(engine.stream_chat(QUESTION).response_gen))
    if method == "achat":
        return str(await engine.achat(QUESTION))
    response = await engine.astream_chat(QUESTION)
    return "".join([piece async for piece in response.async_response_gen()])


@pytest.mark.parametrize("method", ["chat", "stream_chat", "achat", "astream_chat"])
@pytest.mark.parametrize("name", ["simple", "context", "condense_plus_context"])
async def test_every_turn_of_a_chat_is_cut(name: str, method: str) -> None:
    """The answer ends with its sentence, is remembered so, and the server hears of it."""
    heard = len(ANSWER) + 4
    with CountingServer([patient([*ANSWER, *REST], heard)], delay=0.01) as server:
        engine = engines(adaptive(server, FIRST_SENTENCE))[name]
        for _ in range(2):
            assert "".join(ANSWER) == await say(engine, method)
        await asyncio.to_thread(server.wait)
        assert len(server.calls) == server.disconnected
        assert server.sent <= len(server.calls) * heard
    remembered = [one.content for one in engine.chat_history if one.role == "assistant"]
    assert ["".join(ANSWER)] * 2 == remembered


async def synthesize(llm: AdaptiveLLM, mode: str, *, streaming: bool, awaited: bool) -> str:
    """Make a response from several texts, each too long to stand beside another."""
    synthesizer = get_response_synthesizer(
        llm=llm, response_mode=ResponseMode(mode), streaming=streaming
    )
    if awaited:
        response = await synthesizer.asynthesize(QUESTION, SEVERAL)
    else:
        response = await asyncio.to_thread(synthesizer.synthesize, QUESTION, SEVERAL)
    if isinstance(response, StreamingResponse):
        stream = response.response_gen
        return await asyncio.to_thread(lambda: "".join(stream))
    if isinstance(response, AsyncStreamingResponse):
        return "".join([piece async for piece in response.async_response_gen()])
    return str(response)


@pytest.mark.parametrize("awaited", [True, False], ids=["async", "sync"])
@pytest.mark.parametrize("streaming", [True, False], ids=["streaming", "whole"])
@pytest.mark.parametrize("mode", ["compact", "refine", "tree_summarize"])
async def test_every_call_of_a_synthesizer_is_cut(
    mode: str, streaming: bool, awaited: bool
) -> None:
    """Those that refine an answer, or sum up others, as well as the one that is shown."""
    with CountingServer([[*ANSWER, *REST]], delay=0.005) as server:
        llm = adaptive(server, FIRST_SENTENCE, inner={"context_window": 700, "max_tokens": 64})
        text = await synthesize(llm, mode, streaming=streaming, awaited=awaited)
        assert "".join(ANSWER) == text
        await asyncio.to_thread(server.wait)
        assert len(server.calls) > 1
        assert len(server.calls) == server.disconnected
