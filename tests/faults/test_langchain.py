"""Every fault of a server, through LangChain: the answer is mended, or the error carries it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from contextlib import suppress

import httpx
import pytest
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk
from openai import APIError, RateLimitError

from langchain_stopping import AdaptiveChatModel, AdaptiveStopHandler
from stopping_core import AdaptiveStopping, TransportFailed
from tests.faults.cases import (
    ASKED_TO_GO_ON,
    BROKEN_OFF,
    EMPTY,
    FATAL,
    HARMLESS,
    PARTIAL,
    PATIENT,
    QUESTION,
    STOPPING,
    TEXT,
    UNFINISHED,
    in_seconds,
    misbehaving,
    until_a_date,
)
from tests.integration_langchain.setting import openai
from tests.support.sse_server import CountingServer, Drop, Script, Stall

pytestmark = pytest.mark.timeout(30)


def wrapped(
    server: CountingServer, stopping: AdaptiveStopping = STOPPING, *, prefill: bool = True
) -> AdaptiveChatModel:
    return AdaptiveChatModel(inner=openai(server), stopping=stopping, prefill=prefill)


def invoke(model: BaseChatModel, shown: list[str], *callbacks: BaseCallbackHandler) -> AIMessage:
    answer = model.invoke(QUESTION, config={"callbacks": [*callbacks]})
    shown.append(str(answer.content))
    return answer


def stream(model: BaseChatModel, shown: list[str], *callbacks: BaseCallbackHandler) -> AIMessage:
    whole = AIMessageChunk(content="")
    for chunk in model.stream(QUESTION, config={"callbacks": [*callbacks]}):
        shown.append(str(chunk.content))
        whole += chunk
    return whole


def ainvoke(model: BaseChatModel, shown: list[str], *callbacks: BaseCallbackHandler) -> AIMessage:
    answer = asyncio.run(model.ainvoke(QUESTION, config={"callbacks": [*callbacks]}))
    shown.append(str(answer.content))
    return answer


def astream(model: BaseChatModel, shown: list[str], *callbacks: BaseCallbackHandler) -> AIMessage:
    async def gather() -> AIMessage:
        whole = AIMessageChunk(content="")
        async for chunk in model.astream(QUESTION, config={"callbacks": [*callbacks]}):
            shown.append(str(chunk.content))
            whole += chunk
        return whole

    return asyncio.run(gather())


Ask = Callable[..., AIMessage]
WAYS: tuple[Ask, ...] = (invoke, stream, ainvoke, astream)
"""Ways to ask; each notes the text that is shown as it comes, also where an error follows."""
STREAMS = (stream, astream)

CLIENTS_OWN = (APIError, json.JSONDecodeError, httpx.TransportError)


def check_mended(ask: Ask, script: Script, *, prefill: bool) -> None:
    shown: list[str] = []
    with misbehaving(script) as server:
        answer = ask(wrapped(server, prefill=prefill), shown)
        assert [TEXT, TEXT] == [answer.content, "".join(shown)]
        assert answer.response_metadata["stopping"]["complete"]


@pytest.mark.parametrize("ask", WAYS)
@pytest.mark.parametrize("fault", HARMLESS)
def test_a_harmless_fault_needs_no_second_call(fault: str, ask: Ask) -> None:
    """The answer is whole after the first call."""
    with misbehaving(HARMLESS[fault]) as server:
        assert TEXT == ask(wrapped(server, PATIENT), []).content
        assert 1 == len(server.calls)


@pytest.mark.parametrize("ask", WAYS)
@pytest.mark.parametrize("fault", BROKEN_OFF | UNFINISHED)
def test_an_answer_that_broke_off_is_continued(fault: str, ask: Ask) -> None:
    """What came is kept, the rest is asked for, and each character stands there once."""
    check_mended(ask, (BROKEN_OFF | UNFINISHED)[fault], prefill=True)


@pytest.mark.parametrize("ask", WAYS)
@pytest.mark.parametrize("fault", ASKED_TO_GO_ON)
def test_a_model_without_prefill_is_asked_to_go_on(fault: str, ask: Ask) -> None:
    """So it is where the server does not continue an assistant message."""
    check_mended(ask, (BROKEN_OFF | UNFINISHED)[fault], prefill=False)


@pytest.mark.parametrize("ask", WAYS)
@pytest.mark.parametrize("fault", EMPTY)
def test_a_call_that_gave_nothing_is_made_again(fault: str, ask: Ask) -> None:
    """The next call gives the whole answer."""
    check_mended(ask, EMPTY[fault], prefill=True)


@pytest.mark.parametrize("ask", WAYS)
@pytest.mark.parametrize("fault", FATAL)
def test_a_fatal_fault_carries_the_text(fault: str, ask: Ask) -> None:
    """There is no second call, and the error holds what was shown."""
    shown: list[str] = []
    with misbehaving(FATAL[fault]) as server:
        with pytest.raises(TransportFailed) as caught:
            ask(wrapped(server), shown)
        assert 1 == len(server.calls)
        assert PARTIAL == caught.value.completion.text
        assert (PARTIAL if ask in STREAMS else "") == "".join(shown)


@pytest.mark.parametrize("ask", [stream, ainvoke])
@pytest.mark.parametrize("fault", [Stall(), Drop(), Drop(reset=True)], ids=repr)
def test_a_server_that_always_fails_is_given_up(fault: Stall | Drop, ask: Ask) -> None:
    """Each call adds what it brings; after the last one the error carries all of it."""
    shown: list[str] = []
    script = Script(["Zürich", " liegt"], faults={1: fault})
    again = Script([" liegt", " am"], faults={1: fault})
    with misbehaving(script, again, Script([" am"], faults={1: fault})) as server:
        with pytest.raises(TransportFailed) as caught:
            ask(wrapped(server), shown)
        assert STOPPING.attempts == len(server.calls)
        assert PARTIAL == caught.value.completion.text
        assert (PARTIAL if ask in STREAMS else "") == "".join(shown)


@pytest.mark.parametrize(("ask", "wait"), [(invoke, in_seconds), (astream, until_a_date)])
def test_the_server_says_how_long_to_wait(ask: Ask, wait: Callable[[], str]) -> None:
    """Retry-After is obeyed, in seconds and as a date; a wait that is too long is not begun."""
    with misbehaving(Script(status=503, headers={"Retry-After": wait()})) as server:
        assert TEXT == ask(wrapped(server), []).content
        assert server.calls[1].at - server.calls[0].at >= 0.5
    with misbehaving(Script(status=429, headers={"Retry-After": "3600"})) as server:
        with pytest.raises(RateLimitError):
            ask(wrapped(server), [])
        assert 1 == len(server.calls)


@pytest.mark.parametrize("ask", WAYS)
@pytest.mark.parametrize("fault", HARMLESS)
def test_the_handler_does_not_mind_a_harmless_fault(fault: str, ask: Ask) -> None:
    """The answer is whole, and counts as complete."""
    with misbehaving(HARMLESS[fault]) as server:
        handler = AdaptiveStopHandler(PATIENT)
        assert TEXT == ask(openai(server), [], handler).content
    (completion,) = handler.completions.values()
    assert [TEXT, True] == [completion.text, completion.complete]


@pytest.mark.parametrize("ask", WAYS)
@pytest.mark.parametrize("fault", BROKEN_OFF | FATAL)
def test_the_handler_keeps_what_came_before_an_error(fault: str, ask: Ask) -> None:
    """A callback cannot call again: the client's own error goes up, and the text is kept."""
    with misbehaving((BROKEN_OFF | FATAL)[fault]) as server:
        handler = AdaptiveStopHandler(PATIENT)
        with pytest.raises(CLIENTS_OWN):
            ask(openai(server, timeout=0.3), [], handler)
        assert 1 == len(server.calls)
    (completion,) = handler.completions.values()
    assert [PARTIAL, False] == [completion.text, completion.complete]
    assert not handler._runs


@pytest.mark.parametrize("ask", WAYS)
@pytest.mark.parametrize("fault", UNFINISHED)
def test_the_handler_says_that_an_answer_is_unfinished(fault: str, ask: Ask) -> None:
    """Where the provider gives no reason for the end, the answer stands and is not complete."""
    with misbehaving(UNFINISHED[fault]) as server:
        handler = AdaptiveStopHandler(PATIENT)
        assert PARTIAL == ask(openai(server), [], handler).content
    (completion,) = handler.completions.values()
    assert [PARTIAL, False] == [completion.text, completion.complete]


@pytest.mark.parametrize("ask", [invoke, astream])
@pytest.mark.parametrize("fault", EMPTY)
def test_the_handler_takes_nothing_for_an_answer(fault: str, ask: Ask) -> None:
    """Whether the client raises or gives an empty message, the run counts as not complete."""
    with misbehaving(EMPTY[fault]) as server:
        handler = AdaptiveStopHandler(PATIENT)
        with suppress(*CLIENTS_OWN):
            assert "" == ask(openai(server, timeout=0.3), [], handler).content
        assert 1 == len(server.calls)
    (completion,) = handler.completions.values()
    assert ["", False] == [completion.text, completion.complete]
    assert not handler._runs
