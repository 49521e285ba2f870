"""One stream under one policy: steps in, decisions out, no model, clock or disk."""

from __future__ import annotations

import copy
from bisect import bisect_right
from collections.abc import Callable, Iterator
from dataclasses import replace

from stopping_core.policies import Policy
from stopping_core.protocols import Signal
from stopping_core.segmenter import Segmenter
from stopping_core.types import CONTINUE, Boundary, Checkpoint, Decision, Probe, Request, Step


class Engine:
    """Feeds a stream to the signals of a policy, and asks the policy at checkpoints.

    Checkpoints are the boundaries of the text (sentence, line, paragraph, closed structure), every
    ``every`` tokens, and the token counts the policy names in ``marks``. Between them a step costs
    an append, the signals' updates and a comparison.

    The engine works on deep copies, so that one policy object serves any number of streams. After
    a stop it takes no more steps; what the last chunk held beyond the stop is trimmed.

    Args:
        policy: The stopping rule.
        request: What the signals may know about the request.
        every: Tokens between two checkpoints inside a sentence, >= 1.
        confirm: Asked before a stop that is not forced takes effect; False vetoes it and the stream
            goes on. The session puts the completeness check here.
        prober: Asks the model what it would answer now, for policies that want to know.

    Attributes:
        decision: The stop, or ``CONTINUE``.
        checkpoint: Where it was, or None.
        probe: The answer that was asked for there, or None.

    Raises:
        ValueError: ``every`` is out of its interval, or a policy that probes has no prober.
    """

    def __init__(
        self,
        policy: Policy,
        request: Request,
        *,
        every: int = 16,
        confirm: Callable[[Decision], bool] | None = None,
        prober: Callable[[Checkpoint], Probe] | None = None,
    ) -> None:
        if every < 1:
            raise ValueError(f"every must be >= 1, got {every}")
        if prober is None and "probes" in policy.needs():
            raise ValueError(f"prober must be given for a policy that probes, got None: {policy!r}")
        self.decision = CONTINUE
        self.checkpoint: Checkpoint | None = None
        self.probe: Probe | None = None
        self.offset = 0
        self.tokens = 0
        self._settled = -1
        self._policy = copy.deepcopy(policy)
        self._signals = _unique(self._policy.signals())
        self._marks = sorted({mark for mark in self._policy.marks() if mark > 0})
        self._every = every
        self._confirm = confirm
        self._prober = prober
        self._segmenter = Segmenter()
        self._received: list[str] = []
        for signal in self._signals:
            signal.reset(request)
        self._policy.reset(request)
        self._next = self._next_count(0)

    @property
    def text(self) -> str:
        """The text so far, up to the stop where there was one, without held-back whitespace."""
        return self._join()[: self.offset]

    @property
    def held(self) -> str:
        """Text after ``text`` that waits for what follows it; empty after a stop."""
        return "" if self.decision.stop else self.beyond

    @property
    def beyond(self) -> str:
        """What came after ``text``, whether or not there was a stop."""
        return self._join()[self.offset :]

    def line_break(self, boundary: Boundary) -> str:
        """What ended the line, where one ends at this boundary; ``text`` does not hold it."""
        if Boundary.LINE not in boundary:
            return ""
        blank, mark, _ = self.beyond.partition("\n")
        return "" if blank.strip() else blank + mark

    def preload(self, text: str, tokens: int = 0) -> None:
        """Take text that is already settled: a prefix to go on from.

        The policy sees it and is not asked, not even about its end: that was decided before.
        """
        self._received.append(text)
        for piece in self._segmenter.feed(Step(text, tokens=tokens)):
            self._update(piece)
        self._settled = self.offset
        self._next = self._next_count(self.tokens)

    def feed(self, step: Step, seconds: float = 0.0) -> str:
        """Take one step; return the text that is now settled and may be shown.

        Args:
            step: The next chunk of the stream.
            seconds: Seconds since the request began.

        Returns:
            New text up to the last settled place, or up to the stop. ``decision`` says which.
        """
        if self.decision.stop:
            return ""
        self._received.append(step.text)
        return self._consume(self._segmenter.feed(step), seconds)

    def _join(self) -> str:
        if len(self._received) > 1:
            self._received = ["".join(self._received)]
        return self._received[0] if self._received else ""

    def _consume(self, pieces: Iterator[Step], seconds: float) -> str:
        settled: list[str] = []
        for whole in pieces:
            for piece in self._split(whole):
                self._update(piece)
                settled.append(piece.text)
                due = self.tokens >= self._next
                if due:
                    self._next = self._next_count(self.tokens)
                due = due or piece.boundary is not Boundary.NONE
                if due and self.offset > self._settled and self._ask(piece.boundary, seconds):
                    return "".join(settled)
        return "".join(settled)

    def _update(self, piece: Step) -> None:
        self.offset += len(piece.text)
        self.tokens += piece.tokens
        for signal in self._signals:
            signal.update(piece)

    def _ask(self, boundary: Boundary, seconds: float) -> bool:
        checkpoint = Checkpoint(self.offset, self.tokens, seconds, boundary)
        decision, probe = self._policy.decide(checkpoint), None
        if decision.probe and self._prober is not None:
            probe = self._prober(checkpoint)
            decision = self._policy.weigh(checkpoint, probe)
        if not decision.stop:
            return False
        if not decision.forced and self._confirm is not None and not self._confirm(decision):
            return False
        self.decision = decision
        self.checkpoint, self.probe = checkpoint, probe
        return True

    def _next_count(self, tokens: int) -> int:
        """The next token count, after ``tokens``, at which to ask."""
        regular = (tokens // self._every + 1) * self._every
        index = bisect_right(self._marks, tokens)
        return min(regular, self._marks[index]) if index < len(self._marks) else regular

    def _split(self, piece: Step) -> Iterator[Step]:
        """Cut a piece of many tokens where a count falls due in it, in proportion to its text."""
        while piece.tokens > (room := self._next - self.tokens) > 0 and len(piece.text) > 1:
            at = max(1, min(len(piece.text) - 1, len(piece.text) * room // piece.tokens))
            yield replace(piece, text=piece.text[:at], tokens=room)
            piece = replace(piece, text=piece.text[at:], tokens=piece.tokens - room)
        yield piece


def _unique(signals: tuple[Signal, ...]) -> list[Signal]:
    """Each signal object once, in order: policies may share one."""
    return list({id(signal): signal for signal in signals}.values())
