"""What the wrapper knows of the inner model's client: its provider and its time-outs."""

from __future__ import annotations

import time
from typing import Any

import httpx
import pytest
from langchain_core.language_models import FakeListChatModel
from langchain_openai import AzureChatOpenAI, ChatOpenAI
from pydantic import SecretStr

from langchain_stopping import AdaptiveChatModel
from langchain_stopping.client import read_timeout
from stopping_core import TransportFailed
from stopping_core.budgets import GeometricBudget
from stopping_core.providers import find_provider
from tests.integration_langchain.setting import (
    FIRST_SENTENCE,
    SMALL,
    TEXT,
    TOKENS,
    ask,
    openai,
    wrapped,
)
from tests.support.sse_server import FIRST_BYTE, CountingServer, Script, Stall

WAYS = ["invoke", "stream", "ainvoke", "astream"]
KEY = SecretStr("none")
WHOLE = SMALL.replace(budget=GeometricBudget(first=64))


def around(inner: Any, **settings: Any) -> AdaptiveChatModel:
    return AdaptiveChatModel(inner=inner, stopping=SMALL, **settings)


def test_the_provider_is_found_by_class_and_address(monkeypatch: pytest.MonkeyPatch) -> None:
    """OpenAI's client leads to whoever is behind its base URL, the environment's included."""
    monkeypatch.delenv("OPENAI_API_BASE", raising=False)
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    groq = "https://api.groq.com/openai/v1"
    azure = AzureChatOpenAI(
        azure_endpoint="https://mine.openai.azure.com", api_version="2024-10-21", api_key=KEY
    )
    found = [
        ChatOpenAI(model="m", api_key=KEY),
        ChatOpenAI(model="m", api_key=KEY, base_url=groq),
        ChatOpenAI(model="m", api_key=KEY, base_url="http://localhost:8000/v1"),
        azure,
        FakeListChatModel(responses=[""]),
    ]
    assert ["openai", "groq", "openai-compatible", "azure", "unknown"] == [
        around(inner).provider.name for inner in found
    ]
    for name in ("OPENAI_API_BASE", "OPENAI_BASE_URL"):
        with monkeypatch.context() as patch:
            patch.setenv(name, groq)
            assert "groq" == around(ChatOpenAI(model="m", api_key=KEY)).provider.name


def test_what_is_set_goes_before_the_table() -> None:
    """None asks the table, anything else is taken as it is said."""
    inner = ChatOpenAI(model="m", api_key=KEY, base_url="https://api.groq.com/openai/v1")
    row = find_provider(["ChatOpenAI"], "https://api.groq.com/openai/v1")
    assert row == around(inner).provider
    said: dict[str, Any] = {
        "prefill": True,
        "prefill_kwargs": {"extra_body": {}},
        "budget_keyword": "limit",
        "hang_up_ends_bill": not row.hang_up_ends_bill,
    }
    provider = around(inner, **said).provider
    assert said == {name: getattr(provider, name) for name in said}
    assert not around(inner, prefill=False).provider.prefill


@pytest.mark.parametrize("way", WAYS)
def test_where_a_hang_up_does_not_end_the_bill_the_budget_is_small_up_front(way: str) -> None:
    """The first budget is that of ``up_front``, and what was not seen of it is told."""
    stopping = FIRST_SENTENCE.replace(up_front=GeometricBudget(first=20))
    with CountingServer([TOKENS]) as server:
        answer = ask(wrapped(server, stopping, hang_up_ends_bill=False), way)
        assert 20 == server.requests[0]["max_completion_tokens"]
    tokens = answer.response_metadata["stopping"]["tokens"]
    assert [6, 14, 0] == [tokens[key] for key in ("generated", "unseen", "avoided")]


@pytest.mark.parametrize(
    ("own", "expected"),
    [
        (None, 10.0),
        (60.0, 10.0),
        (2, 2),
        ((1.0, 60.0), (1.0, 10.0)),
        ((1.0, 3.0), (1.0, 3.0)),
        (httpx.Timeout(60.0, connect=1.0), httpx.Timeout(60.0, connect=1.0, read=10.0)),
        (httpx.Timeout(None, connect=1.0), httpx.Timeout(None, connect=1.0, read=10.0)),
        (httpx.Timeout(4.0), httpx.Timeout(4.0)),
    ],
)
@pytest.mark.parametrize("of_call", [True, False])
def test_the_tighter_time_out_stands(own: Any, expected: Any, of_call: bool) -> None:
    """The caller's own is never loosened, nor changed where it is kept."""
    inner = ChatOpenAI(model="m", api_key=KEY, timeout=None if of_call else own)
    kwargs = {"timeout": own} if of_call else {}
    assert expected == read_timeout(inner, kwargs, "timeout", 10.0)
    assert kwargs.get("timeout", inner.request_timeout) == own


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("at", [FIRST_BYTE, 0, 3])
def test_a_stalled_stream_is_broken_off_and_finished(way: str, at: int) -> None:
    """A server that falls silent, before or in the answer, costs the stall and no more."""
    scripts = [Script(TEXT, faults={at: Stall()}), Script(TEXT[max(0, at) :])]
    with CountingServer(scripts) as server:
        model = wrapped(server, WHOLE.replace(stall_seconds=0.8), prefill=True)
        began = time.monotonic()
        answer = ask(model, way)
        assert time.monotonic() - began < 8
        assert 2 == len(server.calls)
    assert "".join(TEXT) == answer.content


def test_the_models_own_time_out_is_kept() -> None:
    """A ChatOpenAI that waits half a second for a read does so inside the wrapper as well."""
    with CountingServer([Script(TEXT, faults={3: Stall()})]) as server:
        inner = openai(server, timeout=0.5)
        model = AdaptiveChatModel(inner=inner, stopping=WHOLE.replace(attempts=2))
        began = time.monotonic()
        with pytest.raises(TransportFailed) as caught:
            model.invoke("Count.")
        assert time.monotonic() - began < 8
    assert caught.value.completion.text.startswith("One two three")


@pytest.mark.parametrize("way", WAYS)
def test_a_call_that_does_not_stream_may_be_silent(way: str) -> None:
    """Nothing is to be seen of such an answer until it is whole: silence is no fault."""
    with CountingServer([Script(TEXT, faults={3: Stall(0.6)})]) as server:
        inner = openai(server, disable_streaming=True)
        model = AdaptiveChatModel(inner=inner, stopping=WHOLE.replace(stall_seconds=0.3))
        assert "".join(TEXT) == ask(model, way).content
        assert 1 == len(server.calls)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    ("status", "said"), [(429, ("Retry-After", "1")), (503, ("Retry-After-Ms", "300"))]
)
def test_retry_after_is_kept_to(way: str, status: int, said: tuple[str, str]) -> None:
    """What the server asks for reaches the driver through LangChain's own error classes."""
    name, wait = said
    with CountingServer([Script(status=status, headers={name: wait}), Script(TEXT)]) as server:
        assert "".join(TEXT) == ask(wrapped(server, WHOLE), way).content
        first, second = server.calls
    assert (1.0 if wait == "1" else 0.3) <= second.at - first.at < 8
