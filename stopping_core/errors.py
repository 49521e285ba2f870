"""Errors of a run; each carries the work done so far, so that nothing is lost.

A caller's mistake is a ``ValueError`` where the object is made. Model text never raises: it gives a
:class:`~stopping_core.results.Verdict`. What remains is a run that could not be finished.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from stopping_core.results import Completion


class StoppingError(Exception):
    """A run ended without a complete answer; ``completion`` is what there is of it.

    The completion is no part of ``args``: frameworks log the ``repr`` of an error, and an answer
    does not belong into a log.
    """

    def __init__(self, message: str, completion: Completion) -> None:
        super().__init__(message)
        self.completion = completion

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (*self.args, self.completion), self.__dict__


class BudgetExhausted(StoppingError):
    """Attempts, tokens, seconds or cost ran out before the answer was complete."""


class TransportFailed(StoppingError):
    """The connection failed for good. ``__cause__`` is the transport's own exception."""


class GenerationStopped(StoppingError):
    """A callback ended the generation where it had no gentler means: a stop, not a failure."""


class NotCertified(ValueError):
    """A request is not of the kind that a certificate holds for; ``differences`` says how.

    Args:
        differences: What is so and what was certified, by kind.
    """

    def __init__(self, differences: Mapping[str, str]) -> None:
        kinds = ", ".join(map(repr, differences))
        super().__init__(
            f"the certificate does not hold for this request: {'; '.join(differences.values())}. "
            f"To go on without its promise: make the settings with trust=[{kinds}]"
        )
        self.differences = dict(differences)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.differences,)


class MissingPackage(ImportError):
    """An optional package is not installed; the message says what to install."""

    def __init__(self, package: str, extra: str, distribution: str = "stopping-core") -> None:
        super().__init__(
            f"{package} is needed here and is not installed: pip install '{distribution}[{extra}]'"
        )
        self.package = package
