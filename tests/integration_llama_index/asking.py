"""The eight ways to ask a LlamaIndex LLM, under one call."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable
from typing import Any, TypeAlias

from llama_index.core.base.llms.types import ChatMessage, ChatResponse, CompletionResponse
from llama_index.core.llms.llm import LLM
from llama_index.llms.openai_like import OpenAILike

from llama_index.llms.stopping import AdaptiveLLM, adaptive_llm
from stopping_core import AdaptiveStopping
from tests.support.sse_server import CountingServer

Response: TypeAlias = ChatResponse | CompletionResponse

METHODS = (
    "complete",
    "chat",
    "stream_complete",
    "stream_chat",
    "acomplete",
    "achat",
    "astream_complete",
    "astream_chat",
)
QUESTION = "What is the capital of France?"


def scripted(server: CountingServer, **fields: Any) -> OpenAILike:
    """An LLM that asks the scripted server, and asks once."""
    settings: dict[str, Any] = {"is_chat_model": True, "max_retries": 0, **fields}
    return OpenAILike(
        model=server.model, api_base=server.base_url, api_key="secret-key", **settings
    )


def adaptive(
    server: CountingServer,
    stopping: AdaptiveStopping | None = None,
    *,
    inner: dict[str, Any] | None = None,
    **fields: Any,
) -> AdaptiveLLM:
    """The scripted LLM, wrapped."""
    return adaptive_llm(
        scripted(server, **(inner or {})),
        stopping or AdaptiveStopping(backoff=(0.0, 0.0)),
        **fields,
    )


def ask(llm: LLM, method: str, question: str = QUESTION, **kwargs: Any) -> list[Response]:
    """Ask by one of the eight methods; return all responses, one where it does not stream."""
    asked = question if method.endswith("complete") else [ChatMessage(content=question)]
    answer = getattr(llm, method)(asked, **kwargs)
    if method.startswith("a"):
        return asyncio.run(_collect(llm, answer))
    return list(answer) if method.startswith("stream") else [answer]


def text_of(response: Response) -> str:
    """The text so far."""
    return str(response.message.content if isinstance(response, ChatResponse) else response.text)


def told(responses: list[Response]) -> dict[str, Any]:
    """What the last response tells of the stopping."""
    raw = responses[-1].raw
    assert isinstance(raw, dict)
    assert raw["stopping"] == responses[-1].additional_kwargs["stopping"]
    found: dict[str, Any] = raw["stopping"]
    return found


async def _collect(llm: LLM, answer: Awaitable[Any]) -> list[Response]:
    """Collect the responses, and close the client, which does not outlive its event loop."""
    try:
        result = await answer
        return [one async for one in result] if isinstance(result, AsyncIterator) else [result]
    finally:
        inner = llm.llm if isinstance(llm, AdaptiveLLM) else llm
        if isinstance(inner, OpenAILike) and inner._aclient is not None:
            await inner._aclient.close()
            inner._aclient = None
