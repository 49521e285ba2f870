"""Content blocks: kept where the answer is one call's, told in plain text where it is not."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from langchain_core.callbacks import CallbackManagerForLLMRun
from langchain_core.messages import AIMessageChunk, BaseMessage, HumanMessage
from langchain_core.outputs import ChatGenerationChunk
from langchain_openai import ChatOpenAI
from pydantic import Field, SecretStr

from langchain_stopping import AdaptiveChatModel
from stopping_core import AdaptiveStopping
from stopping_core.budgets import GeometricBudget
from tests.integration_langchain.setting import FIRST_SENTENCE, SMALL, StreamsOnly, ask

WAYS = ["invoke", "stream", "ainvoke", "astream"]
WHOLE = SMALL.replace(budget=GeometricBudget(first=64))
REFUSAL = {"type": "refusal", "refusal": "I cannot.", "index": 0}
IMAGE = {"type": "image", "base64": "AAAA", "mime_type": "image/png", "index": 0}


class Blocks(StreamsOnly):
    """Streams the chunks of its calls, one list a call; the last list serves all later ones."""

    calls: list[list[AIMessageChunk]]
    asked: list[list[BaseMessage]] = Field(default_factory=list)

    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> Iterator[ChatGenerationChunk]:
        self.asked.append(messages)
        for message in self.calls[min(len(self.asked), len(self.calls)) - 1]:
            yield ChatGenerationChunk(message=message.model_copy(deep=True))


def around(
    *calls: list[AIMessageChunk], stopping: AdaptiveStopping = WHOLE, **settings: Any
) -> AdaptiveChatModel:
    inner = Blocks(calls=list(calls), **settings)
    return AdaptiveChatModel(inner=inner, stopping=stopping, cut_with_tools=True)


def asked(model: AdaptiveChatModel) -> int:
    """How many calls the inner model got."""
    return len(model.inner.asked)  # type: ignore[attr-defined]  # it is a ``Blocks``


def chunk(content: Any, provider: str = "anthropic", **settings: Any) -> AIMessageChunk:
    metadata = {"model_provider": provider, **settings.pop("metadata", {})}
    return AIMessageChunk(content=content, response_metadata=metadata, **settings)


def anthropic(*, tool: bool = False) -> list[AIMessageChunk]:
    """What ChatAnthropic streams of an answer with thinking before it."""
    use = {"type": "tool_use", "id": "t1", "name": "f", "input": {}, "index": 2}
    call = {"index": 2, "id": "t1", "name": "f", "args": '{"a": 1}', "type": "tool_call_chunk"}
    return [
        chunk([{"type": "thinking", "thinking": "I think", "index": 0}]),
        chunk([{"type": "thinking", "signature": "SIG", "index": 0}]),
        chunk([{"type": "text", "text": "Hello there.", "index": 1}]),
        chunk([{"type": "text", "text": " More words.", "index": 1}]),
        *([chunk([use], tool_call_chunks=[call])] if tool else []),
        chunk([], metadata={"stop_reason": "tool_use" if tool else "end_turn"}),
    ]


def openai(*, tool: bool = False) -> list[AIMessageChunk]:
    """What ChatOpenAI streams from a server that thinks in tags."""
    call = {"index": 0, "id": "t1", "name": "f", "args": '{"a": 1}', "type": "tool_call_chunk"}
    return [
        chunk("<think>I think</think>", "openai"),
        chunk("Hello there. More words.", "openai"),
        *([chunk("", "openai", tool_call_chunks=[call])] if tool else []),
        chunk("", "openai", metadata={"finish_reason": "tool_calls" if tool else "stop"}),
    ]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("version", [None, "v1"])
@pytest.mark.parametrize("tool", [True, False])
@pytest.mark.parametrize("provider", [anthropic, openai])
def test_content_blocks_tell_all(way: str, version: Any, tool: bool, provider: Any) -> None:
    """Reasoning, text and tool call are found in the standard blocks, however it was asked.

    One case is left out: LangChain numbers the blocks of a v1 stream from 0, as OpenAI does its
    tool calls, and then merges the two, with or without us.
    """
    if (provider, version, tool, "stream" in way) == (openai, "v1", True, True):
        return
    answer = ask(around(provider(tool=tool), output_version=version), way)
    blocks: list[Any] = answer.content_blocks
    assert ["reasoning", "text", *(["tool_call"] if tool else [])] == [b["type"] for b in blocks]
    assert ["I think", "Hello there. More words."] == [blocks[0]["reasoning"], blocks[1]["text"]]
    assert [{"a": 1}] * tool == [block["args"] for block in blocks[2:]]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("version", [None, "v1"])
def test_content_blocks_of_a_cut_answer(way: str, version: Any) -> None:
    """They hold what was kept of the text, and the reasoning before it."""
    answer = ask(around(anthropic(), stopping=FIRST_SENTENCE, output_version=version), way)
    blocks: list[Any] = answer.content_blocks
    assert [("reasoning", "I think"), ("text", "Hello there.")] == [
        (block["type"], block[block["type"]]) for block in blocks
    ]


@pytest.mark.parametrize("way", ["invoke", "ainvoke"])
def test_an_uncut_answer_of_one_call_is_the_providers_own(way: str) -> None:
    """Anthropic wants its signed thinking back with the result of a tool."""
    answer = ask(around(anthropic(tool=True)), way)
    assert [{"type": "thinking", "thinking": "I think", "signature": "SIG", "index": 0}] == (
        answer.content[:1]
    )
    assert "anthropic" == answer.response_metadata["model_provider"]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("block", [REFUSAL, IMAGE])
def test_an_answer_of_other_blocks_is_complete_and_kept(way: str, block: Any) -> None:
    """A refusal and an image are answers, though they have no text; they are asked for once."""
    model = around([chunk([block], "x"), chunk([], "x", metadata={"finish_reason": "stop"})])
    answer = ask(model, way)
    assert [[block], 1] == [answer.content, asked(model)]
    assert answer.response_metadata["stopping"]["complete"]


@pytest.mark.parametrize("way", WAYS)
def test_other_blocks_of_a_truncated_answer_are_kept(way: str) -> None:
    """The text is continued all the same, and the image of the first call stands."""
    first = [
        chunk([IMAGE], "x"),
        chunk([{"type": "text", "text": "One two ", "index": 1}], "x"),
        chunk([], "x", metadata={"finish_reason": "length"}),
    ]
    second = [chunk("three.", "x"), chunk("", "x", metadata={"finish_reason": "stop"})]
    model = around(first, second)
    answer = ask(model.model_copy(update={"prefill": True}), way)
    assert [["One two three.", IMAGE], 2] == [answer.content, asked(model)]


def test_a_refusal_beside_the_content_is_an_answer() -> None:
    """So OpenAI puts it where it does not stream."""
    said = AIMessageChunk(content="", additional_kwargs={"refusal": "I cannot."})
    model = around([said, chunk("", "openai", metadata={"finish_reason": "stop"})])
    answer = model.invoke("How?")
    assert ["I cannot.", 1] == [answer.additional_kwargs["refusal"], asked(model)]


@pytest.mark.parametrize("way", WAYS)
def test_a_cut_answer_refers_to_nothing_that_is_stored(way: str) -> None:
    """The server has stored no whole answer under these ids; what was asked before, it has."""
    stored = {"id": "rs_1", "type": "reasoning", "summary": []}
    search = {"type": "web_search_call", "id": "ws_1", "index": 0}
    chunks = [
        chunk([search], "openai", metadata={"id": "resp_1"}, additional_kwargs={"r": stored}),
        chunk([{"type": "text", "text": "Hello there. More", "index": 1}], "openai"),
        chunk([], "openai", metadata={"status": "completed"}),
    ]
    answer = ask(around(chunks, stopping=FIRST_SENTENCE), way)
    assert "Hello there." == answer.content
    assert not {"id", "model_provider"} & answer.response_metadata.keys()
    assert {} == answer.additional_kwargs
    assert "resp_1" == ask(around(chunks), way).response_metadata["id"]


def test_the_next_question_after_a_cut_sends_the_whole_conversation() -> None:
    """``use_previous_response_id`` finds no id to rely on, and leaves no message out."""
    client = ChatOpenAI(model="m", api_key=SecretStr("none"), use_previous_response_id=True)
    chunks = [chunk("Hello there. More", "openai", metadata={"id": "resp_1"})]
    for stopping, expected in ((FIRST_SENTENCE, (None, 3)), (WHOLE, ("resp_1", 1))):
        answer = around(chunks, stopping=stopping).invoke("Hi.")
        payload = client._get_request_payload([HumanMessage("Hi."), answer, HumanMessage("So?")])
        assert expected == (payload.get("previous_response_id"), len(payload["input"]))


@pytest.mark.parametrize("way", WAYS)
def test_reasoning_of_two_calls_is_two_paragraphs(way: str) -> None:
    """What was thought before a continuation is not glued to what was thought in it."""
    first = [
        chunk([{"type": "thinking", "thinking": "I think.", "index": 0}]),
        chunk([{"type": "text", "text": "One ", "index": 1}]),
        chunk([], metadata={"stop_reason": "max_tokens"}),
    ]
    second = [
        chunk([{"type": "thinking", "thinking": "So", "index": 0}]),
        chunk([{"type": "thinking", "thinking": " on.", "index": 0}]),
        chunk([{"type": "text", "text": "two.", "index": 1}]),
        chunk([], metadata={"stop_reason": "end_turn"}),
    ]
    model = around(first, second).model_copy(update={"prefill": True})
    answer = ask(model, way)
    assert ["One two.", "I think.\n\nSo on."] == [
        answer.content,
        answer.additional_kwargs["reasoning_content"],
    ]


def test_reasoning_of_a_dropped_call_leaves_no_blank_line() -> None:
    """What was started over has the reasoning of its last call alone."""
    calls = [
        [
            chunk([{"type": "thinking", "thinking": thought, "index": 0}]),
            chunk([{"type": "text", "text": text, "index": 1}]),
            chunk([], metadata={"stop_reason": "end_turn"}),
        ]
        for thought, text in (("I think.", '{"a": 1'), ("Anew.", '{"a": 1}'))
    ]
    answer = around(*calls).invoke("In JSON.")
    assert "Anew." == answer.additional_kwargs["reasoning_content"]


def test_fields_that_cannot_be_merged_are_no_error() -> None:
    """The last value of what stands beside the content counts, and the text is what is text."""
    model = around(
        [
            chunk([{"type": "text", "text": {"value": "x"}, "index": 0}], additional_kwargs={}),
            AIMessageChunk(content="One", additional_kwargs={"done": False}),
            AIMessageChunk(content=" two.", additional_kwargs={"done": True}),
            chunk([{"type": "text", "text": "", "index": 0}]),
            chunk([], metadata={"stop_reason": "end_turn"}),
        ]
    )
    answer = model.invoke("Count.")
    assert ["One two.", {"done": True}] == [answer.content, answer.additional_kwargs]
