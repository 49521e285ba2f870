"""The values of a stream: what is asked, what a model sends, what a policy says: frozen, inert."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntFlag
from typing import Any, Literal

Channel = Literal["answer", "reasoning"]
Mode = Literal["off", "shadow", "active"]
Need = Literal[
    "logprobs",
    "top_logprobs",
    "end_probability",
    "seconds",
    "probes",
    "samples",
    "hidden_states",
    "rounds",
]
"""What a rule may ask of a stream beyond its text."""

_ONE_TOKEN = 16  # characters that one token may have
_ONE_LONG = re.compile(r"\s*[A-Za-z]{1,32}|\s+|(\W)\1*")


def estimate_tokens(text: str) -> int:
    """Estimate how many tokens a chunk held, where the provider does not say.

    Chunks of up to 16 characters are taken for one token, as streams mostly send them, and so are
    one long word, a run of blanks and a row of one mark; longer ones for a token every 4
    characters, as in English.

    Examples:
        >>> [estimate_tokens(text) for text in (" word", " responsibilities", "-" * 40)]
        [1, 1, 1]
        >>> estimate_tokens(" of several words")
        5
    """
    if len(text) <= _ONE_TOKEN or _ONE_LONG.fullmatch(text):
        return 1
    return math.ceil(len(text) / 4)


class Boundary(IntFlag):
    """What ends at a place in the text; several things may end at once."""

    NONE = 0
    SENTENCE = 1
    LINE = 2
    PARAGRAPH = 4
    JSON = 8
    FENCE = 16
    LIST = 32


@dataclass(frozen=True, slots=True)
class Usage:
    """Every token that was billed for one request, summed over its attempts.

    Args:
        prompt: Input tokens of the first call; 0 where unknown.
        generated: Output tokens of all calls.
        reread: Input tokens of probes and of all calls after the first, prefixes included.
        retried: Output tokens of all calls after the first.
        discarded: Output tokens whose text was thrown away.
        avoided: Estimate (an upper bound) of the output tokens that the cut saved.
        unseen: Estimate (an upper bound) of the output tokens that were billed after we had hung
            up, where a hang-up does not end the bill. Not in ``generated``.
        probed: Output tokens of probes. Not in ``generated``; their input is in ``reread``.
        estimated: True where a count is ours and not the provider's.
    """

    prompt: int = 0
    generated: int = 0
    reread: int = 0
    retried: int = 0
    discarded: int = 0
    avoided: int = 0
    unseen: int = 0
    probed: int = 0
    estimated: bool = True


@dataclass(frozen=True, slots=True)
class Step:
    """What one streamed chunk brings.

    One step per token where the provider says so; else a chunk may hold several tokens, or half a
    word. Nothing but the count of tokens may depend on how a text is chunked: the segmenter cuts
    every step at the boundaries inside it, so that signals and policies see the same pieces.

    Args:
        text: The new characters, possibly none.
        tokens: Number of tokens in the chunk, >= 0.
        logprob: Mean logprob of the chunk's tokens, nats, <= 0. None where the provider gives none.
        top_logprobs: Logprobs of the k most likely tokens at its last position, nats.  # (k,)
        entropy: Entropy of the full next-token distribution, nats, where a local model knows it.
        margin: Probability of the best token minus that of the second, in [0, 1], likewise.
        end_probability: Probability that the model had ended before this token, in [0, 1],
            likewise.
        channel: ``"reasoning"`` for text inside the thinking part.
        finish_reason: The provider's word for why it ended, on the last chunk only. Text after it
            takes it back: some say it on every chunk, and there from the second chunk on only one
            without text counts as the end. That the first was none cannot be told: an error right
            after it passes for the end of the answer.
        usage: The provider's own count of tokens for this call so far; the last one stands.
        boundary: What ends here. Set by the segmenter, on steps without text; backends leave it.
        raw: The provider's own chunk, passed through untouched.
    """

    text: str
    tokens: int = 1
    logprob: float | None = None
    top_logprobs: tuple[float, ...] | None = None
    entropy: float | None = None
    margin: float | None = None
    end_probability: float | None = None
    channel: Channel = "answer"
    finish_reason: str | None = None
    usage: Usage | None = None
    boundary: Boundary = Boundary.NONE
    raw: Any = field(default=None, compare=False, repr=False)

    def __post_init__(self) -> None:
        if self.tokens < 0:
            raise ValueError(f"tokens must be >= 0, got {self.tokens}")


@dataclass(frozen=True, slots=True)
class Request:
    """What is known about a request before its first token.

    Args:
        prompt: The prompt as text, as far as it is known. Used as evidence, never sent from here.
        question: The user's question alone, where the caller can tell it from the context.
        context: Retrieved passages, where there are any.
        expects: The form of the answer, where the caller knows it.
        prompt_tokens: Length of the prompt, tokens. None where unknown.
        max_tokens: The caller's own limit on output tokens that come, over all attempts. What may
            be billed unseen after a hang-up is not held against it, but against the limits on the
            bill: ``AdaptiveStopping.max_total_tokens`` and ``CostCeiling``.
        max_output_tokens: The model's limit on output tokens.
        context_window: The model's limit on prompt plus output, tokens.
        metadata: Anything else: user, tenant, use case.
        model: Name of the model that is asked; ``""`` where unknown.
        model_fingerprint: Of its weights, quantisation and engine, as a recording names them;
            ``""`` where unknown, as behind an endpoint.
        sampling: Settings of the sampler, by :func:`~stopping_core.sampling.sampling_of`.
        chat: Whether it is sent as messages; False for a raw prompt, None where unknown.
        beside: What is sent beside these texts, a word each: ``"image_url"``, ``"tools"``,
            ``"earlier turns"``.
    """

    prompt: str = ""
    question: str = ""
    context: str = ""
    expects: Literal["text", "json", "code"] | None = None
    prompt_tokens: int | None = None
    max_tokens: int | None = None
    max_output_tokens: int | None = None
    context_window: int | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    model: str = ""
    model_fingerprint: str = ""
    sampling: Mapping[str, Any] = field(default_factory=dict)
    chat: bool | None = None
    beside: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name in ("max_tokens", "max_output_tokens", "context_window"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name} must be >= 1, got {value}")
        if self.prompt_tokens is not None and self.prompt_tokens < 0:
            raise ValueError(f"prompt_tokens must be >= 0, got {self.prompt_tokens}")


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A place in the stream where a policy is asked.

    Args:
        offset: Characters of text up to here.
        tokens: Output tokens of this answer up to here, over all its attempts.
        seconds: Seconds since the request began.
        boundary: What ends here; ``Boundary.NONE`` at a checkpoint that only counts tokens.
    """

    offset: int
    tokens: int
    seconds: float
    boundary: Boundary


