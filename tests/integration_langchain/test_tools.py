"""Tool calls and structured output come through whole, whatever the policy would cut."""

from __future__ import annotations

import json
from typing import Any

import pytest
from langchain_core.caches import InMemoryCache
from langchain_core.language_models import FakeListChatModel
from langchain_core.tools import tool
from pydantic import BaseModel

from langchain_stopping import AdaptiveChatModel
from stopping_core import AdaptiveStopping
from stopping_core.policies import Never
from tests.integration_langchain.setting import (
    CUT,
    FIRST_SENTENCE,
    HEARD,
    PATIENT,
    SMALL,
    TEXT,
    TOKENS,
    ask,
    openai,
    wrapped,
)
from tests.support.sse_server import CountingServer, Drop, Say, Script, Stall

WAYS = ["invoke", "stream", "ainvoke", "astream"]
ARGUMENTS = ['{"city":', ' "Paris."', "}"]
CALL = Script(ARGUMENTS, tool="weather", finish_reason="tool_calls")


def said(text: str) -> Say:
    """A chunk of text among those of a tool call."""
    delta = {"index": 0, "finish_reason": None, "delta": {"content": text}}
    return Say({"choices": [delta]})


@tool
def weather(city: str) -> str:
    """Say what the weather is."""
    return city


class City(BaseModel):
    """A city."""

    name: str


@pytest.mark.parametrize("way", WAYS)
def test_calls_with_tools_are_left_alone(way: str) -> None:
    """A call with tools goes to the provider and comes back as it is."""
    with CountingServer([CALL]) as server:
        answer = ask(wrapped(server, FIRST_SENTENCE).bind_tools([weather]), way)
        assert "max_completion_tokens" not in server.requests[0]
    assert [{"city": "Paris."}] == [call["args"] for call in answer.tool_calls]
    assert "stopping" not in answer.response_metadata


@pytest.mark.parametrize("way", WAYS)
def test_text_of_a_call_with_tools_is_cut_where_asked_for(way: str) -> None:
    """With ``cut_with_tools`` a text answer ends at the cut; without, it runs to its end."""
    with CountingServer([PATIENT]) as server:
        model = wrapped(server, FIRST_SENTENCE, cut_with_tools=True)
        answer = ask(model.bind_tools([weather]), way)
        assert server.sent <= HEARD
    assert [CUT, "sentence"] == [answer.content, answer.response_metadata["stopping"]["reason"]]
    with CountingServer([TOKENS]) as server:
        answer = ask(wrapped(server, FIRST_SENTENCE).bind_tools([weather]), way)
    assert "".join(TOKENS) == answer.content


@pytest.mark.parametrize(("before", "after"), [("I will", " look. Now. Here."), ("```", " x")])
@pytest.mark.parametrize("way", WAYS)
def test_a_tool_call_is_never_cut(way: str, before: str, after: str) -> None:
    """Whatever stands around it, a tool call that has begun is read to its end, in one call.

    The policy would cut the sentences in the midst of it, no budget of ours is sent, and the answer
    counts as complete though its text (an open fence) is not.
    """
    script = Script(
        ARGUMENTS,
        tool="weather",
        finish_reason="tool_calls",
        faults={0: said(before), 1: said(after)},
    )
    with CountingServer([script]) as server:
        model = wrapped(server, FIRST_SENTENCE.replace(max_seconds=60), cut_with_tools=True)
        answer = ask(model.bind_tools([weather]), way)
        assert [3] == server.sent_per_call
        assert "max_completion_tokens" not in server.requests[0]
    assert [{"city": "Paris."}] == [call["args"] for call in answer.tool_calls]
    done = answer.response_metadata["stopping"]
    assert [True, None, 0] == [
        done["complete"],
        done["attempts"][0]["budget"],
        done["tokens"]["avoided"],
    ]


def test_a_text_answer_that_is_not_complete_is_continued_with_the_tools() -> None:
    """Checked means continued: the second call offers the same tools, and the first text stands."""
    with CountingServer([["```python\n", "x = 1"], ["\n```"]]) as server:
        stopping = SMALL.replace(policy=Never())
        model = wrapped(server, stopping, cut_with_tools=True, prefill=True)
        answer = ask(model.bind_tools([weather]), "stream")
        assert [1, 1] == [len(request["tools"]) for request in server.requests]
    assert "```python\nx = 1\n```" == answer.content


@pytest.mark.parametrize("way", WAYS)
def test_a_broken_tool_call_is_made_again(way: str) -> None:
    """Half a tool call of a connection that broke is thrown away with it."""
    broken = Script(['{"town":', ' "Rome"', "}"], tool="climate", faults={2: Drop()})
    with CountingServer([broken, CALL]) as server:
        model = wrapped(server, FIRST_SENTENCE, cut_with_tools=True)
        answer = ask(model.bind_tools([weather]), way)
        assert 2 == len(server.calls)
    assert [("weather", {"city": "Paris."})] == [(c["name"], c["args"]) for c in answer.tool_calls]
    assert [] == answer.invalid_tool_calls


@pytest.mark.parametrize("way", ["invoke", "ainvoke"])
def test_half_a_tool_call_is_no_part_of_an_answer_that_stands(way: str) -> None:
    """Where the last call breaks off in a tool call, the earlier text comes without it."""
    broken = Script(ARGUMENTS, tool="weather", faults={2: Drop()})
    with CountingServer([["```python\n", "x = 1"], broken]) as server:
        model = wrapped(server, SMALL.replace(attempts=2), cut_with_tools=True)
        answer = ask(model, way)
        assert 2 == len(server.calls)
    assert ["```python\nx = 1", [], []] == [
        answer.content,
        answer.tool_calls,
        answer.invalid_tool_calls,
    ]


