"""OpenAI's Responses API: how its streams end, and the blocks that stand beside the text."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from llama_index.core.base.llms.types import (
    ChatMessage,
    ChatResponse,
    ContentBlock,
    ImageBlock,
    TextBlock,
    ThinkingBlock,
    ToolCallBlock,
)
from llama_index.core.llms.mock import MockLLM
from pydantic import Field

from llama_index.llms.stopping import adaptive_llm
from stopping_core import AdaptiveStopping
from tests.integration_llama_index.asking import HEAD, METHODS, TAIL, ask, text_of, told
from tests.integration_llama_index.responses_server import End, responses_llm

ANSWER = "".join([*HEAD, *TAIL])
QUICK = AdaptiveStopping(backoff=(0.0, 0.0))
SIGNED = {"signature": "sealed"}


@pytest.mark.parametrize("end", ["incomplete", "failed", "error", "closed"])
@pytest.mark.parametrize("method", ["chat", "stream_complete", "achat", "astream_complete"])
def test_a_stream_that_breaks_off_is_continued(method: str, end: End) -> None:
    """Only response.completed is an end: whatever else comes last, or nothing, is none."""
    with responses_llm((HEAD, end), (TAIL, "completed")) as (llm, bodies):
        responses = ask(adaptive_llm(llm, QUICK), method)
        assert 2 == len(bodies)
    assert ANSWER == text_of(responses[-1])
    first = told(responses)["attempts"][0]
    reasons = {"incomplete": "max_output_tokens", "closed": None}
    assert (reasons.get(end, "error"), False) == (
        first["finish_reason"],
        first["verdict"]["complete"],
    )


@pytest.mark.parametrize("method", METHODS)
def test_a_whole_response_is_one_call(method: str) -> None:
    """It ends with response.completed, which holds the count as well."""
    with responses_llm(([*HEAD, *TAIL], "completed")) as (llm, bodies):
        report = told(ask(adaptive_llm(llm, QUICK), method))
        assert 1 == len(bodies)
    assert ("stop", True) == (report["finish_reason"], report["complete"])
    assert (7, False) == (report["tokens"]["generated"], report["tokens"]["estimated"])


def test_reasoning_is_handed_on_as_it_came() -> None:
    """With its id and its sealed content, without which it cannot be sent again: cut or not."""
    with responses_llm(([*HEAD, *TAIL], "completed"), (["{", "}", " x"], "completed")) as (llm, _):
        *_, plain = llm.stream_chat([ChatMessage(content="Where?")])
        cut = adaptive_llm(llm, QUICK).chat([ChatMessage(content="Where?")])
    with responses_llm(([*HEAD, *TAIL], "completed")) as (llm, _):
        whole = adaptive_llm(llm, QUICK).chat([ChatMessage(content="Where?")])
    assert plain.message.blocks == whole.message.blocks
    thought = cut.message.blocks[0]
    assert isinstance(thought, ThinkingBlock)
    assert ("rs_1", "sealed") == (
        thought.additional_information["id"],
        thought.additional_information["encrypted_content"],
    )
    assert "{}" == cut.message.content


class Told(MockLLM):
    """Streams given responses."""

    responses: list[ChatResponse] = Field(default_factory=list)

    @classmethod
    def saying(cls, *responses: ChatResponse) -> Told:
        """One that streams these."""
        made = cls(max_tokens=None, is_chat_model=True)
        made.responses = list(responses)
        return made

    def stream_chat(self, messages: Any, **kwargs: Any) -> Any:
        """Stream them."""
        yield from self.responses


def said(delta: str, *blocks: ContentBlock, **kwargs: Any) -> ChatResponse:
    """A response."""
    message = ChatMessage(role="assistant", blocks=list(blocks))
    return ChatResponse(message=message, delta=delta, additional_kwargs=kwargs)


def heard(*inner: ChatResponse) -> ChatResponse:
    """The last response of the wrapper around an LLM that streams these."""
    llm = adaptive_llm(Told.saying(*inner), QUICK)
    responses: list[ChatResponse] = list(llm.stream_chat([ChatMessage(content="?")]))
    return responses[-1]


def test_signed_reasoning_is_kept_though_it_is_streamed() -> None:
    """The signature comes late; a cut answer keeps it as well."""
    begun, whole = ThinkingBlock(content="So"), ThinkingBlock(content="So, {}.")
    signed = ThinkingBlock(content="So, {}.", additional_information=SIGNED)
    thinking = [
        said("", begun, thinking_delta="So"),
        said("", whole, thinking_delta=", {}."),
        said("", signed),
    ]
    uncut = heard(*thinking, said("Paris.", signed, TextBlock(text="Paris.")))
    cut = heard(
        *thinking,
        said("{}", signed, TextBlock(text="{}")),
        said(" and so on", signed, TextBlock(text="{} and so on")),
    )
    assert [signed, TextBlock(text="Paris.")] == uncut.message.blocks
    assert [signed, TextBlock(text="{}")] == cut.message.blocks


def test_reasoning_without_a_block_gets_one() -> None:
    """It is ours where the integration streams it and makes no block."""
    last = heard(said("", thinking_delta="So"), said("Paris.", TextBlock(text="Paris.")))
    assert [ThinkingBlock(content="So"), TextBlock(text="Paris.")] == last.message.blocks


def test_blocks_of_all_responses_are_gathered_in_their_order() -> None:
    """Those that come once, those that are repeated and those that grow; text blocks stay apart."""
    image, other = ImageBlock(url="http://host/1.png"), ImageBlock(url="http://host/2.png")
    once = heard(said("", image), said("", other), said("Done.", TextBlock(text="Done.")))
    assert [TextBlock(text="Done."), image, other] == once.message.blocks
    between: list[ContentBlock] = [TextBlock(text="See"), image, TextBlock(text=" this.")]
    kept = heard(said("See", *between[:1]), said("", *between[:2]), said(" this.", *between))
    assert between == kept.message.blocks
    calls = [
        ToolCallBlock(tool_name="f", tool_call_id="1", tool_kwargs=text) for text in ("{", "{}")
    ]
    grown = heard(said("", calls[0]), said("", calls[1]), said("So."))
    assert [TextBlock(text="So."), calls[1]] == grown.message.blocks


def test_what_the_inner_response_says_besides_is_kept() -> None:
    """Annotations and refusals; the counts are those of all calls."""
    notes: dict[str, Any] = {"annotations": ["a source"], "total_tokens": 99}
    last = heard(said("Paris.", TextBlock(text="Paris."), **notes))
    assert ["a source"] == last.additional_kwargs["annotations"]
    assert "total_tokens" not in last.additional_kwargs
    assert "thinking_delta" not in last.additional_kwargs


async def test_parallel_requests_keep_their_blocks_apart() -> None:
    """Blocks belong to a request, not to the LLM."""
    image = ImageBlock(url="http://host/1.png")
    llm = adaptive_llm(Told.saying(said("", image), said("Done.", TextBlock(text="Done."))), QUICK)
    asked = [ChatMessage(content="?")]
    answers = await asyncio.gather(*(llm.achat(asked) for _ in range(3)))
    assert [[TextBlock(text="Done."), image]] * 3 == [answer.message.blocks for answer in answers]
