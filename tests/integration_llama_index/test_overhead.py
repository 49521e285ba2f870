"""What the wrapper does for each chunk of a stream: little, however long the answer is."""

from __future__ import annotations

import cProfile
import pstats
from typing import Any

from llama_index.core.base.llms.types import (
    ChatMessage,
    ChatResponse,
    ChatResponseGen,
    MessageRole,
    TextBlock,
)
from llama_index.core.llms.callbacks import llm_chat_callback
from llama_index.core.llms.llm import LLM
from llama_index.core.llms.mock import MockLLM
from openai.types.chat import ChatCompletionChunk
from pydantic import Field

from llama_index.llms.stopping import adaptive_llm
from stopping_core import AdaptiveStopping


def chunk(text: str, finish_reason: str | None = None) -> ChatCompletionChunk:
    """A chunk as OpenAI's client gives it."""
    choice = {"index": 0, "delta": {"content": text}, "finish_reason": finish_reason}
    told = {"id": "1", "object": "chat.completion.chunk", "created": 0, "model": "m"}
    return ChatCompletionChunk.model_validate({**told, "choices": [choice]})


class Ready(MockLLM):
    """Streams chunks that are there already, as OpenAI's integration does."""

    chunks: list[Any] = Field(default_factory=list)

    @llm_chat_callback()
    def stream_chat(self, messages: Any, **kwargs: Any) -> ChatResponseGen:
        """Stream the chunks."""

        def generate() -> ChatResponseGen:
            text = ""
            for raw in self.chunks:
                delta = raw.choices[0].delta.content
                text += delta
                message = ChatMessage(role=MessageRole.ASSISTANT, blocks=[TextBlock(text=text)])
                yield ChatResponse(message=message, delta=delta, raw=raw)

        return generate()


def calls(llm: LLM) -> int:
    """The function calls of one stream, after one that warms up."""
    profile = cProfile.Profile()
    asked = [ChatMessage(content="Tell me.")]
    list(llm.stream_chat(asked))
    profile.enable()
    list(llm.stream_chat(asked))
    profile.disable()
    counted: int = pstats.Stats(profile).total_calls  # type: ignore[attr-defined]  # made on reading
    return counted


def test_a_chunk_costs_little_and_no_more_in_a_long_answer() -> None:
    """Counted in function calls, which no busy machine changes: 120 a chunk, once 450."""
    added = []
    for length in (200, 800):
        words = [f" w{n}." if n % 10 == 0 else f" w{n}" for n in range(length)]
        inner = Ready(max_tokens=None)
        inner.chunks = [*map(chunk, words), chunk("", "stop")]
        added.append((calls(adaptive_llm(inner, AdaptiveStopping())) - calls(inner)) / length)
    short, long = added
    assert short < 200
    assert long < short * 1.1
