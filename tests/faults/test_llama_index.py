"""Every fault of a server, through LlamaIndex: the answer is mended, or the error carries it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from openai import RateLimitError

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
from tests.integration_llama_index.asking import adaptive, ask, text_of, told
from tests.support.sse_server import CountingServer, Drop, Script, Stall

pytestmark = pytest.mark.timeout(30)

WAYS = ("chat", "stream_chat", "achat", "astream_chat")
COMPLETION_WAYS = ("complete", "astream_complete")
COMPLETIONS = {"is_chat_model": False}
"""A completion model continues its prompt, over another address of the server."""


def answer(
    server: CountingServer,
    way: str,
    stopping: AdaptiveStopping = STOPPING,
    *,
    prefill: bool = True,
    **fields: Any,
) -> str:
    """Ask, and hold the shown pieces and the last response to the same text."""
    responses = ask(adaptive(server, stopping, prefill=prefill, **fields), way, QUESTION)
    text = text_of(responses[-1])
    if "stream" in way:
        assert text == "".join(response.delta or "" for response in responses)
    assert told(responses)["complete"]
    return text


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("fault", HARMLESS)
def test_a_harmless_fault_needs_no_second_call(fault: str, way: str) -> None:
    """The answer is whole after the first call."""
    with misbehaving(HARMLESS[fault]) as server:
        assert TEXT == answer(server, way, PATIENT)
        assert 1 == len(server.calls)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("fault", BROKEN_OFF | UNFINISHED)
def test_an_answer_that_broke_off_is_continued(fault: str, way: str) -> None:
    """What came is kept, the rest is asked for, and each character stands there once."""
    with misbehaving((BROKEN_OFF | UNFINISHED)[fault]) as server:
        assert TEXT == answer(server, way)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("fault", ASKED_TO_GO_ON)
def test_a_model_without_prefill_is_asked_to_go_on(fault: str, way: str) -> None:
    """So it is where the server does not continue an assistant message."""
    with misbehaving((BROKEN_OFF | UNFINISHED)[fault]) as server:
        assert TEXT == answer(server, way, prefill=False)


@pytest.mark.parametrize("way", COMPLETION_WAYS)
@pytest.mark.parametrize("fault", BROKEN_OFF)
def test_a_completion_model_continues_its_prompt(fault: str, way: str) -> None:
    """So it does on the protocol's other address."""
    with misbehaving(BROKEN_OFF[fault]) as server:
        assert TEXT == answer(server, way, inner=COMPLETIONS)
        assert {"/v1/completions"} == {call.path for call in server.calls}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("fault", EMPTY)
def test_a_call_that_gave_nothing_is_made_again(fault: str, way: str) -> None:
    """The next call gives the whole answer."""
    with misbehaving(EMPTY[fault]) as server:
        assert TEXT == answer(server, way)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("fault", FATAL)
def test_a_fatal_fault_carries_the_text(fault: str, way: str) -> None:
    """There is no second call, and the error holds what came before it."""
    with misbehaving(FATAL[fault]) as server:
        with pytest.raises(TransportFailed) as caught:
            answer(server, way)
        assert 1 == len(server.calls)
        assert PARTIAL == caught.value.completion.text


@pytest.mark.parametrize("way", ["chat", "astream_chat"])
@pytest.mark.parametrize("fault", [Stall(), Drop(), Drop(reset=True)], ids=repr)
def test_a_server_that_always_fails_is_given_up(fault: Stall | Drop, way: str) -> None:
    """Each call adds what it brings; after the last one the error carries all of it."""
    script = Script(["Zürich", " liegt"], faults={1: fault})
    again = Script([" liegt", " am"], faults={1: fault})
    with misbehaving(script, again, Script([" am"], faults={1: fault})) as server:
        with pytest.raises(TransportFailed) as caught:
            answer(server, way)
        assert STOPPING.attempts == len(server.calls)
        assert PARTIAL == caught.value.completion.text


@pytest.mark.parametrize(("way", "wait"), [("achat", in_seconds), ("stream_chat", until_a_date)])
def test_the_server_says_how_long_to_wait(way: str, wait: Callable[[], str]) -> None:
    """Retry-After is obeyed, in seconds and as a date; a wait that is too long is not begun."""
    with misbehaving(Script(status=503, headers={"Retry-After": wait()})) as server:
        assert TEXT == answer(server, way)
        assert server.calls[1].at - server.calls[0].at >= 0.5
    with misbehaving(Script(status=429, headers={"Retry-After": "3600"})) as server:
        with pytest.raises(RateLimitError):
            answer(server, way)
        assert 1 == len(server.calls)
