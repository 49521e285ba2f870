"""``with adaptive_stopping(...)``: what runs inside is cut, once, and nothing outside is."""

from __future__ import annotations

import asyncio
import contextvars
import gc
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from langchain_core.output_parsers import StrOutputParser
from langchain_core.runnables import Runnable, RunnableLambda

from langchain_stopping import AdaptiveChatModel, AdaptiveStopHandler, adaptive_stopping
from stopping_core import AdaptiveStopping, Boundary
from stopping_core.policies import Threshold
from stopping_core.signals import Sentences
from tests.integration_langchain.setting import (
    CUT,
    FIRST_SENTENCE,
    HEARD,
    PATIENT,
    TOKENS,
    WAYS,
    openai,
)
from tests.support.sse_server import CountingServer

SLOW = 0.06  # seconds a token: the threads of a batch, which end together, wait for each other
WORDS = ["One.", " Two", " x.", " Three", " y.", *(f" Z{n}" for n in range(20))]


def after(sentences: int) -> AdaptiveStopping:
    policy = Threshold(
        Sentences(), at_least=sentences, at=Boundary.SENTENCE, reason=f"{sentences} sentences"
    )
    return FIRST_SENTENCE.replace(policy=policy)


def texts(handler: AdaptiveStopHandler) -> list[str]:
    return [done.text for done in handler.completions.values()]


@pytest.mark.parametrize("way", WAYS)
def test_everything_inside_is_cut(way: str) -> None:
    """Threads of batch and async runs too, with no callbacks passed on; outside nothing is."""
    with CountingServer([PATIENT], delay=SLOW) as server:
        chain = openai(server) | StrOutputParser()
        with adaptive_stopping(FIRST_SENTENCE) as handler:
            answers = WAYS[way](chain, "Which city?")
        assert [CUT] * len(answers) == answers == texts(handler)
        assert max(server.sent_per_call) <= HEARD
        server.delay = 0.0
        assert "".join(TOKENS) == chain.invoke("Which city?")
    assert len(answers) == len(handler.completions)
    assert not handler._runs


async def test_tasks_started_inside_are_cut_though_the_block_has_ended() -> None:
    """A task keeps the context in which it was made."""
    with CountingServer([TOKENS], delay=SLOW) as server:
        model = openai(server)
        with adaptive_stopping(FIRST_SENTENCE) as handler:
            tasks = [asyncio.create_task(model.ainvoke("?")) for _ in range(3)]
        answers = [answer.content for answer in await asyncio.gather(*tasks)]
    assert [CUT] * 3 == answers == texts(handler)


async def test_blocks_side_by_side_do_not_mix() -> None:
    """Every task has the block that it has entered itself."""

    async def ask(model: Runnable[Any, Any], sentences: int) -> str:
        with adaptive_stopping(after(sentences)):
            return str((await model.ainvoke("?")).content)

    with CountingServer([WORDS], delay=SLOW) as server:
        model = openai(server)
        answers = await asyncio.gather(*(ask(model, n) for n in (1, 2, 3, 1)))
    assert ["One.", "One. Two x.", "One. Two x. Three y.", "One."] == answers


@pytest.mark.parametrize("way", ["invoke", "ainvoke"])
@pytest.mark.parametrize(("outer", "inner"), [(1, 2), (2, 1)])
def test_the_inner_block_acts_alone(way: str, outer: int, inner: int) -> None:
    """Whichever would cut first; also where the outer one is inherited from a running chain."""
    expected = ["One.", "One. Two x."][inner - 1]
    with CountingServer([WORDS], delay=SLOW) as server:
        model = openai(server) | StrOutputParser()

        def nested(question: str) -> str:
            with adaptive_stopping(after(inner)) as handler:
                (answer,) = WAYS["invoke"](model, question)
            assert [expected] == texts(handler)
            return str(answer)

        async def anested(question: str) -> str:
            with adaptive_stopping(after(inner)):
                return str(await model.ainvoke(question))

        with adaptive_stopping(after(outer)) as handler:
            assert expected == nested("directly")
            (answer,) = WAYS[way](RunnableLambda(nested, anested), "in a chain")
            assert expected == answer
            assert not handler.completions
            model.invoke("after the inner block")
        assert [["One.", "One. Two x."][outer - 1]] == texts(handler)


