"""The wrapped LLM continues what is unfinished, keeps to limits, and tells what it did."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from llama_index.core.base.llms.types import ChatMessage, CompletionResponse, MessageRole
from llama_index.core.llms.custom import CustomLLM
from llama_index.core.llms.mock import MockLLM
from llama_index.core.prompts import PromptTemplate
from pydantic import Field

from llama_index.llms.stopping import AdaptiveLLM, adaptive_llm
from stopping_core import AdaptiveStopping, BudgetExhausted, TransportFailed
from stopping_core.budgets import GeometricBudget
from tests.integration_llama_index.asking import (
    HEAD,
    METHODS,
    QUESTION,
    SHORT,
    TAIL,
    adaptive,
    ask,
    goes_on,
    text_of,
    told,
)
from tests.support.sse_server import CountingServer, Script


def repeats(body: Mapping[str, Any]) -> Script:
    """Serve the rest with the last words before it, as a model does that is asked to go on."""
    return Script([*HEAD, *TAIL] if len(body["messages"]) == 1 else ["Paris is the capital", *TAIL])


@pytest.mark.parametrize("chat_model", [True, False], ids=["chat model", "completion model"])
@pytest.mark.parametrize("method", METHODS)
def test_a_truncated_answer_is_continued(method: str, chat_model: bool) -> None:
    """The text so far is sent as the beginning of the answer, and both parts are joined."""
    with CountingServer(goes_on, delay=0) as server:
        llm = adaptive(server, SHORT, prefill=True, inner={"is_chat_model": chat_model})
        responses = ask(llm, method)
        assert "".join([*HEAD, *TAIL]) == text_of(responses[-1])
        assert [4, 4] == [body["max_tokens"] for body in server.requests]
        second = server.requests[1]
    if chat_model:
        said = [(message["role"], message["content"]) for message in second["messages"]]
        assert [("user", QUESTION), ("assistant", "".join(HEAD))] == said
    else:
        prompt = QUESTION if method.endswith("complete") else f"user: {QUESTION}\nassistant: "
        assert prompt + "".join(HEAD) == second["prompt"]
    report = told(responses)
    assert report["complete"]
    assert ["first", "continue"] == [attempt["kind"] for attempt in report["attempts"]]
    tokens = report["tokens"]
    assert (7, 3, 0) == (tokens["generated"], tokens["retried"], tokens["discarded"])


@pytest.mark.parametrize("method", METHODS)
def test_without_prefill_a_user_turn_asks_to_go_on(method: str) -> None:
    """What the model repeats of its first words is removed."""
    with CountingServer(repeats, delay=0) as server:
        responses = ask(adaptive(server, SHORT), method)
        assert "".join([*HEAD, *TAIL]) == text_of(responses[-1])
        turns = server.requests[1]["messages"]
    assert ["user", "assistant", "user"] == [turn["role"] for turn in turns]
    said, asked = (turn["content"] for turn in turns[1:])
    assert said == "".join(HEAD)
    assert asked.startswith("Your last message broke off")


@pytest.mark.parametrize("method", [m for m in METHODS if "stream" in m])
def test_streams_are_cumulative_and_never_taken_back(method: str) -> None:
    """Each response holds the text so far, which the deltas spell; the last has the report."""
    with CountingServer(goes_on, delay=0) as server:
        responses = ask(adaptive(server, SHORT, prefill=True), method)
    text = ""
    for response in responses:
        text += response.delta or ""
        assert text == text_of(response)
    assert "".join([*HEAD, *TAIL]) == text
    assert not any("stopping" in one.additional_kwargs for one in responses[:-1])


def test_reasoning_is_kept_apart_and_ended() -> None:
    """A budget that went into reasoning is followed by a greedy call for the answer alone."""
    thoughts = [" first", " this", " then", " that"]
    scripts = [Script(TAIL, reasoning=thoughts), Script(["Paris", "."])]
    with CountingServer(scripts, delay=0) as server:
        llm = adaptive(server, SHORT, inner={"temperature": 0.8})
        responses = ask(llm, "stream_chat")
        asked = server.requests[1]["messages"]
        assert [0.8, 0.0] == [one["temperature"] for one in server.requests]
    assert "Paris." == text_of(responses[-1])
    assert "".join(thoughts) == responses[-1].message.blocks[0].content  # type: ignore[union-attr]  # a thinking block
    assert "".join(thoughts) == "".join(
        one.additional_kwargs.get("thinking_delta", "") for one in responses
    )
    assert "close_reasoning" == told(responses)["attempts"][1]["kind"]
    assert "only the final answer" in asked[-1]["content"]


def test_an_answer_the_caller_began_is_not_split_in_two_turns() -> None:
    """With prefill, a last assistant message of the caller's own grows with the kept text."""
    asked = [
        ChatMessage(content=QUESTION),
        ChatMessage(role=MessageRole.ASSISTANT, content="Well: "),
    ]
    with CountingServer(goes_on, delay=0) as server:
        adaptive(server, SHORT, prefill=True).chat(asked)
        turns = server.requests[1]["messages"]
    assert ["user", "assistant"] == [turn["role"] for turn in turns]
    assert "Well: Paris is the capital" == turns[-1]["content"]


