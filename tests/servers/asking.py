"""The ways to ask a real server through both frameworks; each tells the text and what was done."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, TypeAlias

from langchain_core.messages import AIMessage
from langchain_openai import ChatOpenAI
from llama_index.core.base.llms.types import ChatMessage
from llama_index.llms.openai_like import OpenAILike
from pydantic import SecretStr

from langchain_stopping import AdaptiveChatModel, AdaptiveStopHandler
from llama_index.llms.stopping import adaptive_llm
from stopping_core import AdaptiveStopping
from tests.servers.conftest import RealServer

Told: TypeAlias = tuple[str, dict[str, Any]]
Ask: TypeAlias = Callable[[RealServer, AdaptiveStopping, str], Told]


def chat_openai(server: RealServer, **settings: Any) -> ChatOpenAI:
    """LangChain's client, greedy.

    LangChain shares its connections between models, and so between event loops, where those of a
    loop that has ended are broken: each call gets its own here.
    """
    return ChatOpenAI(
        base_url=server.base_url,
        model=server.model,
        api_key=SecretStr("none"),
        temperature=0,
        max_retries=0,
        default_headers={"Connection": "close"},
        **settings,
    )


def openai_like(server: RealServer, **settings: Any) -> OpenAILike:
    """LlamaIndex's client, greedy."""
    return OpenAILike(
        api_base=server.base_url,
        model=server.model,
        api_key="none",
        is_chat_model=True,
        temperature=0.0,
        max_retries=0,
        **settings,
    )


def _wrapper(way: str) -> Ask:
    def ask(server: RealServer, stopping: AdaptiveStopping, question: str) -> Told:
        model = AdaptiveChatModel(
            inner=chat_openai(server), stopping=stopping, prefill=server.prefill
        )
        if way == "invoke":
            return _message(model.invoke(question))
        if way == "ainvoke":
            return _message(asyncio.run(model.ainvoke(question)))
        if way == "stream":
            chunks = list(model.stream(question))
        else:
            chunks = asyncio.run(_all(model.astream(question)))
        return _message(sum(chunks[1:], chunks[0]))

    return ask


def _handler(way: str) -> Ask:
    def ask(server: RealServer, stopping: AdaptiveStopping, question: str) -> Told:
        model = chat_openai(server, max_tokens=BUDGET)
        config: Any = {"callbacks": [AdaptiveStopHandler(stopping)]}
        if way == "invoke":
            return _message(model.invoke(question, config))
        return _message(asyncio.run(model.ainvoke(question, config)))

    return ask


def _llama_index(way: str) -> Ask:
    def ask(server: RealServer, stopping: AdaptiveStopping, question: str) -> Told:
        llm = adaptive_llm(openai_like(server), stopping, prefill=server.prefill)
        asked: Any = question if way.endswith("complete") else [ChatMessage(content=question)]
        answer = getattr(llm, way)(asked)
        if way.startswith("a"):
            response = asyncio.run(_last(answer))
        else:
            response = list(answer)[-1] if way.startswith("stream") else answer
        text = response.text if way.endswith("complete") else response.message.content
        return str(text), response.raw["stopping"]

    return ask


BUDGET = 64
"""Tokens that each call may take at first."""

WAYS: dict[str, Ask] = {
    **{f"wrapper {way}": _wrapper(way) for way in ("invoke", "stream", "ainvoke", "astream")},
    **{f"handler {way}": _handler(way) for way in ("invoke", "ainvoke")},
    **{f"LlamaIndex {way}": _llama_index(way) for way in ("complete", "chat", "astream_chat")},
}


def _message(message: AIMessage) -> Told:
    return str(message.content), message.response_metadata["stopping"]


async def _all(stream: Any) -> list[Any]:
    return [chunk async for chunk in stream]


async def _last(answer: Any) -> Any:
    answer = await answer
    return (await _all(answer))[-1] if hasattr(answer, "__aiter__") else answer
