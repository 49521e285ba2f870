"""What providers say, and where, becomes steps."""

from __future__ import annotations

import copy
import math
from collections.abc import Generator
from typing import Any

import pytest
from langchain_core.messages import (
    AIMessage,
    AIMessageChunk,
    BaseMessage,
    HumanMessage,
    SystemMessage,
)
from langchain_core.outputs import ChatGenerationChunk

from langchain_stopping.calls import has_own_form, take_limit
from langchain_stopping.messages import (
    answer_text,
    finish_reason,
    reasoning_text,
    to_request,
    to_steps,
    trim,
)
from langchain_stopping.reply import Reply
from stopping_core import AdaptiveStopping, Call, Request, Session, Step, Usage, run
from stopping_core.budgets import GeometricBudget
from stopping_core.policies import Never


def chunk(content: Any = "", **settings: Any) -> ChatGenerationChunk:
    info = settings.pop("generation_info", None)
    message = AIMessageChunk(content=content, **settings)
    return ChatGenerationChunk(message=message, generation_info=info)


def entry(token: str, logprob: float) -> dict[str, Any]:
    return {
        "token": token,
        "logprob": logprob,
        "top_logprobs": [{"logprob": logprob}, {"logprob": -3}],
    }


@pytest.mark.parametrize(
    ("metadata", "expected"),
    [
        ({"finish_reason": "length"}, "length"),
        ({"finish_reason": "MAX_TOKENS"}, "MAX_TOKENS"),
        ({"stop_reason": "max_tokens"}, "max_tokens"),
        ({"stopReason": "end_turn"}, "end_turn"),
        ({"done_reason": "stop"}, "stop"),
        (
            {"status": "incomplete", "incomplete_details": {"reason": "max_output_tokens"}},
            "max_output_tokens",
        ),
        ({"status": "completed", "incomplete_details": None}, "stop"),
        ({"finish_reason": None}, None),
        ({"finish_reason": 3}, None),
        ({}, None),
    ],
)
def test_finish_reason(metadata: dict[str, Any], expected: str | None) -> None:
    """The word for the end is found under each provider's name for it."""
    assert expected == finish_reason(metadata)
    assert [expected] == [
        step.finish_reason for step in to_steps(chunk("a", response_metadata=metadata))
    ]


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"additional_kwargs": {"reasoning_content": "Hm."}}, "Hm."),
        ({"content": [{"type": "thinking", "thinking": "Hm."}]}, "Hm."),
        ({"content": [{"type": "reasoning", "reasoning": "Hm."}]}, "Hm."),
        (
            {
                "content": [
                    {"type": "reasoning", "summary": [{"type": "summary_text", "text": "Hm."}]}
                ]
            },
            "Hm.",
        ),
        ({"content": [{"type": "reasoning", "encrypted_content": "x"}]}, ""),
        ({"content": "Hm."}, ""),
    ],
)
def test_reasoning(settings: dict[str, Any], expected: str) -> None:
    """Reasoning goes to its own channel, wherever the provider put it."""
    given = chunk(**settings)
    assert expected == reasoning_text(given.message)
    assert ([expected] if expected else []) == [
        step.text for step in to_steps(given) if step.channel == "reasoning"
    ]


def test_one_step_a_token_where_the_logprobs_list_them() -> None:
    """A chunk of two tokens gives two steps, each with its own logprobs."""
    info = {"logprobs": {"content": [entry("Par", -0.5), entry("is", -0.1)]}}
    assert [
        Step("Par", logprob=-0.5, top_logprobs=(-0.5, -3)),
        Step("is", logprob=-0.1, top_logprobs=(-0.1, -3)),
    ] == list(to_steps(chunk("Paris", generation_info=info)))


def test_half_characters_keep_the_chunks_text() -> None:
    """Where the tokens' texts do not add up, the chunk stays one step with their number."""
    info = {"logprobs": {"content": [entry("\ufffd", -1.0), entry("\ufffd", -2.0)]}}
    assert [Step("\u4eac", tokens=2, logprob=-1.5, top_logprobs=(-2.0, -3))] == list(
        to_steps(chunk("\u4eac", generation_info=info))
    )


