"""What may become an attribute: few values, short ones, and no text of a user or a model."""

from __future__ import annotations

from collections.abc import Mapping
from threading import Lock
from typing import Final

from stopping_core.results import Completion
from stopping_core.telemetry.conventions import OTHER, OTHER_ERROR

LONGEST: Final = 100
"""Characters that a value may have. A longer one is a text, and no name."""

_ABANDONED = "abandoned: "
_GONE = frozenset({"CancelledError", "GeneratorExit", "KeyboardInterrupt", "SystemExit"})
_LARGEST = 64  # bits


class BoundedValues:
    """Lets the first values of each attribute through; every later one becomes ``"other"``.

    A backend keeps a time series for every combination of values, for as long as it keeps anything.
    So a name that users can choose must not be able to take more than its share. Which values are
    kept depends on which came first, and begins anew with the process.

    Args:
        most: Distinct values that are kept of each attribute, >= 1.

    Raises:
        ValueError: ``most`` is below 1.

    Examples:
        >>> values = BoundedValues(2)
        >>> [values.of("tenant", tenant) for tenant in ("a", "b", "c", "a")]
        ['a', 'b', 'other', 'a']
    """

    def __init__(self, most: int) -> None:
        if isinstance(most, bool) or not isinstance(most, int) or most < 1:
            raise ValueError(f"most_values must be a whole number >= 1, got {most!r}")
        self._most = most
        self._seen: dict[str, set[str]] = {}
        self._lock = Lock()

    def of(self, name: str, value: object) -> str:
        """The value as it may be shown.

        Args:
            name: Of the attribute; each has values of its own.
            value: A text of at most :data:`LONGEST` characters, a whole number or a bool. Anything
                else is ``"other"``, so that no object is asked what it holds.
        """
        if isinstance(value, int) and value.bit_length() <= _LARGEST:
            value = str(value)
        if not isinstance(value, str) or len(value) > LONGEST:
            return OTHER
        if value in self._seen.get(name, ()):
            return value
        # An exporter that meets half a surrogate fails, and would at every later export.
        text = value.encode("utf-8", "replace").decode("utf-8")
        with self._lock:
            kept = self._seen.setdefault(name, set())
            if text not in kept and len(kept) >= self._most:
                return OTHER
            kept.add(text)
        return text


def error_type(error: str) -> str:
    """The class of the error that ended a call, and nothing of its message, which may quote a key.

    Args:
        error: As in :class:`~stopping_core.results.Attempt`.

    Returns:
        ``""`` where there was none. A consumer that went away is none either.

    Examples:
        >>> error_type("ConnectionError: reset by 10.0.0.1")
        'ConnectionError'
        >>> error_type("abandoned: GeneratorExit")
        ''
    """
    name = error.removeprefix(_ABANDONED).partition(":")[0]
    if not name or name in _GONE:
        return ""
    return name if name.isidentifier() and len(name) <= LONGEST else OTHER_ERROR


def last_error(completion: Completion) -> str:
    """The class of the error that ended a request; one that a retry has mended is none."""
    return error_type(completion.attempts[-1].error) if completion.attempts else ""


def finish_reason(reason: str | None, error: str) -> str:
    """Why a call or a request ended, where it may have ended without a reason.

    Args:
        reason: As in :class:`~stopping_core.results.Draft`.
        error: As in :class:`~stopping_core.results.Attempt`.

    Returns:
        ``"abandoned"`` where the consumer went away, ``"error"`` after an error, else ``"none"``
        where there was no reason.
    """
    if reason:
        return reason
    if error_type(error):
        return "error"
    return "abandoned" if error else "none"


def billed(completion: Completion) -> Mapping[str, int]:
    """Tokens that were billed for a request, probes and all calls, by ``gen_ai.token.type``.

    Where the prompt's length is not known there is no ``"input"``: the conventions want none
    rather than a part.
    """
    usage = completion.usage
    output = {"output": usage.generated + usage.probed}
    return {"input": usage.prompt + usage.reread, **output} if usage.prompt else output
