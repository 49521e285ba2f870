"""A tiny random model with a byte-level tokenizer, a way to script it, and the real model."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from transformers import LlamaForCausalLM, LogitsProcessor, PreTrainedTokenizerBase

from stopping_core import AdaptiveStopping, Call, Completion
from tests.integration_transformers.batched import PROMPT, SEED, Passes
from tests.support.tiny_model import byte_tokenizer, rambling_model
from transformers_stopping import generate, load
from transformers_stopping.loop import Loop

CHAT = (
    "{% for m in messages %}<|{{ m['role'] }}|>{{ m['content'] }}"
    "{% if not loop.last or m['role'] != 'assistant' %}<eos>{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    """With as many threads as cores, everything slows down as soon as anything else runs."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def tokenizer() -> PreTrainedTokenizerBase:
    """One token a byte: 0 pads, 1 ends, the bytes follow."""
    return byte_tokenizer(CHAT)


@pytest.fixture(scope="session")
def model(tokenizer: PreTrainedTokenizerBase) -> LlamaForCausalLM:
    """Two layers with large random weights, so that what it says varies."""
    return rambling_model(tokenizer)


class Script(LogitsProcessor):
    """Makes any model say the given texts, one a row, and then end."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, width: int, texts: list[str]) -> None:
        self.width = width
        self.rows = [tokenizer(text)["input_ids"] + [1] for text in texts]

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        pushed = scores.clone()
        said = input_ids.shape[1] - self.width
        for index, row in enumerate(self.rows):
            pushed[index, row[said] if said < len(row) else 1] += 1e4
        return pushed


@pytest.fixture
def script(tokenizer: PreTrainedTokenizerBase) -> Callable[..., list[LogitsProcessor]]:
    """Make logits processors under which the rows say the texts after a prompt of that width."""

    def make(width: int, *texts: str) -> list[LogitsProcessor]:
        return [Script(tokenizer, width, list(texts))]

    return make


class Counter:
    """Counts forward passes and the tokens that they read."""

    def __init__(self) -> None:
        self.read: list[int] = []

    def __call__(self, module: Any, args: Any, kwargs: dict[str, Any], output: Any) -> None:
        self.read.append(int(kwargs["input_ids"].shape[1]))


@pytest.fixture
def count() -> Any:
    """Count the forward passes of a model, until the test ends."""
    handles = []

    def start(model: Any) -> Counter:
        counter = Counter()
        handles.append(model.register_forward_hook(counter, with_kwargs=True))
        return counter

    yield start
    for handle in handles:
        handle.remove()


@pytest.fixture
def call() -> Callable[..., Call]:
    """Make a call as a session would."""

    def make(kind: Any = "first", attempt: int = 1, tokens: int | None = 32, **more: Any) -> Call:
        if "prefix" in more:
            more.setdefault("prefill", more["prefix"])
        return Call(kind, attempt, tokens, **more)

    return make


@pytest.fixture(scope="session")
def embedded() -> Any:
    """The embedded model, converted once for this machine."""
    return load()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark every test that uses the real model."""
    for item in items:
        if "embedded" in getattr(item, "fixturenames", ()):
            item.add_marker("model")


@pytest.fixture
def passes(model: Any) -> Any:
    watched = Passes(model)
    yield watched
    watched.handle.remove()


@pytest.fixture
def alone(monkeypatch: pytest.MonkeyPatch, model: Any, tokenizer: Any) -> Callable[..., Completion]:
    """Draw one sample by itself: the backend's own calls and cache, with the draws of the vote."""

    def one(number: int, stopping: AdaptiveStopping, **kwargs: Any) -> Completion:
        draws = np.random.default_rng((SEED, number))

        def choose(loop: Loop, scores: torch.Tensor, config: Any) -> torch.Tensor:
            if not config.do_sample:
                return scores.argmax(dim=-1)
            ladder = torch.softmax(scores.double(), dim=-1).cumsum(dim=-1)
            point = draws.random() * ladder[:, -1:]
            return torch.searchsorted(ladder, point, right=True)[:, 0]

        monkeypatch.setattr(Loop, "_choose", choose)
        return generate(model, tokenizer, PROMPT, stopping, **{"do_sample": True, **kwargs})

    return one
