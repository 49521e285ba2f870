"""A vote over a model behind a real server: its answer, its cost, and what it leaves behind."""

from __future__ import annotations

import asyncio
import itertools
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.messages import AIMessage
from langchain_core.prompts import ChatPromptTemplate
from langchain_openai import ChatOpenAI

from langchain_stopping import AdaptiveChatModel, AdaptiveVote
from stopping_core import AdaptiveStopping, TransportFailed
from stopping_core.hybrids import BestOf, DecidedVote, Purse, Scorer
from stopping_core.policies import Threshold
from stopping_core.policies.baselines import VoteOfN
from stopping_core.signals import Sentences
from stopping_core.testing import words
from tests.hybrids import doubtful
from tests.hybrids.settled import settled
from tests.integration_langchain.setting import openai
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
    return openai(server, temperature=0.8, stream_usage=True)


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
        made = ask(vote, asynchronous, config={"callbacks": [InOrder(server)]})
        server.wait()
        assert server.sent < 4000  # as many as the third would have had
        assert [False, False, True] == sorted(call.disconnected for call in server.calls)
        assert 0 == server.still_open()
    told = made.response_metadata["vote"]
    assert (2, 1, True) == (told["samples"], told["cancelled"], told["cancelled_chunks"] > 0)
    whole = sum(len(script.tokens) for script in scripts[:2])
    on_its_way = told["tokens"] - whole - told["cancelled_chunks"]  # booked, and not yet handed on
    assert 0 <= on_its_way <= 1


@pytest.mark.parametrize("asynchronous", [False, True])
def test_reasoning_in_tags_does_not_vote(asynchronous: bool) -> None:
    """Of a plain model as well, which leaves it in the text; where it never ends, nothing does."""
    thinks = ["<think>So 3.</think>The answer is 4.", "<think>Hm.</think>It is 4.", "<think>No. 5"]
    with CountingServer(serves(*thinks), delay=0) as server:
        made = ask(AdaptiveVote(inner(server), VoteOfN(3), at_once=1), asynchronous)
    told = made.response_metadata["vote"]
    assert (["4", "it is 4", ""], thinks[0]) == (told["votes"], made.content)


@pytest.mark.parametrize("asynchronous", [False, True])
def test_a_plain_model_books_what_it_takes(asynchronous: bool) -> None:
    """Also of samples that break off, without which a budget would never end."""
    purses: list[Purse] = []

    def purse() -> Purse:
        purses.append(Purse(tokens=70))
        return purses[-1]

    script = Script(["so "] * 30, drop_after=20)
    with CountingServer([script], delay=0) as server:
        vote = AdaptiveVote(inner(server), VoteOfN(16), at_once=1, purse=purse)
        with pytest.raises(TransportFailed):
            ask(vote, asynchronous)
        assert 4 == len(server.calls)
    (used,) = purses
    assert 80 == used.spent.tokens


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


def is_four(text: str) -> float:
    """A verifier."""
    return float("4" in text)


async def ais_four(text: str) -> float:
    await asyncio.sleep(0)
    return is_four(text)


@pytest.mark.parametrize("asynchronous", [False, True])
def test_the_best_of_some_samples(asynchronous: bool) -> None:
    """Its message, with what all of them took; the shortest has the highest score."""
    asked: list[str] = []

    def scorer(text: str) -> float:
        asked.append(text)
        return 1 / len(text)

    with CountingServer(serves(*SAID), delay=0) as server:
        vote = AdaptiveVote(inner(server), BestOf(4), at_once=1, scorer=scorer)
        made = ask(vote, asynchronous)
        assert 4 == len(server.calls)
    assert (SAID[1], SAID) == (made.content, asked)
    told = made.response_metadata["vote"]
    assert ([1 / len(text) for text in SAID], 0) == (told["scores"], told["unscored"])
    assert made.usage_metadata is not None
    assert sum(TOKENS) == made.usage_metadata["output_tokens"]


