"""Which vote the samples are drawn for that are begun here."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from stopping_core.policies.baselines.samples import SampleRule


class Vote:
    """One vote on one question.

    Args:
        rule: That decides it.
        key: What it compares of an answer, as far as known.

    Attributes:
        certificate: Fingerprint of the certificate that its samples are held against, or ``""``.
        uncertified: Why the promise of that certificate does not hold, in order. Such a vote draws
            all of its samples, as ending it early is a part of what was certified.
    """

    def __init__(self, rule: SampleRule, key: Callable[[str], Any] | None = None) -> None:
        self.rule, self.key = rule, key
        self.certificate = ""
        self.uncertified: list[str] = []


_vote: ContextVar[Vote | None] = ContextVar("stopping_vote", default=None)


@contextmanager
def voting(rule: SampleRule, key: Callable[[str], Any] | None = None) -> Iterator[Vote]:
    """Make every request that is begun inside the block a sample of one vote.

    It follows async tasks, and threads that copy the context.

    Args:
        rule: As of :class:`Vote`.
        key: Likewise.
    """
    vote = Vote(rule, key)
    token = _vote.set(vote)
    try:
        yield vote
    finally:
        _vote.reset(token)


@contextmanager
def outside_votes() -> Iterator[None]:
    """Make no request that is begun inside the block a sample: those of a judge are none."""
    token = _vote.set(None)
    try:
        yield
    finally:
        _vote.reset(token)


def current_vote() -> Vote | None:
    """The vote that we are in, or None."""
    return _vote.get()
