"""What limits an answer, by whatever name, and how its prompt is counted."""

from __future__ import annotations

from typing import Any

import pytest
from llama_index.core.base.llms.types import ChatMessage
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from stopping_core import AdaptiveStopping
from tests.integration_llama_index.asking import (
    HEAD,
    QUESTION,
    SHORT,
    TAIL,
    adaptive,
    ask,
    goes_on,
    scripted,
    text_of,
    told,
)
from tests.support.sse_server import CountingServer, Script


@pytest.fixture(scope="module")
def tokenizer_folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A tokenizer that is known by its folder's name alone."""
    made = Tokenizer(models.WordLevel({"?": 0}, unk_token="?"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    folder = str(tmp_path_factory.mktemp("tokenizer"))
    wrap: Any = PreTrainedTokenizerFast
    wrap(tokenizer_object=made, unk_token="?").save_pretrained(folder)
    return folder


@pytest.mark.parametrize(
    "inner",
    [{}, {"max_tokens": 1000}, {"additional_kwargs": {"max_tokens": 1000}}],
    ids=["none", "field", "additional_kwargs"],
)
def test_the_grant_outweighs_the_inner_limit(inner: dict[str, Any]) -> None:
    """A limit of the inner LLM's own would silence the budget: it gives way, and metadata stays."""
    with CountingServer(goes_on, delay=0) as server:
        llm = adaptive(server, SHORT, prefill=True, inner=inner)
        before = llm.metadata
        llm.chat([ChatMessage(content=QUESTION)])
        assert [4, 4] == [body["max_tokens"] for body in server.requests]
    assert isinstance(llm.llm, type(scripted(server)))
    assert llm.llm._client is not None  # one client for all calls, made on a limited copy
    assert before == llm.metadata == llm.llm.metadata


def test_the_callers_own_limit_is_never_exceeded() -> None:
    """max_tokens at the call is a hard limit over all attempts."""
    with CountingServer([Script(["word "] * 50)], delay=0) as server:
        responses = ask(adaptive(server, SHORT, prefill=True), "chat", max_tokens=6)
        assert [4, 2] == [body["max_tokens"] for body in server.requests]
        assert 6 == server.sent
    assert not told(responses)["complete"]


@pytest.mark.parametrize("limit", ["max_completion_tokens", "max_output_tokens", "num_predict"])
def test_the_callers_limit_counts_by_any_name(limit: str) -> None:
    """It is a hard limit over all attempts, and what is sent is one limit and no other."""
    with CountingServer([Script(["word "] * 50)], delay=0) as server:
        llm = adaptive(server, SHORT, prefill=True)
        llm.chat([ChatMessage(content=QUESTION)], **{limit: 6})
        assert [4, 2] == [body["max_tokens"] for body in server.requests]
        assert not [body for body in server.requests if limit in body]


def test_what_is_less_than_one_is_no_limit() -> None:
    """-1 and 0 mean "as many as you like" in several servers."""
    with CountingServer(goes_on, delay=0) as server:
        for limit in (-1, 0, None):
            responses = ask(adaptive(server, SHORT, prefill=True), "chat", max_tokens=limit)
            assert told(responses)["complete"]
        assert {4} == {body["max_tokens"] for body in server.requests}


@pytest.mark.parametrize(
    ("inner", "keyword"),
    [
        ({"additional_kwargs": {"max_completion_tokens": 6, "seed": 5}}, "max_tokens"),
        ({"max_tokens": 6}, "max_completion_tokens"),
    ],
)
def test_the_inner_limit_gives_way_by_any_name(inner: dict[str, Any], keyword: str) -> None:
    """Two limits in one call: a server refuses it, or the budget cannot grow."""
    with CountingServer([Script(["word "] * 50)], delay=0) as server:
        llm = adaptive(server, SHORT, prefill=True, inner=inner, budget_keyword=keyword)
        ask(llm, "chat")
        other = {"max_tokens", "max_completion_tokens"} - {keyword}
        assert not [body for body in server.requests if other & body.keys()]
        assert len(server.requests) > 1
        assert server.sent > 6
        assert {inner.get("additional_kwargs", {}).get("seed")} == {
            body.get("seed") for body in server.requests
        }


def test_a_limit_is_left_as_it_is_where_there_is_no_budget() -> None:
    """Switched off, the wrapper sends what the caller said, by the caller's name for it."""
    with CountingServer([Script(["word "] * 50)], delay=0) as server:
        llm = adaptive(server, AdaptiveStopping(mode="off"))
        ask(llm, "chat", max_completion_tokens=6)
        body = server.requests[0]
    assert (6, False) == (body["max_completion_tokens"], "max_tokens" in body)


@pytest.mark.parametrize("chat_model", [True, False], ids=["chat model", "completion model"])
@pytest.mark.parametrize("window", [3900, 5], ids=["room", "full"])
def test_a_tokenizer_by_name_is_used(tokenizer_folder: str, chat_model: bool, window: int) -> None:
    """Loaded once, for counts; neither it nor a full window takes the budget's place."""
    with CountingServer(goes_on, delay=0) as server:
        inner = {
            "tokenizer": tokenizer_folder,
            "is_chat_model": chat_model,
            "context_window": window,
        }
        responses = ask(adaptive(server, SHORT, prefill=True, inner=inner), "chat")
        assert [4, 4] == [body["max_tokens"] for body in server.requests]
    assert "".join([*HEAD, *TAIL]) == text_of(responses[-1])


def test_a_tokenizer_that_cannot_be_loaded_leaves_prompts_uncounted(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Counting is a help, not a condition: the model is asked, and the log says so once."""
    with CountingServer(goes_on, delay=0) as server:
        llm = adaptive(server, SHORT, prefill=True, inner={"tokenizer": "/nowhere/at/all"})
        for _ in range(2):
            assert "".join([*HEAD, *TAIL]) == text_of(ask(llm, "chat")[-1])
    warnings = [record.message for record in caplog.records if "uncounted" in record.message]
    assert 1 == len(warnings)


def test_the_budget_goes_by_the_name_that_the_inner_llm_knows() -> None:
    """Newer OpenAI models take max_completion_tokens."""
    with CountingServer(goes_on, delay=0) as server:
        adaptive(server, SHORT, prefill=True, budget_keyword="max_completion_tokens").chat(
            [ChatMessage(content=QUESTION)]
        )
        body = server.requests[0]
    assert (4, None) == (body["max_completion_tokens"], body.get("max_tokens"))
