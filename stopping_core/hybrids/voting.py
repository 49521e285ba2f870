"""Which vote the samples are drawn for that are begun here."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from stopping_core.policies.baselines.samples import SampleRule


class Vote:
    """One vote on one question.

    Args:
        rule: That decides it.
    """

    def __init__(self, rule: SampleRule) -> None:
        self.rule = rule


_vote: ContextVar[Vote | None] = ContextVar("stopping_vote", default=None)


@contextmanager
def voting(rule: SampleRule) -> Iterator[None]:
    """Make every request that is begun inside the block a sample of one vote.

    It follows async tasks, and threads that copy the context.
    """
    token = _vote.set(Vote(rule))
    try:
        yield
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
