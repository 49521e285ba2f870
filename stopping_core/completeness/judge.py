"""A judge, usually another model, that is asked whether an answer is complete."""

from __future__ import annotations

import inspect
import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

from stopping_core.results import Draft, Verdict
from stopping_core.types import Request

_REPLY = re.compile(r"\W*(?:(yes|complete|true)|(no|not|incomplete|false))\b", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Judge:
    """Complete where a judge says so. Asked once the stream has ended, because it is slow.

    A judge that fails must not lose an answer that the user paid for: where it raises, or its reply
    cannot be read, the draft counts as complete, with the reason ``"judge failed: ..."`` for the
    monitoring to count. The judge's own tokens are not in the ledger.

    Args:
        ask: Called with the request and the text. Returns a bool, a probability of being complete
            in [0, 1], a reply that begins with yes or complete, no or incomplete, or a verdict.
        threshold: Least probability that counts as complete, in [0, 1].

    Raises:
        ValueError: If ``ask`` cannot be called, or ``threshold`` is no probability.
        TypeError: If ``ask`` is a coroutine function: nothing here awaits it, so that every draft
            would count as complete.

    Examples:
        >>> judge = Judge(lambda request, text: 0.2)
        >>> judge(Request(question="Name two rivers."), Draft("The Rhine.")).reason
        'the judge says that it is complete with probability 0.2, below 0.5'
    """

    slow: ClassVar[bool] = True

    ask: Callable[[Request, str], bool | float | str | Verdict]
    threshold: float = 0.5

    def __post_init__(self) -> None:
        if not callable(self.ask):
            raise ValueError(f"ask must be callable, got {self.ask!r}")
        if any(map(inspect.iscoroutinefunction, (self.ask, type(self.ask).__call__))):
            raise TypeError(
                f"ask must be a plain function, got the coroutine function {self.ask!r}"
            )
        if not 0.0 <= self.threshold <= 1.0:
            raise ValueError(f"threshold must be in [0, 1], got {self.threshold}")

    def __call__(self, request: Request, draft: Draft, /) -> Verdict:
        """Ask the judge."""
        try:
            reply = self.ask(request, draft.text)
        except Exception as error:  # the judge is the user's code and may fail in any way
            return _failed(f"{type(error).__name__}: {error}")
        if isinstance(reply, Verdict):
            return reply
        if isinstance(reply, bool):
            return Verdict(reply, "" if reply else "the judge says that it is incomplete")
        if isinstance(reply, str):
            return _read(reply)
        return self._weigh(reply)

    def _weigh(self, reply: float) -> Verdict:
        try:
            probability = float(reply)
        except (TypeError, ValueError):
            probability = math.nan
        if not 0.0 <= probability <= 1.0:
            return _failed(f"a probability must be in [0, 1], got {reply!r:.80}")
        if probability >= self.threshold:
            return Verdict(True)
        return Verdict(
            False,
            f"the judge says that it is complete with probability {probability:g}, "
            f"below {self.threshold:g}",
        )


def _read(reply: str) -> Verdict:
    match = _REPLY.match(reply)
    if match is None:
        return _failed(f"cannot read the reply {reply[:80]!r}")
    if match[1]:
        return Verdict(True)
    return Verdict(False, f"the judge says: {' '.join(reply.split())[:200]}")


def _failed(what: str) -> Verdict:
    return Verdict(True, f"judge failed: {what[:200]}")
