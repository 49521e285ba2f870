"""A vote over several samples of any chat model, or the best of them; it ends when decided."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import aclosing, closing
from dataclasses import dataclass, field
from typing import Any, Self

from langchain_core.callbacks import AsyncCallbackManagerForChainRun, CallbackManagerForChainRun
from langchain_core.language_models import BaseChatModel, LanguageModelInput
from langchain_core.messages import AIMessage, AIMessageChunk
from langchain_core.messages.ai import add_usage
from langchain_core.runnables import Runnable, RunnableConfig, patch_config

from langchain_stopping.chat_model import AdaptiveChatModel
from langchain_stopping.messages import answer_text
from stopping_core import AdaptiveStopping
from stopping_core.hybrids import (
    Decided,
    Poll,
    Purse,
    Scored,
    Scorer,
    Scoring,
    apoll,
    check_scorer,
    poll,
)
from stopping_core.policies.baselines import Sample, SampleRule, behind_reasoning, vote_key


class AdaptiveVote(Runnable[LanguageModelInput, AIMessage]):
    """Asks a chat model several times, and takes the answer that most samples give, or the best.

    It draws as many samples as its rule wants, several at a time, and hangs up on those that are
    under way when the vote is decided: in async code at once, in threads at their next token. The
    model has to sample (a temperature above 0). Where it is an ``AdaptiveChatModel``, each sample
    is stopped and checked as its settings say; one that is not complete gives no answer.

    What comes back is the message of the first sample that gave the answer, with ``BestOf`` that of
    the one with the highest score. Its ``response_metadata["vote"]`` says how the vote went, and
    its ``usage_metadata`` is the sum over all samples, as far as the provider told it.
    ``["vote"]["tokens"]`` counts the output tokens of those that were hung up on as well, and
    ``["cancelled_chunks"]`` the chunks that had come of them.

    Args:
        model: Any chat model.
        rule: When the vote is decided, such as ``DecidedVote(0.95, most=16)``, or with a scorer
            ``BestOf(most=16, enough=1.0)``.
        at_once: Samples under way at most, >= 1.
        ahead: How many more may be begun than are surely wanted, >= 0: a shorter wait, for tokens.
        key: What votes compare of an answer. By default the answer that it states last, else its
            first sentence; numbers as numbers. For the best of texts that state none, such as
            code: ``str.strip``.
        purse: Makes the budget of one question; an ``AdaptiveChatModel`` is also held to what is
            left of it. What a scorer costs is not booked.
        scorer: Is asked for the text of each complete sample that is not blank, in the thread or
            task that drew it; higher is better. The async path awaits a coroutine function and runs
            others in threads. ``["vote"]["unscored"]`` counts samples without a finite score.

    Raises:
        ValueError: The rule goes by scores, and there is no scorer.
        TypeError: ``rule`` is none, or ``purse`` is one instead of what makes them.

    Raises (calls):
        ValueError: ``at_once`` or ``ahead`` is out of its interval.
        TypeError: ``scorer`` is a coroutine function, in the sync path.
        Exception: That of the first sample, where none could be drawn; the first of the scorer,
            where it left no sample with a score.

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
        scorer: Scorer | None = None,
    ) -> None:
        check_scorer(rule, scorer)
        if isinstance(purse, Purse):
            raise TypeError("purse must be a function that makes the Purse of a question, got one")
        self.model, self.rule = model, rule
        self.at_once, self.ahead = at_once, ahead
        self.key, self.purse, self.scorer = key, purse, scorer

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
        check_scorer(self.rule, self.scorer, awaits=False)
        drawing = _Drawing.of(self)

        def ask(
            number: int, decided: threading.Event, settings: AdaptiveStopping
        ) -> Scored[AIMessage]:
            own = patch_config(config, callbacks=run_manager.get_child(f"sample:{number}"))
            sample = drawing.begin(number)
            chunks = drawing.model(settings).stream(input, own, **kwargs)
            with closing(chunks):  # type: ignore[type-var]  # a generator, as all streams are
                for chunk in chunks:
                    sample.take(chunk)
                    if decided.is_set():
                        raise Decided
            message = sample.message
            scored = Scored(message, drawing.scoring.score(drawing.text(message)))
            if decided.is_set():
                raise Decided
            sample.done = True
            return scored

        made = poll(self.rule, ask, drawing.read, **drawing.settings)
        return drawing.told(made)

    async def _avote(
        self,
        input: LanguageModelInput,
        run_manager: AsyncCallbackManagerForChainRun,
        config: RunnableConfig,
        **kwargs: Any,
    ) -> AIMessage:
        drawing = _Drawing.of(self)

        async def ask(number: int, settings: AdaptiveStopping) -> Scored[AIMessage]:
            own = patch_config(config, callbacks=run_manager.get_child(f"sample:{number}"))
            sample = drawing.begin(number)
            chunks = drawing.model(settings).astream(input, own, **kwargs)
            async with aclosing(chunks):  # type: ignore[type-var]  # likewise
                async for chunk in chunks:
                    sample.take(chunk)
            message = sample.message
            scored = Scored(message, await drawing.scoring.ascore(drawing.text(message)))
            sample.done = True
            return scored

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
        whole = self.whole or AIMessageChunk(content="")
        return AIMessage(**{name: getattr(whole, name) for name in _KEPT}, content=whole.content)


