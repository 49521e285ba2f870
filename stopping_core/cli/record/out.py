"""Whether a file can be recorded to, asked before a model is loaded or a call is paid for."""

from __future__ import annotations

import tempfile
from pathlib import Path

import filelock

from stopping_core.traces.store import load_table


def check_out(path: Path) -> None:
    """Refuse a file that a journal would refuse under any header; it looks again by itself.

    Raises:
        ValueError: Its folder cannot be made or written, another process is recording it, or what
            is there is no trace file.
        OSError: It cannot be opened.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path.parent):
            pass
    except OSError as error:
        raise ValueError(f"{path}: its folder cannot be written: {error}") from error
    held = path.with_name(f".{path.name}.lock")
    if held.exists():
        lock = filelock.FileLock(held)
        try:
            lock.acquire(timeout=0)
        except filelock.Timeout as error:
            raise ValueError(f"{path}: another process is recording this file") from error
        lock.release()
    if path.exists():
        load_table(path)
