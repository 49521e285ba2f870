"""The wrapper: what it sends, what it returns, what it leaves alone."""

from __future__ import annotations

import json
from typing import Any

import pytest
from langchain_core.caches import InMemoryCache
from langchain_core.callbacks import BaseCallbackHandler, CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel, FakeListChatModel
from langchain_core.messages import (
    AIMessage,
    BaseMessage,
    HumanMessage,
    SystemMessage,
)
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_core.rate_limiters import InMemoryRateLimiter
from openai import BadRequestError, InternalServerError, RateLimitError

from langchain_stopping import AdaptiveChatModel
from stopping_core import BudgetExhausted, Draft, Request, Verdict
from stopping_core.budgets import GeometricBudget
from tests.integration_langchain.setting import (
    CUT,
    FIRST_SENTENCE,
    SMALL,
    TEXT,
    TOKENS,
    ask,
    openai,
    wrapped,
)
from tests.support.sse_server import PROMPT_TOKENS, CountingServer, Script


@pytest.mark.parametrize("way", ["invoke", "stream", "ainvoke", "astream"])
@pytest.mark.parametrize("prefill", [True, False])
def test_continues_what_ran_out_of_tokens(way: str, prefill: bool) -> None:
    """A truncated answer comes back whole, and the ledger says what that cost."""
    repeated = [] if prefill else [" two", " three", " four"]
    with CountingServer([TEXT, [*repeated, *TEXT[4:]]]) as server:
        stopping = SMALL.replace(budget=GeometricBudget(first=4, growth=3.0))
        model = wrapped(server, stopping, prefill=prefill, prefill_kwargs={"extra_body": {"on": 1}})
        answer = ask(model, way)
        assert "".join(TEXT) == answer.content
        first, second = server.requests
        assert [4, 8] == [request["max_completion_tokens"] for request in (first, second)]
        assert {"role": "assistant", "content": "".join(TEXT[:4])} == second["messages"][1]
        assert [2 if prefill else 3, prefill] == [len(second["messages"]), "on" in second]
    done = answer.response_metadata["stopping"]
    assert ["first", "continue"] == [attempt["kind"] for attempt in done["attempts"]]


def test_metadata_is_the_providers_and_ours() -> None:
    """The provider's metadata is kept, ours is plain JSON beside it, usage is summed."""
    with CountingServer([Script(TEXT, logprobs=[-0.5] * 8)]) as server:
        inner = openai(server, stream_usage=True, logprobs=True, top_logprobs=2)
        stopping = SMALL.replace(budget=GeometricBudget(first=64))
        answer = AdaptiveChatModel(inner=inner, stopping=stopping).invoke("Count.")
    metadata = answer.response_metadata
    assert ["stop", server.model] == [metadata["finish_reason"], metadata["model_name"]]
    assert TEXT == [entry["token"] for entry in metadata["logprobs"]["content"]]
    usage = {"input_tokens": PROMPT_TOKENS, "output_tokens": 8, "total_tokens": PROMPT_TOKENS + 8}
    assert usage == answer.usage_metadata
    assert not metadata["stopping"]["tokens"]["estimated"]
    assert metadata["stopping"] == json.loads(json.dumps(metadata["stopping"]))


def test_a_cut_is_told_and_estimated() -> None:
    """After a cut the count is ours, and says so."""
    with CountingServer([TOKENS]) as server:
        answer = wrapped(server, FIRST_SENTENCE).invoke("Which city?")
    done = answer.response_metadata["stopping"]
    assert ["sentence", True, "cut", "active"] == [
        done[key] for key in ("reason", "complete", "finish_reason", "mode")
    ]
    assert [6, True] == [done["tokens"]["generated"], done["tokens"]["estimated"]]
    assert "scripted" == answer.response_metadata["model_name"]  # the server says it at the end


