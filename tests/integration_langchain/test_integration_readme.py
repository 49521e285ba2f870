"""The README of the integration: its code runs, and what it says of chains is so."""

from __future__ import annotations

import asyncio
import re
import time
from pathlib import Path
from typing import Any

import pytest
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import Runnable

from langchain_stopping import AdaptiveChatModel, AdaptiveStopHandler
from tests.integration_langchain.setting import CUT, FIRST_SENTENCE, HEARD, PATIENT, TOKENS, openai
from tests.support.sse_server import CountingServer

README = (Path(__file__).parents[2] / "integrations/langchain/README.md").read_text("utf-8")
EXAMPLES = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
QUESTION = {"question": "Which city?"}
NAMES = ["wrapper", "callback", "middleware", "votes", "rounds", "trap", "solved"]


@pytest.mark.parametrize("code", EXAMPLES, ids=NAMES)
def test_an_example_runs(code: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As it stands, against a server in place of OpenAI's."""
    with CountingServer([TOKENS], delay=0.0) as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.base_url)
        monkeypatch.setenv("OPENAI_API_KEY", "none")
        exec(code, {})
        assert server.calls


def parser_chain(model: Runnable[Any, Any]) -> Runnable[Any, str]:
    return ChatPromptTemplate.from_template("{question}") | model | StrOutputParser()


def leave(chain: Runnable[Any, str]) -> float:
    """Break out of a chain at its first word; the seconds that the break took."""
    stream = chain.stream(QUESTION)
    for part in stream:
        if part:
            break
    began = time.monotonic()
    stream.close()  # type: ignore[attr-defined]  # declared as an iterator
    return time.monotonic() - began


def test_leaving_a_chain_does_not_stop_its_model() -> None:
    """LangChain reads the rest, and the break waits for it."""
    with CountingServer([TOKENS], delay=0.01) as server:
        assert leave(parser_chain(openai(server))) >= 0.01 * (len(TOKENS) - 10)
        assert [len(TOKENS), 0] == [server.sent, server.disconnected]


def test_leaving_costs_no_more_than_the_cut() -> None:
    """With the wrapper and with the callback the rest ends where the answer is done."""
    with CountingServer([PATIENT], delay=0.05) as server:
        wrapper = AdaptiveChatModel(inner=openai(server), stopping=FIRST_SENTENCE)
        leave(parser_chain(wrapper))
        handler = AdaptiveStopHandler(FIRST_SENTENCE)
        leave(parser_chain(openai(server)).with_config(callbacks=[handler]))
        assert max(server.sent_per_call) <= HEARD
        assert 2 == server.disconnected


def test_the_cut_inside_the_model_ends_the_chain() -> None:
    """Nobody has to break: the chain's stream ends at the cut."""
    with CountingServer([PATIENT], delay=0.05) as server:
        handler = AdaptiveStopHandler(FIRST_SENTENCE)
        chain = parser_chain(openai(server)).with_config(callbacks=[handler])
        assert CUT == "".join(chain.stream(QUESTION))
        assert server.sent <= HEARD


async def test_closing_an_async_chain_stops_the_model() -> None:
    """Without this package too."""
    with CountingServer([TOKENS], delay=0.05) as server:
        stream = parser_chain(openai(server)).astream(QUESTION)
        async for part in stream:
            if part:
                break
        await stream.aclose()  # type: ignore[attr-defined]  # declared as an iterator
        assert await asyncio.to_thread(lambda: server.sent) <= 4
        assert 1 == server.disconnected
