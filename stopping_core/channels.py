"""Tell reasoning from answer in a stream that marks it with tags."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Literal

from stopping_core.types import Channel, Step


class ChannelSplitter:
    """Moves the text between the tags to the reasoning channel and drops the tags.

    Reasoning models served without a reasoning parser write ``<think>...</think>`` before the
    answer. Only a tag at the very start opens the channel: later ones are part of the answer. The
    white space between the closing tag and the answer belongs to neither.
    Text is held back only while it may still be a tag.

    Args:
        tags: Opening and closing tag, both non-empty.
    """

    def __init__(self, tags: tuple[str, str]) -> None:
        if not (len(tags) == 2 and all(tags)):
            raise ValueError(f"tags must be two non-empty strings, got {tags!r}")
        self._open, self._close = tags
        self._place: Literal["before", "inside", "between", "after"] = "before"
        self._held = ""
        self._tokens = 0

    def feed(self, step: Step) -> Iterator[Step]:
        """Yield the step's text on its channel; steps that have one already pass as they are."""
        if step.channel == "reasoning" or self._place == "after":
            yield step
            return
        text, self._held = self._held + step.text, ""
        tokens, self._tokens = self._tokens + step.tokens, 0
        if self._place == "before":
            start = text.lstrip()
            if self._open.startswith(start) and start != self._open:
                self._held, self._tokens = text, tokens
                return
            if not start.startswith(self._open):
                self._place = "after"
                yield replace(step, text=text, tokens=tokens)
                return
            self._place, text = "inside", start[len(self._open) :]
        if self._place == "inside":
            thought, tag, text = text.partition(self._close)
            if not tag:
                keep = len(thought) - _partial(thought, self._close)
                thought, self._held = thought[:keep], thought[keep:]
            yield replace(step, text=thought, tokens=tokens, channel="reasoning")
            if not tag:
                return
            self._place, step, tokens = "between", Step("", tokens=0), 0
        if text := text.lstrip():
            self._place = "after"
        yield replace(step, text=text, tokens=tokens)

    def flush(self) -> Iterator[Step]:
        """Yield what is held back when the stream ends."""
        if self._held or self._tokens:
            channel: Channel = "reasoning" if self._place == "inside" else "answer"
            yield Step(self._held, tokens=self._tokens, channel=channel)
        self._held, self._tokens = "", 0


def _partial(text: str, tag: str) -> int:
    """Length of the longest end of ``text`` that is a proper beginning of ``tag``."""
    return next(
        (n for n in range(min(len(text), len(tag) - 1), 0, -1) if text.endswith(tag[:n])), 0
    )
