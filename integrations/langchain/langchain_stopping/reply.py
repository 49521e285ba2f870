"""What a provider says beside the text, gathered over all the calls of one request."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any, Literal

from langchain_core.messages import AIMessage, AIMessageChunk
from langchain_core.messages.ai import UsageMetadata, add_usage
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langchain_core.utils._merge import merge_dicts

from langchain_stopping.messages import (
    answer_text,
    finish_reason,
    foreign_blocks,
    merged_blocks,
    metadata_of,
    to_plain_step,
    to_steps,
    to_usage,
    to_whole_chunk,
    token_logprobs,
)
from stopping_core import (
    Attempt,
    Call,
    CompletenessCheck,
    Completion,
    Draft,
    Request,
    Step,
    Verdict,
    report,
)
from stopping_core.completeness import broke_off

_BLANK = "\n\n"

_ELSEWHERE = frozenset({"function_call", "reasoning_content", "tool_calls"})
"""What stands beside the content of a message, and comes to the answer on another way."""


class Reply:
    """Gathers what a provider says beside the text, over all the calls of one request.

    Metadata is that of the last call, as providers repeat it in each, and so is what stands beside
    the content (a refusal). Content blocks stay as they came where the last call's are the answer,
    whole and uncut; else the answer is a plain text, with the blocks after it that are neither text
    nor reasoning, and ``model_provider`` is dropped, by which LangChain would look for the
    provider's own blocks. After a cut nothing is kept that points to what the provider has stored:
    it never stored the whole. Logprobs add up, save those of text that was dropped; after a cut
    they may go a few tokens beyond it. The details of usage add up over the calls that report them.
    Tool calls are those of the last call, as they came. Once one has begun, text is held back until
    the call ends, so that no policy can break it off.

    Args:
        model: The model's name, for answers that were cut: providers often say it at the end only.
    """

    def __init__(self, model: str | None = None) -> None:
        self.metadata: dict[str, Any] = {}
        self.tool_chunks: list[AIMessageChunk] = []
        self._model = model
        self._held: list[Step] = []
        self._repeated: dict[str, Any] = {}
        self._logprobs: list[Mapping[str, Any]] = []
        self._beside: dict[str, Any] = {}
        self._contents: list[list[str | dict[Any, Any]]] = []
        self._earlier_blocks: list[dict[Any, Any]] = []
        self._foreign_seen = False
        self._thinks: Literal["not", "in this call", "earlier"] = "not"
        self._usage: UsageMetadata | None = None
        self._earlier: UsageMetadata | None = None
        self._chunks = 0
        self._ended = False

    def begin(self, call: Call) -> None:
        """Begin the next call."""
        self.metadata = {}
        self.tool_chunks = []
        self._held = []
        self._repeated = {}
        self._beside = {}
        self._earlier_blocks = self._foreign() if call.prefix else []
        self._contents = []
        self._foreign_seen = False
        if self._thinks != "not":
            self._thinks = "earlier"
        if self._usage is not None:
            self._earlier = add_usage(self._earlier, self._usage)
        self._usage = None
        self._chunks = 0
        self._ended = False
        if not call.prefix:
            self._logprobs = []

    def take(self, generation: ChatGeneration) -> Iterator[Step]:
        """Note what a chunk says; return its steps."""
        self._chunks += 1
        if not self.tool_chunks and (step := to_plain_step(generation, self._repeated)) is not None:
            self._ended = False
            return iter((step,))
        message = generation.message
        metadata = metadata_of(generation)
        if isinstance(message.content, list):
            self._contents.append(message.content)
            self._foreign_seen = self._foreign_seen or bool(foreign_blocks(message.content))
        self._ended = getattr(message, "chunk_position", None) == "last"
        self._logprobs += token_logprobs(metadata)
        self.metadata.update({k: v for k, v in metadata.items() if k != "logprobs"})
        self._repeated = {} if finish_reason(metadata) else dict(message.response_metadata)
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
        if not self.tool_chunks:
            return self._spaced(to_steps(generation))
        self._held += self._spaced(to_steps(generation))
        return iter(())

    def _spaced(self, steps: Iterator[Step]) -> Iterator[Step]:
        """Put a blank line between the reasoning of two calls."""
        for step in steps:
            first = step.channel == "reasoning" and self._thinks != "in this call"
            again = first and self._thinks == "earlier"
            self._thinks = "in this call" if first else self._thinks
            yield replace(step, text=_BLANK + step.text) if again else step

    def _add_beside(self, values: Mapping[str, Any]) -> None:
        if new := {key: value for key, value in values.items() if key not in _ELSEWHERE}:
            try:
                self._beside = merge_dicts(self._beside, new)
            except (TypeError, ValueError):  # of a kind that LangChain cannot merge
                self._beside = {**self._beside, **new}

    @property
    def holds_more(self) -> bool:
        """Whether the answer is not in its text alone: an image, a refusal."""
        return self._foreign_seen or bool(self._beside.get("refusal"))

    def _foreign(self) -> list[dict[Any, Any]]:
        return [*self._earlier_blocks, *foreign_blocks(merged_blocks(self._contents))]

    def take_result(self, result: ChatResult, call: Call) -> Iterator[Step]:
        """Note what an answer says that was not streamed; yield it as one step."""
        chunk = to_whole_chunk(result)
        text = answer_text(chunk.message)
        for step in self.take(chunk):
            # llama.cpp repeats the prefill, though only where it does not stream.
            again = bool(call.prefill) and text.startswith(call.prefill) and step.text == text
            yield replace(step, text=text[len(call.prefill) :]) if again else step

    def end(self) -> Iterator[Step]:
        """Yield what was held back, the usage of the call, and how it ended where nobody says so.

        A provider that never gives a reason cannot be told from one that was broken off, save where
        it says nothing else either, or marks its last chunk.
        """
        yield from self._held
        silent = self._ended or not self.metadata
        ended = self._chunks > 0 and silent and finish_reason(self.metadata) is None
        usage = to_usage(self._usage) if self._usage is not None else None
        if usage is not None or ended:
            yield Step("", tokens=0, finish_reason="stop" if ended else None, usage=usage)

    def response_metadata(
        self, completion: Completion, *, as_it_came: bool = False
    ) -> dict[str, Any]:
        """Return the metadata of the answer: the provider's own, and ours under ``stopping``.

        Args:
            completion: What came of the request.
            as_it_came: Whether the content is the provider's own.
        """
        cut = completion.finish_reason == "cut" and self._model is not None
        named = {"model_name": self._model} if cut else {}
        logprobs = {"logprobs": {"content": list(self._logprobs)}} if self._logprobs else {}
        wrong = {"id"} if _broken(completion) else set()
        if not as_it_came and (self._contents or completion.reasoning):
            wrong |= {"model_provider", "output_version"}
        own = {key: value for key, value in self.metadata.items() if key not in wrong}
        return {**named, **own, **logprobs, "stopping": report(completion)}

    def _as_it_came(self, completion: Completion) -> list[str | dict[Any, Any]]:
        """The last call's content blocks, where they are the answer; else nothing."""
        blocks = [] if _broken(completion) else merged_blocks(self._contents)
        text = answer_text(AIMessage(content=blocks))
        return blocks if text.strip() == completion.text.strip() else []

    def _blocks_after(self, completion: Completion) -> list[str | dict[Any, Any]]:
        broken = _broken(completion)
        return [block for block in self._foreign() if not (broken and _is_stored(block))]

    def _kwargs_beside(self, completion: Completion) -> dict[str, Any]:
        broken = _broken(completion)
        return {k: v for k, v in self._beside.items() if not (broken and _is_stored(v))}

    def usage_metadata(self, completion: Completion) -> UsageMetadata:
        """Return the sum over all calls; ``["stopping"]["tokens"]`` says if it is an estimate."""
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
        for chunk in self._whole_tool_chunks(completion):
            calls += chunk
        reasoning = completion.reasoning.removeprefix(_BLANK)
        thoughts = {"reasoning_content": reasoning} if reasoning else {}
        own = self._as_it_came(completion)
        after = self._blocks_after(completion)
        text = [completion.text] if completion.text else []
        return AIMessage(
            content=own or ([*text, *after] if after else completion.text),
            additional_kwargs={**self._kwargs_beside(completion), **thoughts},
            response_metadata=self.response_metadata(completion, as_it_came=bool(own)),
            usage_metadata=self.usage_metadata(completion),
            tool_calls=calls.tool_calls,
            invalid_tool_calls=calls.invalid_tool_calls,
        )

    def last_chunks(self, completion: Completion) -> Iterator[ChatGenerationChunk]:
        """Yield what ends a stream: tool calls, and a chunk without text for all the rest."""
        for chunk in self._whole_tool_chunks(completion):
            yield ChatGenerationChunk(message=chunk)
        yield ChatGenerationChunk(
            message=AIMessageChunk(
                content=self._blocks_after(completion) or "",
                additional_kwargs=self._kwargs_beside(completion),
                response_metadata=self.response_metadata(completion),
                usage_metadata=self.usage_metadata(completion),
                chunk_position="last",
            )
        )

    def _whole_tool_chunks(self, completion: Completion) -> list[AIMessageChunk]:
        """The tool calls, unless the last call broke off in them and an earlier answer stands."""
        return [] if completion.attempts[-1].error else self.tool_chunks


