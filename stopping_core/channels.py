"""Tell reasoning from answer in a stream that marks it with tags."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Literal

from stopping_core.types import Channel, Step

_PATIENCE = 64  # characters of white space after which no tag is waited for any more


class ChannelSplitter:
    """Moves the text between the tags to the reasoning channel and drops the tags.

    Reasoning models served without a reasoning parser write ``<think>...</think>`` before the
    answer. Only a tag at the very start opens the channel: later ones are part of the answer. The
    white space between the closing tag and the answer belongs to neither.
    Text is held back only while it may still be a tag.

    Args:
        tags: Opening and closing tag, both non-empty.
        begun: Whether the answer has begun, in an earlier call: then there are no tags.

    Attributes:
        begun: Likewise; from then on steps pass as they are.
    """

    def __init__(self, tags: tuple[str, str], *, begun: bool = False) -> None:
        if not (len(tags) == 2 and all(tags)):
            raise ValueError(f"tags must be two non-empty strings, got {tags!r}")
        self.begun = begun
        self._open, self._close = tags
        self._place: Literal["before", "inside", "between"] = "before"
        self._held = ""
        self._tokens = 0

    def feed(self, step: Step) -> Iterator[Step]:
        """Yield the step's text on its channel; steps that have one already pass as they are.

        Where a step is cut its tokens are shared out by characters, rounded up.
        """
        if step.channel == "reasoning" or self.begun:
            yield step
            return
        text, self._held = self._held + step.text, ""
        tokens, self._tokens = self._tokens + step.tokens, 0
        if self._place == "before":
            start = text.lstrip()
            may_open = self._open.startswith(start) and start != self._open
            if may_open and len(text) < _PATIENCE:
                self._held, self._tokens = text, tokens
                return
            if not start.startswith(self._open):
                self.begun = True
                yield replace(step, text=text, tokens=tokens)
                return
            self._place = "inside"
            opening = len(text) - len(start) + len(self._open)
        else:
            opening = 0
        if self._place == "inside":
            end = text.find(self._close, opening)
            if end < 0:
                keep = len(text) - _partial(text[opening:], self._close)
                spent = _share(tokens, keep, len(text))
                self._held, self._tokens = text[keep:], tokens - spent
                thought = text[opening:keep]
                yield replace(step, text=thought, tokens=spent, channel="reasoning")
                return
            after = end + len(self._close)
            spent = _share(tokens, after, len(text))
            thought = text[opening:end]
            yield replace(step, text=thought, tokens=spent, channel="reasoning")
            self._place, step = "between", Step("", tokens=0)
            text, tokens = text[after:], tokens - spent
        blank = len(text) - len(text.lstrip())
        spent = _share(tokens, blank, len(text)) if text else tokens
        if spent:
            yield Step("", tokens=spent)
        if text[blank:]:
            self.begun = True
            yield replace(step, text=text[blank:], tokens=tokens - spent)

    def flush(self) -> Iterator[Step]:
        """Yield what is held back when the stream ends."""
        if self._held or self._tokens:
            channel: Channel = "reasoning" if self._place == "inside" else "answer"
            yield Step(self._held, tokens=self._tokens, channel=channel)
        self._held, self._tokens = "", 0


def _share(tokens: int, length: int, whole: int) -> int:
    """The tokens of the first ``length`` of ``whole`` characters, rounded up."""
    return -(-tokens * length // whole) if whole else tokens


def _partial(text: str, tag: str) -> int:
    """Length of the longest end of ``text`` that is a proper beginning of ``tag``."""
    return next(
        (n for n in range(min(len(text), len(tag) - 1), 0, -1) if text.endswith(tag[:n])), 0
    )
