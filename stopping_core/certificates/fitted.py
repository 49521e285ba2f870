"""A fitted model as a file: what ``stopping fit`` writes and ``stopping certify`` reads."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from itertools import pairwise
from pathlib import Path
from typing import Any, Self

from stopping_core.budgets import LengthModel
from stopping_core.certificates.plain_file import hashes, read_file, write_file
from stopping_core.certificates.scope import Scope
from stopping_core.plain_data import members, numbers, whole_number
from stopping_core.policies.learned import LossModel

_KIND = "stopping model"


@dataclass(frozen=True, slots=True)
class Origin:
    """Where figures come from.

    Args:
        traces: SHA-256 of each trace file.
        families: Of the families of the runs that were used, 16 hex digits each; sorted.
        passages: Of what the runs were asked about, likewise: the context, or else the question. So
            the same passage is known again under another name.
        runs: How many runs were used.
        seed: Of the draw that chose them.
    """

    traces: tuple[str, ...]
    families: tuple[str, ...]
    passages: tuple[str, ...]
    runs: int
    seed: int

    @classmethod
    def from_dict(cls, data: Any, key: str) -> Self:
        """Take what ``dataclasses.asdict`` gave, after a way through JSON.

        Raises:
            ValueError: Names the key that is missing, unknown or wrong, and its value.
        """
        held = members(data, [one.name for one in fields(cls)], key)
        return cls(
            hashes(held["traces"], f"{key}.traces", 64),
            hashes(held["families"], f"{key}.families", 16),
            hashes(held["passages"], f"{key}.passages", 16),
            whole_number(held["runs"], f"{key}.runs", 1),
            whole_number(held["seed"], f"{key}.seed"),
        )


@dataclass(frozen=True, slots=True)
class FittedModel:
    """A model of the loss, and the thresholds that are to be certified on other runs.

    Args:
        model: The model.
        path: Thresholds from careful to aggressive, at least one.
        scope: Of the runs that it was fitted on.
        origin: Those runs.
        needed: Quantiles of the tokens that a request needs where the middle one of the thresholds
            stops it; not calibrated. None where the runs are too few.
        natural: Likewise of the tokens to which the model goes if nothing cuts it.
    """

    model: LossModel
    path: tuple[float, ...]
    scope: Scope
    origin: Origin
    needed: LengthModel | None = None
    natural: LengthModel | None = None

    def write(self, path: str | Path) -> None:
        """Write it as JSON.

        Raises:
            OSError: The file cannot be written.
        """
        content = {
            "path": list(self.path),
            "scope": self.scope.to_dict(),
            "origin": asdict(self.origin),
            "model": self.model.to_dict(),
            "needed": None if self.needed is None else self.needed.to_dict(),
            "natural": None if self.natural is None else self.natural.to_dict(),
        }
        write_file(path, _KIND, content)

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read what ``write`` wrote.

        Raises:
            ValueError: It is no such file, or damaged; the message names the file and the key.
            OSError: It cannot be read.
        """
        return read_file(path, _KIND, cls._made)

    @classmethod
    def _made(cls, content: Mapping[str, Any]) -> Self:
        held = members(content, [one.name for one in fields(cls)], "file")
        thresholds = numbers(held["path"], "path")
        if not thresholds or any(high <= low for low, high in pairwise(thresholds)):
            raise ValueError(f"path must hold rising numbers, one or more, got {held['path']!r}")
        return cls(
            LossModel.from_dict(held["model"]),
            thresholds,
            Scope.from_dict(held["scope"]),
            Origin.from_dict(held["origin"], "origin"),
            lengths_of(held["needed"], "needed"),
            lengths_of(held["natural"], "natural"),
        )


def lengths_of(data: Any, key: str) -> LengthModel | None:
    """Read a length model, or null.

    Raises:
        ValueError: Names the key that is missing, unknown or wrong, and its value.
    """
    return None if data is None else LengthModel.from_dict(data, key)
