"""Where the refitting of an entry stands, as a file beside its releases."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Self

from stopping_core.plain_data import finite, members, whole_number
from stopping_core.steering.releases import replace_file

_FILE = "refit.json"


@dataclass(frozen=True, slots=True)
class State:
    """How far it has come.

    Args:
        number: Of the last fit, 0 where there was none.
        until: Time of the last run that it could see, seconds since 1970. The runs after it are
            what a challenger is compared on.
        challenging: Whether its certificate is being compared.
        found: That it is to be promoted, in words, where that was held back; else ``""``.
    """

    number: int = 0
    until: float = 0.0
    challenging: bool = False
    found: str = ""

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Read it; the beginning where there is no file.

        Raises:
            ValueError: It is damaged; the message names the file and the key.
        """
        path = folder / _FILE
        if not path.exists():
            return cls()
        try:
            data: Any = json.loads(path.read_text("utf-8"))
        except ValueError as error:
            raise ValueError(f"{path}: not a JSON text: {error}") from error
        held = members(data, [one.name for one in fields(cls)], str(path))
        if not isinstance(held["challenging"], bool):
            raise ValueError(
                f"{path}.challenging must be true or false, got {held['challenging']!r}"
            )
        if not isinstance(held["found"], str):
            raise ValueError(f"{path}.found must be a text, got {held['found']!r}")
        return cls(
            whole_number(held["number"], f"{path}.number"),
            finite(held["until"], f"{path}.until"),
            held["challenging"],
            held["found"],
        )

    def write(self, folder: Path) -> None:
        """Write it, whole or not at all."""
        replace_file(folder / _FILE, (json.dumps(asdict(self), indent=1) + "\n").encode())
