"""What the provider's word for the end says about completeness."""

from __future__ import annotations

from dataclasses import dataclass

from stopping_core.providers import PROVIDERS
from stopping_core.results import Draft, Verdict
from stopping_core.types import Request

_TRUNCATED = frozenset(mark.lower() for row in PROVIDERS for mark in row.truncation_marks)
_BLOCKED = frozenset(
    {
        "blocklist",
        "content_filter",
        "content_filtered",
        "error_toxic",
        "guardrail_intervened",
        "prohibited_content",
        "recitation",
        "refusal",
        "safety",
        "sensitive",
        "spii",
    }
)
_BROKEN = frozenset(
    {
        "abort",
        "aborted",
        "cancelled",
        "error",
        "insufficient_system_resource",
        "malformed_function_call",
        "network_error",
        "pause_turn",
        "timeout",
    }
)
_CALLS = frozenset({"function_call", "tool_call", "tool_calls", "tool_use"})


@dataclass(frozen=True, slots=True)
class FinishReason:
    """Incomplete where the model did not end by itself.

    That is a limit on tokens, a content filter (the text breaks off there, whatever was said), an
    error, a stop that our policy forced, or no finish reason at all: the stream broke off. Any
    other ``"cut"``, ``"stop"``, tool calls and words that are not known here are no sign of
    anything missing.

    Examples:
        >>> FinishReason()(Request(), Draft("Once upon a", finish_reason="length")).reason
        "the model ran out of tokens (finish reason 'length')"
    """

    def __call__(self, request: Request, draft: Draft, /) -> Verdict:
        """Check why the draft ended."""
        if draft.decision.forced:
            return Verdict(False, f"it was stopped before its end ({draft.decision.reason})")
        if draft.finish_reason is None:
            return Verdict(False, "no finish reason: the stream broke off")
        word = _plain(draft.finish_reason)
        quoted = f"(finish reason {draft.finish_reason!r})"
        if word in _TRUNCATED:
            return Verdict(False, f"the model ran out of tokens {quoted}")
        if word in _BLOCKED:
            return Verdict(False, f"a content filter cut the answer off {quoted}")
        if word in _BROKEN:
            return Verdict(False, f"the provider broke off {quoted}")
        return Verdict(True)


def is_truncated(finish_reason: str | None) -> bool:
    """Whether a finish reason means that a limit on tokens was reached.

    Args:
        finish_reason: The provider's own word, in any case, with or without the name of its enum.

    Returns:
        False for None too: nobody said so.

    Examples:
        >>> is_truncated("FinishReason.MAX_TOKENS"), is_truncated("stop")
        (True, False)
    """
    return finish_reason is not None and _plain(finish_reason) in _TRUNCATED


def is_blocked(finish_reason: str | None) -> bool:
    """Whether a finish reason means a content filter: asking again is no use."""
    return finish_reason is not None and _plain(finish_reason) in _BLOCKED


def broke_off(finish_reason: str | None) -> bool:
    """Whether the answer was ended in its middle: by a limit, an error, a lost stream, our cut."""
    return finish_reason is None or _plain(finish_reason) in _TRUNCATED | _BROKEN | {"cut"}


def is_tool_call(finish_reason: str | None) -> bool:
    """Whether a finish reason means that the model called a tool, so that text may be missing."""
    return finish_reason is not None and _plain(finish_reason) in _CALLS


def _plain(finish_reason: str) -> str:
    word = finish_reason.rpartition(".")[2].strip().lower()
    return word.removeprefix("finish_reason_")