def test_an_inner_block_can_switch_off() -> None:
    """In mode ``off`` the inner block acts by leaving alone."""
    off = FIRST_SENTENCE.replace(mode="off")
    with (
        CountingServer([TOKENS], delay=0.0) as server,
        adaptive_stopping(FIRST_SENTENCE) as handler,
        adaptive_stopping(off),
    ):
        answer = openai(server).invoke("?")
    assert "".join(TOKENS) == answer.content
    assert not handler.completions


@pytest.mark.parametrize("place", ["call", "model", "chain"])
def test_a_handler_given_by_hand_acts_instead(place: str) -> None:
    """What a call, a model or a chain was given is nearer than the block around it."""
    by_hand = AdaptiveStopHandler(after(2))
    callbacks: Any = [by_hand]
    with CountingServer([WORDS], delay=SLOW) as server:
        model = openai(server, callbacks=callbacks if place == "model" else None)
        chain: Runnable[Any, str] = model | StrOutputParser()
        if place == "chain":
            chain = chain.with_config(callbacks=callbacks)
        with adaptive_stopping(after(1)) as handler:
            config: Any = {"callbacks": callbacks} if place == "call" else None
            assert "One. Two x." == chain.invoke("?", config=config)
    assert not handler.completions
    assert ["One. Two x."] == texts(by_hand)


def test_the_handler_of_a_block_given_by_hand_counts_once() -> None:
    """LangChain adds no handler twice; after the block it goes on as any other."""
    with CountingServer([TOKENS], delay=SLOW) as server:
        with adaptive_stopping(FIRST_SENTENCE) as handler:
            openai(server).invoke("?", config={"callbacks": [handler]})
        assert [CUT] == texts(handler)
        openai(server).invoke("?", config={"callbacks": [handler]})
    assert [CUT, CUT] == texts(handler)


def test_a_wrapped_model_inside_is_left_alone() -> None:
    """It has its own policy, and the block's is not asked."""
    with CountingServer([WORDS], delay=SLOW) as server, adaptive_stopping(after(1)) as handler:
        model = AdaptiveChatModel(inner=openai(server), stopping=after(2))
        assert "One. Two x." == model.invoke("?").content
        assert "One. Two x." == "".join(str(c.content) for c in model.stream("?"))
    assert not handler.completions


def test_an_error_inside_ends_the_block() -> None:
    """After an exception nothing is attached any more."""
    with pytest.raises(RuntimeError, match="mine"), adaptive_stopping(FIRST_SENTENCE) as handler:
        raise RuntimeError("mine")
    with CountingServer([TOKENS], delay=0.0) as server:
        openai(server).invoke("?")
    assert not handler.completions


def test_settings_are_checked() -> None:
    """A mistake is told where the block is entered."""
    block = adaptive_stopping(FIRST_SENTENCE, keep=0)
    with pytest.raises(ValueError, match="keep must be >= 1, got 0"):
        block.__enter__()


async def test_a_generator_that_is_left_inside_ends_the_block() -> None:
    """Python closes it in another context, where nothing can be detached; it acts no more."""
    failed: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, found: failed.append(found))

    with CountingServer([TOKENS], delay=0.0) as server:
        model = openai(server)

        async def answers() -> AsyncIterator[str]:
            with adaptive_stopping(FIRST_SENTENCE):
                async for chunk in model.astream("?"):
                    yield str(chunk.content)

        async for text in answers():
            if text:
                break
        gc.collect()
        await asyncio.sleep(0.05)
        assert not failed
        assert "".join(TOKENS) == (await model.ainvoke("?")).content


def test_a_generator_stepped_in_several_contexts_ends_the_block() -> None:
    """As a web framework does, in threads: the block is not there in the next step."""

    def dependency() -> Iterator[AdaptiveStopHandler]:
        with adaptive_stopping(FIRST_SENTENCE) as handler:
            yield handler

    generator = dependency()
    handler = contextvars.copy_context().run(next, generator)
    assert None is contextvars.copy_context().run(next, generator, None)
    with CountingServer([TOKENS], delay=0.0) as server:
        openai(server).invoke("?")
        assert len(TOKENS) == server.sent
    assert not handler.completions
