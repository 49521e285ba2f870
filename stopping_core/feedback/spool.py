"""The spool: lines on the disk, until the store has them."""

from __future__ import annotations

import contextlib
import logging
import os
import threading
from collections import deque
from collections.abc import Generator, Iterable
from pathlib import Path
from uuid import uuid4

from stopping_core.errors import MissingPackage

try:
    import filelock
except ModuleNotFoundError as error:
    raise MissingPackage("filelock", "feedback") from error

_log = logging.getLogger(__name__)

_SEGMENT_BYTES = 8 * 2**20
"""Bytes after which a new file is begun, so that the room of those that are done comes back."""

_OURS = 0o600
"""Who may read the files: the user alone."""


class SpoolFull(Exception):
    """The spool holds all that it may, as the database has been away for long; nothing was lost.

    What was to be recorded is not: try later, or make the writer with ``on_full="drop"``.
    """


class Batch:
    """One file of lines, read from its beginning on.

    Args:
        path: The file.
        size: Its bytes, as far as they count against the spool's room.

    Attributes:
        last: How many lines the spool had been given in all when this file was closed.
    """

    def __init__(self, path: Path, size: int = 0) -> None:
        self.path = path
        self.size = size
        self.last = 0
        self._done = self._read = 0

    def lines(self, most: int, most_bytes: int) -> list[bytes]:
        """Return the next whole lines; the same ones again until :meth:`done`.

        A last line without an end is passed over: its writer was killed before it was acknowledged.
        """
        found: list[bytes] = []
        size = 0
        try:
            opened = self.path.open("rb")
        except FileNotFoundError:
            _log.error("%s was removed by somebody, with lines that were not stored", self.path)
            return []
        with opened as file:
            file.seek(self._done)
            while len(found) < most and size < most_bytes and (line := file.readline()):
                size += len(line)
                if line.endswith(b"\n"):
                    found.append(line)
        self._read = self._done + size
        return found

    def done(self) -> None:
        """Go on behind the lines that were read."""
        self._done = self._read

    def set_aside(self, lines: Iterable[bytes]) -> None:
        """Keep lines that cannot be stored in a ``.bad`` file beside, and log how many."""
        path = self.path.with_suffix(".bad")
        kept = list(lines)
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, _OURS), "ab") as file:
            file.writelines(kept)
        _log.warning("%d damaged lines of a spool were moved aside, to %s", len(kept), path)


class Spool:
    """The lines of this process: appended by any thread, taken off by one.

    A line is one ``write`` to a file that is open for appending. When :meth:`append` returns the
    kernel has it, so that no kill of the process can lose it; a failure of the power can.

    Args:
        folder: Where all processes that share a store have their spools. On a local disk.
        max_bytes: The most that this spool may hold, >= 1.

    Raises:
        OSError: The folder cannot be made or written.
    """

    def __init__(self, folder: Path, max_bytes: int) -> None:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.folder = folder
        self.appended = 0
        self._max_bytes = max_bytes
        self._bytes = 0
        self._number = 0
        self._full: deque[Batch] = deque()
        self._lock = threading.Lock()
        self.name, self._alive = _claimed(folder)
        self._file = -1
        self._open()

    def append(self, line: bytes) -> None:
        """Append a line.

        Raises:
            SpoolFull: There is no room for it.
            OSError: The disk is full, or failed. The line is not there then.
            ValueError: The spool is closed.
        """
        with self._lock:
            if self._file < 0:
                raise ValueError("the spool is closed")
            if self._bytes + len(line) > self._max_bytes:
                raise SpoolFull(
                    f"max_spool_bytes must be more than {self._bytes + len(line)} for this, got "
                    f"{self._max_bytes}: the database has been away, or slow, for long"
                )
            if self._current.size >= _SEGMENT_BYTES:
                self._begin_next()
            written = os.write(self._file, line)
            if written < len(line):
                os.ftruncate(self._file, self._current.size)
                raise OSError(f"{self._current.path}: the disk took {written} of {len(line)} bytes")
            self._current.size += written
            self._bytes += written
            self.appended += 1

    def first(self) -> Batch | None:
        """Return the oldest file, closed to new lines; None where there is no line."""
        with self._lock:
            if not self._full and self._file >= 0 and self._current.size:
                self._begin_next()
            return self._full[0] if self._full else None

    def remove(self, batch: Batch) -> None:
        """Remove the oldest file, as the store has it."""
        batch.path.unlink(missing_ok=True)
        with self._lock:
            self._full.popleft()
            self._bytes -= batch.size

    def close(self) -> None:
        """Close the files. Those that hold lines are left to the next writer of the folder."""
        with self._lock:
            if self._file < 0:
                return
            os.close(self._file)
            self._file = -1
            if not self._current.size:
                self._current.path.unlink(missing_ok=True)
            if not self._bytes:
                Path(self._alive.lock_file).unlink(missing_ok=True)
            self._alive.release()

    def forget(self) -> None:
        """Leave everything to the parent: this is a fork. The lock's own file closes itself."""
        with contextlib.suppress(OSError):
            os.close(self._file)

    def _begin_next(self) -> None:
        full = self._file
        before = self._current
        self._open()
        os.close(full)
        before.last = self.appended
        self._full.append(before)

    def _open(self) -> None:
        path = self.folder / f"{self.name}-{self._number:08}.jsonl"
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND
        self._file = os.open(path, flags, _OURS)
        self._number += 1
        self._current = Batch(path)


def left_behind(folder: Path, name: str) -> Generator[list[Batch]]:
    """Yield the files of each spool whose process is gone, oldest first.

    What is there when the next one is asked for is removed. Spools of the living are locked, and
    passed over.

    Args:
        folder: The spools'.
        name: Of the spool that asks.
    """
    for path in sorted(folder.glob("*.lock")):
        if path.stem == name:
            continue
        alive = filelock.FileLock(path, mode=_OURS, thread_local=False)
        try:
            alive.acquire(blocking=False)
        except filelock.Timeout:
            continue
        except OSError as error:
            _log.warning("the spool of %s cannot be taken over: %s", path, error)
            continue
        try:
            batches = [Batch(file) for file in sorted(folder.glob(f"{path.stem}-*.jsonl"))]
            yield batches
            for batch in batches:
                batch.path.unlink(missing_ok=True)
            path.unlink(missing_ok=True)
        finally:
            alive.release()


def _claimed(folder: Path) -> tuple[str, filelock.FileLock]:
    """Find a name of one's own, and lock it as long as the process lives."""
    while True:
        name = f"{os.getpid()}-{uuid4().hex}"
        alive = filelock.FileLock(folder / f"{name}.lock", mode=_OURS, thread_local=False)
        try:
            alive.acquire(blocking=False)
        except filelock.Timeout:  # another writer took it for left behind; it will remove it
            continue
        return name, alive
