"""Tell reasoning from answer in a stream that marks it with tags."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from stopping_core.types import Channel, Step


class ChannelSplitter:
    """Moves the text between the tags to the reasoning channel and drops the tags.

    Reasoning models served without a reasoning parser write ``<think>...</think>`` before the
    answer. Only a tag at the very start opens the channel: later ones are part of the answer.
    Text is held back only while it may still be a tag.

    Args:
        tags: Opening and closing tag, both non-empty.
    """

    def __init__(self, tags: tuple[str, str]) -> None:
        if not (len(tags) == 2 and all(tags)):
            raise ValueError(f"tags must be two non-empty strings, got {tags!r}")
        self._open, self._close = tags
        self._channel: Channel = "answer"
        self._searching = True
        self._held = ""
        self._tokens = 0

    def feed(self, step: Step) -> Iterator[Step]:
        """Yield the step's text on its channel; steps that have one already pass as they are."""
        if step.channel == "reasoning" or not self._searching:
            yield step
            return
        text, self._held = self._held + step.text, ""
        tokens, self._tokens = self._tokens + step.tokens, 0
        if self._channel == "answer":
            start = text.lstrip()
            if self._open.startswith(start) and start != self._open:
                self._held, self._tokens = text, tokens
                return
            if not start.startswith(self._open):
                self._searching = False
                yield replace(step, text=text, tokens=tokens)
                return
            self._channel = "reasoning"
            text = start[len(self._open) :]
        before, tag, after = text.partition(self._close)
        if tag:
            self._searching, self._channel = False, "answer"
            yield replace(step, text=before, tokens=tokens, channel="reasoning")
            if after := after.lstrip():
                yield Step(after, tokens=0)
            return
        keep = _partial(before, self._close)
        self._held = before[len(before) - keep :]
        yield replace(step, text=before[: len(before) - keep], tokens=tokens, channel="reasoning")

    def flush(self) -> Iterator[Step]:
        """Yield what is held back when the stream ends."""
        if self._held or self._tokens:
            yield Step(self._held, tokens=self._tokens, channel=self._channel)
        self._held, self._tokens = "", 0


def _partial(text: str, tag: str) -> int:
    """Length of the longest end of ``text`` that is a proper beginning of ``tag``."""
    return next(
        (n for n in range(min(len(text), len(tag) - 1), 0, -1) if text.endswith(tag[:n])), 0
    )