def test_a_useless_answer_is_sampled_anew() -> None:
    """An empty answer restarts, with the settings that make it differ."""
    with CountingServer([Script([]), Script(["Paris", "."])], delay=0) as server:
        inner = {"additional_kwargs": {"seed": 5}}
        responses = ask(adaptive(server, SHORT, inner=inner), "chat")
        assert [0.1, 0.7] == [body["temperature"] for body in server.requests]
        assert [5, 7] == [body["seed"] for body in server.requests]
    assert "Paris." == text_of(responses[-1])


@pytest.mark.parametrize("method", METHODS)
def test_a_broken_connection_is_mended(method: str) -> None:
    """What came before the connection broke is kept and continued."""
    scripts = [Script([*HEAD, *TAIL], drop_after=4), Script(TAIL)]
    with CountingServer(scripts, delay=0) as server:
        stopping = AdaptiveStopping(backoff=(0.0, 0.0))
        responses = ask(adaptive(server, stopping, prefill=True), method)
    assert "".join([*HEAD, *TAIL]) == text_of(responses[-1])


@pytest.mark.parametrize("method", METHODS)
def test_an_overloaded_server_is_asked_again(method: str) -> None:
    """HTTP 503 passes: the call is made again."""
    with CountingServer([Script(status=503), Script(["Paris", "."])], delay=0) as server:
        assert "Paris." == text_of(ask(adaptive(server), method)[-1])


@pytest.mark.parametrize("method", METHODS)
def test_a_callers_mistake_goes_up_at_once(method: str) -> None:
    """HTTP 400 does not pass: the client's own error goes up, after one call."""
    with CountingServer([Script(status=400)], delay=0) as server:
        with pytest.raises(Exception, match="scripted failure") as caught:
            ask(adaptive(server), method)
        assert 1 == len(server.calls)
    assert 400 == getattr(caught.value, "status_code", None)


def test_failing_for_good_carries_the_text() -> None:
    """After the last attempt the error holds what had come."""
    scripts = [Script([*HEAD, *TAIL], drop_after=4), Script(status=503)]
    with CountingServer(scripts) as server, pytest.raises(TransportFailed) as caught:
        ask(adaptive(server, SHORT.replace(budget=GeometricBudget()), prefill=True), "chat")
    assert "".join(HEAD) == caught.value.completion.text


def test_giving_up_raises_where_asked_to() -> None:
    """on_exhausted="raise" goes through LlamaIndex's callbacks unharmed."""
    stopping = SHORT.replace(on_exhausted="raise", attempts=1)
    scripts = [Script(["word "] * 50)]
    with CountingServer(scripts, delay=0) as server, pytest.raises(BudgetExhausted) as caught:
        ask(adaptive(server, stopping), "chat")
    assert "word word word word " == caught.value.completion.text


