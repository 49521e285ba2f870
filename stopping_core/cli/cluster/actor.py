"""What runs in a worker: it makes its tool, and does jobs with it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any


@dataclass(frozen=True, slots=True)
class Hello:
    """What a worker says when it has begun.

    Args:
        versions: Of the packages that it was asked for.
        warnings: Logged while it made its tool: the logger's name, and the message.
        description: Of the tool.
    """

    versions: dict[str, str]
    warnings: list[tuple[str, str]]
    description: Any


class Actor:
    """A worker.

    Args:
        make: Makes its tool.
    """

    def __init__(self, make: Callable[[], Any]) -> None:
        self._make = make
        self._tool: Any = None

    def begin(self, describe: Callable[[Any], Any], packages: Sequence[str]) -> Hello:
        """Make the tool: here, as Ray sends back what a method raises, and not what a class does.

        Raises:
            Exception: What the making raises.
        """
        heard = _Heard(logging.WARNING)
        logging.getLogger().addHandler(heard)
        try:
            self._tool = self._make()
        finally:
            logging.getLogger().removeHandler(heard)
        versions = {name: version(name) for name in packages}
        return Hello(versions, heard.messages, describe(self._tool))

    def do(self, function: Callable[[Any, Any], Any], job: Any) -> Any:
        """Do a job."""
        return function(self._tool, job)


class _Heard(logging.Handler):
    """Keeps messages, with the loggers they came by."""

    def __init__(self, level: int) -> None:
        super().__init__(level)
        self.messages: list[tuple[str, str]] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.messages.append((record.name, record.getMessage()))
