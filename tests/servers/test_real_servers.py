"""Both frameworks on two real servers: the cut, the budget, the continuation."""

from __future__ import annotations

import pytest

from stopping_core import AdaptiveStopping, Boundary
from stopping_core.budgets import GeometricBudget
from stopping_core.policies import Never, Threshold
from stopping_core.signals import Sentences
from tests.servers.asking import BUDGET, WAYS, chat_openai
from tests.servers.conftest import RealServer
from tests.support.sse_server import CountingServer

STORY = "Tell me a short story about a river."
CAPITAL = "What is the capital of France? Answer in one or two sentences."

SENTENCE = AdaptiveStopping(
    policy=Threshold(Sentences(), at_least=1, at=Boundary.SENTENCE, reason="sentence"),
    budget=GeometricBudget(first=BUDGET),
)
SMALL = AdaptiveStopping(
    policy=Never(), budget=GeometricBudget(first=6, growth=4.0), attempts=4, backoff=(0.0, 0.0)
)
FEW = {"wrapper stream", "handler ainvoke", "LlamaIndex complete"}
"""Ways that are tried on the slower server as well, unless the slow tests are asked for."""

NOT_SENT = {"logprobs", "top_logprobs", "n", "response_format"}


@pytest.fixture(scope="module")
def whole_story(transformers_server: RealServer) -> float:
    """Seconds of CPU time that a story takes which nobody cuts."""
    model = chat_openai(transformers_server, max_tokens=BUDGET)
    before = transformers_server.settled()
    message = model.invoke(STORY)
    assert "length" == message.response_metadata["finish_reason"]
    return transformers_server.settled() - before


@pytest.mark.parametrize(
    ("real_server", "way"),
    [
        pytest.param(server, way, marks=[pytest.mark.slow] if slow else [])
        for server, fast in (("llama_server", set(WAYS)), ("transformers_server", FEW))
        for way in WAYS
        for slow in [way not in fast]
    ],
    indirect=["real_server"],
)
def test_cut_at_the_end_of_a_sentence(
    real_server: RealServer, way: str, request: pytest.FixtureRequest
) -> None:
    """The text ends there, and so does the server's work.

    By llama.cpp's own counter at most two tokens later, five where the callback has to search for
    the stream. ``transformers serve`` counts nothing: its CPU time is far from that of the whole
    story, of which the sentence is a third.
    """
    if real_server.embedded is None:
        whole = request.getfixturevalue("whole_story")
    before = real_server.settled()
    text, done = WAYS[way](real_server, SENTENCE, STORY)
    worked = real_server.settled() - before
    assert [True, "cut", "sentence"] == [done["complete"], done["finish_reason"], done["reason"]]
    assert [".", 1] == [text[-1], len(text.split(". "))]
    if real_server.embedded is None:
        assert worked < 0.6 * whole
    else:
        spare = 5 if way.startswith("handler") else 2
        assert worked <= done["tokens"]["generated"] + spare


@pytest.mark.parametrize("way", ["wrapper invoke", "wrapper astream", "LlamaIndex chat"])
def test_the_budget_is_obeyed(real_server: RealServer, way: str) -> None:
    """Six tokens and no more; the server says that it cut the answer short."""
    text, done = WAYS[way](real_server, SMALL.replace(attempts=1), STORY)
    assert [6, "length"] == [done["tokens"]["generated"], done["finish_reason"]]
    assert [6, "length", 1] == [
        done["attempts"][0]["budget"],
        done["attempts"][0]["finish_reason"],
        len(done["attempts"]),
    ]
    assert text
    assert not done["complete"]


@pytest.mark.parametrize("way", ["wrapper invoke", "wrapper astream", "LlamaIndex chat"])
def test_an_answer_cut_short_is_continued(real_server: RealServer, way: str) -> None:
    """With a prefill it is that of one call. Else the model is asked to go on, and is not repeated.

    How well it goes on then is the model's affair: this one is too small to say the rest alone.
    """
    head = str(chat_openai(real_server, max_tokens=6).invoke(CAPITAL).content)
    text, done = WAYS[way](real_server, SMALL, CAPITAL)
    assert ["first", "continue"] == [attempt["kind"] for attempt in done["attempts"]][:2]
    assert [True, "stop"] == [done["complete"], done["finish_reason"]]
    assert [True, 1] == [text.startswith(head), text.count(head)]
    assert len(text) > len(head)
    if real_server.prefill:
        assert chat_openai(real_server).invoke(CAPITAL).content == text


@pytest.mark.parametrize("way", ["wrapper invoke", "LlamaIndex chat"])
def test_nothing_is_asked_that_some_servers_refuse(way: str) -> None:
    """No log-probabilities, no second answer, no format, unless the user asks for them."""
    with CountingServer([["Paris", " is", " the"]], delay=0) as server:
        scripted = RealServer("scripted", server.base_url, prefill=False)
        WAYS[way](scripted, AdaptiveStopping(), CAPITAL)
        assert set() == NOT_SENT & set(server.requests[0])