@dataclass(frozen=True, slots=True)
class Decision:
    """What a policy says at a checkpoint.

    Args:
        stop: Whether the text up to the checkpoint is enough.
        reason: Why, in one or two words: ``"sentence"``, ``"json"``, ``"loop"``, ``"deadline"``.
        forced: True where going on is useless or not allowed (a loop, a deadline), so that the
            stop holds even though the answer is not complete.
        keep: Where the end of the text is waste (a loop), the characters before it; else None.
        probe: True where the policy cannot say before it knows what the model would answer now:
            it is then asked again, by ``weigh``, with a :class:`Probe`.
    """

    stop: bool
    reason: str = ""
    forced: bool = False
    keep: int | None = None
    probe: bool = False


CONTINUE = Decision(stop=False)
PROBE = Decision(stop=False, probe=True)


@dataclass(frozen=True, slots=True)
class Probe:
    """What the model would answer now: asked at a place inside its answer, and thrown away.

    Args:
        text: The answer. Of the words that asked for it only those that belong to it: what follows
            the tag that closes the reasoning.
        tokens: Output tokens it took, >= 0.
        reread: Input tokens it took: prompt, text so far and the words that asked.
        logprobs: Of its tokens, nats; empty where they are not known.
        entropy: Of the distribution over its first token, nats, or None.
    """

    text: str
    tokens: int
    reread: int
    logprobs: tuple[float, ...] = ()
    entropy: float | None = None
