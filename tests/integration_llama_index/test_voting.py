"""A vote over an LLM behind a real server: its answer, its cost, and what it leaves behind."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest
from llama_index.core.base.llms.types import ChatMessage, ChatResponse
from llama_index.core.llms.llm import LLM
from llama_index.llms.openai_like import OpenAILike

from llama_index.llms.stopping import adaptive_llm, avote, vote
from stopping_core import AdaptiveStopping
from stopping_core.hybrids import BestOf, DecidedVote, Purse, Scorer
from stopping_core.policies import Threshold
from stopping_core.policies.baselines import VoteOfN
from stopping_core.signals import Sentences
from stopping_core.testing import words
from tests.hybrids import doubtful
from tests.hybrids.settled import settled
from tests.integration_llama_index.asking import scripted
from tests.support.sse_server import CountingServer, Script

ASKED = [ChatMessage(content="What is 2 + 2?")]
SAID = ["Well. The answer is 4.", "It is 5. Or so.", "The answer is 4.", "Yes. The answer is 4."]
FIRST = AdaptiveStopping(policy=Threshold(Sentences(), at_least=1))


def inner(server: CountingServer) -> OpenAILike:
    return scripted(server, temperature=0.8)


def ask(llm: LLM, rule: Any, asynchronous: bool, **changes: Any) -> ChatResponse:
    async def run() -> ChatResponse:
        made = await avote(llm, ASKED, rule, **changes)
        await settled()
        return made

    if asynchronous:
        return asyncio.run(run())
    threads = threading.active_count()
    made = vote(llm, ASKED, rule, **changes)
    assert threads >= threading.active_count()
    return made


@pytest.mark.parametrize("asynchronous", [False, True])
def test_the_answer_that_most_samples_give(asynchronous: bool) -> None:
    """One after the other, none too many; a plain LLM's text is left as it is."""
    with CountingServer([Script(words(text)) for text in SAID], delay=0) as server:
        made = ask(inner(server), DecidedVote(0.9, 5), asynchronous, at_once=1)
        assert 4 == len(server.calls)
    assert SAID[0] == made.message.content
    told = made.additional_kwargs["vote"]
    assert (["4", "it is 5", "4", "4"], True, 0) == (
        told["votes"],
        told["decided"],
        told["cancelled"],
    )


@pytest.mark.parametrize("asynchronous", [False, True])
def test_a_rule_may_end_samples_by_their_confidence(asynchronous: bool) -> None:
    """DeepConf hangs up on one that falls below the bar; a plain LLM has to be wrapped."""
    with CountingServer(doubtful.SAID, delay=0.002) as server:
        llm = scripted(
            server, temperature=0.8, additional_kwargs={"logprobs": True, "top_logprobs": 2}
        )
        with pytest.raises(ValueError, match="mode must be 'active' for DeepConf"):
            ask(llm, doubtful.RULE, asynchronous)
        wrapped = adaptive_llm(llm, doubtful.WHOLE)
        made = ask(wrapped, doubtful.RULE, asynchronous, at_once=1)
        assert 4 == len(server.calls)
        assert server.sent < 200
        assert [False, False, True, False] == [call.disconnected for call in server.calls]
    told = made.additional_kwargs["vote"]
    assert (["4", "5", "", "4"], "4") == (told["votes"], told["answer"])


@pytest.mark.parametrize("asynchronous", [False, True])
def test_samples_are_hung_up_on_when_it_is_decided(asynchronous: bool) -> None:
    """The third begins when the first has ended; when the second has, nobody waits for it."""
    said = words("The answer is 4.")
    scripts = [Script([*["Well, "] * count, *said]) for count in (150, 300)]
    scripts.append(Script(["so "] * 4000))  # both others have come when the first of them ends
    with CountingServer(scripts, delay=0.01) as server:
        made = ask(inner(server), DecidedVote(0.9, 16), asynchronous, at_once=2, ahead=1)
        server.wait()
        assert server.sent < 4000  # as many as the third would have had
        assert [False, False, True] == sorted(call.disconnected for call in server.calls)
        assert 0 == server.still_open()
    told = made.additional_kwargs["vote"]
    assert (2, 1) == (told["samples"], told["cancelled"])
    assert told["tokens"] > sum(len(script.tokens) for script in scripts[:2])


