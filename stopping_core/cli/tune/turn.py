"""Whose turn it is: one call at a time is at work on a search."""

from __future__ import annotations

import math
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import filelock
import optuna
import sqlalchemy
from optuna.exceptions import StorageInternalError

_WORD = "at work"  # the study's attribute that says which call is, and until when
_SECONDS = 600.0  # for which word is left


class Turn:
    """The right to be at work on a search, which one call at a time has.

    It goes with the database and not with the folder that a call writes to: two calls may name one
    database and two folders. Beside a file of SQLite it is a lock, which the system lets go of
    whatever ends the call. On a server it is word that the call leaves in the study, anew before
    each trial. After kill -9 that word stands for ten minutes; a trial that takes longer may be
    ended by another call, and the call that it belonged to then ends too.

    Args:
        url: Of the database, as SQLAlchemy has it.
        clock: Seconds since 1970, which callers on several machines agree on.
    """

    def __init__(self, url: str, clock: Callable[[], float] = time.time) -> None:
        self._url = url
        self._clock = clock
        self._name = uuid.uuid4().hex
        path = _lock_of(url)
        self._lock = None if path is None else filelock.FileLock(path)

    def take(self) -> None:
        """Take the lock, where there is one.

        Raises:
            ValueError: Another call has it.
            OSError: The folder of the database cannot be written.
        """
        if self._lock is None:
            return
        try:
            self._lock.acquire(timeout=0)
        except filelock.Timeout as error:
            raise ValueError(taken(self._url)) from error

    def hold(self, study: optuna.Study) -> None:
        """Leave word in the study, where there is no lock.

        Raises:
            ValueError: There is word of another call.
        """
        if self._lock is not None:
            return
        word, now = study.user_attrs.get(_WORD), self._clock()
        if word is not None and word["by"] != self._name and now < word["until"]:
            minutes = math.ceil((word["until"] - now) / 60)
            raise ValueError(f"{taken(self._url)}: if it was killed, try again in {minutes} min")
        study.set_user_attr(_WORD, {"by": self._name, "until": now + _SECONDS})

    def end(self, study: optuna.Study | None = None) -> None:
        """Let the lock go, and take back the word; a database that fails keeps it for a while."""
        if self._lock is not None:
            self._lock.release()
        elif study is not None:
            with suppress(sqlalchemy.exc.SQLAlchemyError, StorageInternalError):
                word = study.user_attrs.get(_WORD)
                if word is not None and word["by"] == self._name:
                    study.set_user_attr(_WORD, None)


def taken(url: str) -> str:
    """Say that another call is at work."""
    return f"--storage must be a database that no other call is at work on, got {shown(url)}"


def shown(url: str) -> str:
    """Print the address of a database without its password."""
    try:
        return sqlalchemy.make_url(url).render_as_string(hide_password=True)
    except sqlalchemy.exc.ArgumentError:
        return url


def _lock_of(url: str) -> Path | None:
    """Where the lock of a database stands; None where it is no file, or has no folder."""
    try:
        address = sqlalchemy.make_url(url)
    except sqlalchemy.exc.ArgumentError:
        return None
    name = address.database or ":memory:"
    if address.get_backend_name() != "sqlite" or name == ":memory:" or name.startswith("file:"):
        return None
    path = Path(name).resolve()
    return path.with_name(f".{path.name}.lock") if path.parent.is_dir() else None
