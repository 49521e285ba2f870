"""Which certificate is in use, which were before it, and the way back."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

from filelock import FileLock

from stopping_core.certificates import Certificate
from stopping_core.plain_data import listed, members, whole_number

_STATE = "releases.json"


@dataclass(frozen=True, slots=True)
class Release:
    """One change of what is in use.

    Args:
        number: Of the certificate, from 1.
        certificate: Its fingerprint.
        time: When, ISO 8601, UTC.
        why: In words.
    """

    number: int
    certificate: str
    time: str
    why: str

    @classmethod
    def from_dict(cls, data: Any, key: str) -> Self:
        """Take what ``asdict`` gave, after a way through JSON.

        Raises:
            ValueError: Names the key that is missing, unknown or wrong, and its value.
        """
        held = members(data, [one.name for one in fields(cls)], key)
        for name in ("certificate", "time", "why"):
            if not isinstance(held[name], str):
                raise ValueError(f"{key}.{name} must be a text, got {held[name]!r}")
        return cls(
            whole_number(held["number"], f"{key}.number", 1),
            held["certificate"],
            held["time"],
            held["why"],
        )


class Releases:
    """A folder of certificates, of which one is in use.

    ``promote`` copies a certificate into the folder and puts it in use; ``rollback`` puts the one
    before it in use again, and can be repeated. No certificate is ever changed or deleted, and what
    is in use changes at once or not at all, also where the process is killed in between. Services
    load ``current`` when they start, or when it changes.

    Args:
        folder: Made where it does not exist.

    Raises:
        OSError: The folder cannot be made.

    Examples:
        >>> import tempfile
        >>> Releases(tempfile.mkdtemp()).rollback()
        Traceback (most recent call last):
        ValueError: there is no release before the current one to go back to
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self._lock = FileLock(self.folder / ".lock")

    @property
    def history(self) -> tuple[Release, ...]:
        """All changes, oldest first; the last one is in use.

        Raises:
            ValueError: The folder's state is damaged; the message names the key.
        """
        path = self.folder / _STATE
        if not path.exists():
            return ()
        try:
            data: Any = json.loads(path.read_text("utf-8"))
        except ValueError as error:
            raise ValueError(f"{path}: not a JSON text: {error}") from error
        return tuple(
            Release.from_dict(one, f"{path}: [{place}]")
            for place, one in enumerate(listed(data, str(path)))
        )

    @property
    def current(self) -> Path:
        """The certificate in use, for ``AdaptiveStopping.load``.

        Raises:
            ValueError: Nothing was promoted yet.
        """
        history = self.history
        if not history:
            raise ValueError(f"{self.folder} holds no release: promote a certificate first")
        return self._file(history[-1].number)

    def promote(
        self, certificate: str | Path, why: str = "", *, over: str | None = None
    ) -> Release:
        """Put a certificate in use.

        Args:
            certificate: The file.
            why: In words, such as what a comparison has shown.
            over: Fingerprint of the certificate that is thought to be in use, ``""`` for none.

        Raises:
            ValueError: It is no certificate, or the one in use, or another one than ``over`` is.
            OSError: It cannot be read, or the folder not be written.
        """
        content = Path(certificate).read_bytes()
        fingerprint = Certificate.load(certificate).fingerprint
        with self._lock:
            history = self.history
            current = history[-1].certificate if history else ""
            if over is not None and current != over:
                raise ValueError(f"over must be the certificate in use, {current!r}, got {over!r}")
            if current == fingerprint:
                raise ValueError(f"certificate {fingerprint} is in use already")
            number = 1 + max((one.number for one in history), default=0)
            replace_file(self._file(number), content)
            return self._note(history, number, fingerprint, why)

    def rollback(self, why: str = "") -> Release:
        """Put the certificate in use again that was before the current one was promoted.

        Raises:
            ValueError: There is none.
        """
        with self._lock:
            history = self.history
            known = {one.number: one for one in history}
            before = [number for number in known if history and number < history[-1].number]
            if not before:
                raise ValueError("there is no release before the current one to go back to")
            past = known[max(before)]
            return self._note(history, past.number, past.certificate, why or "rolled back")

    def _file(self, number: int) -> Path:
        return self.folder / f"certificate-{number:04d}.json"

    def _note(
        self, history: tuple[Release, ...], number: int, fingerprint: str, why: str
    ) -> Release:
        now = datetime.now(UTC).isoformat(timespec="seconds")
        release = Release(number, fingerprint, now, why)
        states: list[Mapping[str, Any]] = [asdict(one) for one in (*history, release)]
        text = json.dumps(states, indent=1, ensure_ascii=False) + "\n"
        replace_file(self.folder / _STATE, text.encode("utf-8"))
        return release


def replace_file(path: Path, content: bytes) -> None:
    """Write a file so that it is there whole, or as it was before."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=".writing-")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
