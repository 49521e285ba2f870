"""What a provider's own chunk says: why it ended, what was billed, which tokens it held.

LlamaIndex hands it on as ``raw``: an object of the provider's client, or a mapping.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
)
_USAGE: tuple[tuple[tuple[str, ...], tuple[str, ...]], ...] = (
    (("usage", "prompt_tokens"), ("usage", "completion_tokens")),
    (("usage", "input_tokens"), ("usage", "output_tokens")),
    (("prompt_eval_count",), ("eval_count",)),
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
    found = next((word for path in _FINISH if (word := _dig(raw, *path))), None)
    return str(found) if found is not None else None


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