def test_shadow_changes_nothing_but_says_where() -> None:
    """In shadow mode the call and its text are as without us; the cut is only reported."""
    with CountingServer([TOKENS]) as server:
        answer = wrapped(server, FIRST_SENTENCE.replace(mode="shadow")).invoke("Which city?")
        assert "max_completion_tokens" not in server.requests[0]
    assert "".join(TOKENS) == answer.content
    would_stop = answer.response_metadata["stopping"]["would_stop"]
    assert [len(CUT), "shadow"] == [
        would_stop["offset"],
        answer.response_metadata["stopping"]["mode"],
    ]


@pytest.mark.parametrize("way", ["invoke", "stream", "ainvoke", "astream"])
def test_off_is_the_inner_model(way: str) -> None:
    """Switched off, the wrapper passes the call on."""
    with CountingServer([TOKENS]) as server:
        answer = ask(wrapped(server, FIRST_SENTENCE.replace(mode="off")), way)
    assert "".join(TOKENS) == answer.content
    assert "stopping" not in answer.response_metadata


def test_an_answer_that_the_model_ended_incomplete_is_started_over() -> None:
    """Without streaming an unfinished JSON value is thrown away and sampled anew."""
    with CountingServer([['{"a": 1'], ['{"a": 1}']]) as server:
        answer = wrapped(server, SMALL).invoke("In JSON.")
        assert '{"a": 1}' == answer.content
        assert [None, 0.7] == [request.get("temperature") for request in server.requests]
    assert 1 == answer.response_metadata["stopping"]["tokens"]["discarded"]


def test_an_empty_stream_is_an_incomplete_answer() -> None:
    """A model that says nothing is asked again, and then has said nothing: no exception."""
    with CountingServer([[]]) as server:
        for way in ("invoke", "stream"):
            answer = ask(wrapped(server, SMALL), way)
            assert ["", False] == [
                answer.content,
                answer.response_metadata["stopping"]["complete"],
            ]
        assert 6 == len(server.calls)


def test_exhaustion_may_raise() -> None:
    """Where asked to, the wrapper raises what the core raises, with the text so far."""
    with CountingServer([TEXT]) as server:
        stopping = SMALL.replace(attempts=1, on_exhausted="raise")
        with pytest.raises(BudgetExhausted) as caught:
            wrapped(server, stopping).invoke("Count.")
    assert "One two three four" == caught.value.completion.text


def test_a_broken_connection_is_continued() -> None:
    """What came before the connection broke is kept and not generated again."""
    with CountingServer([Script(TEXT, drop_after=3), TEXT[3:]]) as server:
        stopping = SMALL.replace(budget=GeometricBudget(first=64))
        answer = wrapped(server, stopping, prefill=True).invoke("Count.")
        assert "".join(TEXT) == answer.content
        assert "One two three" == server.requests[1]["messages"][-1]["content"]


def test_an_overloaded_server_is_asked_again() -> None:
    """HTTP 503 passes; what does not pass comes up as the provider's own exception."""
    with CountingServer([Script(status=503), TEXT]) as server:
        stopping = SMALL.replace(budget=GeometricBudget(first=64))
        assert "".join(TEXT) == wrapped(server, stopping).invoke("Count.").content
    with CountingServer([Script(status=503)]) as server, pytest.raises(InternalServerError):
        wrapped(server, SMALL).invoke("Count.")
    with CountingServer([Script(status=400)]) as server:
        with pytest.raises(BadRequestError, match="400"):
            wrapped(server, SMALL).invoke("Count.")
        # Once more without the question for usage, at which such servers balk.
        assert [True, False] == ["stream_options" in request for request in server.requests]