@pytest.mark.parametrize("asynchronous", [False, True])
def test_a_rule_may_end_samples_by_their_confidence(asynchronous: bool) -> None:
    """DeepConf hangs up on one that falls below the bar; a plain model has to be wrapped."""
    with CountingServer(doubtful.SAID, delay=0.002) as server:
        model = openai(server, temperature=0.8, logprobs=True, top_logprobs=2)
        with pytest.raises(ValueError, match="mode must be 'active' for DeepConf"):
            ask(AdaptiveVote(model, doubtful.RULE), asynchronous)
        wrapped = AdaptiveChatModel(inner=model, stopping=doubtful.WHOLE)
        vote = AdaptiveVote(wrapped, doubtful.RULE, at_once=1)
        made = ask(vote, asynchronous)
        assert 4 == len(server.calls)
        assert server.sent < 200
        assert [False, False, True, False] == [call.disconnected for call in server.calls]
    told = made.response_metadata["vote"]
    assert (["4", "5", "", "4"], "4") == (told["votes"], told["answer"])


class InOrder(BaseCallbackHandler):
    """Holds a sample back until those before it have come to the server."""

    def __init__(self, server: CountingServer) -> None:
        self.server = server

    def on_chat_model_start(self, serialized: Any, messages: Any, **kwargs: Any) -> None:
        (number,) = (int(tag.removeprefix("sample:")) for tag in kwargs["tags"])
        while len(self.server.calls) < number:
            time.sleep(0.005)


@pytest.mark.parametrize(
    ("asynchronous", "scorer"), [(False, is_four), (True, is_four), (True, ais_four)]
)
def test_samples_are_hung_up_on_when_one_is_good_enough(asynchronous: bool, scorer: Scorer) -> None:
    """The third begins when the first has ended; when the second has, nobody waits for it."""
    scripts = [
        Script([*["Well, "] * count, *words(f"The answer is {said}.")])
        for count, said in ((10, 5), (200, 4))
    ]
    scripts.append(Script(["so "] * 4000))
    with CountingServer(scripts, delay=0.01) as server:
        rule = BestOf(16, enough=1.0)
        vote = AdaptiveVote(inner(server), rule, at_once=2, ahead=1, scorer=scorer)
        made = ask(vote, asynchronous, config={"callbacks": [InOrder(server)]})
        server.wait()
        assert server.sent < 4000  # as many as the third would have had
        assert [False, False, True] == [call.disconnected for call in server.calls]
        assert 0 == server.still_open()
    told = made.response_metadata["vote"]
    assert (["5", "4"], [0.0, 1.0], "4") == (told["votes"], told["scores"], told["answer"])
    assert (2, 1, True) == (told["samples"], told["cancelled"], told["cancelled_chunks"] > 0)


@pytest.mark.parametrize("asynchronous", [False, True])
def test_only_whole_samples_are_scored(asynchronous: bool) -> None:
    """Neither one that ran into its limit nor a blank one; a scorer that fails loses its sample."""
    asked: list[str] = []

    def scorer(text: str) -> float:
        asked.append(text)
        return {"It is 4.": 0.5}[text]

    scripts = [Script(words("It is 9. Or"), finish_reason="length"), Script([" "])]
    scripts += [Script(words(text)) for text in ("It is 5.", "It is 4.")]
    with CountingServer(scripts, delay=0) as server:
        vote = AdaptiveVote(inner(server), BestOf(4), at_once=1, scorer=scorer)
        made = ask(vote, asynchronous)
        scripts[2:] = [Script(words("It is 4!"))]
        with pytest.raises(KeyError, match="It is 4!"):
            ask(vote, asynchronous)
    assert ["It is 5.", "It is 4.", *["It is 4!"] * 4] == asked
    assert "It is 4." == made.content
    told = made.response_metadata["vote"]
    assert ([None, None, None, 0.5], 3) == (told["scores"], told["unscored"])


def test_a_purse_is_made_for_each_question() -> None:
    """One object would be empty after the first."""
    with (
        CountingServer(serves(*SAID), delay=0) as server,
        pytest.raises(TypeError, match="purse must be a function that makes the Purse"),
    ):
        AdaptiveVote(inner(server), VoteOfN(2), purse=Purse())  # type: ignore[arg-type]  # mistake


def test_a_scorer_that_cannot_be_used_is_refused() -> None:
    """None where the rule wants one, when it is made; one to await, before anything is asked."""
    with CountingServer(serves(*SAID), delay=0) as server:
        with pytest.raises(ValueError, match=r"scorer must be given for BestOf\("):
            AdaptiveVote(inner(server), BestOf())
        vote = AdaptiveVote(inner(server), BestOf(), scorer=ais_four)
        with pytest.raises(TypeError, match="scorer must not be a coroutine function"):
            vote.invoke("What?")
        assert not server.calls


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
