"""What a provider's own chunk says: why it ended, what was billed, which tokens it held.

LlamaIndex hands it on as ``raw``: an object of the provider's client, or a mapping.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import Enum
from typing import Any, TypeAlias

from stopping_core.types import Usage

NamedToken: TypeAlias = tuple[str, float | None, tuple[float, ...] | None]
"""A token's text, its logprob and the logprobs of the most likely ones, nats."""

_FINISH: tuple[tuple[str | int, ...], ...] = (
    ("choices", 0, "finish_reason"),
    ("finish_reason",),
    ("stop_reason",),
    ("delta", "stop_reason"),
    ("stopReason",),
    ("done_reason",),
    ("candidates", 0, "finish_reason"),
    ("candidates", 0, "finishReason"),
    ("incomplete_details", "reason"),
    ("response", "incomplete_details", "reason"),
)
_UNSAID = ("", "0", "FINISH_REASON_UNSPECIFIED")
_USAGE: tuple[tuple[tuple[str, ...], tuple[str, ...]], ...] = (
    (("usage", "prompt_tokens"), ("usage", "completion_tokens")),
    (("usage", "input_tokens"), ("usage", "output_tokens")),
    (("response", "usage", "input_tokens"), ("response", "usage", "output_tokens")),
    (("prompt_eval_count",), ("eval_count",)),
    (("usage_metadata", "prompt_token_count"), ("usage_metadata", "candidates_token_count")),
    (("usageMetadata", "promptTokenCount"), ("usageMetadata", "candidatesTokenCount")),
)


def as_dict(raw: Any) -> dict[str, Any]:
    """The provider's raw as a dict, so that it can hold one entry more."""
    if raw is None:
        return {}
    if isinstance(raw, Mapping):
        return dict(raw)
    return dict(raw.model_dump()) if hasattr(raw, "model_dump") else {"response": raw}


def _dig(raw: Any, *path: str | int) -> Any:
    """Follow a path through objects, mappings and lists; None where it leads nowhere."""
    for key in path:
        if isinstance(key, int):
            raw = raw[key] if isinstance(raw, Sequence) and len(raw) > key else None
        else:
            raw = raw.get(key) if isinstance(raw, Mapping) else getattr(raw, key, None)
    return raw


def names_its_end(raw: Any) -> bool:
    """Whether it is of the OpenAI protocol, which gives every end a reason."""
    return _dig(raw, "choices") is not None


def finish_reason_of(raw: Any) -> str | None:
    """The provider's word for why it ended; None before the end."""
    words = (_word(found) for path in _FINISH if (found := _dig(raw, *path)) is not None)
    return next((word for word in words if word not in _UNSAID), None)


def _word(found: Any) -> str:
    if isinstance(found, Enum):  # of numbers, with some providers
        return found.value if isinstance(found.value, str) else found.name
    return str(found)


def usage_of(raw: Any) -> Usage | None:
    """The provider's own count of tokens for the call, where the chunk has one."""
    for prompt, generated in _USAGE:
        if isinstance(count := _dig(raw, *generated), int):
            return Usage(prompt=_dig(raw, *prompt) or 0, generated=count, estimated=False)
    return None


def tokens_of(raw: Any) -> list[NamedToken]:
    """The chunk's tokens with logprob and top logprobs, in the chat or the older form; or none."""
    named = _dig(raw, "choices", 0, "logprobs")
    if content := _dig(named, "content"):
        return [
            (
                _dig(token, "token") or "",
                _dig(token, "logprob"),
                tuple(_dig(top, "logprob") for top in _dig(token, "top_logprobs") or ()) or None,
            )
            for token in content
        ]
    tokens = _dig(named, "tokens") or []
    values = _dig(named, "token_logprobs") or [None] * len(tokens)
    tops = _dig(named, "top_logprobs") or [None] * len(tokens)
    return [
        (token, value, tuple(top.values()) if top else None)
        for token, value, top in zip(tokens, values, tops, strict=False)
    ]
