"""LangChain's content-block events, those of ``stream_events(version="v3")``: read and end them.

LangChain makes the events of a model's chunks in a generator of its own. While it calls the
callbacks with an event, that generator is suspended, and so is the model's stream that it reads. If
the model's stream is closed, LangChain takes it for one that ended by itself: it sends the closing
events, with what it has gathered for them. What it has gathered can be shortened; the events that
were sent cannot. All of this is private to LangChain, and nothing is found where it has changed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from langchain_core.messages import AIMessage, AIMessageChunk
from langchain_core.messages.ai import UsageMetadata, add_usage
from langchain_core.outputs import ChatGenerationChunk

from langchain_stopping.messages import to_chunk
from langchain_stopping.streams import Stream, calling

_SENDERS = ("_iter_v2_events", "_aiter_v2_events")
"""LangChain's functions that call the callbacks with events."""

_BRIDGE = "langchain_core.language_models._compat_bridge"
"""The module whose generators make the events of chunks."""


class _Nothing(str):
    """An empty text that is sent all the same: LangChain makes no event of one that is false."""

    __slots__ = ()

    def __bool__(self) -> bool:
        return True


@dataclass(frozen=True, slots=True)
class Bridge:
    """LangChain's generator that makes events of a model's chunks, suspended at one of them.

    Args:
        chunks: The model's stream.
        blocks: The content gathered, by key: its number, and the block.
        metadata: The response metadata gathered.
    """

    chunks: Stream
    blocks: dict[Any, tuple[int, dict[str, Any]]]
    metadata: dict[str, Any]

    def trim(self, keep: int) -> None:
        """Shorten the text gathered to its first ``keep`` characters."""
        for _, block in self.blocks.values():
            if block.get("type") == "text":
                text = block.get("text") or ""
                block["text"] = text[:keep]
                keep = max(0, keep - len(text))


def comes_as_events() -> bool:
    """Whether LangChain makes events of what the model says; to be called in a callback."""
    return calling(_SENDERS) is not None


def find_bridge() -> Bridge | None:
    """Return what makes the events; to be called in a callback that LangChain calls with one.

    None where the model makes its events by itself.
    """
    sender = calling(_SENDERS)
    events = sender.f_locals.get("event_iter") if sender is not None else None
    frame = getattr(events, "gi_frame", None) or getattr(events, "ag_frame", None)
    if frame is None or frame.f_globals.get("__name__") != _BRIDGE:
        return None
    known = frame.f_locals
    try:
        return Bridge(known["chunks"], known["blocks"], known["response_metadata"])
    except KeyError:
        return None


def add_event_usage(event: dict[str, Any], usage: UsageMetadata) -> None:
    """Add to the usage in a last event, and in the message that LangChain has made of it."""
    event["usage"] = add_usage(event.get("usage"), usage)
    sender = calling(_SENDERS)
    stream = sender.f_locals.get("stream") if sender is not None else None
    message = getattr(stream, "output_message", None)
    if isinstance(message, AIMessage):
        message.usage_metadata = event["usage"]


def to_event_chunk(event: Mapping[str, Any]) -> ChatGenerationChunk | None:
    """Return what an event says as a chunk; None where it says neither text nor usage."""
    if event.get("event") == "message-finish":
        message = AIMessageChunk(
            content="",
            response_metadata=dict(event.get("metadata") or {}),
            usage_metadata=event.get("usage"),
            chunk_position="last",
        )
        return ChatGenerationChunk(message=message)
    delta = event.get("delta")
    if event.get("event") != "content-block-delta" or not isinstance(delta, Mapping):
        return None
    text, thoughts = delta.get("text"), delta.get("reasoning")
    if isinstance(text, str) and text:
        return to_chunk(text)
    return to_chunk("", thoughts) if isinstance(thoughts, str) and thoughts else None


def empty(chunk: ChatGenerationChunk) -> None:
    """Take all text from a chunk, and have LangChain send an event for it, at which to close."""
    chunk.message.content = _Nothing()
    chunk.text = ""
