"""The usage of runs that the callback has cut: the provider's where it told it, else estimated."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest
from langchain_core.callbacks import get_usage_metadata_callback
from langchain_core.language_models import FakeMessagesListChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage, HumanMessage
from langchain_core.messages.ai import UsageMetadata
from langchain_core.outputs import ChatGenerationChunk
from pydantic import Field

from langchain_stopping import AdaptiveStopHandler
from stopping_core import GenerationStopped
from stopping_core.types import Mode
from tests.integration_langchain.setting import (
    CUT,
    DECIDED,
    FIRST_SENTENCE,
    TOKENS,
    StreamsOnly,
    ask,
    openai,
)
from tests.support.sse_server import CountingServer


@pytest.mark.parametrize("way", ["invoke", "stream", "ainvoke", "astream"])
def test_after_a_cut_it_is_estimated(way: str) -> None:
    """The provider keeps its count back when we hang up: ours is in its place, and says so."""
    with CountingServer([TOKENS], delay=0.03) as server:
        model = openai(server, stream_usage=True)
        answer = ask(model, way, config={"callbacks": [AdaptiveStopHandler(FIRST_SENTENCE)]})
    assert answer.usage_metadata is not None
    read = answer.usage_metadata["input_tokens"]
    assert read > 0
    assert used(read, DECIDED) == answer.usage_metadata
    assert answer.response_metadata["stopping"]["tokens"]["estimated"]


def used(read: int, written: int) -> UsageMetadata:
    return UsageMetadata(input_tokens=read, output_tokens=written, total_tokens=read + written)


class Telling(StreamsOnly):
    """Tells the length of the prompt with its first chunk, and that of the answer with its last."""

    keeps: bool
    """Whether it keeps the chunk that it yields, by which its stream is found."""
    said: dict[str, str] = Field(default_factory=dict)
    """Metadata of the first chunk."""

    def _stream(self, *args: Any, **kwargs: Any) -> Iterator[ChatGenerationChunk]:
        for token in TOKENS:
            chunk = _chunk(token, used(7, 0) if token == TOKENS[0] else None)
            if token == TOKENS[0]:
                chunk.message.response_metadata = self.said
            if self.keeps:
                yield chunk
            else:
                held = [chunk]
                del chunk
                yield held.pop()
        yield _chunk("", used(0, len(TOKENS)))


def _chunk(text: str, usage: UsageMetadata | None) -> ChatGenerationChunk:
    return ChatGenerationChunk(message=AIMessageChunk(content=text, usage_metadata=usage))


def test_only_what_was_not_told_is_estimated() -> None:
    """The length of the prompt may have come with the first chunk; nothing counts twice."""
    handler = AdaptiveStopHandler(FIRST_SENTENCE)
    answer = Telling(keeps=True).invoke("Which city?", config={"callbacks": [handler]})
    assert [CUT, used(7, DECIDED)] == [answer.content, answer.usage_metadata]


def test_a_run_that_goes_on_tells_its_own() -> None:
    """Where nothing is cut, or the model writes on after the cut, nothing of ours is added."""
    modes: tuple[Mode, ...] = ("shadow", "active")
    for mode in modes:
        stopping = FIRST_SENTENCE.replace(mode=mode)
        handler = AdaptiveStopHandler(stopping, ungraceful="finish")
        answer = Telling(keeps=False).invoke("Which city?", config={"callbacks": [handler]})
        assert used(7, len(TOKENS)) == answer.usage_metadata


@pytest.mark.parametrize(("limit", "unseen"), [(40, 40 - DECIDED), (None, 0)])
def test_what_a_provider_bills_on_is_booked(limit: int | None, unseen: int) -> None:
    """Where a hang-up does not end the bill, what is left of the limit counts as unseen."""
    handler, run_id = AdaptiveStopHandler(FIRST_SENTENCE), uuid4()
    groq = {"id": ["langchain", "chat_models", "groq", "ChatGroq"], "kwargs": {}}
    params = {"max_tokens": limit} if limit else {}
    asked: list[list[BaseMessage]] = [[HumanMessage("Which city?")]]
    handler.on_chat_model_start(groq, asked, run_id=run_id, invocation_params=params)
    for token in TOKENS[: DECIDED - 1]:
        handler.on_llm_new_token(token, chunk=_chunk(token, None), run_id=run_id)
    last = _chunk(TOKENS[DECIDED - 1], None)
    with pytest.raises(GenerationStopped) as caught:
        handler.on_llm_new_token("", chunk=last, run_id=run_id)
    usage = caught.value.completion.usage
    assert [0, unseen] == [usage.avoided, usage.unseen]


@pytest.mark.parametrize("way", ["invoke", "ainvoke"])
def test_an_uncut_stream_without_usage_is_estimated(way: str) -> None:
    """Where the handler made the call a stream, and the provider then says nothing of its usage."""
    with CountingServer([["Hi", " there"]], delay=0.0) as server:
        handler = AdaptiveStopHandler(FIRST_SENTENCE)
        with get_usage_metadata_callback() as counted:
            answer = ask(openai(server), way, config={"callbacks": [handler]})
    assert answer.usage_metadata is not None
    assert used(answer.usage_metadata["input_tokens"], 2) == answer.usage_metadata
    assert answer.response_metadata["stopping"]["tokens"]["estimated"]
    assert {server.model: answer.usage_metadata} == counted.usage_metadata


@pytest.mark.parametrize("way", ["invoke", "stream", "ainvoke", "astream"])
def test_a_cut_is_counted_under_the_models_name(way: str) -> None:
    """Providers name the model with their last chunk, which never comes."""
    with CountingServer([TOKENS], delay=0.03) as server:
        handler = AdaptiveStopHandler(FIRST_SENTENCE)
        with get_usage_metadata_callback() as counted:
            answer = ask(openai(server), way, config={"callbacks": [handler]})
    assert server.model == answer.response_metadata["model_name"]
    assert {server.model: answer.usage_metadata} == counted.usage_metadata


@pytest.mark.parametrize(("keeps", "known"), [(True, None), (False, "resp_1")])
def test_a_cut_answer_names_no_response(keeps: bool, known: str | None) -> None:
    """What was hung up on never completed, and cannot be gone on from; the model is named once."""
    said = {"id": "resp_1", "model_name": "told"}  # with the first chunk, as in Responses
    model = Telling(keeps=keeps, said=said, metadata={"ls_model_name": "ours"})
    handler = AdaptiveStopHandler(FIRST_SENTENCE, ungraceful="finish")
    done = model.invoke("?", config={"callbacks": [handler]}).response_metadata
    assert [known, "told"] == [done.get("id"), done["model_name"]]


def test_a_message_of_the_users_is_not_written_to() -> None:
    """What came as a whole may be an object that somebody else keeps."""
    own = AIMessage("Hi.")
    model = FakeMessagesListChatModel(responses=[own])
    answer = model.invoke("?", config={"callbacks": [AdaptiveStopHandler(FIRST_SENTENCE)]})
    assert [True, False] == ["stopping" in m.response_metadata for m in (answer, own)]
