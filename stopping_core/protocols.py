"""The plug-in points: protocols for what a user brings, a class or a plain function."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Generator
from typing import TYPE_CHECKING, Protocol, TypeAlias, runtime_checkable

from stopping_core.results import Call, Completion, Draft, Setting, Verdict
from stopping_core.types import Probe, Request, Step

if TYPE_CHECKING:
    from stopping_core.certificates import Certificate
    from stopping_core.ledger import Ledger

Backend: TypeAlias = Callable[[Call], Generator[Step, None, None]]
"""Makes one call. Closing the generator must hang up on the model. ``call.timeout`` is for its
client: only over an :data:`AsyncBackend` does the driver watch the time itself."""

AsyncBackend: TypeAlias = Callable[[Call], AsyncGenerator[Step, None]]


class Prober(Protocol):
    """Asks a model, in the middle of a call, what it would answer now; the call then goes on."""

    def __call__(self, written: str, words: str, /, *, max_tokens: int, one_line: bool) -> Probe:
        """Ask greedily.

        Args:
            written: What the model has written of its message, reasoning and its tags included.
            words: What asks for the answer, put after it.
            max_tokens: The most tokens of the answer, >= 1.
            one_line: Whether the answer ends with its line, or only where the model ends it.
        """


@runtime_checkable
class Signal(Protocol):
    """Turns the stream so far into one number, in constant memory and O(1) amortised a step.

    The engine gives each stream its own deep copy, calls ``reset`` with the request, then
    ``update`` with every step in order. Steps arrive as the segmenter cut them: text pieces, and
    steps without text that only mark a boundary. Pieces of one text may be split differently from
    run to run, so ``value`` at a boundary must not depend on the pieces, only on their sum.

    A signal that reads more than text says so in an attribute ``needs``, a frozen set of
    :data:`~stopping_core.types.Need`: without it a replay over runs that lack it is refused.
    """

    def reset(self, request: Request) -> None:
        """Forget the last stream; a new one begins for this request."""

    def update(self, step: Step) -> None:
        """Take the next piece of text or the next boundary mark."""

    @property
    def value(self) -> float | None:
        """The reading now. None is no evidence, for stopping or against it."""


class CompletenessCheck(Protocol):
    """Says whether a draft is a complete answer. A plain function will do.

    Asked when a policy wants to stop (a cut is only made if the check passes) and when the model
    has ended. Set ``slow = True`` on a check that takes long (a judge): it is then asked only after
    the stream has ended, and ``fast``, a check, in its place before a cut, where it has one.
    """

    def __call__(self, request: Request, draft: Draft, /) -> Verdict: ...


class BudgetSchedule(Protocol):
    """Grants output tokens. A plain function will do.

    It must be a pure function of its arguments: it is asked more often than calls are made, with
    ledgers of calls that were never made, and for many requests at once. One that counts how often
    it was asked grants what it did not mean to.
    """

    def __call__(self, request: Request, ledger: Ledger, /) -> int | None:
        """Total output tokens the answer may have by the end of the next call; None for no more.

        A whole number: anything else is a ValueError. ``ledger`` is empty at the first call. The
        session caps the grant by the model's limits, and takes a grant that does not exceed one
        that was too small for None.
        """


class Steer(Protocol):
    """Chooses how a request is treated, before anything is sent. A plain function will do."""

    def __call__(self, request: Request, certificate: Certificate, /) -> Setting:
        """Choose among the levels of the certificate; another risk is a ValueError."""


class Hook(Protocol):
    """Told about every request that has made a call and ended, however it did.

    What it raises is logged. A plain function will do. A request that failed or was abandoned says
    so in its last attempt. Set ``wants_steps = True`` on a hook that reads ``Completion.seen``.
    """

    def __call__(self, request: Request, completion: Completion, /) -> None: ...
