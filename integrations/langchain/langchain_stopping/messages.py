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
from langchain_core.messages.ai import UsageMetadata
from langchain_core.messages.base import merge_content
from langchain_core.messages.utils import count_tokens_approximately
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult

from stopping_core import Call, Request, Step, Usage

_TEXT = ("text", "text-plain")

_KNOWN = frozenset(
    {
        *_TEXT,
        "function_call",
        "input_json_delta",
        "invalid_tool_call",
        "reasoning",
        "reasoning_content",
        "redacted_thinking",
        "thinking",
        "tool_call",
        "tool_call_chunk",
        "tool_use",
    }
)

LLM_TYPE = "adaptive-stopping"
"""What the wrapper calls its type, by which the handler knows that it has nothing to do."""

_FINISH = ("finish_reason", "stop_reason", "stopReason", "done_reason")

_CHARACTERS = 4  # a token of English; tokenisers seldom have one of more than four times that


def to_request(
    messages: Sequence[BaseMessage],
    *,
    max_tokens: int | None = None,
    profile: Mapping[str, Any] | None = None,
    model: str | None = None,
    sampling: Mapping[str, Any] | None = None,
    tools: bool = False,
) -> Request:
    """Say what is known about a request: its texts, the last question, the model, its settings."""
    asked = [message for message in messages if isinstance(message, HumanMessage)]
    known = profile or {}
    return Request(
        prompt="\n\n".join(text for m in messages if (text := answer_text(m))),
        question=answer_text(asked[-1]) if asked else "",
        max_tokens=max_tokens,
        max_output_tokens=known.get("max_output_tokens") or None,
        context_window=known.get("max_input_tokens") or None,
        model=model or "",
        sampling=sampling or {},
        chat=True,
        beside=(*_beside(messages), *(["tools"] if tools else [])),
    )


def _beside(messages: Sequence[BaseMessage]) -> list[str]:
    """What messages hold beside their texts: other blocks, tool calls, turns before the last."""
    found: dict[str, None] = {}
    roles = [message.type for message in messages]
    spoken = [role for role in roles if role != "system"]
    if spoken not in (["human"], ["human", "ai"]) or "system" in roles[1:]:
        found["earlier turns"] = None
    for message in messages:
        if isinstance(message.content, list):
            kinds = [one.get("type") for one in message.content if isinstance(one, dict)]
            found |= dict.fromkeys(str(kind) for kind in kinds if kind not in _TEXT)
        if getattr(message, "tool_calls", None):
            found["tool_call"] = None
    return list(found)


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
        block if isinstance(block, str) else _block_text(block)
        for block in content
        if isinstance(block, str) or block.get("type") in _TEXT
    )


def _block_text(block: Mapping[str, Any]) -> str:
    text = block.get("text")
    return text if isinstance(text, str) else ""


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


def foreign_blocks(content: str | list[str | dict[Any, Any]]) -> list[dict[Any, Any]]:
    """Return the blocks that are neither text nor reasoning nor parts of a tool call."""
    blocks = [] if isinstance(content, str) else content
    return [b for b in blocks if isinstance(b, dict) and b and str(b.get("type")) not in _KNOWN]


def merged_blocks(contents: Sequence[list[str | dict[Any, Any]]]) -> list[str | dict[Any, Any]]:
    """Put the blocks of all chunks together; nothing where they contradict each other."""
    try:
        merged = merge_content(*contents) if contents else []
    except (TypeError, ValueError):  # a field that is a text here and a dictionary there
        return []
    return merged if isinstance(merged, list) else [merged]


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


def to_plain_step(generation: ChatGeneration, repeated: Mapping[str, Any]) -> Step | None:
    """Return the step of a chunk that brings text and nothing else; None for any other.

    Nearly all chunks are such: what is not looked into here costs every token of every answer.

    Args:
        generation: The chunk.
        repeated: Metadata that providers repeat in each chunk, and that is known already.
    """
    message = generation.message
    text = message.content
    if (
        generation.generation_info
        or not text
        or not isinstance(text, str)
        or not isinstance(message, AIMessageChunk)
        or message.additional_kwargs
        or message.usage_metadata
        or message.tool_call_chunks
        or message.chunk_position
        or message.response_metadata != repeated
    ):
        return None
    return Step(text, tokens=estimate(text))


def _answer_steps(message: BaseMessage, metadata: Mapping[str, Any]) -> Iterator[Step]:
    text = answer_text(message)
    tokens = token_logprobs(metadata)
    if not tokens:
        if text:
            yield Step(text, tokens=estimate(text))
    elif len(tokens) > 1 and "".join(str(t.get("token")) for t in tokens) == text:
        for token in tokens:
            yield Step(
                str(token.get("token")), logprob=_logprob(token), top_logprobs=_top_logprobs(token)
            )
    else:  # half a character is in no token's text: only the chunk's own text is right
        known = [value for token in tokens if (value := _logprob(token)) is not None]
        yield Step(
            text,
            tokens=len(tokens),
            logprob=sum(known) / len(known) if known else None,
            top_logprobs=_top_logprobs(tokens[-1]),
        )


def token_logprobs(metadata: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return what the provider says about each token; nothing where it says nothing."""
    found = metadata.get("logprobs")
    content = found.get("content") if isinstance(found, dict) else None
    return [c for c in content if isinstance(c, dict)] if isinstance(content, list) else []


def _logprob(token: Mapping[str, Any]) -> float | None:
    value = token.get("logprob")
    if not isinstance(value, int | float) or math.isnan(value):
        return None
    return min(0.0, float(value))


def _top_logprobs(token: Mapping[str, Any]) -> tuple[float, ...] | None:
    top = token.get("top_logprobs")
    found = [_logprob(c) for c in top if isinstance(c, dict)] if isinstance(top, list) else []
    return tuple(value for value in found if value is not None) or None


def estimate(text: str) -> int:
    """Estimate the tokens in a chunk that does not say: one, or its length by four where longer."""
    return 1 if len(text) <= 4 * _CHARACTERS else math.ceil(len(text) / _CHARACTERS)


def to_chunk(text: str, reasoning: str = "") -> ChatGenerationChunk:
    """Make a chunk of settled text."""
    if not reasoning:
        return ChatGenerationChunk(message=AIMessageChunk(content=text))
    thoughts = {"reasoning_content": reasoning}
    return ChatGenerationChunk(message=AIMessageChunk(content=text, additional_kwargs=thoughts))


def count_prompt(messages: Sequence[BaseMessage], settings: Mapping[str, Any]) -> int:
    """Estimate the tokens of a prompt and of the tools that a call offers, by their length."""
    tools = repr(settings["tools"]) if settings.get("tools") else ""
    return count_tokens_approximately(messages) + math.ceil(len(tools) / _CHARACTERS)


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
        elif block.get("type") in _TEXT and (text := _block_text(block)):
            kept.append({**block, "text": text[:keep]})
            keep -= min(keep, len(text))
        else:
            kept.append(block)
    return kept