def test_the_report_is_plain_and_the_providers_raw_stays() -> None:
    """JSON can hold the report; the rest of raw is the provider's last chunk."""
    with CountingServer(goes_on, delay=0) as server:
        inner = {"additional_kwargs": {"stream_options": {"include_usage": True}}}
        responses = ask(adaptive(server, SHORT, prefill=True, inner=inner), "chat")
    report = told(responses)
    assert report == json.loads(json.dumps(report))
    assert ("active", "", "stop") == (report["mode"], report["reason"], report["finish_reason"])
    tokens = report["tokens"]
    assert (False, 10, 10) == (tokens["estimated"], tokens["prompt"], tokens["reread"])
    raw, counts = responses[-1].raw, responses[-1].additional_kwargs
    assert "scripted" == raw["model"]  # type: ignore[index]  # raw is declared Any or None
    assert (20, 7, 27) == tuple(
        counts[f"{name}_tokens"] for name in ("prompt", "completion", "total")
    )


def test_nothing_shows_the_api_key() -> None:
    """Dumps, payloads and the representation of the wrapper hold no credentials."""
    with CountingServer([HEAD]) as server:
        llm = adaptive(server, prefill_kwargs={"extra_headers": {"Authorization": "secret-key"}})
    for shown in (llm.model_dump(), llm.to_payload(), llm.to_dict(), llm.to_json(), repr(llm)):
        assert "secret-key" not in str(shown)
    assert "scripted" == llm.to_payload()["llm"]["model_name"]


def test_settings_that_shape_prompts_are_the_inner_ones() -> None:
    """predict() formats prompts in the wrapper, so it must know the inner LLM's system prompt."""
    with CountingServer([HEAD], delay=0) as server:
        llm = adaptive(server, inner={"system_prompt": "Be brief."})
        llm.predict(PromptTemplate("{question}"), question=QUESTION)
        messages = server.requests[0]["messages"]
        assert ["Be brief.", QUESTION] == [message["content"] for message in messages]
        own = adaptive(server, inner={"system_prompt": "Be brief."}, system_prompt="Be long.")
    assert "Be long." == own.system_prompt


def test_wrapping_twice_is_refused() -> None:
    """One session inside another would count and continue everything twice."""
    once = adaptive_llm(MockLLM(), AdaptiveStopping())
    with pytest.raises(ValueError, match="not adaptive yet"):
        adaptive_llm(once, AdaptiveStopping())


def test_a_stopping_of_another_kind_is_refused() -> None:
    """A profile's name is not a stopping: say so where the LLM is made."""
    with pytest.raises(ValueError, match="AdaptiveStopping"):
        AdaptiveLLM(llm=MockLLM(), stopping="balanced")  # type: ignore[arg-type]  # the mistake


class Silent(MockLLM):
    """An LLM that cannot stream."""

    def stream_complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> Any:
        """Refuse, as LlamaIndex's own structured LLM does."""
        raise NotImplementedError("no streams here")


@pytest.mark.parametrize(
    "inner", [MockLLM(), Silent(max_tokens=None)], ids=["streams", "does not stream"]
)
@pytest.mark.parametrize("method", METHODS)
def test_an_llm_that_says_nothing_of_its_end_is_taken_at_its_word(
    method: str, inner: CustomLLM
) -> None:
    """Without a finish reason, and without streams, an answer is one answer: one call, complete."""
    responses = ask(adaptive_llm(inner, AdaptiveStopping()), method, "one two three")
    expected = (
        "one two three" if method.endswith("complete") else "user: one two three\nassistant: "
    )
    assert expected == text_of(responses[-1])
    report = told(responses)
    assert (True, "stop", 1) == (
        report["complete"],
        report["finish_reason"],
        len(report["attempts"]),
    )


class Gemini(MockLLM):
    """Ends as Google's models do: the reason is its own."""

    reasons: list[str] = Field(default_factory=list)

    @classmethod
    def ending(cls, *reasons: str) -> Gemini:
        """One that ends so, call by call."""
        made = cls(max_tokens=None)
        made.reasons = list(reasons)
        return made

    def stream_complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> Any:
        """Say a word a call; the last chunk has the reason."""
        reason = self.reasons.pop(0)
        candidate: dict[str, Any] = {"content": {"parts": [{"text": "word "}]}}
        yield CompletionResponse(text="word ", delta="word ", raw={"candidates": [candidate]})
        raw = {"candidates": [{**candidate, "finish_reason": reason}]}
        yield CompletionResponse(text="word ", delta="", raw=raw)


