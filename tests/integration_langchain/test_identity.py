"""What tells one wrapper from another, and what is shown of it: cache keys, copies, traces."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest
from langchain_core.caches import InMemoryCache
from langchain_core.language_models import FakeListChatModel
from langchain_core.load import dumpd, dumps
from langchain_core.runnables import RunnableLambda
from langchain_core.tracers.run_collector import RunCollectorCallbackHandler
from langchain_openai import ChatOpenAI
from openai import APIConnectionError
from pydantic import SecretStr

from langchain_stopping import AdaptiveChatModel
from stopping_core import AdaptiveStopping, Boundary
from stopping_core.policies import Never, Threshold
from stopping_core.signals import AnswerPattern, Sentences
from tests.integration_langchain.setting import CUT, FIRST_SENTENCE, SMALL, TOKENS, openai
from tests.support.sse_server import CountingServer

INNER = FakeListChatModel(responses=["One."])


def wrap(stopping: AdaptiveStopping = FIRST_SENTENCE, **settings: Any) -> AdaptiveChatModel:
    return AdaptiveChatModel(inner=settings.pop("inner", INNER), stopping=stopping, **settings)


def whole_paragraphs(at: Boundary) -> AdaptiveStopping:
    return FIRST_SENTENCE.replace(policy=Threshold(Sentences(), at_least=1, at=at))


def checked(complete: bool) -> AdaptiveStopping:
    return FIRST_SENTENCE.replace(completeness=lambda request, draft: complete)


OTHERS = {
    "policy": wrap(FIRST_SENTENCE.replace(policy=Never())),
    "boundary": wrap(whole_paragraphs(Boundary.PARAGRAPH)),
    "signal": wrap(FIRST_SENTENCE.replace(policy=Threshold(AnswerPattern("Answer"), at_least=1))),
    "budget": wrap(SMALL.replace(policy=FIRST_SENTENCE.policy)),
    "mode": wrap(FIRST_SENTENCE.replace(mode="off")),
    "lambda": wrap(checked(complete=True)),
    "prefill": wrap(prefill=True),
    "tools": wrap(cut_with_tools=True),
    "inner": wrap(inner=ChatOpenAI(model="m", api_key=SecretStr("none"), base_url="http://a/v1")),
    "url": wrap(inner=ChatOpenAI(model="m", api_key=SecretStr("none"), base_url="http://b/v1")),
}


def test_every_setting_has_its_own_cache_key() -> None:
    """An answer cut under one stopping is never served to another, nor to the bare model."""
    models = [INNER, wrap(), *OTHERS.values(), wrap(checked(complete=True))]
    assert len(models) == len({model._get_llm_string() for model in models})
    assert wrap()._get_llm_string() != wrap()._get_llm_string(stop=["."])
    assert wrap()._get_llm_string() != wrap()._get_llm_string(temperature=1)


def test_equal_settings_share_their_cache() -> None:
    """The key is made of the settings, not of where the objects lie; hooks change no answer."""
    hooked = FIRST_SENTENCE.replace(hooks=(lambda request, completion: None,))
    same = wrap(copy.deepcopy(FIRST_SENTENCE))
    assert wrap()._get_llm_string() == same._get_llm_string() == wrap(hooked)._get_llm_string()


def test_one_cache_serves_a_cut_and_a_whole_answer() -> None:
    """Through a real cache: each stopping gets its own answer, and gets it from there again."""
    cache = InMemoryCache()
    with CountingServer([TOKENS]) as server:
        inner = openai(server, cache=cache)
        cutting, whole = wrap(inner=inner), wrap(SMALL.replace(mode="off"), inner=inner)
        answers = [model.invoke("Which?").content for model in (cutting, whole, cutting, whole)]
        assert [CUT, "".join(TOKENS)] * 2 == answers
        assert 2 == len(server.calls)


def test_no_secret_is_shown() -> None:
    """Keys and headers stand neither in the dump, nor in the repr, nor in what tracers get."""
    inner = ChatOpenAI(
        model="m",
        api_key=SecretStr("sk-hidden"),
        base_url="http://127.0.0.1:9/v1",
        default_headers={"Authorization": "hidden"},
        max_retries=0,
    )
    model = wrap(
        FIRST_SENTENCE.replace(attempts=1),
        inner=inner,
        prefill_kwargs={"extra_headers": {"X": "hidden"}},
    )
    collector = RunCollectorCallbackHandler()
    with pytest.raises(APIConnectionError):
        model.invoke("Which?", config={"callbacks": [collector]})
    (run,) = collector.traced_runs
    for shown in (dumps(model), repr(dumpd(model)), repr(model), str(run.serialized), str(run)):
        assert "hidden" not in shown
    assert "ChatOpenAI(m)" in repr(model)


def test_a_copy_with_another_stopping_has_another_key() -> None:
    """Though what tells the two apart cannot be written down: a function is in each."""
    model = wrap(checked(complete=True))
    first = model._get_llm_string()
    other = model.model_copy(update={"stopping": checked(complete=False)})
    more = model.model_copy(update={"cut_with_tools": True})
    keys = [one._get_llm_string() for one in (model, other, more)]
    assert [3, keys] == [len(set(keys)), [one._get_llm_string() for one in (model, other, more)]]
    assert [first, first] == [keys[0], model.model_copy()._get_llm_string()]


@pytest.mark.parametrize("way", [copy.deepcopy, copy.copy, lambda m: pickle.loads(pickle.dumps(m))])
def test_copies_answer_alike(way: Any) -> None:
    """Where the inner model can be copied and pickled, so can the wrapper."""
    model = wrap(inner=FakeListChatModel(responses=["One. Two."]), prefill=True)
    other = way(model)
    assert ["One.", "One."] == [one.invoke("Count.").content for one in (model, other)]
    assert model._get_llm_string() == other._get_llm_string()


def test_traces_carry_the_inner_models_name() -> None:
    """LangSmith's parameters are those of the model that answers, overrides included."""
    inner = ChatOpenAI(model="m", api_key=SecretStr("none"), temperature=0.5)
    params = wrap(inner=inner)._get_ls_params(stop=["."], model="other")
    assert ["openai", "other", 0.5, ["."]] == [
        params.get(f"ls_{name}") for name in ("provider", "model_name", "temperature", "stop")
    ]


@pytest.mark.parametrize(
    ("inner", "message"),
    [
        (wrap(), "AdaptiveChatModel already"),
        (INNER.bind(stop=["."]), "got a _ChatModelBinding: wrap the model itself"),
        (INNER.with_retry(), "got a RunnableRetry"),
        (INNER.with_fallbacks([INNER]), "got a RunnableWithFallbacks"),
        (INNER | RunnableLambda(str), "got a RunnableSequence"),
        ("gpt-4o-mini", "BaseChatModel"),
    ],
)
def test_what_is_no_chat_model_is_refused(inner: Any, message: str) -> None:
    """The error says what was given and what to do instead."""
    with pytest.raises(ValueError, match=message):
        wrap(inner=inner)
