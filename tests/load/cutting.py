"""Three ways to cut a stream, each sync and async, and what a process holds on to afterwards."""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import psutil  # type: ignore[import-untyped]  # its stubs are a package of their own
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.language_models import BaseChatModel
from langchain_core.runnables import RunnableConfig
from langchain_openai import ChatOpenAI
from llama_index.core.base.llms.types import ChatMessage
from llama_index.llms.openai_like import OpenAILike
from pydantic import SecretStr

from langchain_stopping import AdaptiveChatModel, AdaptiveStopHandler
from llama_index.llms.stopping import adaptive_llm
from stopping_core import AdaptiveStopping, Boundary
from stopping_core.policies import Threshold
from stopping_core.signals import Sentences
from tests.support.sse_process import ServerProcess

QUESTION = "What is the capital?"
CUT = "Paris is the capital."
TEXT = CUT + " It is also" + " so" * 200
DECIDED = 5
"""Tokens until the first sentence is known to have ended."""

_STOPPING = AdaptiveStopping(
    policy=Threshold(Sentences(), at_least=1, at=Boundary.SENTENCE, reason="sentence"),
    backoff=(0.0, 0.0),
)
_PATIENT = 60.0  # seconds; a thousand connections are not made in the clients' usual five


class Cutting(NamedTuple):
    """Asks once and returns the text, in two ways; ``aclose`` closes the async client."""

    ask: Callable[[], str]
    aask: Callable[[], Awaitable[str]]
    aclose: Callable[[], Awaitable[None]]


def _openai(server: ServerProcess) -> ChatOpenAI:
    return ChatOpenAI(
        base_url=server.base_url,
        model=server.model,
        api_key=SecretStr("none"),
        max_retries=0,
        timeout=_PATIENT,
    )


def _langchain(model: BaseChatModel, inner: ChatOpenAI, *callbacks: BaseCallbackHandler) -> Cutting:
    config: RunnableConfig = {"callbacks": [*callbacks]}

    def ask() -> str:
        return "".join(str(chunk.content) for chunk in model.stream(QUESTION, config=config))

    async def aask() -> str:
        chunks = [str(chunk.content) async for chunk in model.astream(QUESTION, config=config)]
        return "".join(chunks)

    return Cutting(ask, aask, inner.root_async_client.close)


def wrapper(server: ServerProcess) -> Cutting:
    """LangChain's wrapped model."""
    inner = _openai(server)
    return _langchain(AdaptiveChatModel(inner=inner, stopping=_STOPPING), inner)


def handler(server: ServerProcess) -> Cutting:
    """LangChain's plain model under the callback."""
    inner = _openai(server)
    return _langchain(inner, inner, AdaptiveStopHandler(_STOPPING))


def llama_index(server: ServerProcess) -> Cutting:
    """LlamaIndex's wrapped LLM."""
    inner = OpenAILike(
        model=server.model,
        api_base=server.base_url,
        api_key="none",
        is_chat_model=True,
        max_retries=0,
        timeout=_PATIENT,
    )
    llm = adaptive_llm(inner, _STOPPING)
    messages = [ChatMessage(content=QUESTION)]

    def ask() -> str:
        return "".join(response.delta or "" for response in llm.stream_chat(messages))

    async def aask() -> str:
        return "".join([one.delta or "" async for one in await llm.astream_chat(messages)])

    async def aclose() -> None:
        await inner._get_aclient().close()

    return Cutting(ask, aask, aclose)


KINDS = (wrapper, handler, llama_index)


class Held(NamedTuple):
    """What this process holds: sockets to the server, threads, tasks of the running loop."""

    sockets: int
    threads: frozenset[threading.Thread]
    tasks: frozenset[asyncio.Task[Any]]


def held(server: ServerProcess) -> Held:
    """Look at this process now."""
    port = urlsplit(server.base_url).port
    sockets = [
        connection
        for connection in psutil.Process().net_connections("tcp")
        if connection.raddr and connection.raddr.port == port
    ]
    try:
        tasks = asyncio.all_tasks()
    except RuntimeError:  # no loop runs in a sync test
        tasks = set()
    return Held(len(sockets), frozenset(threading.enumerate()), frozenset(tasks))


def resident() -> int:
    """Memory of this process that is not paged out, bytes."""
    gc.collect()
    return int(psutil.Process().memory_info().rss)