@pytest.mark.parametrize("way", WAYS)
def test_a_call_with_tools_that_falls_silent_is_broken_off(way: str) -> None:
    """The client watches it, as the session cannot: a tool call brings no steps."""
    scripts = [Script(TEXT, faults={3: Stall()}), Script(TEXT[3:])]
    with CountingServer(scripts) as server:
        stopping = FIRST_SENTENCE.replace(policy=Never(), stall_seconds=0.8)
        model = wrapped(server, stopping, prefill=True, cut_with_tools=True)
        answer = ask(model.bind_tools([weather]), way)
        assert 2 == len(server.calls)
    assert "".join(TEXT) == answer.content


JSON: Any = {"type": "json_object"}
TOOL: Any = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    "settings",
    [
        {"model_kwargs": {"response_format": JSON}},
        {"model_kwargs": {"tools": [TOOL]}},
        {"extra_body": {"guided_json": {}, "guided_regex": "a|b"}},
        {"n": 2},
    ],
)
def test_what_the_inner_model_was_set_to_is_left_alone(way: str, settings: Any) -> None:
    """Tools, structured output and several answers count where the model was made with them."""
    with CountingServer([TOKENS]) as server:
        model = AdaptiveChatModel(inner=openai(server, **settings), stopping=FIRST_SENTENCE)
        assert "".join(TOKENS) == ask(model, way).content
        assert "max_completion_tokens" not in server.requests[0]


def test_tools_of_the_inner_model_get_no_budget() -> None:
    """With ``cut_with_tools`` the text is cut, and no budget of ours can break off a tool call."""
    with CountingServer([TOKENS]) as server:
        inner = openai(server, model_kwargs={"tools": [TOOL]})
        model = AdaptiveChatModel(inner=inner, stopping=FIRST_SENTENCE, cut_with_tools=True)
        assert CUT == model.invoke("Which city?").content
        assert "max_completion_tokens" not in server.requests[0]


class Formatted(FakeListChatModel):
    """A model whose fields say what form its answers have."""

    format: str | None = None
    response_mime_type: str | None = None


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"format": "json"}, "One. Two."),
        ({"response_mime_type": "application/json"}, "One. Two."),
        ({"response_mime_type": "text/plain"}, "One."),
        ({}, "One."),
    ],
)
def test_fields_of_the_inner_model_say_its_form(fields: Any, text: str) -> None:
    """A form that a model was made with is the provider's affair, and plain text is none."""
    inner = Formatted(responses=["One. Two."], **fields)
    assert text == AdaptiveChatModel(inner=inner, stopping=FIRST_SENTENCE).invoke("Count.").content


@pytest.mark.parametrize("way", WAYS)
def test_a_tool_call_nobody_bound_comes_through(way: str) -> None:
    """Tools that are bound inside the inner model call through the wrapper, and are not retried."""
    with CountingServer([CALL]) as server:
        answer = ask(wrapped(server, FIRST_SENTENCE), way)
        assert 1 == len(server.calls)
    assert [{"city": "Paris."}] == [call["args"] for call in answer.tool_calls]


@pytest.mark.parametrize("cut_with_tools", [True, False])
@pytest.mark.parametrize("method", ["json_schema", "function_calling", "json_mode"])
def test_structured_output_is_the_inner_models(method: str, cut_with_tools: bool) -> None:
    """Native structured output is asked for and parsed as without us, by each of its methods."""
    tokens = ['{"name": ', '"Paris"', "}"]
    called = method == "function_calling"
    with CountingServer([Script(tokens, tool="City" if called else "")]) as server:
        model = wrapped(server, FIRST_SENTENCE, cut_with_tools=cut_with_tools)
        chain = model.with_structured_output(City, method=method)
        assert City(name="Paris") == chain.invoke("Which city? In JSON.")
        (request,) = server.requests
    asked = {
        "json_schema": lambda: "json_schema" == request["response_format"]["type"],
        "json_mode": lambda: "json_object" == request["response_format"]["type"],
        "function_calling": lambda: "City" == request["tools"][0]["function"]["name"],
    }
    assert asked[method]()
    assert "max_completion_tokens" not in request


def test_structured_output_keeps_what_is_set_on_the_wrapper() -> None:
    """Its calls use the wrapper's cache and rate limiter, though the inner model has none."""
    cache = InMemoryCache()
    with CountingServer([['{"name": "Paris"}']]) as server:
        model = AdaptiveChatModel(inner=openai(server), stopping=FIRST_SENTENCE, cache=cache)
        chain = model.with_structured_output(City)
        assert [City(name="Paris")] * 2 == [chain.invoke("Which city?") for _ in range(2)]
        assert 1 == len(server.calls)
        assert model.inner.cache is None


@pytest.mark.parametrize("way", WAYS)
def test_a_json_answer_in_text_is_cut_when_its_value_closes(way: str) -> None:
    """Without a schema the default policy ends JSON at its last brace; what follows is saved."""
    answer_tokens = ['{"city": ', '"Paris"', "}", *TEXT * 5]
    with CountingServer([answer_tokens]) as server:
        answer = ask(wrapped(server, AdaptiveStopping()), way)
        assert server.sent <= 5
    assert {"city": "Paris"} == json.loads(str(answer.content))
    assert "json" == answer.response_metadata["stopping"]["reason"]


def test_the_profile_is_the_inner_models() -> None:
    """What the inner model says it can do holds for the wrapper: agents choose by it."""
    with CountingServer([TEXT]) as server:
        profile: Any = {"tool_calling": True, "structured_output": True}
        inner = openai(server, profile=profile)
        assert profile == AdaptiveChatModel(inner=inner, stopping=SMALL).profile
