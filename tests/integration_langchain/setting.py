"""What the tests share: a policy with a known cut, models on a server, six ways to call them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk
from langchain_core.outputs import ChatResult
from langchain_core.runnables import Runnable
from langchain_openai import ChatOpenAI
from pydantic import SecretStr

from langchain_stopping import AdaptiveChatModel
from stopping_core import AdaptiveStopping, Boundary
from stopping_core.budgets import GeometricBudget
from stopping_core.policies import Never, Threshold
from stopping_core.signals import Sentences
from tests.support.sse_server import CountingServer, patient

TOKENS = ["Paris", " is", " the", " capital", ".", " It", *(f" is{n}" for n in range(54))]
CUT = "Paris is the capital."
DECIDED = 6
"""Tokens until the first sentence is known to have ended."""

HEARD = DECIDED + 2
"""Tokens until the server has heard of a cut behind them."""

PATIENT = patient(TOKENS, HEARD)

FIRST_SENTENCE = AdaptiveStopping(
    policy=Threshold(Sentences(), at_least=1, at=Boundary.SENTENCE, reason="sentence"),
    backoff=(0.0, 0.0),
)


class StreamsOnly(BaseChatModel):
    """A fake to derive from: it has no answer that is not a stream, and should never be asked."""

    def _generate(self, *args: Any, **kwargs: Any) -> ChatResult:
        raise NotImplementedError("only streams are read from this fake")

    @property
    def _llm_type(self) -> str:
        return "streams-only"


def openai(server: CountingServer, **settings: Any) -> ChatOpenAI:
    """A ChatOpenAI on the server, without retries of its own.

    LangChain keeps connections by address, and so beyond the event loop that they belong to; a
    later server may have the same port.
    """
    return ChatOpenAI(
        base_url=server.base_url,
        model=server.model,
        api_key=SecretStr("none"),
        max_retries=0,
        **{"default_headers": {"Connection": "close"}, **settings},
    )


async def _astream(chain: Runnable[Any, Any], question: Any) -> list[Any]:
    return [chunk async for chunk in chain.astream(question)]


Ask = Callable[[Runnable[Any, Any], Any], list[Any]]

WAYS: dict[str, Ask] = {
    "invoke": lambda chain, question: [chain.invoke(question)],
    "stream": lambda chain, question: ["".join(chain.stream(question))],
    "batch": lambda chain, question: chain.batch([question] * 3),
    "ainvoke": lambda chain, question: [asyncio.run(chain.ainvoke(question))],
    "astream": lambda chain, question: ["".join(asyncio.run(_astream(chain, question)))],
    "abatch": lambda chain, question: asyncio.run(chain.abatch([question] * 3)),
}
"""Ways to call a chain that ends in text; each returns the texts."""

SMALL = FIRST_SENTENCE.replace(policy=Never(), budget=GeometricBudget(first=4))

TEXT = ["One", " two", " three", " four", " five", " six", " seven", "."]


def wrapped(server: CountingServer, stopping: AdaptiveStopping, **settings: Any) -> Any:
    """The wrapper around a ChatOpenAI on the server."""
    return AdaptiveChatModel(inner=openai(server), stopping=stopping, **settings)


def ask(model: BaseChatModel, way: str, **settings: Any) -> AIMessage:
    """Ask a model to count, one of four ways; the answer as one message."""

    async def gather() -> AIMessageChunk:
        chunks = [chunk async for chunk in model.astream("Count.", **settings)]
        return sum(chunks[1:], chunks[0])

    if way == "stream":
        chunks = list(model.stream("Count.", **settings))
        return sum(chunks[1:], chunks[0])
    if way == "astream":
        return asyncio.run(gather())
    if way == "ainvoke":
        return asyncio.run(model.ainvoke("Count.", **settings))
    return model.invoke("Count.", **settings)