@pytest.mark.parametrize("way", ["invoke", "stream", "ainvoke", "astream"])
def test_without_streaming_it_is_checked_and_continued_but_not_cut(way: str) -> None:
    """Where streaming is disabled the whole answer stands, and is continued if it is not whole."""
    with CountingServer([["A.", " B.", " C.", " D.", " E."], [" E."]]) as server:
        inner = openai(server, disable_streaming=True)
        stopping = FIRST_SENTENCE.replace(budget=GeometricBudget(first=4))
        answer = ask(AdaptiveChatModel(inner=inner, stopping=stopping, prefill=True), way)
        assert "A. B. C. D. E." == answer.content
        assert [False, False] == [bool(request.get("stream")) for request in server.requests]
    usage = answer.response_metadata["stopping"]["tokens"]
    assert [5, False] == [usage["generated"], usage["estimated"]]


class Whole(BaseChatModel):
    """A model that does not stream and repeats the prefill, as llama.cpp does."""

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        before = messages[-1].content if isinstance(messages[-1], AIMessage) else ""
        text, reason = (f"{before} two.", "stop") if before else ("One", "length")
        message = AIMessage(content=text, response_metadata={"finish_reason": reason})
        return ChatResult(generations=[ChatGeneration(message=message)])

    @property
    def _llm_type(self) -> str:
        return "whole"


@pytest.mark.parametrize("way", ["invoke", "stream", "ainvoke", "astream"])
def test_a_repeated_prefill_is_removed(way: str) -> None:
    """A server that gives the prefill back as part of its answer does not double it."""
    model = AdaptiveChatModel(inner=Whole(), stopping=SMALL, prefill=True)
    assert "One two." == ask(model, way).content


def test_a_model_that_never_says_why_it_ended_is_not_taken_for_broken_off() -> None:
    """Without any metadata the end of a stream is the end of the answer."""
    stopping = SMALL.replace(budget=GeometricBudget(first=64))
    model = AdaptiveChatModel(inner=FakeListChatModel(responses=["One. Two."]), stopping=stopping)
    answer = model.invoke("Count.")
    assert ["One. Two.", 1] == [
        answer.content,
        len(answer.response_metadata["stopping"]["attempts"]),
    ]


@pytest.mark.parametrize("of_call", [True, False])
def test_a_seed_changes_with_the_attempt(of_call: bool) -> None:
    """A fixed seed would give the answer that has failed again."""
    seed: dict[str, Any] = {"seed": 7}
    with CountingServer([['{"a": 1'], ['{"a": 1}']]) as server:
        inner = openai(server, **({} if of_call else seed))
        model = AdaptiveChatModel(inner=inner, stopping=SMALL)
        assert '{"a": 1}' == model.invoke("In JSON.", **(seed if of_call else {})).content
        assert [7, 9] == [request["seed"] for request in server.requests]


@pytest.mark.parametrize("streaming", [True, False])
@pytest.mark.parametrize("way", ["invoke", "stream", "ainvoke", "astream"])
def test_new_tokens_are_called_back_once(way: str, streaming: bool) -> None:
    """A model that streams on ``invoke`` still does, and no token is called back twice."""
    seen: list[str] = []

    class Listener(BaseCallbackHandler):
        def on_llm_new_token(self, token: Any, **kwargs: Any) -> None:
            seen.append(token)

    stopping = SMALL.replace(budget=GeometricBudget(first=64))
    with CountingServer([TEXT]) as server:
        inner = openai(server, **({"streaming": True} if streaming else {}))
        model = AdaptiveChatModel(inner=inner, stopping=stopping, callbacks=[Listener()])
        assert "".join(TEXT) == ask(model, way).content
    listens = streaming or "stream" in way
    assert ("".join(TEXT) if listens else "") == "".join(seen)
    assert (len([token for token in seen if token]) > 1) == listens


def test_the_providers_exception_reaches_fallbacks() -> None:
    """Where nothing was generated, the error is the provider's own, as without us."""
    with CountingServer([Script(status=429)]) as server, CountingServer([TEXT]) as other:
        stopping = SMALL.replace(budget=GeometricBudget(first=64))
        chain = wrapped(server, stopping).with_fallbacks(
            [wrapped(other, stopping)], exceptions_to_handle=(RateLimitError,)
        )
        assert "".join(TEXT) == chain.invoke("Count.").content
        assert stopping.attempts == len(server.calls)


