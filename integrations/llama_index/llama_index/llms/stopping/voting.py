"""A vote over several samples of any LLM, which ends when it is decided."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from contextlib import aclosing, closing
from typing import Any

from llama_index.core.base.llms.types import ChatMessage, ChatResponse
from llama_index.core.llms.llm import LLM

from llama_index.llms.stopping.function_calling import adaptive_llm
from llama_index.llms.stopping.llm import AdaptiveLLM
from stopping_core.hybrids import Decided, Poll, Purse, apoll, poll
from stopping_core.policies.baselines import Sample, SampleRule, vote_key
from stopping_core.stopping import AdaptiveStopping


def vote(
    llm: LLM,
    messages: Sequence[ChatMessage],
    rule: SampleRule,
    *,
    at_once: int = 8,
    ahead: int = 0,
    key: Callable[[str], Any] = vote_key,
    purse: Purse | None = None,
    **kwargs: Any,
) -> ChatResponse:
    """Ask an LLM several times, and take the answer that most samples give.

    As many samples are drawn as the rule wants, several at a time, and those that are under way
    when the vote is decided are hung up on. The LLM has to sample (a temperature above 0). Where it
    is an ``AdaptiveLLM``, each sample is stopped and checked as its settings say; one that is not
    complete gives no answer.

    Args:
        llm: Any LLM.
        messages: The chat.
        rule: When the vote is decided, such as ``DecidedVote(0.95, most=16)``.
        at_once: Samples under way at most, >= 1.
        ahead: How many more may be begun than are surely wanted, >= 0: a shorter wait, for tokens.
        key: What votes compare of an answer. By default the answer that it states last, else its
            first sentence; numbers as numbers.
        purse: The budget of the question.
        kwargs: For each call.

    Returns:
        The response of the first sample that gave the answer; its ``additional_kwargs["vote"]``
        says how the vote went.

    Raises:
        ValueError: ``at_once`` or ``ahead`` is out of its interval.
        Exception: That of the first sample, where none could be drawn.
    """
    adaptive = _adaptive(llm)

    def ask(number: int, decided: threading.Event) -> ChatResponse:
        last: ChatResponse | None = None
        with closing(_within(adaptive, purse).stream_chat(messages, **kwargs)) as stream:
            for response in stream:
                last = response
                if decided.is_set():
                    raise Decided
        return last or _nothing()

    made = poll(rule, ask, _reader(key), at_once=at_once, ahead=ahead, purse=purse)
    return _told(made)


async def avote(
    llm: LLM,
    messages: Sequence[ChatMessage],
    rule: SampleRule,
    *,
    at_once: int = 8,
    ahead: int = 0,
    key: Callable[[str], Any] = vote_key,
    purse: Purse | None = None,
    **kwargs: Any,
) -> ChatResponse:
    """Ask an LLM several times as :func:`vote` does, in tasks."""
    adaptive = _adaptive(llm)

    async def ask(number: int) -> ChatResponse:
        last: ChatResponse | None = None
        stream = await _within(adaptive, purse).astream_chat(messages, **kwargs)
        async with aclosing(stream):
            async for response in stream:
                last = response
        return last or _nothing()

    made = await apoll(rule, ask, _reader(key), at_once=at_once, ahead=ahead, purse=purse)
    return _told(made)


def _adaptive(llm: LLM) -> AdaptiveLLM:
    """An LLM whose streams hang up when they are closed; a plain one is left as it is otherwise."""
    if isinstance(llm, AdaptiveLLM):
        return llm
    return adaptive_llm(llm, AdaptiveStopping(mode="shadow"))


def _within(llm: AdaptiveLLM, purse: Purse | None) -> AdaptiveLLM:
    if purse is None:
        return llm
    return llm.model_copy(update={"stopping": purse.settings(llm.stopping)})


def _reader(key: Callable[[str], Any]) -> Callable[[ChatResponse], Sample]:
    def read(response: ChatResponse) -> Sample:
        report = response.additional_kwargs.get("stopping") or {}
        text = response.message.content or ""
        complete = bool(report.get("complete", True))
        tokens = (report.get("tokens") or {}).get("generated", 0)
        return Sample(key(text) if complete and text.strip() else "", tokens)

    return read


def _nothing() -> ChatResponse:
    return ChatResponse(message=ChatMessage(role="assistant", content=""))


def _told(made: Poll[ChatResponse]) -> ChatResponse:
    """The winner's response, with how the vote went."""
    winner = made.winner or next(iter(made.samples), _nothing())
    told = {**winner.additional_kwargs, "vote": made.report}
    return winner.model_copy(update={"additional_kwargs": told})
