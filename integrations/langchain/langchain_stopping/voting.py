"""A vote over several samples of any chat model, which ends when it is decided."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import aclosing, closing
from dataclasses import dataclass, field
from typing import Any

from langchain_core.callbacks import AsyncCallbackManagerForChainRun, CallbackManagerForChainRun
from langchain_core.language_models import BaseChatModel, LanguageModelInput
from langchain_core.messages import AIMessage, AIMessageChunk
from langchain_core.messages.ai import add_usage
from langchain_core.runnables import Runnable, RunnableConfig, patch_config

from langchain_stopping.chat_model import AdaptiveChatModel
from langchain_stopping.messages import answer_text
from stopping_core import Usage
from stopping_core.completeness import is_truncated
from stopping_core.hybrids import Decided, Poll, Purse, apoll, poll
from stopping_core.policies.baselines import Sample, SampleRule, vote_key


class AdaptiveVote(Runnable[LanguageModelInput, AIMessage]):
    """Asks a chat model several times, and takes the answer that most samples give.

    It draws as many samples as its rule wants, several at a time, and hangs up on those that are
    under way when the vote is decided. The model has to sample (a temperature above 0). Where it is
    an ``AdaptiveChatModel``, each sample is stopped and checked as its settings say; one that is
    not complete gives no answer.

    What comes back is the message of the first sample that gave the answer. Its
    ``response_metadata["vote"]`` says how the vote went, and its ``usage_metadata`` is the sum over
    all samples, as far as the provider told it; samples that were hung up on are counted in
    ``["vote"]["cancelled_chunks"]``, a token each with most providers.

    Args:
        model: Any chat model.
        rule: When the vote is decided, such as ``DecidedVote(0.95, most=16)``.
        at_once: Samples under way at most, >= 1.
        ahead: How many more may be begun than are surely wanted, >= 0: a shorter wait, for tokens.
        key: What votes compare of an answer. By default the answer that it states last, else its
            first sentence; numbers as numbers.
        purse: Makes the budget of one question; an ``AdaptiveChatModel`` is also held to what is
            left of it.

    Raises (calls):
        ValueError: ``at_once`` or ``ahead`` is out of its interval.
        Exception: That of the first sample, where none could be drawn.

    Examples:
        >>> from langchain_core.language_models import FakeListChatModel
        >>> from stopping_core.hybrids import DecidedVote
        >>> model = FakeListChatModel(responses=["The answer is 4.", "So: the answer is 4!"])
        >>> vote = AdaptiveVote(model, DecidedVote(0.9, most=5), at_once=1)
        >>> vote.invoke("What is 2 + 2?").response_metadata["vote"]["votes"]
        ['4', '4']
    """

    def __init__(
        self,
        model: BaseChatModel,
        rule: SampleRule,
        *,
        at_once: int = 8,
        ahead: int = 0,
        key: Callable[[str], Any] = vote_key,
        purse: Callable[[], Purse] | None = None,
    ) -> None:
        self.model, self.rule = model, rule
        self.at_once, self.ahead = at_once, ahead
        self.key, self.purse = key, purse

    def invoke(
        self, input: LanguageModelInput, config: RunnableConfig | None = None, **kwargs: Any
    ) -> AIMessage:
        """Draw samples in threads."""
        return self._call_with_config(self._vote, input, config, run_type="chain", **kwargs)

    async def ainvoke(
        self, input: LanguageModelInput, config: RunnableConfig | None = None, **kwargs: Any
    ) -> AIMessage:
        """Draw samples in tasks."""
        return await self._acall_with_config(self._avote, input, config, run_type="chain", **kwargs)

    def _vote(
        self,
        input: LanguageModelInput,
        run_manager: CallbackManagerForChainRun,
        config: RunnableConfig,
        **kwargs: Any,
    ) -> AIMessage:
        drawing = _Drawing(self, purse=None if self.purse is None else self.purse())

        def ask(number: int, decided: threading.Event) -> AIMessage:
            own = patch_config(config, callbacks=run_manager.get_child(f"sample:{number}"))
            sample = drawing.begin(number)
            chunks = drawing.model().stream(input, own, **kwargs)
            with closing(chunks):  # type: ignore[type-var]  # a generator, as all streams are
                for chunk in chunks:
                    sample.take(chunk)
                    if decided.is_set():
                        raise Decided
            return sample.message

        made = poll(self.rule, ask, drawing.read, **drawing.settings)
        return drawing.told(made)

    async def _avote(
        self,
        input: LanguageModelInput,
        run_manager: AsyncCallbackManagerForChainRun,
        config: RunnableConfig,
        **kwargs: Any,
    ) -> AIMessage:
        drawing = _Drawing(self, purse=None if self.purse is None else self.purse())

        async def ask(number: int) -> AIMessage:
            own = patch_config(config, callbacks=run_manager.get_child(f"sample:{number}"))
            sample = drawing.begin(number)
            chunks = drawing.model().astream(input, own, **kwargs)
            async with aclosing(chunks):  # type: ignore[type-var]  # likewise
                async for chunk in chunks:
                    sample.take(chunk)
            return sample.message

        made = await apoll(self.rule, ask, drawing.read, **drawing.settings)
        return drawing.told(made)


@dataclass(slots=True)
class _Sample:
    """One sample under way."""

    whole: AIMessageChunk | None = None
    chunks: int = 0
    done: bool = False

    def take(self, chunk: AIMessageChunk) -> None:
        self.whole = chunk if self.whole is None else self.whole + chunk
        self.chunks += bool(chunk.content)

    @property
    def message(self) -> AIMessage:
        self.done = True
        whole = self.whole or AIMessageChunk(content="")
        return AIMessage(**{name: getattr(whole, name) for name in _KEPT}, content=whole.content)


_KEPT = ("additional_kwargs", "response_metadata", "usage_metadata", "id", "name", "tool_calls")


@dataclass(slots=True)
class _Drawing:
    """The samples of one question."""

    vote: AdaptiveVote
    purse: Purse | None
    samples: dict[int, _Sample] = field(default_factory=dict)

    @property
    def settings(self) -> dict[str, Any]:
        return {"at_once": self.vote.at_once, "ahead": self.vote.ahead, "purse": self.purse}

    def begin(self, number: int) -> _Sample:
        return self.samples.setdefault(number, _Sample())

    def model(self) -> BaseChatModel:
        """The model for the next sample, within what is left; it then books itself."""
        model = self.vote.model
        if self.purse is None or not isinstance(model, AdaptiveChatModel):
            return model
        return model.model_copy(update={"stopping": self.purse.settings(model.stopping)})

    def read(self, message: AIMessage) -> Sample:
        """What a message is to the vote; a plain model's is booked here."""
        used = message.usage_metadata
        tokens = 0 if used is None else used["output_tokens"]
        prompt = 0 if used is None else used["input_tokens"]
        if self.purse is not None and not isinstance(self.vote.model, AdaptiveChatModel):
            self.purse.book(Usage(prompt=prompt, generated=tokens, estimated=used is None))
        report = message.response_metadata.get("stopping")
        text = answer_text(message)
        broken = is_truncated(message.response_metadata.get("finish_reason"))
        complete = not broken if report is None else bool(report["complete"])
        answer = self.vote.key(text) if complete and text.strip() else ""
        return Sample(answer, tokens, prompt)

    def told(self, made: Poll[AIMessage]) -> AIMessage:
        """The winner's message, with how the vote went and what it all took."""
        winner = made.winner or next(iter(made.samples), AIMessage(""))
        usage = None
        for message in made.samples:
            usage = add_usage(usage, message.usage_metadata) if message.usage_metadata else usage
        unheard = [one.chunks for one in self.samples.values() if not one.done]
        vote = {**made.report, "cancelled_chunks": sum(unheard)}
        metadata = {**winner.response_metadata, "vote": vote}
        return winner.model_copy(update={"response_metadata": metadata, "usage_metadata": usage})
