"""Which calls are left alone, and how an LLM is asked that cannot stream."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from llama_index.core.base.llms.types import ChatMessage, CompletionResponse
from llama_index.core.llms.mock import MockLLM
from llama_index.llms.openai import OpenAIResponses
from llama_index.llms.openai_like import OpenAILike

from llama_index.llms.stopping import adaptive_llm
from llama_index.llms.stopping.tools import OrToolCall, is_untouched, offers_tools
from stopping_core import AdaptiveStopping, TransportFailed
from stopping_core.completeness import EndsSentence, all_of
from stopping_core.results import Draft
from stopping_core.types import Decision, Request
from tests.integration_llama_index.asking import METHODS, QUESTION, adaptive, ask, text_of, told
from tests.support.sse_server import CountingServer

WHOLE = {
    "id": "1",
    "object": "chat.completion",
    "created": 0,
    "model": "m",
    "choices": [
        {
            "index": 0,
            "finish_reason": "stop",
            "text": "Paris.",
            "message": {"role": "assistant", "content": "Paris."},
        }
    ],
}


@contextmanager
def whole_answers() -> Iterator[tuple[str, list[bool]]]:
    """A server that answers in one piece, also where a stream is asked for; its URL, the asking."""
    asked: list[bool] = []

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *args: Any) -> None:
            """Be silent."""

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            asked.append(bool(body.get("stream")))
            answer = json.dumps(WHOLE).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/v1", asked
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.mark.parametrize("mode", ["off", "active"])
@pytest.mark.parametrize("method", METHODS)
def test_a_server_that_does_not_stream_is_asked_for_the_whole(method: str, mode: Any) -> None:
    """Its client reads an empty stream: the answer is asked for once more, and is not lost."""
    with whole_answers() as (url, asked):
        inner = OpenAILike(model="m", api_base=url, api_key="x", is_chat_model=True, max_retries=0)
        responses = ask(adaptive_llm(inner, AdaptiveStopping(mode=mode)), method)
        assert [True, False] == asked
    assert "Paris." == text_of(responses[-1])
    assert (True, 1) == (told(responses)["complete"], len(told(responses)["attempts"]))


class Mute(MockLLM):
    """Has a stream method that does nothing, as the examples of LlamaIndex's documentation."""

    def stream_complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> Any:
        """Give nothing."""

    async def astream_complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> Any:
        """Give nothing."""


@pytest.mark.parametrize("method", ["complete", "stream_complete", "acomplete", "astream_complete"])
def test_a_stream_method_that_gives_nothing_is_no_stream(method: str) -> None:
    """The whole answer is asked for instead."""
    responses = ask(adaptive_llm(Mute(max_tokens=None), AdaptiveStopping()), method, "one two")
    assert "one two" == text_of(responses[-1])


class Unfinished(MockLLM):
    """Finds out late that it cannot stream."""

    def stream_complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> Any:
        """Say a word and fail."""
        yield CompletionResponse(text="word", delta="word", raw={"done_reason": None})
        raise NotImplementedError("no more of this")


@pytest.mark.parametrize("method", ["complete", "acomplete"])
def test_an_error_in_a_stream_is_not_taken_for_a_lack_of_streams(method: str) -> None:
    """What came stands, and the error goes up."""
    llm = adaptive_llm(Unfinished(max_tokens=None), AdaptiveStopping())
    with pytest.raises(TransportFailed, match="by NotImplementedError") as caught:
        ask(llm, method)
    assert "no more of this" in str(caught.value.__cause__)
    assert "word" == caught.value.completion.text


@pytest.mark.parametrize(
    "kwargs",
    [
        {"functions": [{"name": "f"}]},
        {"tools": [{"type": "web_search"}]},
        {"response_format": {"type": "json_object"}},
        {"response_schema": {"type": "object"}},
        {"format": "json"},
        {"grammar": "root ::= 'a'"},
        {"text": {"format": {"type": "json_schema"}}},
        {"extra_body": {"guided_json": {"type": "object"}}},
        {"extra_body": {"grammar": "root ::= 'a'"}},
        {"extra_body": {"response_format": {"type": "json_object"}}},
        {"n": 2},
        {"modalities": ["text", "audio"]},
    ],
    ids=lambda kwargs: json.dumps(kwargs)[:30],
)
def test_what_constrains_the_answer_is_left_alone(kwargs: dict[str, Any]) -> None:
    """In a call, and among the settings that go with every call."""
    with CountingServer([["a"]]) as server:
        plain = adaptive(server).llm
        set_so = adaptive(server, inner={"additional_kwargs": kwargs}).llm
    for llm, given in ((plain, kwargs), (set_so, {})):
        assert is_untouched(llm, given, cut_with_tools=False)
    harmless = {"text": {"verbosity": "low"}, "extra_body": {"top_k": 3}, "n": 1}
    assert not is_untouched(plain, harmless, cut_with_tools=False)


@pytest.mark.parametrize("fields", [{"built_in_tools": [{"type": "web_search"}]}])
def test_built_in_tools_are_tools(fields: dict[str, Any]) -> None:
    """A field of the Responses LLM; cut_with_tools holds for them as for others."""
    llm = OpenAIResponses(api_key="none", **fields)
    assert offers_tools(llm, {})
    assert [True, False] == [is_untouched(llm, {}, cut_with_tools=cut) for cut in (False, True)]


def test_an_llm_whose_server_keeps_the_turns_is_left_alone() -> None:
    """A call that goes on would follow the one that was cut, with all its turns sent again."""
    llm = OpenAIResponses(api_key="none", track_previous_responses=True)
    assert is_untouched(llm, {}, cut_with_tools=True)
    assert not is_untouched(OpenAIResponses(api_key="none"), {}, cut_with_tools=False)


def test_an_llm_that_speaks_is_asked_whole() -> None:
    """OpenAI's class refuses to stream sound."""
    speaks = {"modalities": ["text", "audio"], "audio_config": {"voice": "a", "format": "wav"}}
    with CountingServer([["Hi", "."]], delay=0) as server:
        llm = adaptive(server, inner=speaks)
        assert "Hi." == llm.chat([ChatMessage(content=QUESTION)]).message.content
        assert 1 == len(server.calls)


@pytest.mark.parametrize(
    ("draft", "expected"),
    [
        (Draft("", finish_reason="tool_calls"), True),
        (Draft("", finish_reason="cut", decision=Decision(True, "deadline", forced=True)), True),
        (Draft("", finish_reason="cut", decision=Decision(True, "sentence")), False),
        (Draft(""), False),
    ],
)
def test_a_tool_call_is_complete_once_it_has_ended(draft: Draft, expected: bool) -> None:
    """Not where a policy would cut it, nor where the stream broke off."""
    check = OrToolCall(EndsSentence(), lambda: True)
    assert expected == check(Request(), draft).complete


def test_the_quick_look_of_a_check_knows_of_tool_calls_too() -> None:
    """It is what a policy's cut is confirmed with where the check is slow."""
    check = OrToolCall(all_of(EndsSentence(), EndsSentence()), lambda: True)
    assert check.fast is not None
    assert check.fast(Request(), Draft("", finish_reason="tool_calls")).complete
    assert OrToolCall(EndsSentence(), lambda: True).fast is None
