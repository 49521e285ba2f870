"""Between LangChain's messages and the core's steps: the one place that knows the shape of either.

Providers put the same thing in different places: the reason for the end under six names, reasoning
in content blocks or beside them, logprobs in the generation info. What is not known here is no
evidence: the step then has the text and nothing else.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage, HumanMessage
from langchain_core.messages.ai import UsageMetadata, add_usage
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult

from stopping_core import Call, Completion, Request, Step, Usage, report

LLM_TYPE = "adaptive-stopping"
"""What the wrapper calls its type, by which the handler knows that it has nothing to do."""

_FINISH = ("finish_reason", "stop_reason", "stopReason", "done_reason")
_CHARACTERS = 4  # a token of English; tokenisers seldom have one of more than four times that


def to_request(
    messages: Sequence[BaseMessage],
    *,
    max_tokens: int | None = None,
    profile: Mapping[str, Any] | None = None,
) -> Request:
    """Say what is known about a request: its texts, the last question, the limits of the model."""
    asked = [message for message in messages if isinstance(message, HumanMessage)]
    known = profile or {}
    return Request(
        prompt="\n\n".join(text for m in messages if (text := answer_text(m))),
        question=answer_text(asked[-1]) if asked else "",
        max_tokens=max_tokens,
        max_output_tokens=known.get("max_output_tokens") or None,
        context_window=known.get("max_input_tokens") or None,
    )


def to_messages(messages: list[BaseMessage], call: Call, *, prefill: bool) -> list[BaseMessage]:
    """Return what a call has to send: the messages, and after them the text to go on from.

    Args:
        messages: As the caller gave them.
        call: What the session asks for.
        prefill: Whether the model continues a last assistant message as its own text. If not, one
            more user turn asks it to.
    """
    if not call.prefill:
        return messages
    if not prefill:
        return [*messages, AIMessage(call.prefill), HumanMessage(call.turn)]
    if messages and isinstance(messages[-1], AIMessage):  # the caller has prefilled as well
        return [*messages[:-1], AIMessage(answer_text(messages[-1]) + call.prefill)]
    return [*messages, AIMessage(call.prefill)]


def answer_text(message: BaseMessage) -> str:
    """Return the text of a message without reasoning and without what is no text."""
    content = message.content
    if isinstance(content, str):
        return content
    return "".join(
        block if isinstance(block, str) else str(block.get("text") or "")
        for block in content
        if isinstance(block, str) or block.get("type") in ("text", "text-plain")
    )


def reasoning_text(message: BaseMessage) -> str:
    """Return the reasoning that a message carries in its content blocks, or else beside them."""
    blocks = message.content if isinstance(message.content, list) else []
    text = "".join(
        _reasoning_block(block)
        for block in blocks
        if isinstance(block, dict) and block.get("type") in ("reasoning", "thinking")
    )
    beside = message.additional_kwargs.get("reasoning_content")
    return text or (beside if isinstance(beside, str) else "")


def _reasoning_block(block: Mapping[str, Any]) -> str:
    text = block.get("thinking") or block.get("reasoning") or block.get("text")
    if isinstance(text, str):
        return text
    parts = block.get("summary")
    if not isinstance(parts, list):
        return ""
    return "".join(str(part.get("text") or "") for part in parts if isinstance(part, dict))


def metadata_of(generation: ChatGeneration) -> dict[str, Any]:
    """Return what the provider said about a chunk or an answer, wherever it stands."""
    return {**(generation.generation_info or {}), **generation.message.response_metadata}


def finish_reason(metadata: Mapping[str, Any]) -> str | None:
    """Return the provider's word for the end, under whatever name it came."""
    for key in _FINISH:
        if isinstance(word := metadata.get(key), str) and word:
            return word
    details = metadata.get("incomplete_details")
    reason = details.get("reason") if isinstance(details, dict) else None
    # OpenAI's Responses protocol names no reason where all went well.
    ended = "stop" if metadata.get("status") == "completed" else None
    return reason if isinstance(reason, str) and reason else ended


def is_closing_chunk(chunk: ChatGenerationChunk) -> bool:
    """Whether this is the empty chunk with which LangChain itself ends every stream."""
    message = chunk.message
    if not isinstance(message, AIMessageChunk) or message.chunk_position != "last":
        return False
    return not (message.content or metadata_of(chunk) or message.usage_metadata)


def to_steps(generation: ChatGeneration) -> Iterator[Step]:
    """Yield the steps of one chunk: one a token where the logprobs list the tokens.

    Usage is left out: providers report it in parts, and the sum is known at the end of a call only.
    """
    metadata = metadata_of(generation)
    thoughts = reasoning_text(generation.message)
    steps = [Step(thoughts, tokens=estimate(thoughts), channel="reasoning")] if thoughts else []
    steps += _answer_steps(generation.message, metadata)
    if word := finish_reason(metadata):
        last = steps.pop() if steps else Step("", tokens=0)
        steps.append(replace(last, finish_reason=word))
    yield from steps