_KEPT = ("additional_kwargs", "response_metadata", "usage_metadata", "id", "name", "tool_calls")


@dataclass(slots=True)
class _Drawing:
    """The samples of one question."""

    vote: AdaptiveVote
    adaptive: AdaptiveChatModel
    scoring: Scoring
    samples: dict[int, _Sample] = field(default_factory=dict)

    @classmethod
    def of(cls, vote: AdaptiveVote) -> Self:
        model = vote.model
        if not isinstance(model, AdaptiveChatModel):  # one that books what it takes, and no more
            model = AdaptiveChatModel(inner=model, stopping=AdaptiveStopping(mode="shadow"))
        return cls(vote, model, Scoring(vote.scorer))

    @property
    def settings(self) -> dict[str, Any]:
        return {
            "stopping": self.adaptive.stopping,
            "at_once": self.vote.at_once,
            "ahead": self.vote.ahead,
            "purse": None if self.vote.purse is None else self.vote.purse(),
            "key": self.vote.key,
        }

    def begin(self, number: int) -> _Sample:
        return self.samples.setdefault(number, _Sample())

    def model(self, settings: AdaptiveStopping) -> BaseChatModel:
        """The model for one sample."""
        return self.adaptive.model_copy(update={"stopping": settings})

    def read(self, scored: Scored[AIMessage]) -> Sample:
        """What a message is to the vote."""
        used = scored.value.usage_metadata
        tokens = 0 if used is None else used["output_tokens"]
        prompt = 0 if used is None else used["input_tokens"]
        text = self.text(scored.value)
        return Sample(
            self.vote.key(text) if text.strip() else "", tokens, prompt, None, scored.score
        )

    def text(self, message: AIMessage) -> str:
        """The text of a message behind its reasoning; ``""`` where it is not complete."""
        if not message.response_metadata["stopping"]["complete"]:
            return ""
        return behind_reasoning(answer_text(message), self.adaptive.stopping.reasoning_tags)

    def told(self, made: Poll[Scored[AIMessage]]) -> AIMessage:
        """The winner's message, with how the vote went and what it all took."""
        report = self.scoring.report(made)
        winner = (made.winner or next(iter(made.samples), Scored(AIMessage("")))).value
        usage = None
        for one in self.samples.values():
            used = None if one.whole is None else one.whole.usage_metadata
            usage = add_usage(usage, used) if used else usage
        unheard = [one.chunks for one in self.samples.values() if not one.done]
        vote = {**report, "cancelled_chunks": sum(unheard)}
        metadata = {**winner.response_metadata, "vote": vote}
        return winner.model_copy(update={"response_metadata": metadata, "usage_metadata": usage})