@pytest.mark.parametrize("asynchronous", [False, True])
def test_reasoning_in_tags_does_not_vote(asynchronous: bool) -> None:
    """Of a plain LLM as well, which leaves it in the text; where it never ends, nothing does."""
    thinks = ["<think>So 3.</think>The answer is 4.", "<think>Hm.</think>It is 4.", "<think>No. 5"]
    with CountingServer([Script(words(text)) for text in thinks], delay=0) as server:
        made = ask(inner(server), VoteOfN(3), asynchronous, at_once=1)
    told = made.additional_kwargs["vote"]
    assert (["4", "it is 4", ""], thinks[0]) == (told["votes"], made.message.content)


@pytest.mark.parametrize("asynchronous", [False, True])
def test_each_sample_is_stopped_as_well_within_one_budget(asynchronous: bool) -> None:
    """By the settings of an adaptive LLM; the purse ends the vote."""
    purse = Purse(tokens=12)
    with CountingServer([Script(words(SAID[0] + " And more." * 50))], delay=0.002) as server:
        llm = adaptive_llm(inner(server), FIRST)
        made = ask(llm, VoteOfN(16), asynchronous, at_once=1, purse=purse)
        server.wait()
        assert server.sent < 100
    assert "Well." == made.message.content
    told = made.additional_kwargs["vote"]
    assert not told["decided"]
    assert (told["samples"], True) == (purse.spent.requests, purse.empty)


def is_four(text: str) -> float:
    """A verifier."""
    return float("4" in text)


async def ais_four(text: str) -> float:
    await asyncio.sleep(0)
    return is_four(text)


@pytest.mark.parametrize("asynchronous", [False, True])
def test_the_best_of_some_samples(asynchronous: bool) -> None:
    """The shortest has the highest score."""
    asked: list[str] = []

    def scorer(text: str) -> float:
        asked.append(text)
        return 1 / len(text)

    with CountingServer([Script(words(text)) for text in SAID], delay=0) as server:
        made = ask(inner(server), BestOf(4), asynchronous, at_once=1, scorer=scorer)
        assert 4 == len(server.calls)
    assert (SAID[1], SAID) == (made.message.content, asked)
    told = made.additional_kwargs["vote"]
    assert ([1 / len(text) for text in SAID], 0) == (told["scores"], told["unscored"])


@pytest.mark.parametrize(
    ("asynchronous", "scorer"), [(False, is_four), (True, is_four), (True, ais_four)]
)
def test_none_is_drawn_when_one_is_good_enough(asynchronous: bool, scorer: Scorer) -> None:
    """The third says so."""
    scripts = [Script(words(text)) for text in ("It is 5.", "It is 6.", "It is 4.", "It is 4!")]
    with CountingServer(scripts, delay=0) as server:
        made = ask(inner(server), BestOf(16, enough=1.0), asynchronous, scorer=scorer)
        assert 3 == len(server.calls)
    assert "It is 4." == made.message.content
    told = made.additional_kwargs["vote"]
    assert ([0.0, 0.0, 1.0], True) == (told["scores"], told["decided"])


@pytest.mark.parametrize("asynchronous", [False, True])
def test_a_scorer_that_fails_loses_its_sample(asynchronous: bool) -> None:
    """And no other; its error is raised where none is left. A blank one is not scored."""
    asked: list[str] = []

    def scorer(text: str) -> float:
        asked.append(text)
        return {"It is 4.": 0.5}[text]

    scripts = [Script([" "]), *(Script(words(text)) for text in ("It is 5.", "It is 4."))]
    with CountingServer(scripts, delay=0) as server:
        made = ask(inner(server), BestOf(3), asynchronous, at_once=1, scorer=scorer)
        scripts[1:] = [Script(words("It is 4!"))]
        with pytest.raises(KeyError, match="It is 4!"):
            ask(inner(server), BestOf(3), asynchronous, at_once=1, scorer=scorer)
    assert ["It is 5.", "It is 4.", *["It is 4!"] * 3] == asked
    assert "It is 4." == made.message.content
    told = made.additional_kwargs["vote"]
    assert ([None, None, 0.5], 2) == (told["scores"], told["unscored"])


@pytest.mark.parametrize("asynchronous", [False, True])
def test_a_scorer_that_cannot_be_used_is_refused(asynchronous: bool) -> None:
    """Before anything is asked: none where the rule wants one, or one to await."""
    with CountingServer([Script(words(SAID[0]))], delay=0) as server:
        with pytest.raises(ValueError, match=r"scorer must be given for BestOf\("):
            ask(inner(server), BestOf(), asynchronous)
        with pytest.raises(TypeError, match="scorer must not be a coroutine function"):
            ask(inner(server), BestOf(), False, scorer=ais_four)
        assert not server.calls
