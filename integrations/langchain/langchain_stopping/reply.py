"""What a provider says beside the text, gathered over all the calls of one request."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from langchain_core.messages import AIMessage, AIMessageChunk
from langchain_core.messages.ai import UsageMetadata, add_usage
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult

from langchain_stopping.messages import (
    answer_text,
    finish_reason,
    metadata_of,
    to_steps,
    to_usage,
    to_whole_chunk,
    token_logprobs,
)
from stopping_core import Call, Completion, Step, report

_ELSEWHERE = frozenset({"function_call", "reasoning_content", "tool_calls"})
"""What stands beside the content of a message, and comes to the answer on another way."""


class Reply:
    """Gathers what a provider says beside the text, over all the calls of one request.

    Metadata is that of the last call, as providers repeat it in each, and so is what stands beside
    the content (a refusal). Logprobs add up, save those of text that was dropped; after a cut they
    may go a few tokens beyond it. The details of usage add up over the calls that report them. Tool
    calls that nobody asked for are kept as they came.
    """

    def __init__(self) -> None:
        self.metadata: dict[str, Any] = {}
        self.tool_chunks: list[AIMessageChunk] = []
        self._logprobs: list[Mapping[str, Any]] = []
        self._beside: dict[str, Any] = {}
        self._usage: UsageMetadata | None = None
        self._earlier: UsageMetadata | None = None
        self._chunks = 0
        self._ended = False

    def begin(self, call: Call) -> None:
        """Begin the next call."""
        self.metadata = {}
        self._beside = {}
        if self._usage is not None:
            self._earlier = add_usage(self._earlier, self._usage)
        self._usage = None
        self._chunks = 0
        self._ended = False
        if not call.prefix:
            self._logprobs = []

    def take(self, generation: ChatGeneration) -> Iterator[Step]:
        """Note what a chunk says; yield its steps."""
        message = generation.message
        metadata = metadata_of(generation)
        self._chunks += 1
        self._ended = getattr(message, "chunk_position", None) == "last"
        self._logprobs += token_logprobs(metadata)
        self.metadata.update({k: v for k, v in metadata.items() if k != "logprobs"})
        self._add_beside(message.additional_kwargs)
        if isinstance(message, AIMessage):
            if message.usage_metadata:
                self._usage = add_usage(self._usage, message.usage_metadata)
            if isinstance(message, AIMessageChunk) and message.tool_call_chunks:
                self.tool_chunks.append(
                    AIMessageChunk(content="", tool_call_chunks=message.tool_call_chunks)
                )
            elif message.tool_calls:
                self.tool_chunks.append(AIMessageChunk(content="", tool_calls=message.tool_calls))
        yield from to_steps(generation)

    def _add_beside(self, values: Mapping[str, Any]) -> None:
        if new := {key: value for key, value in values.items() if key not in _ELSEWHERE}:
            merged = AIMessageChunk(content="", additional_kwargs=self._beside)
            merged += AIMessageChunk(content="", additional_kwargs=new)
            self._beside = merged.additional_kwargs

    def take_result(self, result: ChatResult, call: Call) -> Iterator[Step]:
        """Note what an answer says that was not streamed; yield it as one step."""
        chunk = to_whole_chunk(result)
        text = answer_text(chunk.message)
        for step in self.take(chunk):
            # llama.cpp repeats the prefill, though only where it does not stream.
            again = bool(call.prefill) and text.startswith(call.prefill) and step.text == text
            yield replace(step, text=text[len(call.prefill) :]) if again else step

    def end(self) -> Iterator[Step]:
        """Yield the usage of the call that has ended, and how it ended where nobody says so.

        A provider that never gives a reason cannot be told from one that was broken off, save where
        it says nothing else either, or marks its last chunk.
        """
        silent = self._ended or not self.metadata
        ended = self._chunks > 0 and silent and finish_reason(self.metadata) is None
        usage = to_usage(self._usage) if self._usage is not None else None
        if usage is not None or ended:
            yield Step("", tokens=0, finish_reason="stop" if ended else None, usage=usage)

    def response_metadata(self, completion: Completion) -> dict[str, Any]:
        """Return the metadata of the answer: the provider's own, and ours under ``stopping``."""
        logprobs = {"logprobs": {"content": list(self._logprobs)}} if self._logprobs else {}
        return {**self.metadata, **logprobs, "stopping": report(completion)}

    def usage_metadata(self, completion: Completion) -> UsageMetadata | None:
        """Return the sum over all calls; None where the length of a prompt is not known.

        Whether a count is an estimate is not in it: ``["stopping"]["tokens"]`` says so.
        """
        billed = [a for a in completion.attempts if a.generated or not a.error]
        if any(attempt.prompt_tokens is None for attempt in billed):
            return None
        usage = completion.usage
        read = usage.prompt + usage.reread
        total = UsageMetadata(
            input_tokens=read, output_tokens=usage.generated, total_tokens=read + usage.generated
        )
        told = add_usage(self._earlier, self._usage)
        if read_details := told.get("input_token_details"):
            total["input_token_details"] = read_details
        if written_details := told.get("output_token_details"):
            total["output_token_details"] = written_details
        return total

    def message(self, completion: Completion) -> AIMessage:
        """Return the answer as one message."""
        calls = AIMessageChunk(content="")
        for chunk in self.tool_chunks:
            calls += chunk
        thoughts = {"reasoning_content": completion.reasoning} if completion.reasoning else {}
        return AIMessage(
            content=completion.text,
            additional_kwargs={**self._beside, **thoughts},
            response_metadata=self.response_metadata(completion),
            usage_metadata=self.usage_metadata(completion),
            tool_calls=calls.tool_calls,
            invalid_tool_calls=calls.invalid_tool_calls,
        )

    def last_chunks(self, completion: Completion) -> Iterator[ChatGenerationChunk]:
        """Yield what ends a stream: tool calls, and a chunk without text for the metadata."""
        for chunk in self.tool_chunks:
            yield ChatGenerationChunk(message=chunk)
        yield ChatGenerationChunk(
            message=AIMessageChunk(
                content="",
                additional_kwargs=self._beside,
                response_metadata=self.response_metadata(completion),
                usage_metadata=self.usage_metadata(completion),
                chunk_position="last",
            )
        )
