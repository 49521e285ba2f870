"""A vote over several samples of any LLM, or the best of them; it ends when decided."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from contextlib import aclosing, closing
from typing import Any

from llama_index.core.base.llms.types import ChatMessage, ChatResponse
from llama_index.core.llms.llm import LLM

from llama_index.llms.stopping.function_calling import adaptive_llm
from llama_index.llms.stopping.llm import AdaptiveLLM
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
    scorer: Scorer | None = None,
    **kwargs: Any,
) -> ChatResponse:
    """Ask an LLM several times, and take the answer that most samples give, or the best.

    As many samples are drawn as the rule wants, several at a time, and those that are under way
    when the vote is decided are hung up on at their next token, in tasks at once. The LLM has to
    sample (a temperature above 0). Where it is an ``AdaptiveLLM``, each sample is stopped and
    checked as its settings say; one that is not complete gives no answer.

    Args:
        llm: Any LLM.
        messages: The chat.
        rule: When the vote is decided, such as ``DecidedVote(0.95, most=16)``, or with a scorer
            ``BestOf(most=16, enough=1.0)``.
        at_once: Samples under way at most, >= 1.
        ahead: How many more may be begun than are surely wanted, >= 0: a shorter wait, for tokens.
        key: What votes compare of an answer. By default the answer that it states last, else its
            first sentence; numbers as numbers. For the best of texts that state none, such as
            code: ``str.strip``.
        purse: The budget of the question; what a scorer costs is not booked.
        scorer: Is asked for the text of each complete sample that is not blank, in the thread that
            drew it; higher is better. ``["vote"]["unscored"]`` counts samples without a finite
            score.
        kwargs: For each call.

    Returns:
        The response of the first sample that gave the answer, with ``BestOf`` that of the one with
        the highest score; its ``additional_kwargs["vote"]`` says how the vote went.

    Raises:
        ValueError: ``at_once`` or ``ahead`` is out of its interval, or the rule goes by scores and
            there is no scorer.
        TypeError: ``scorer`` is a coroutine function.
        Exception: That of the first sample, where none could be drawn; the first of the scorer,
            where it left no sample with a score.
    """
    check_scorer(rule, scorer, awaits=False)
    adaptive, scoring = _adaptive(llm), Scoring(scorer)

    def ask(
        number: int, decided: threading.Event, settings: AdaptiveStopping
    ) -> Scored[ChatResponse]:
        last: ChatResponse | None = None
        with closing(_with(adaptive, settings).stream_chat(messages, **kwargs)) as stream:
            for response in stream:
                last = response
                if decided.is_set():
                    raise Decided
        response = last or _nothing()
        return Scored(response, scoring.score(_complete_text(response, adaptive)))

    made = poll(
        *(rule, ask, _reader(key, adaptive)),
        stopping=adaptive.stopping,
        at_once=at_once,
        ahead=ahead,
        purse=purse,
        key=key,
    )
    return _told(made, scoring)


async def avote(
    llm: LLM,
    messages: Sequence[ChatMessage],
    rule: SampleRule,
    *,
    at_once: int = 8,
    ahead: int = 0,
    key: Callable[[str], Any] = vote_key,
    purse: Purse | None = None,
    scorer: Scorer | None = None,
    **kwargs: Any,
) -> ChatResponse:
    """Ask an LLM several times as :func:`vote` does, in tasks.

    A scorer that is a coroutine function is awaited, any other is run in a thread.
    """
    check_scorer(rule, scorer)
    adaptive, scoring = _adaptive(llm), Scoring(scorer)

    async def ask(number: int, settings: AdaptiveStopping) -> Scored[ChatResponse]:
        last: ChatResponse | None = None
        stream = await _with(adaptive, settings).astream_chat(messages, **kwargs)
        async with aclosing(stream):
            async for response in stream:
                last = response
        response = last or _nothing()
        return Scored(response, await scoring.ascore(_complete_text(response, adaptive)))

    made = await apoll(
        *(rule, ask, _reader(key, adaptive)),
        stopping=adaptive.stopping,
        at_once=at_once,
        ahead=ahead,
        purse=purse,
        key=key,
    )
    return _told(made, scoring)


def _adaptive(llm: LLM) -> AdaptiveLLM:
    """An LLM whose streams hang up when they are closed; a plain one is left as it is otherwise."""
    if isinstance(llm, AdaptiveLLM):
        return llm
    return adaptive_llm(llm, AdaptiveStopping(mode="shadow"))


def _with(llm: AdaptiveLLM, settings: AdaptiveStopping) -> AdaptiveLLM:
    return llm.model_copy(update={"stopping": settings})


def _reader(
    key: Callable[[str], Any], llm: AdaptiveLLM
) -> Callable[[Scored[ChatResponse]], Sample]:
    def read(scored: Scored[ChatResponse]) -> Sample:
        text = _complete_text(scored.value, llm)
        used = _report(scored.value).get("tokens") or {}
        tokens = sum(used.get(kind, 0) for kind in ("generated", "probed", "unseen"))
        answer = key(text) if text.strip() else ""
        return Sample(answer, tokens, used.get("prompt", 0), score=scored.score)

    return read


def _complete_text(response: ChatResponse, llm: AdaptiveLLM) -> str:
    """The text of a response behind its reasoning; ``""`` where it is not complete."""
    complete = bool(_report(response).get("complete", True))
    text = (response.message.content or "") if complete else ""
    return behind_reasoning(text, llm.stopping.reasoning_tags)


def _report(response: ChatResponse) -> dict[str, Any]:
    return response.additional_kwargs.get("stopping") or {}


def _nothing() -> ChatResponse:
    return ChatResponse(message=ChatMessage(role="assistant", content=""))


def _told(made: Poll[Scored[ChatResponse]], scoring: Scoring) -> ChatResponse:
    """The winner's response, with how the vote went."""
    report = scoring.report(made)
    winner = (made.winner or next(iter(made.samples), Scored(_nothing()))).value
    told = {**winner.additional_kwargs, "vote": report}
    return winner.model_copy(update={"additional_kwargs": told})