class UnlessNoText:
    """Takes an answer for complete whose text is not the point.

    The model called a tool, bound here or not, drew an image, or refused in a block of its own.
    """

    def __init__(self, check: CompletenessCheck, reply: Reply) -> None:
        self.slow = bool(getattr(check, "slow", False))
        self.fast = getattr(check, "fast", None)
        self.stands_for = self._check = check
        self._reply = reply

    def __call__(self, request: Request, draft: Draft, /) -> Verdict:
        if self._reply.tool_chunks:
            return Verdict(True, "a tool was called")
        if self._reply.holds_more and not broke_off(draft.finish_reason):
            return Verdict(True, "it holds more than text")
        return self._check(request, draft)


def _broken(completion: Completion) -> bool:
    """Whether the provider never got to the end of its last answer: our cut, or an error."""
    return completion.finish_reason == "cut" or bool(completion.attempts[-1].error)


def _is_stored(value: Any) -> bool:
    """Whether this is something that the provider knows by its id, or a list of such."""
    found = value if isinstance(value, list) else [value]
    return any(isinstance(one, dict) and "id" in one for one in found)


def with_estimates(
    completion: Completion, count_prompt: Callable[[], int], *, budgeted: bool = True
) -> Completion:
    """Fill in what no provider has told, and take out what was never asked for.

    Args:
        completion: What came of the request.
        count_prompt: Estimates the tokens of the prompt; called where they are not known.
        budgeted: Whether the calls were sent the budgets of the session. If not, what the cut has
            saved is not known.
    """
    attempts = list(completion.attempts)
    if not budgeted:
        attempts = [replace(attempt, budget=None, avoided=0) for attempt in attempts]
    unknown = [n for n, a in enumerate(attempts) if a.prompt_tokens is None and _was_billed(a)]
    prompt = count_prompt() if unknown else 0
    for n in unknown:
        again = () if attempts[n].kind == "restart" else attempts[:n]
        kept = sum(attempt.generated - attempt.discarded for attempt in again)
        attempts[n] = replace(attempts[n], prompt_tokens=prompt + kept)
    read = [attempt.prompt_tokens or 0 for attempt in attempts]
    usage = replace(
        completion.usage,
        prompt=sum(read[:1]),
        reread=sum(read[1:]),
        avoided=sum(attempt.avoided for attempt in attempts),
    )
    return replace(completion, usage=usage, attempts=tuple(attempts))


def _was_billed(attempt: Attempt) -> bool:
    """Whether a call was served, if only in part: one that was refused costs nothing."""
    return attempt.generated > 0 or not attempt.error
