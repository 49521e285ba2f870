"""A vote over a model behind a real server: its answer, its cost, and what it leaves behind."""

from __future__ import annotations

import asyncio
import itertools
import threading
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.messages import AIMessage
from langchain_core.prompts import ChatPromptTemplate
from langchain_openai import ChatOpenAI
from pydantic import SecretStr

from langchain_stopping import AdaptiveChatModel, AdaptiveVote
from stopping_core import AdaptiveStopping
from stopping_core.hybrids import DecidedVote, Purse
from stopping_core.policies import Threshold
from stopping_core.policies.baselines import VoteOfN
from stopping_core.signals import Sentences
from stopping_core.testing import words
from tests.hybrids.settled import settled
from tests.support.sse_server import CountingServer, Script

SAID = [
    "I am sure. The answer is 4.",
    "It is 5. Or so.",
    "Well. The answer is 4.",
    "Yes. The answer is 4.",
]
TOKENS = [len(words(text)) for text in SAID]
FIRST = AdaptiveStopping(policy=Threshold(Sentences(), at_least=1))


def serves(*texts: str) -> Callable[[Mapping[str, Any]], Script]:
    """Each call the next text, from the first again."""
    turns, lock = itertools.cycle(texts), threading.Lock()

    def said(body: Mapping[str, Any]) -> Script:
        with lock:
            return Script(words(next(turns)))

    return said


def inner(server: CountingServer) -> ChatOpenAI:
    return ChatOpenAI(
        base_url=server.base_url,
        model=server.model,
        api_key=SecretStr("none"),
        max_retries=0,
        temperature=0.8,
        stream_usage=True,
    )


def ask(vote: AdaptiveVote, asynchronous: bool, **kwargs: Any) -> AIMessage:
    threads = threading.active_count()

    async def run() -> AIMessage:
        made = await vote.ainvoke("What is 2 + 2?", **kwargs)
        await settled()
        return made

    if asynchronous:
        return asyncio.run(run())
    made = vote.invoke("What is 2 + 2?", **kwargs)
    assert threads >= threading.active_count()
    return made


@pytest.mark.parametrize("asynchronous", [False, True])
def test_the_answer_that_most_samples_give(asynchronous: bool) -> None:
    """One after the other, none too many; usage is the sum."""
    with CountingServer(serves(*SAID), delay=0) as server:
        made = ask(AdaptiveVote(inner(server), DecidedVote(0.9, 5), at_once=1), asynchronous)
        assert 4 == len(server.calls)
    assert SAID[0] == made.content
    vote = made.response_metadata["vote"]
    assert (["4", "it is 5", "4", "4"], True, 0) == (
        vote["votes"],
        vote["decided"],
        vote["cancelled"],
    )
    assert made.usage_metadata is not None
    assert sum(TOKENS) == made.usage_metadata["output_tokens"]


@pytest.mark.parametrize("asynchronous", [False, True])
def test_samples_are_hung_up_on_when_it_is_decided(asynchronous: bool) -> None:
    """The third begins when the first has ended; when the second has, nobody waits for it."""
    said = words("The answer is 4.")
    scripts = [Script([*["Well, "] * count, *said]) for count in (80, 140)]
    scripts.append(Script(["so "] * 4000))  # both others have come when the first of them ends
    with CountingServer(scripts, delay=0.01) as server:
        vote = AdaptiveVote(inner(server), DecidedVote(0.9, 16), at_once=2, ahead=1)
        made = ask(vote, asynchronous)
        server.wait()
        assert server.sent < 4000  # as many as the third would have had
        assert [False, False, True] == sorted(call.disconnected for call in server.calls)
        assert 0 == server.still_open()
    told = made.response_metadata["vote"]
    assert (2, 1, True) == (told["samples"], told["cancelled"], told["cancelled_chunks"] > 0)


@pytest.mark.parametrize("asynchronous", [False, True])
def test_each_sample_is_stopped_as_well(asynchronous: bool) -> None:
    """By the settings of an adaptive model; one budget holds for all of them."""
    purses: list[Purse] = []

    def purse() -> Purse:
        purses.append(Purse(tokens=1000))
        return purses[-1]

    with CountingServer(serves(*SAID), delay=0.002) as server:
        model = AdaptiveChatModel(inner=inner(server), stopping=FIRST)
        vote = AdaptiveVote(model, VoteOfN(4), at_once=1, purse=purse)
        made = ask(vote, asynchronous)
        server.wait()
        assert server.sent < sum(TOKENS)
    assert "I am sure." == made.content
    assert made.usage_metadata is not None
    (used,) = purses
    assert (4, made.usage_metadata["output_tokens"]) == (used.spent.requests, used.spent.tokens)


@pytest.mark.parametrize("asynchronous", [False, True])
def test_a_small_budget_ends_the_vote(asynchronous: bool) -> None:
    """A plain model's samples are booked when they end."""
    with CountingServer(serves(*SAID), delay=0) as server:
        vote = AdaptiveVote(
            inner(server), VoteOfN(16), at_once=1, purse=lambda: Purse(tokens=TOKENS[0] + 1)
        )
        made = ask(vote, asynchronous)
        assert 2 == len(server.calls)
    assert not made.response_metadata["vote"]["decided"]


def test_it_stands_in_a_chain_and_in_traces() -> None:
    """Each sample is a child of its run."""

    class Seen(BaseCallbackHandler):
        def __init__(self) -> None:
            self.chains: list[Any] = []
            self.models: list[Any] = []

        def on_chain_start(self, serialized: Any, inputs: Any, **kwargs: Any) -> None:
            self.chains.append(kwargs["run_id"])

        def on_chat_model_start(self, serialized: Any, messages: Any, **kwargs: Any) -> None:
            self.models.append(kwargs["parent_run_id"])

    seen = Seen()
    with CountingServer(serves(*SAID), delay=0) as server:
        chain = ChatPromptTemplate.from_template("What is {sum}?") | AdaptiveVote(
            inner(server), DecidedVote(0.9, 5), at_once=1
        )
        made = chain.invoke({"sum": "2 + 2"}, config={"callbacks": [seen]})
    assert SAID[0] == made.content
    assert 4 == len(seen.models)
    assert {seen.chains[-1]} == set(seen.models)


def test_where_no_sample_comes_its_error_is_raised() -> None:
    """The provider's own."""
    with CountingServer([Script(status=500)]) as server, pytest.raises(Exception, match="500"):
        AdaptiveVote(inner(server), VoteOfN(2)).invoke("What?")