def _answer_steps(message: BaseMessage, metadata: Mapping[str, Any]) -> Iterator[Step]:
    text = answer_text(message)
    tokens = _logprobs(metadata)
    if not tokens:
        if text:
            yield Step(text, tokens=estimate(text))
    elif len(tokens) > 1 and "".join(str(t.get("token")) for t in tokens) == text:
        for token in tokens:
            yield Step(
                str(token["token"]), logprob=_logprob(token), top_logprobs=_top_logprobs(token)
            )
    else:  # half a character is in no token's text: only the chunk's own text is right
        known = [value for token in tokens if (value := _logprob(token)) is not None]
        yield Step(
            text,
            tokens=len(tokens),
            logprob=sum(known) / len(known) if known else None,
            top_logprobs=_top_logprobs(tokens[-1]),
        )


def _logprobs(metadata: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    found = metadata.get("logprobs")
    content = found.get("content") if isinstance(found, dict) else None
    return [c for c in content if isinstance(c, dict)] if isinstance(content, list) else []


def _logprob(token: Mapping[str, Any]) -> float | None:
    value = token.get("logprob")
    return min(0.0, float(value)) if isinstance(value, int | float) else None


def _top_logprobs(token: Mapping[str, Any]) -> tuple[float, ...] | None:
    top = token.get("top_logprobs")
    found = [_logprob(other) for other in top if isinstance(other, dict)] if top else []
    return tuple(value for value in found if value is not None) or None


def estimate(text: str) -> int:
    """Estimate the tokens in a chunk that does not say: one, or its length by four where longer."""
    return 1 if len(text) <= 4 * _CHARACTERS else math.ceil(len(text) / _CHARACTERS)


class Reply:
    """Gathers what a provider says beside the text, over all the calls of one request.

    Metadata is that of the last call, as providers repeat it in each. Logprobs add up, save those
    of text that was dropped; after a cut they may go a few tokens beyond it. Tool calls that nobody
    asked for are kept as they came.
    """

    def __init__(self) -> None:
        self.metadata: dict[str, Any] = {}
        self.tool_chunks: list[AIMessageChunk] = []
        self._logprobs: list[Mapping[str, Any]] = []
        self._usage: UsageMetadata | None = None
        self._chunks = 0
        self._ended = False

    def begin(self, call: Call) -> None:
        """Begin the next call."""
        self.metadata = {}
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
        self._logprobs += _logprobs(metadata)
        self.metadata.update({k: v for k, v in metadata.items() if k != "logprobs"})
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

    def message(self, completion: Completion) -> AIMessage:
        """Return the answer as one message."""
        calls = AIMessageChunk(content="")
        for chunk in self.tool_chunks:
            calls += chunk
        thoughts = {"reasoning_content": completion.reasoning} if completion.reasoning else {}
        return AIMessage(
            content=completion.text,
            additional_kwargs=thoughts,
            response_metadata=self.response_metadata(completion),
            usage_metadata=to_usage_metadata(completion.usage),
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
                response_metadata=self.response_metadata(completion),
                usage_metadata=to_usage_metadata(completion.usage),
                chunk_position="last",
            )
        )


def to_chunk(text: str, reasoning: str = "") -> ChatGenerationChunk:
    """Make a chunk of settled text."""
    thoughts = {"reasoning_content": reasoning} if reasoning else {}
    return ChatGenerationChunk(message=AIMessageChunk(content=text, additional_kwargs=thoughts))


def to_whole_chunk(result: ChatResult) -> ChatGenerationChunk:
    """Make one chunk of an answer that was not streamed."""
    generation = result.generations[0]
    message = generation.message
    return ChatGenerationChunk(
        message=AIMessageChunk(
            content=message.content,
            additional_kwargs=message.additional_kwargs,
            response_metadata={**(result.llm_output or {}), **metadata_of(generation)},
            usage_metadata=getattr(message, "usage_metadata", None),
            tool_calls=getattr(message, "tool_calls", []),
            invalid_tool_calls=getattr(message, "invalid_tool_calls", []),
            chunk_position="last",
        )
    )


def to_usage(usage: UsageMetadata) -> Usage:
    """Take a provider's count of one call."""
    return Usage(prompt=usage["input_tokens"], generated=usage["output_tokens"], estimated=False)


def to_usage_metadata(usage: Usage) -> UsageMetadata:
    """Return the sum over all calls as LangChain has it; whether it is an estimate is not in it."""
    read = usage.prompt + usage.reread
    return UsageMetadata(
        input_tokens=read, output_tokens=usage.generated, total_tokens=read + usage.generated
    )


def trim(generation: ChatGeneration, keep: int) -> None:
    """Shorten a chunk in place to its first ``keep`` characters of answer text.

    LangChain hands a chunk to the callbacks before it uses it, so that what is taken away here was
    never there.
    """
    message = generation.message
    if isinstance(message.content, str):
        message.content = message.content[:keep]
    else:
        message.content = _trim_blocks(message.content, keep)
    generation.text = answer_text(message)


def _trim_blocks(blocks: list[str | dict[Any, Any]], keep: int) -> list[str | dict[Any, Any]]:
    kept: list[str | dict[Any, Any]] = []
    for block in blocks:
        if isinstance(block, str):
            kept.append(block[:keep])
            keep -= len(kept[-1])
        elif block.get("type") in ("text", "text-plain") and block.get("text"):
            kept.append({**block, "text": block["text"][:keep]})
            keep -= min(keep, len(block["text"]))
        else:
            kept.append(block)
    return kept
