"""LlamaIndex messages and responses, to the core's values and back: nothing else touches them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
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

from llama_index.llms.stopping.provider import (
    NamedToken,
    as_dict,
    finish_reason_of,
    names_its_end,
    tokens_of,
    usage_of,
)
from stopping_core.answer import Emission
from stopping_core.report import report
from stopping_core.types import Call, Completion, Request, Step, Usage

Response: TypeAlias = ChatResponse | CompletionResponse
Asked: TypeAlias = str | Sequence[ChatMessage]

_CHARACTERS_PER_TOKEN = 4  # where a text comes uncounted


def to_request(
    asked: Asked, *, metadata: LLMMetadata, tokenizer: Any = None, max_tokens: int | None = None
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
    )


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


class Reader:
    """Turns the responses of one call into steps.

    Args:
        budget: Output tokens that were asked for, or None.

    Attributes:
        last: The last response, which holds the provider's own words.
    """

    def __init__(self, budget: int | None = None) -> None:
        self.last: Response | None = None
        self._budget = budget
        self._text = ""
        self._tokens = 0
        self._prompt = 0
        self._finished = False

    def read(self, response: Response) -> Iterator[Step]:
        """Yield the steps of one streamed response, a step a token where its raw names them."""
        self.last = response
        if thought := response.additional_kwargs.get("thinking_delta"):
            thought = str(thought)
            yield self._count(Step(thought, _estimate(thought), channel="reasoning"))
        steps = _steps(self._delta(response), tokens_of(response.raw))
        finish, usage = finish_reason_of(response.raw), usage_of(response.raw)
        self._finished = self._finished or finish is not None
        if usage is not None:
            self._prompt = usage.prompt or self._prompt
            # A count that comes before the end is a beginning of one: not yet what is billed.
            usage = replace(usage, prompt=self._prompt) if self._finished else None
        if not steps and (finish is not None or usage is not None):
            steps = [Step("", tokens=0)]
        if steps:
            steps[-1] = replace(steps[-1], finish_reason=finish, usage=usage, raw=response.raw)
        yield from map(self._count, steps)

    def read_whole(self, response: Response, prefill: str) -> Iterator[Step]:
        """Yield a response that came in one piece as one step, less the prefill it may repeat."""
        self.last = response
        text = _text(response).removeprefix(prefill)
        usage = usage_of(response.raw)
        tokens = usage.generated if usage is not None else -(-len(text) // _CHARACTERS_PER_TOKEN)
        finish = finish_reason_of(response.raw)
        self._finished = finish is not None
        yield self._count(Step(text, tokens, finish_reason=finish, usage=usage, raw=response.raw))

    def end(self) -> Iterator[Step]:
        """Yield the reason for the end where a provider gives none at all.

        Providers of the OpenAI protocol always give one: where it is missing, the stream broke off,
        and that is left to be seen.
        """
        raw = self.last.raw if self.last is not None else None
        if not self._finished and self.last is not None and not names_its_end(raw):
            full = self._budget is not None and self._tokens >= self._budget
            reason = "length" if full else "stop"
            yield Step("", tokens=0, finish_reason=reason, usage=usage_of(raw))

    def _delta(self, response: Response) -> str:
        text = _text(response)
        known, self._text = self._text, text
        if response.delta is not None:
            return response.delta
        return text[len(known) :] if text.startswith(known) else ""

    def _count(self, step: Step) -> Step:
        self._tokens += step.tokens
        return step


class Reply:
    """Builds the responses that the caller gets, cumulative as LlamaIndex wants them.

    Args:
        text: Answer so far.
        reasoning: Reasoning so far.
    """

    def __init__(self, text: str = "", reasoning: str = "") -> None:
        self._text = text
        self._reasoning = reasoning
        self._emitted = Emission()

    @classmethod
    def to(cls, completion: Completion) -> Reply:
        """Begin with all of a completion's text."""
        return cls(completion.text, completion.reasoning)

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
            last: The inner LLM's last response: its raw and what it holds beside text are kept.
            completion: What came of the request, on the last response only.
            streamed: Whether the response has a delta.
        """
        blocks: list[ContentBlock] = []
        if self._reasoning:
            blocks.append(ThinkingBlock(content=self._reasoning))
        blocks.append(TextBlock(text=self._text))
        if isinstance(last, ChatResponse):
            kept = last.message.blocks
            blocks += [b for b in kept if not isinstance(b, TextBlock | ThinkingBlock)]
        return ChatResponse(
            message=ChatMessage(role=MessageRole.ASSISTANT, blocks=blocks),
            **self._rest(last, completion, streamed),
        )

    def completion(
        self, last: Response | None, completion: Completion | None = None, *, streamed: bool = True
    ) -> CompletionResponse:
        """Make a completion response; arguments as in :meth:`chat`."""
        return CompletionResponse(text=self._text, **self._rest(last, completion, streamed))

    def _rest(
        self, last: Response | None, completion: Completion | None, streamed: bool
    ) -> dict[str, Any]:
        raw = last.raw if last is not None else None
        extra: dict[str, Any] = {}
        delta = None
        if streamed and completion is None:
            delta = self._emitted.text
            if self._emitted.reasoning:
                extra["thinking_delta"] = self._emitted.reasoning
        elif streamed:
            delta = ""
        if completion is not None:
            told = report(completion)
            raw = {**as_dict(raw), "stopping": told}
            extra |= {**_token_counts(completion.usage), "stopping": told}
        return {"raw": raw, "delta": delta, "additional_kwargs": extra}


def _token_counts(usage: Usage) -> dict[str, int]:
    """The counts under the names that LlamaIndex's own counters read; none where they are ours."""
    if usage.estimated:
        return {}
    prompt = usage.prompt + usage.reread
    return {
        "prompt_tokens": prompt,
        "completion_tokens": usage.generated,
        "total_tokens": prompt + usage.generated,
    }


def _text(response: Response) -> str:
    text = response.message.content if isinstance(response, ChatResponse) else response.text
    return text or ""


def _steps(delta: str, tokens: list[NamedToken]) -> list[Step]:
    """One step a token where the tokens spell the delta; else one step that counts them."""
    if not delta and not tokens:
        return []
    if tokens and "".join(token for token, _, _ in tokens) == delta:
        return [Step(token, logprob=value, top_logprobs=top) for token, value, top in tokens]
    values = [value for _, value, _ in tokens if value is not None]
    return [
        Step(
            delta,
            tokens=len(tokens) or _estimate(delta),
            logprob=sum(values) / len(values) if values else None,
            top_logprobs=tokens[-1][2] if tokens else None,
        )
    ]


def _estimate(text: str) -> int:
    """Estimate the tokens in a chunk that does not say: one, or its length by four where longer."""
    brief = len(text) <= 4 * _CHARACTERS_PER_TOKEN
    return 1 if brief else -(-len(text) // _CHARACTERS_PER_TOKEN)
