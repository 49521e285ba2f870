"""The eight ways to ask a LlamaIndex LLM, under one call, and a server whose answer breaks off."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Mapping
from typing import Any, TypeAlias

from llama_index.core.base.llms.types import ChatMessage, ChatResponse, CompletionResponse
from llama_index.core.llms.llm import LLM
from llama_index.llms.openai_like import OpenAILike

from llama_index.llms.stopping import AdaptiveLLM, adaptive_llm
from stopping_core import AdaptiveStopping
from stopping_core.budgets import GeometricBudget
from tests.support.sse_server import CountingServer, Script

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
HEAD = ["Paris", " is", " the", " capital"]
TAIL = [" of", " France", "."]
SHORT = AdaptiveStopping(budget=GeometricBudget(first=4), backoff=(0.0, 0.0))


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


def goes_on(body: Mapping[str, Any]) -> Script:
    """Serve the rest to a call that holds the beginning, everything to any other."""
    said = body["prompt"] if "prompt" in body else body["messages"][-1]["content"]
    return Script(TAIL if said.endswith("capital") else [*HEAD, *TAIL])
