"""LlamaIndex responses, to the core's steps."""

from __future__ import annotations

from dataclasses import replace
from typing import TypeAlias

from llama_index.core.base.llms.types import (
    ChatResponse,
    CompletionResponse,
    ContentBlock,
    TextBlock,
    ThinkingBlock,
    ToolCallBlock,
)

from llama_index.llms.stopping.provider import (
    NamedToken,
    finish_reason_of,
    names_its_end,
    tokens_of,
    usage_of,
)
from stopping_core.types import Step

Response: TypeAlias = ChatResponse | CompletionResponse

_CHARACTERS_PER_TOKEN = 4  # where a text comes uncounted


class Reader:
    """Turns the responses of one call into steps.

    From the moment that a tool is called nothing is told until the end: then no policy is asked,
    and the call is not cut.

    Args:
        budget: Output tokens that were asked for, or None.
        beside: Where to gather the blocks that are no text, in their order.

    Attributes:
        last: The last response, which holds the provider's own words.
        calls_tool: Whether the model has called a tool.
    """

    def __init__(self, budget: int | None = None, beside: list[ContentBlock] | None = None) -> None:
        self.last: Response | None = None
        self.calls_tool = False
        self._budget = budget
        self._beside = [] if beside is None else beside
        self._known = ""  # of a text that comes without deltas
        self._tokens = 0
        self._prompt = 0
        self._finished = False
        self._withheld: list[Step] = []

    def read(self, response: Response) -> list[Step]:
        """Make the steps of one streamed response, a step a token where its raw names them."""
        self.last = response
        self._gather(response)
        raw = response.raw
        finish, usage, tokens = finish_reason_of(raw), usage_of(raw), tokens_of(raw)
        self._finished = self._finished or finish is not None
        if usage is not None:
            self._prompt = usage.prompt or self._prompt
            # A count that comes before the end is a beginning of one: not yet what is billed.
            usage = replace(usage, prompt=self._prompt) if self._finished else None
        delta = self._grown(response) if response.delta is None else response.delta
        steps = _named(delta, tokens) if tokens else []
        if steps:
            steps[-1] = replace(steps[-1], finish_reason=finish, usage=usage, raw=raw)
        elif delta or finish is not None or usage is not None:
            count = _estimate(delta) if delta else 0
            steps.append(Step(delta, count, finish_reason=finish, usage=usage, raw=raw))
        if thought := response.additional_kwargs.get("thinking_delta"):
            steps.insert(0, Step(str(thought), _estimate(str(thought)), channel="reasoning"))
        for step in steps:
            self._tokens += step.tokens
        self.calls_tool = self.calls_tool or _has_tool_call(response)
        if self.calls_tool:
            self._withheld += steps or [Step("")]  # arguments go uncounted by the provider's names
            return []
        return steps

    def read_whole(self, response: Response, prefill: str) -> list[Step]:
        """Make one step of a response that came in one piece, less the prefill it may repeat."""
        self.last = response
        self._gather(response)
        self.calls_tool = _has_tool_call(response)
        text = _text(response).removeprefix(prefill)
        usage = usage_of(response.raw)
        tokens = usage.generated if usage is not None else -(-len(text) // _CHARACTERS_PER_TOKEN)
        finish = finish_reason_of(response.raw)
        self._finished = finish is not None
        self._tokens += tokens
        return [Step(text, tokens, finish_reason=finish, usage=usage, raw=response.raw)]

    def end(self) -> list[Step]:
        """Make what is told at the end: a tool call's steps, and a reason where there is none.

        Providers of OpenAI's protocols always give a reason: where it is missing, the stream broke
        off, and that is left to be seen. A text without deltas that was written anew on the way is
        told once more, as a whole.
        """
        steps, self._withheld = _joined(self._withheld), []
        if self.last is not None and self._is_rewritten(self.last):
            text = _text(self.last)
            steps.append(Step(text, _estimate(text)))
        raw = self.last.raw if self.last is not None else None
        if not self._finished and self.last is not None and not names_its_end(raw):
            full = self._budget is not None and self._tokens >= self._budget
            reason = "length" if full else "stop"
            steps.append(Step("", tokens=0, finish_reason=reason, usage=usage_of(raw)))
        return steps

    def _grown(self, response: Response) -> str:
        """What the text grew by, for integrations that give no delta."""
        text = _text(response)
        if not text.startswith(self._known):
            return ""
        grown, self._known = text[len(self._known) :], text
        return grown

    def _is_rewritten(self, last: Response) -> bool:
        known = self._known if last.delta is None else ""
        return bool(known) and not known.startswith(_text(last))

    def _gather(self, response: Response) -> None:
        """Keep the blocks that are no text; one that has grown takes the place of what it was."""
        if not isinstance(response, ChatResponse):
            return
        for block in response.message.blocks:
            if isinstance(block, TextBlock):
                continue
            same = (n for n, known in enumerate(self._beside) if _has_grown(known, block))
            place = next(same, len(self._beside))
            self._beside[place : place + 1] = [block]


def _has_grown(known: ContentBlock, block: ContentBlock) -> bool:
    """Whether a block is another one, come further: integrations repeat what came before."""
    if isinstance(known, ToolCallBlock) and isinstance(block, ToolCallBlock):
        same = known.tool_call_id == block.tool_call_id
        return known == block if known.tool_call_id is None else same
    if isinstance(known, ThinkingBlock) and isinstance(block, ThinkingBlock):
        told = block.additional_information
        same = all(told.get(name) == v for name, v in known.additional_information.items())
        return same and (block.content or "").startswith(known.content or "")
    return known == block


def _text(response: Response) -> str:
    text = response.message.content if isinstance(response, ChatResponse) else response.text
    return text or ""


def _has_tool_call(response: Response) -> bool:
    if not isinstance(response, ChatResponse):
        return False
    message = response.message
    if message.additional_kwargs.get("tool_calls"):
        return True
    return any(isinstance(block, ToolCallBlock) for block in message.blocks)


def _named(delta: str, tokens: list[NamedToken]) -> list[Step]:
    """One step a token where the tokens spell the delta; else one step that counts them."""
    if "".join(token for token, _, _ in tokens) == delta:
        return [Step(token, logprob=value, top_logprobs=top) for token, value, top in tokens]
    values = [value for _, value, _ in tokens if value is not None]
    return [
        Step(
            delta,
            tokens=len(tokens),
            logprob=sum(values) / len(values) if values else None,
            top_logprobs=tokens[-1][2],
        )
    ]


def _joined(steps: list[Step]) -> list[Step]:
    """Steps as one, which ends as the last of them that says how it ends; or none."""
    if not steps:
        return []
    text = "".join(step.text for step in steps if step.channel == "answer")
    thought = "".join(step.text for step in steps if step.channel == "reasoning")
    finish = [step.finish_reason for step in steps if step.finish_reason is not None]
    usage = [step.usage for step in steps if step.usage is not None]
    whole = Step(
        text,
        sum(step.tokens for step in steps),
        finish_reason=finish[-1] if finish else None,
        usage=usage[-1] if usage else None,
    )
    return [Step(thought, tokens=0, channel="reasoning"), whole] if thought else [whole]


def _estimate(text: str) -> int:
    """Estimate the tokens in a chunk that does not say: one, or its length by four where longer."""
    brief = len(text) <= 4 * _CHARACTERS_PER_TOKEN
    return 1 if brief else -(-len(text) // _CHARACTERS_PER_TOKEN)