def test_an_end_in_googles_form_is_no_plain_stop() -> None:
    """MAX_TOKENS among the candidates is continued, and never told as an end."""
    llm = adaptive_llm(Gemini.ending("MAX_TOKENS", "STOP"), AdaptiveStopping())
    report = told(ask(llm, "complete"))
    reasons = [attempt["finish_reason"] for attempt in report["attempts"]]
    assert (["MAX_TOKENS", "STOP"], True) == (reasons, report["complete"])
    llm = adaptive_llm(Gemini.ending("MAX_TOKENS"), AdaptiveStopping(attempts=1))
    report = told(ask(llm, "complete"))
    assert ("MAX_TOKENS", False) == (report["finish_reason"], report["complete"])


def test_tokens_are_summed_over_the_calls_and_flagged_where_they_are_ours() -> None:
    """LlamaIndex's counters read them in both places; a prompt that nobody counted has no count."""
    with CountingServer(goes_on, delay=0) as server:
        last = ask(adaptive(server, SHORT, prefill=True), "chat")[-1]
    counts = {"completion_tokens": 7, "estimated": True}
    assert counts == last.raw["usage"]  # type: ignore[index]  # raw is declared Any or None
    assert counts == {k: v for k, v in last.additional_kwargs.items() if k != "stopping"}
    assert told([last])["tokens"]["estimated"]


@pytest.mark.parametrize("method", METHODS)
def test_tokens_of_a_cut_answer_are_estimated(method: str) -> None:
    """The provider's count comes at the end, which a cut does not wait for."""
    with CountingServer([["{", "}", *HEAD, *TAIL] * 3], delay=0.02) as server:
        inner = {"additional_kwargs": {"stream_options": {"include_usage": True}}}
        last = ask(adaptive(server, inner=inner), method)[-1]
    usage = last.raw["usage"]  # type: ignore[index]  # raw is declared Any or None
    assert usage["estimated"]
    assert 2 <= usage["completion_tokens"] <= 4


def test_the_providers_own_count_stands_where_there_is_one() -> None:
    """One call that ended by itself: whatever the provider told besides is kept."""
    with CountingServer([[*HEAD, *TAIL]], delay=0) as server:
        inner = {"additional_kwargs": {"stream_options": {"include_usage": True}}}
        last = ask(adaptive(server, inner=inner), "chat")[-1]
    assert (10, 7) == (
        last.raw["usage"]["prompt_tokens"],  # type: ignore[index]  # raw is declared Any or None
        last.raw["usage"]["completion_tokens"],  # type: ignore[index]  # likewise
    )
    assert "estimated" not in last.additional_kwargs


def test_the_readmes_examples_run() -> None:
    """As they stand, one after the other, without an API key, at another address."""
    readme = Path(__file__).parents[2] / "integrations" / "llama_index" / "README.md"
    blocks = re.findall(r"```python\n(.*?)```", readme.read_text("utf-8"), re.DOTALL)
    environment = {k: v for k, v in os.environ.items() if k != "OPENAI_API_KEY"}
    answer = [*HEAD, *TAIL, " That", " is", " all", ".", " Good", " bye", "."]
    with CountingServer([answer], delay=0) as server:
        code = "\n".join(blocks).replace("http://localhost:8000/v1", server.base_url)
        result = subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            text=True,
            check=False,
            env=environment,
        )
    assert 0 == result.returncode, result.stderr
    text = "".join(answer)
    voted = f"{text} {['paris is the capital of france'] * 3}"
    said = [text, text, voted, text, text, "would cut sentence 14", text]
    assert said == result.stdout.splitlines()


def test_a_misspelt_setting_is_refused() -> None:
    """It would be off in silence."""
    with pytest.raises(ValueError, match=r"prefil\n.*not permitted"):
        adaptive_llm(MockLLM(), AdaptiveStopping(), prefil=True)
