"""One generation that a callback watches: its text, where it was cut, what is known of its cost."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.messages.ai import UsageMetadata, add_usage
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult

from langchain_stopping.client import BASE_URLS
from langchain_stopping.messages import answer_text, count_prompt, to_whole_chunk, trim
from langchain_stopping.reply import Reply
from langchain_stopping.streams import Watched
from stopping_core import AdaptiveStopping, Completion, Ledger, Request, Session, Step, report
from stopping_core.policies import Never
from stopping_core.providers import find_provider

_NO_LIMIT = 1 << 20  # tokens; stands for "the provider's own", which is not known here

_TAIL = 256  # characters of which the end may still be taken away


def for_one_call(stopping: AdaptiveStopping) -> AdaptiveStopping:
    """Return the settings of a callback: it cannot call again, and the budget is the caller's.

    Nor does it end reasoning: nothing could go on to the answer.
    """
    return stopping.replace(
        attempts=1, budget=_callers_budget, up_front=_callers_budget, reasoning=Never()
    )


def _callers_budget(request: Request, ledger: Ledger) -> int:
    return request.max_tokens or _NO_LIMIT


def ends_bill(serialized: Mapping[str, Any] | None) -> bool:
    """Whether hanging up ends the bill of a model, by what LangChain tells the callbacks of it."""
    known = serialized or {}
    settings = known.get("kwargs") or {}
    urls = [settings.get(name) for name in BASE_URLS]
    names = [str(name) for name in (known.get("id") or ())[-1:]]
    return find_provider(names, next((url for url in urls if url), None)).hang_up_ends_bill


@dataclass(slots=True)
class Run:
    """What the core knows of a generation, and the text that LangChain has of it.

    A decision may fall a few blanks behind the chunk that confirms it, so the last chunks are kept
    until they cannot be shortened any more.

    Args:
        session: Of the core; it has one call only.
        messages: What the model was asked.
        tags: The words around reasoning in the text, as the policy has them.
        model: The model's name, for answers that were cut: some providers say it at the end only.
    """

    session: Session
    messages: list[BaseMessage]
    tags: tuple[str, str]
    model: str | None = None
    reply: Reply = field(default_factory=Reply)
    raw: str = ""
    """The text that LangChain has, reasoning tags included."""
    tail: list[tuple[int, ChatGenerationChunk]] = field(default_factory=list)
    """The last chunks of it, and where each begins."""
    streams: Watched = field(default_factory=list)
    in_events: bool | None = None
    """Whether it comes as content-block events. None until the first chunk or event."""
    by_chunks: bool = False
    """Whether chunks were fed: those of a run in events come before their events."""
    cut: Completion | None = None
    hung_up: bool | None = None
    """Whether the model's stream was closed after the cut; None until it was tried."""
    told: UsageMetadata | None = None
    """What the provider has told of its usage."""

    def take(self, chunk: ChatGenerationChunk) -> bool:
        """Feed a chunk; where it stops the run, end the text at the cut and return True."""
        self._note(chunk)
        self.tail = [(start, one) for start, one in self.tail if start + _TAIL > len(self.raw)]
        self.tail.append((len(self.raw), chunk))
        self.raw += answer_text(chunk.message)
        if not self.feed(self.reply.take(chunk)):
            return False
        self.session.end(time.monotonic())
        self.cut = self.completion
        keep = self.kept
        for start, one in self.tail:
            if start + len(answer_text(one.message)) > keep:
                trim(one, max(0, keep - start))
        return True

    def take_whole(self, generation: ChatGeneration) -> None:
        """Feed an answer that has not come as a stream: it is checked, and not cut.

        Its message may be the user's own, as a fake model's, and is replaced before we write to it.
        """
        chunk = to_whole_chunk(ChatResult(generations=[generation]))
        generation.message = generation.message.model_copy()
        watching = self.session.stopping.replace(mode="shadow", certificate=None)
        self.session = Session(watching, self.session.request, streaming=True)
        self.session.next_call(time.monotonic())
        self.feed(self.reply.take(chunk))

    def feed(self, steps: Iterator[Step]) -> bool:
        """Feed steps; return whether the run has to stop."""
        return any(self.session.feed(step, time.monotonic()).stop for step in steps)

    def end(self) -> Completion:
        """Judge a run that ended by itself."""
        self.feed(self.reply.end())
        self.session.end(time.monotonic())
        return self.completion

    @property
    def kept(self) -> int:
        """How much of the raw text the cut leaves: reasoning in tags, and the answer."""
        text = self.completion.text
        opening, closing = self.tags
        if not self.raw.lstrip().startswith(opening):
            return len(text)
        start = self.raw.find(closing)
        return self.raw.find(text, start) + len(text) if start >= 0 else len(self.raw)

    @property
    def completion(self) -> Completion:
        """What has come of the run; nothing counts as avoided where the limit is not known."""
        completion = self.session.completion
        limited = self.session.request.max_tokens is not None
        return completion if limited else without_avoided(completion)

    @property
    def untold_usage(self) -> UsageMetadata:
        """An estimate of what the provider would still have told of its usage after a cut.

        The length of the prompt is LangChain's guess by its characters, where the provider has not
        said it; that of the answer is our own count.
        """
        told = add_usage(None, self.told)
        read = 0 if told["input_tokens"] else count_prompt(self.messages, {})
        written = max(0, self.completion.usage.generated - told["output_tokens"])
        return UsageMetadata(input_tokens=read, output_tokens=written, total_tokens=read + written)

    @property
    def named(self) -> dict[str, str]:
        """The model's name as metadata, where the provider has not said it."""
        known = self.model is None or "model_name" in self.reply.metadata
        return {} if self.model is None or known else {"model_name": self.model}

    def tell(self, message: BaseMessage, completion: Completion, *, estimate: bool) -> None:
        """Put into a message what was done, and what the provider has kept back.

        Args:
            message: The answer, or the chunk that ends it.
            completion: What was done.
            estimate: Whether to add our estimate of the usage that was not told.
        """
        named = self.named if self.in_events is not None else {}
        done = {"stopping": report(completion)}
        message.response_metadata = {**message.response_metadata, **named, **done}
        if estimate and isinstance(message, AIMessage):
            message.usage_metadata = add_usage(message.usage_metadata, self.untold_usage)

    def tell_cut(self, message: BaseMessage, cut: Completion) -> None:
        """Put into the message of a run that was cut what its chunks could not say."""
        told = {**message.response_metadata, "stopping": report(cut)}
        if self.hung_up:  # a response that never ends cannot be gone on from
            told.pop("id", None)
        message.response_metadata = told

    def _note(self, chunk: ChatGenerationChunk) -> None:
        usage = getattr(chunk.message, "usage_metadata", None)
        if usage:
            self.told = add_usage(self.told, usage)


def without_avoided(completion: Completion) -> Completion:
    """Say that a cut has saved nothing: it did not, or the budget is not known."""
    attempts = tuple(
        replace(attempt, avoided=0, budget=None if attempt.budget == _NO_LIMIT else attempt.budget)
        for attempt in completion.attempts
    )
    return replace(completion, usage=replace(completion.usage, avoided=0), attempts=attempts)
