"""What the wrappers add to a plain stream that they do not cut, pair by pair.

Each pair streams the same text twice, plain and wrapped, in alternating order; the first pair warms
up and is not counted.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from llama_index.core.base.llms.types import ChatMessage

from benchmarks.cutting import Endpoint, chat_openai, openai_like
from langchain_stopping import AdaptiveChatModel
from llama_index.llms.stopping import adaptive_llm
from stopping_core import AdaptiveStopping
from stopping_core.budgets import FixedBudget
from stopping_core.policies import MinTokens

NEVER_CUTS = MinTokens(10**9)
"""Joined to a policy with ``&`` it leaves all of its work and none of its cuts."""

Stream: TypeAlias = Callable[[str], Iterator[str]]
"""Streams the answer to a prompt, piece by piece."""

Timed: TypeAlias = Callable[[], float]
"""A clock: seconds of wall time, or of this process's computing time."""


@dataclass(frozen=True, slots=True)
class Pair:
    """Seconds of one text streamed plain and wrapped, and its pieces."""

    plain: float
    wrapped: float
    pieces: int

    @property
    def ratio(self) -> float:
        """Wrapped over plain."""
        return self.wrapped / self.plain


def uncut(tokens: int) -> AdaptiveStopping:
    """The default, kept from cutting, in one call of so many tokens."""
    policy = AdaptiveStopping().policy & NEVER_CUTS
    return AdaptiveStopping(policy=policy, budget=FixedBudget(tokens), attempts=1)


def frameworks(server: Endpoint, tokens: int) -> Mapping[str, tuple[Stream, Stream]]:
    """The plain and the wrapped stream of each framework, by its client's name.

    Args:
        server: Whom they ask.
        tokens: Limit on the answer's length.
    """
    chat = chat_openai(server, max_completion_tokens=tokens)
    llm = openai_like(server, max_tokens=tokens)
    return {
        "langchain-openai": (
            _langchain(chat),
            _langchain(AdaptiveChatModel(inner=chat, stopping=uncut(tokens))),
        ),
        "llama-index OpenAILike": (
            _llama_index(llm),
            _llama_index(adaptive_llm(llm, uncut(tokens))),
        ),
    }


def pairs(
    both: tuple[Stream, Stream],
    prompts: Sequence[str],
    clock: Timed,
    prepare: Callable[[str], object] = str,
) -> list[Pair]:
    """Time a pair for each prompt but the first.

    Args:
        both: The plain stream and the wrapped one.
        prompts: One a pair.
        clock: What is measured.
        prepare: Called with the prompt before each of the two streams, outside the time.

    Raises:
        RuntimeError: The two texts of a pair differ.
    """
    found = []
    for number, prompt in enumerate(prompts):
        seconds = [0.0, 0.0]
        texts = ["", ""]
        pieces = [0, 0]
        for k in (0, 1) if number % 2 else (1, 0):
            prepare(prompt)
            start = clock()
            said = [piece for piece in both[k](prompt) if piece]
            seconds[k] = clock() - start
            texts[k], pieces[k] = "".join(said), len(said)
        if texts[0] != texts[1]:
            raise RuntimeError(f"the two texts differ: {texts[0][-50:]!r}, {texts[1][-50:]!r}")
        found.append(Pair(seconds[0], seconds[1], pieces[0]))
    return found[1:]


def wall(name: str, found: Sequence[Pair]) -> str:
    """A line on how much longer the wrapped stream took."""
    ratios = [pair.ratio for pair in found]
    rate = statistics.median(pair.pieces / pair.plain for pair in found)
    return (
        f"  {name:24} {statistics.median(ratios):.4f}, from {min(ratios):.4f} to "
        f"{max(ratios):.4f}: {len(found)} pairs at {rate:.0f} tokens a second"
    )


def computing(name: str, found: Sequence[Pair]) -> str:
    """A line on how much more the client computed, microseconds a token."""
    plain = [pair.plain / pair.pieces * 1e6 for pair in found]
    wrapped = [pair.wrapped / pair.pieces * 1e6 for pair in found]
    added = [b - a for a, b in zip(plain, wrapped, strict=True)]
    ratio = statistics.median(pair.ratio for pair in found)
    return (
        f"  {name:24} plain {_spread(plain)}, wrapped {_spread(wrapped)}, "
        f"added {_spread(added)}, ratio {ratio:.2f}"
    )


def _spread(values: Sequence[float]) -> str:
    return f"{statistics.median(values):.0f} ({min(values):.0f}-{max(values):.0f})"


def _langchain(model: Any) -> Stream:
    return lambda prompt: (str(chunk.content) for chunk in model.stream(prompt))


def _llama_index(llm: Any) -> Stream:
    def stream(prompt: str) -> Iterator[str]:
        for response in llm.stream_chat([ChatMessage(content=prompt)]):
            yield response.delta or ""

    return stream
