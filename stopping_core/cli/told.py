"""How a command ends that cannot go on: a line on the error stream, and the status 1."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import typer

from stopping_core.cli.terminal import as_text
from stopping_core.errors import MissingPackage, StoppingError

_FAILURES = (ValueError, OSError, ImportError, StoppingError)


@contextmanager
def told(command: str, extra: str) -> Iterator[None]:
    """Tell a failure in a line: a mistake in the call, a damaged file, a server that fails.

    Import inside it what the command needs: a package that is missing is told with what to install.

    Args:
        command: Its name.
        extra: The extra that brings its packages.

    Raises:
        typer.Exit: It could not go on.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        _end(command, MissingPackage(error.name or "a package", extra), error)
    except _FAILURES as error:
        _end(command, error, error)


def _end(command: str, said: Exception, cause: Exception) -> None:
    typer.secho(f"stopping {command}: {as_text(said)}", fg="red", err=True)
    raise typer.Exit(1) from cause