def test_settings_around_the_inner_model_are_taken_over() -> None:
    """Cache, rate limiter, tags and the rest work as they did on the inner model."""
    cache = InMemoryCache()
    limiter = InMemoryRateLimiter(requests_per_second=1000)
    with CountingServer([TOKENS]) as server:
        inner = openai(
            server, cache=cache, rate_limiter=limiter, tags=["mine"], metadata={"team": "a"}
        )
        model = AdaptiveChatModel(inner=inner, stopping=FIRST_SENTENCE)
        assert [cache, limiter, ["mine"]] == [model.cache, model.rate_limiter, model.tags]
        assert "a" == (model.metadata or {})["team"]
        assert [CUT, CUT] == [model.invoke("Which city?").content for _ in range(2)]
        assert 1 == len(server.calls)
        other = AdaptiveChatModel(inner=inner, stopping=FIRST_SENTENCE, tags=[], cache=False)
        assert [[], False] == [other.tags, other.cache]


def test_a_callers_own_prefill_is_joined_with_ours() -> None:
    """Two assistant messages in a row would be refused by many servers."""
    with CountingServer([TEXT, TEXT[4:]]) as server:
        model = wrapped(server, SMALL, prefill=True)
        messages = [SystemMessage("Count."), HumanMessage("Go."), AIMessage("Zero ")]
        model.invoke(messages)
        assert ["system", "user", "assistant"] == [
            message["role"] for message in server.requests[1]["messages"]
        ]
        assert "Zero One two three four" == server.requests[1]["messages"][-1]["content"]


def test_logprobs_of_a_dropped_answer_are_dropped() -> None:
    """An answer that was started over has the logprobs of its own tokens and of no others."""
    scripts = [Script(['{"a"', ": 1"], logprobs=[-1, -1]), Script(["{}"], logprobs=[-2])]
    with CountingServer(scripts) as server:
        stopping = SMALL.replace(budget=GeometricBudget(first=64))
        model = AdaptiveChatModel(inner=openai(server, logprobs=True), stopping=stopping)
        answer = model.invoke("In JSON.")
    tokens = [entry["token"] for entry in answer.response_metadata["logprobs"]["content"]]
    assert ["{}", ["{}"]] == [answer.content, tokens]


def test_the_output_beside_the_answers_is_the_inner_models() -> None:
    """What LangChain adds up over several prompts is added up as the inner model does."""
    with CountingServer([TEXT]) as server:
        model = wrapped(server, FIRST_SENTENCE.replace(mode="off"))
        prompts: list[list[BaseMessage]] = [[HumanMessage("Count.")], [HumanMessage("Again.")]]
        assert openai(server).generate(prompts).llm_output == model.generate(prompts).llm_output


class Slow:
    """A check that takes its time, and has a quick one to ask before a cut."""

    slow = True

    def __call__(self, request: Request, draft: Draft, /) -> Verdict:
        return Verdict(True)

    def fast(self, request: Request, draft: Draft, /) -> Verdict:
        return Verdict(False)


def test_the_quick_side_of_a_slow_check_is_asked_before_a_cut() -> None:
    """It hinders the cut, as it does where the core is used without LangChain."""
    with CountingServer([TOKENS]) as server:
        answer = wrapped(server, FIRST_SENTENCE.replace(completeness=Slow())).invoke("Which?")
    assert "".join(TOKENS) == answer.content


def test_what_is_wrong_is_said_when_it_is_made() -> None:
    """A wrapper around something else than settings does not come into being."""
    with pytest.raises(ValueError, match="AdaptiveStopping"):
        AdaptiveChatModel(
            inner=FakeListChatModel(responses=[""]),
            stopping="balanced",  # type: ignore[arg-type]  # the mistake
        )
