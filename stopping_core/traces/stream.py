"""A recorded run as the stream that it was, each step on its channel."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import takewhile
from typing import TypeAlias

from stopping_core.channels import ChannelSplitter
from stopping_core.traces.run import Run
from stopping_core.types import Boundary, Step

Tags: TypeAlias = tuple[str, str] | None
"""Opening and closing tag of the reasoning in the text, or None where the text has none."""

TAGS = ("<think>", "</think>")


def stream(run: Run, tags: Tags) -> Iterator[tuple[int, Step]]:
    """Yield the run's steps on their channels, each with the raw tokens that had come by then.

    The splitter holds text back while it may be a tag. In production the tokens of such a text come
    as one step; here they come one by one, so that every count of tokens is a place.
    """
    if tags is None:
        yield from enumerate(run.steps(), 1)
        return
    splitter = ChannelSplitter(tags)
    for fed, step in enumerate(run.steps(), 1):
        for part in splitter.feed(step):
            yield from ((fed, one) for one in _one_by_one(part))
    for part in splitter.flush():
        yield from ((len(run), one) for one in _one_by_one(part))


def thinking_tokens(run: Run, tags: Tags) -> int:
    """Raw tokens that had come when the closing tag was complete; all and one where it never was.

    From there on the thinking is over, and no rule can end it any more.
    """
    text = run.text.lstrip()
    blank = len(run.text) - len(text)
    if tags is None or not text.startswith(tags[0]):
        return len(run) + 1
    end = text.find(tags[1], len(tags[0]))
    if end < 0:
        return len(run) + 1
    length, last = 0, blank + end + len(tags[1])
    for count, token in enumerate(run.tokens, 1):
        length += len(token)
        if length >= last:
            return count
    return len(run)


def probe_place(run: Run, place: int, fed: int, boundary: Boundary) -> int | None:
    """Return the place of the probe that stands for a checkpoint, or None where there is none.

    Text is held back until it shows what it is. A probe that was recorded after the text of the
    checkpoint, and before a token that had not come, will do. At the end of a line it comes after
    the line break, as a session asks there.

    Args:
        run: The run.
        place: Raw tokens up to the end of the checkpoint's text.
        fed: Raw tokens that had come.
        boundary: What ends there.
    """
    if boundary & Boundary.LINE:
        place = max(place, fed)
    return next((key for key in range(place, fed + 1) if key in run.probes), None)


def closing_tokens(run: Run, place: int) -> int:
    """Tokens of the words that closed the reasoning, and led to the answer, in a probe's request.

    They are what the probe read beyond prompt and text so far. A full run writes its own such
    words, and pays them as output; a run whose thinking is ended has these put in.

    Args:
        run: The run.
        place: Of the probe.

    Returns:
        0 where the length of the prompt is not known; never negative.
    """
    if run.prompt_tokens is None:
        return 0
    return max(0, run.probes[place].reread - run.prompt_tokens - place)


def answer_of(run: Run, tags: Tags) -> str:
    """The answer of the full run, without reasoning."""
    if not _may_think(run, tags):
        return run.text
    return "".join(step.text for _, step in stream(run, tags) if step.channel == "answer")


def thoughts_by(run: Run, tags: Tags, fed: int) -> str:
    """The reasoning in the first ``fed`` tokens."""
    if not _may_think(run, tags):
        return ""
    steps = takewhile(lambda pair: pair[0] <= fed, stream(run, tags))
    return "".join(step.text for _, step in steps if step.channel == "reasoning")


def _may_think(run: Run, tags: Tags) -> bool:
    return run.reasoning is not None or (tags is not None and run.text.lstrip().startswith(tags[0]))


def _one_by_one(step: Step) -> Iterator[Step]:
    """Cut a step of several tokens into steps of one, in proportion to its text."""
    if step.tokens <= 1:
        yield step
        return
    text, size = step.text, step.tokens
    for i in range(size):
        part = text[len(text) * i // size : len(text) * (i + 1) // size]
        yield replace(step, text=part, tokens=1)