@pytest.mark.parametrize(
    ("content", "entries", "expected"),
    [
        ("Hi", [{"token": "Hi", "logprob": -1, "top_logprobs": 5}], [Step("Hi", logprob=-1)]),
        ("Hi", [{"token": "Hi", "logprob": math.nan}], [Step("Hi")]),
        ("Hi", [{"token": "Hi", "logprob": "x", "top_logprobs": [None]}], [Step("Hi")]),
        ("NoneNone", [{"logprob": -1}] * 2, [Step("None", logprob=-1)] * 2),
        ([{"type": "text", "text": {"value": "Hi"}}], None, []),
        ([{"type": ["text"], "text": "Hi"}], None, []),
        ([{"type": "thinking", "thinking": {"value": "Hi"}}], None, []),
    ],
)
def test_what_no_provider_should_send_is_no_error(
    content: Any, entries: Any, expected: list[Step]
) -> None:
    """Data of another shape than is known is no evidence; it never raises."""
    given = chunk(content, generation_info={"logprobs": {"content": entries}})
    assert expected == list(to_steps(given))
    reply = Reply()
    reply.begin(Call("first", 1, None))
    assert expected == [step for _ in range(2) for step in reply.take(given)][: len(expected)]
    trim(given, 1)
    assert "Hi"[: len(given.text)] == given.text or "N" == given.text


def test_tokens_of_a_chunk_without_logprobs_are_estimated() -> None:
    """A short chunk is one token, a long one a quarter of its characters, an empty one none."""
    assert [1, 25] == [
        step.tokens for text in (" word", "x" * 100) for step in to_steps(chunk(text))
    ]
    assert [] == list(to_steps(chunk("")))


def test_usage_is_summed_and_given_at_the_end_of_a_call() -> None:
    """Providers report input first and output last; only the sum is a count."""
    reply = Reply()
    reply.begin(Call("first", 1, None))
    first = {"input_tokens": 9, "output_tokens": 0, "total_tokens": 9}
    last = {"input_tokens": 0, "output_tokens": 4, "total_tokens": 4}
    for usage in (first, last):
        assert all(step.usage is None for step in reply.take(chunk("a", usage_metadata=usage)))
    (end,) = reply.end()
    assert Usage(prompt=9, generated=4, estimated=False) == end.usage


def test_a_stream_without_any_metadata_ended_by_itself() -> None:
    """Silence about the end counts as broken off only from a provider that says other things."""
    for metadata, expected in (({}, ["stop"]), ({"model_name": "m"}, [])):
        reply = Reply()
        reply.begin(Call("first", 1, None))
        list(reply.take(chunk("a", response_metadata=metadata)))
        assert expected == [step.finish_reason for step in reply.end()]


def test_request() -> None:
    """The question is the last human message, the limits are the profile's."""
    content: Any = [{"type": "text", "text": "Which city?"}, {"type": "image", "url": "x"}]
    assert Request(
        prompt="Be brief.\n\nWhich city?",
        question="Which city?",
        max_tokens=5,
        max_output_tokens=100,
        context_window=1000,
        chat=True,
        beside=("image",),
    ) == to_request(
        [SystemMessage("Be brief."), HumanMessage(content)],
        max_tokens=5,
        profile={"max_output_tokens": 100, "max_input_tokens": 1000},
    )


def test_trim_shortens_text_and_leaves_other_blocks() -> None:
    """The first characters of the text stay, and with them what is no text."""
    plain = chunk("Paris is")
    trim(plain, 5)
    assert ["Paris", "Paris"] == [plain.message.content, plain.text]
    blocks = chunk([{"type": "thinking", "thinking": "Hm."}, {"type": "text", "text": "Paris is"}])
    trim(blocks, 5)
    assert ["Paris", "Hm."] == [answer_text(blocks.message), reasoning_text(blocks.message)]


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"tools": [{}]}, True),
        ({"response_format": {"type": "json_object"}}, True),
        ({"n": 2}, True),
        ({"response_format": {"type": "text"}}, False),
        ({"output_config": {"effort": "high"}}, False),
        ({"output_config": {"format": {"type": "json_schema"}}}, True),
        ({"text": {"format": {"type": "json_schema"}}}, True),
        ({"text": {"verbosity": "low"}}, False),
        ({"n": 1, "tools": [], "temperature": 0}, False),
    ],
)
def test_own_form(settings: dict[str, Any], expected: bool) -> None:
    """Tools, structured output and several answers are the provider's affair."""
    assert expected == has_own_form(settings)


