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
_EVENTS = {
    "response.completed": "stop",
    "response.incomplete": "length",
    "response.failed": "error",
    "error": "error",
}
"""The events that end a stream of the Responses API; the second has a reason, as a rule."""
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


def _get(raw: Any, key: str) -> Any:
    found = getattr(raw, key, None)  # first, for objects are what most clients give
    return raw.get(key) if found is None and isinstance(raw, Mapping) else found


def _first(raw: Any) -> Any:
    return raw[0] if isinstance(raw, Sequence) and raw else None


def _dig(raw: Any, *path: str | int) -> Any:
    """Follow a path through objects, mappings and lists; None where it leads nowhere."""
    for key in path:
        raw = _first(raw) if key == 0 else _get(raw, str(key))
        if raw is None:
            return None
    return raw


def names_its_end(raw: Any) -> bool:
    """Whether it is of one of OpenAI's protocols, which give every end a reason."""
    kind = _get(raw, "type")
    event = isinstance(kind, str) and (kind.startswith("response.") or kind in _EVENTS)
    return event or _get(raw, "choices") is not None


def finish_reason_of(raw: Any) -> str | None:
    """The provider's word for why it ended; None before the end."""
    if (choices := _get(raw, "choices")) is not None:  # no need to look anywhere else
        found = _get(_first(choices), "finish_reason")
        return None if found is None else _word(found)
    words = (_word(found) for path in _FINISH if (found := _dig(raw, *path)) is not None)
    kind = _get(raw, "type")
    return next(filter(None, words), _EVENTS.get(kind) if isinstance(kind, str) else None)


def _word(found: Any) -> str | None:
    if isinstance(found, Enum):  # of numbers, with some providers
        found = found.value if isinstance(found.value, str) else found.name
    word = str(found)
    return None if word in _UNSAID else word


def usage_of(raw: Any) -> Usage | None:
    """The provider's own count of tokens for the call, where the chunk has one."""
    if _get(raw, "choices") is not None and _get(raw, "usage") is None:
        return None
    for prompt, generated in _USAGE:
        if isinstance(count := _dig(raw, *generated), int):
            return Usage(prompt=_dig(raw, *prompt) or 0, generated=count, estimated=False)
    return None


def tokens_of(raw: Any) -> list[NamedToken]:
    """The chunk's tokens with logprob and top logprobs, in the chat or the older form; or none."""
    named = _get(_first(_get(raw, "choices")), "logprobs")
    if named is None:
        return []
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
