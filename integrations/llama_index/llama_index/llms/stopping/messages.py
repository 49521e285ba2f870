"""LlamaIndex messages to the core's request, and the core's completion to LlamaIndex responses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from llama_index.core.base.llms.types import (
    ChatMessage,
    ChatResponse,
    CompletionResponse,
    ContentBlock,
    LLMMetadata,
    MessageRole,
    TextBlock,
    ThinkingBlock,
)

from llama_index.llms.stopping.provider import as_dict
from llama_index.llms.stopping.reader import Response
from stopping_core.answer import Emission
from stopping_core.report import report
from stopping_core.results import Call, Completion
from stopping_core.types import Request, Usage

Asked: TypeAlias = str | Sequence[ChatMessage]

_COUNTS = ("usage", "prompt_tokens", "completion_tokens", "total_tokens")


def to_request(
    asked: Asked,
    *,
    metadata: LLMMetadata,
    tokenizer: Any = None,
    max_tokens: int | None = None,
    model: str | None = None,
    sampling: Mapping[str, Any] | None = None,
    tools: bool = False,
) -> Request:
    """Say what is known about a request before its first token.

    Args:
        asked: The prompt or the messages.
        metadata: The inner LLM's. Its context window is a limit only where the prompt is known to
            leave room in it: where it seems full, the server knows better. Its ``num_output`` is
            none, for the answer may need more.
        tokenizer: The inner LLM's, where it has one with ``encode``; a mere name is none. Without
            it the length of the prompt is unknown. The tokens of a chat template are not counted.
        max_tokens: The caller's own limit, tokens.
        model: The caller's own model, where it is not the LLM's.
        sampling: Settings of the sampler, by :func:`~stopping_core.sampling.sampling_of`.
        tools: Whether the model may call a tool.
    """
    if isinstance(asked, str):
        prompt = question = asked
    else:
        prompt = "\n\n".join(message.content or "" for message in asked)
        users = [message.content for message in asked if message.role == MessageRole.USER]
        question = (users[-1] or "") if users else ""
    counts = hasattr(tokenizer, "encode") and not isinstance(tokenizer, str)
    tokens = len(tokenizer.encode(prompt)) if counts else None
    fits = tokens is not None and tokens < metadata.context_window
    return Request(
        prompt=prompt,
        question=question,
        prompt_tokens=tokens,
        max_tokens=max_tokens,
        context_window=metadata.context_window if fits else None,
        model=model or metadata.model_name,
        sampling=sampling or {},
        chat=metadata.is_chat_model,
        beside=(*_beside(asked), *(["tools"] if tools else [])),
    )


def _beside(asked: Asked) -> list[str]:
    """What messages hold beside their texts: other blocks, and turns before the last."""
    if isinstance(asked, str):
        return []
    found: dict[str, None] = {}
    roles = [message.role for message in asked]
    spoken = [role for role in roles if role != MessageRole.SYSTEM]
    alone = [MessageRole.USER], [MessageRole.USER, MessageRole.ASSISTANT]
    if spoken not in alone or MessageRole.SYSTEM in roles[1:]:
        found["earlier turns"] = None
    blocks = [block for message in asked for block in message.blocks]
    found |= {one.block_type: None for one in blocks if not isinstance(one, TextBlock)}
    return list(found)


def as_messages(prompt: str) -> list[ChatMessage]:
    """Ask a chat model what a prompt asks."""
    return [ChatMessage(role=MessageRole.USER, content=prompt)]


def to_go_on(messages: Sequence[ChatMessage], call: Call, *, prefill: bool) -> list[ChatMessage]:
    """Make the messages of a call that goes on from a kept text.

    Args:
        messages: What was asked.
        call: The call; its ``prefill`` is not empty.
        prefill: Whether the server continues a last assistant message. If not, the text so far
            stands as an assistant message and a user turn asks to go on.
    """
    if not prefill:
        said = ChatMessage(role=MessageRole.ASSISTANT, content=call.prefill)
        return [*messages, said, ChatMessage(role=MessageRole.USER, content=call.turn)]
    before, begun = list(messages), call.prefill
    if before and before[-1].role == MessageRole.ASSISTANT:  # the caller began the answer already
        begun = (before.pop().content or "") + begun
    return [*before, ChatMessage(role=MessageRole.ASSISTANT, content=begun)]


class Reply:
    """Builds the responses that the caller gets, cumulative as LlamaIndex wants them.

    Args:
        beside: What the inner LLM's responses hold beside text; it may grow.
        text: Answer so far.
        reasoning: Reasoning so far.
    """

    def __init__(
        self, beside: Sequence[ContentBlock] = (), text: str = "", reasoning: str = ""
    ) -> None:
        self._beside = beside
        self._text = text
        self._reasoning = reasoning
        self._emitted = Emission()

    @classmethod
    def to(cls, completion: Completion, beside: Sequence[ContentBlock]) -> Reply:
        """Begin with all of a completion's text."""
        return cls(beside, completion.text, completion.reasoning)

    def add(self, emission: Emission) -> None:
        """Take what was settled: the next response's delta."""
        self._text += emission.text
        self._reasoning += emission.reasoning
        self._emitted = emission

    def chat(
        self, last: Response | None, completion: Completion | None = None, *, streamed: bool = True
    ) -> ChatResponse:
        """Make a chat response.

        Args:
            last: The inner LLM's last response: its raw and its additional keywords are kept. It is
                handed on itself where it says just what would be said here, and so are its blocks
                where it is the whole answer, uncut.
            completion: What came of the request, on the last response only.
            streamed: Whether the response has a delta.
        """
        if not isinstance(last, ChatResponse):
            message = ChatMessage(role=MessageRole.ASSISTANT, blocks=self._blocks())
            return ChatResponse(message=message, **self._rest(last, completion, streamed))
        blocks = last.message.blocks
        alone = len(blocks) == 1 and not self._beside
        if completion is None and alone and self._is_said(last, blocks[0]):
            return last
        message = ChatMessage(
            role=MessageRole.ASSISTANT,
            blocks=blocks if self._is_all(blocks, completion) else self._blocks(),
            additional_kwargs=last.message.additional_kwargs,
        )
        return ChatResponse(message=message, **self._rest(last, completion, streamed))

    def completion(
        self, last: Response | None, completion: Completion | None = None, *, streamed: bool = True
    ) -> CompletionResponse:
        """Make a completion response; arguments as in :meth:`chat`."""
        if (
            completion is None
            and isinstance(last, CompletionResponse)
            and self._is_said(last, last)
        ):
            return last
        return CompletionResponse(text=self._text, **self._rest(last, completion, streamed))

    def _blocks(self) -> list[ContentBlock]:
        """The reasoning, the text, and the rest; signed reasoning as it came, or it is refused."""
        thoughts = [block for block in self._beside if isinstance(block, ThinkingBlock)]
        signed = any(block.additional_information for block in thoughts)
        if self._reasoning and not signed:
            thoughts = [ThinkingBlock(content=self._reasoning)]
        rest = [block for block in self._beside if not isinstance(block, ThinkingBlock)]
        return [*thoughts, TextBlock(text=self._text), *rest]

    def _is_all(self, blocks: Sequence[ContentBlock], completion: Completion | None) -> bool:
        """Whether a last response's blocks are the whole answer, in one call and without a cut."""
        if completion is None or completion.finish_reason == "cut" or len(completion.attempts) > 1:
            return False
        text = "".join(block.text for block in blocks if isinstance(block, TextBlock))
        thinks = any(isinstance(block, ThinkingBlock) for block in blocks)
        others = all(isinstance(block, TextBlock) for block in blocks) and bool(self._beside)
        return (
            bool(blocks) and text == self._text and not others and thinks >= bool(self._reasoning)
        )

    def _is_said(self, last: Response, block: object) -> bool:
        """Whether a streamed response says, in its only block, what was settled."""
        return (
            not self._reasoning
            and last.delta == self._emitted.text
            and getattr(block, "text", None) == self._text
        )

    def _rest(
        self, last: Response | None, completion: Completion | None, streamed: bool
    ) -> dict[str, Any]:
        raw = last.raw if last is not None else None
        kept = last.additional_kwargs if last is not None else {}
        extra = {name: value for name, value in kept.items() if name != "thinking_delta"}
        delta = None
        if streamed and completion is None:
            delta = self._emitted.text
            if self._emitted.reasoning:
                extra["thinking_delta"] = self._emitted.reasoning
        elif streamed:
            delta = ""
        if completion is not None:
            told, counts = report(completion), _token_counts(completion.usage)
            raw = {**as_dict(raw), "stopping": told}
            if completion.usage.estimated or len(completion.attempts) > 1:
                raw["usage"] = counts  # else the provider's own stands
                extra = {name: value for name, value in extra.items() if name not in _COUNTS}
            extra |= {**counts, "stopping": told}
        return {"raw": raw, "delta": delta, "additional_kwargs": extra}


def _token_counts(usage: Usage) -> dict[str, Any]:
    """The counts over all calls, under the names that LlamaIndex's own counters read.

    ``estimated`` says that one is ours and not the provider's. Of a prompt that nobody counted
    there is no count.
    """
    counts: dict[str, Any] = {"completion_tokens": usage.generated}
    if prompt := usage.prompt + usage.reread:
        counts |= {"prompt_tokens": prompt, "total_tokens": prompt + usage.generated}
    return {**counts, "estimated": True} if usage.estimated else counts