@pytest.mark.parametrize(
    ("given", "keyword", "limit", "rest"),
    [
        ({"max_tokens": 7, "max_output_tokens": 3, "max_new_tokens": None}, "max_tokens", 3, {}),
        ({"temperature": 0}, "max_tokens", None, {"temperature": 0}),
        ({"max_tokens": -1}, "max_tokens", None, {}),
        ({"max_tokens": 0, "maxTokens": 5, "k": 1}, "maxTokens", 5, {"k": 1}),
        ({"maxTokens": 5}, "max_tokens", 5, {}),
        ({"limit": 5}, "max_tokens", None, {"limit": 5}),
        ({"limit": 5}, "", None, {"limit": 5}),
        (
            {"options": {"num_predict": 5, "seed": 1}},
            "options.num_predict",
            5,
            {"options": {"seed": 1}},
        ),
        ({"options": None, "max_tokens": True}, "options.num_predict", None, {"options": None}),
    ],
)
def test_take_limit(
    given: dict[str, Any], keyword: str, limit: int | None, rest: dict[str, Any]
) -> None:
    """The least of the limits that were given, under any name; what is below 1 is none."""
    before = copy.deepcopy(given)
    assert (limit, rest) == take_limit(given, keyword)
    assert before == given


def told(output: int, details: dict[str, int], seen: int = 10) -> dict[str, Any]:
    return {
        "input_tokens": seen,
        "output_tokens": output,
        "total_tokens": seen + output,
        "input_token_details": {"cache_read": 4},
        "output_token_details": details,
    }


def test_usage_details_add_up_over_the_calls() -> None:
    """What a provider tells of cached and reasoning tokens is summed as the counts are."""
    stopping = AdaptiveStopping(policy=Never(), budget=GeometricBudget(first=4), backoff=(0.0, 0.0))
    reply = Reply()
    chunks = iter(
        [
            chunk(
                "One two",
                response_metadata={"finish_reason": "length"},
                usage_metadata=told(4, {"reasoning": 1}),
            ),
            chunk(
                " three.",
                response_metadata={"finish_reason": "stop"},
                usage_metadata=told(3, {"reasoning": 2}, seen=14),
            ),
        ]
    )

    def make(call: Call) -> Generator[Step, None, None]:
        reply.begin(call)
        yield from reply.take(next(chunks))
        yield from reply.end()

    message = reply.message(run(Session(stopping, Request(), prefill=True), make))
    assert "One two three." == message.content
    assert {
        "input_tokens": 24,
        "output_tokens": 7,
        "total_tokens": 31,
        "input_token_details": {"cache_read": 8},
        "output_token_details": {"reasoning": 3},
    } == message.usage_metadata


def test_what_stands_beside_the_content_is_kept() -> None:
    """A refusal of the last call comes through, merged over its chunks; of earlier calls, none."""
    reply = Reply()
    session = Session(AdaptiveStopping(policy=Never()), Request())
    reply.begin(Call("first", 1, None))
    list(reply.take(chunk("a", additional_kwargs={"refusal": "Old."})))

    def make(call: Call) -> Generator[Step, None, None]:
        reply.begin(call)
        yield from reply.take(chunk("I.", additional_kwargs={"refusal": "I can"}))
        beside: dict[str, Any] = {"refusal": "not.", "tool_calls": [], "parsed": None}
        yield from reply.take(chunk("", additional_kwargs=beside))
        yield from reply.end()

    completion = run(session, make)
    expected = {"refusal": "I cannot.", "parsed": None}
    assert expected == reply.message(completion).additional_kwargs
    *_, last = reply.last_chunks(completion)
    assert expected == last.message.additional_kwargs


@pytest.mark.parametrize(
    ("messages", "beside"),
    [
        ([HumanMessage("a")], ()),
        ([SystemMessage("a"), HumanMessage("b"), AIMessage("c")], ()),
        ([HumanMessage("a"), AIMessage("b"), HumanMessage("c")], ("earlier turns",)),
        ([AIMessage(""), HumanMessage("a")], ("earlier turns",)),
        ([HumanMessage("a"), SystemMessage("b")], ("earlier turns",)),
        ([], ("earlier turns",)),
        (
            [HumanMessage("a"), AIMessage("", tool_calls=[{"name": "f", "args": {}, "id": "1"}])],
            ("tool_call",),
        ),
    ],
)
def test_what_is_beside_the_text(messages: list[BaseMessage], beside: tuple[str, ...]) -> None:
    """One question, perhaps after a system message and before a begun answer, is all text."""
    assert beside == to_request(messages).beside
    assert (*beside, "tools") == to_request(messages, tools=True).beside
