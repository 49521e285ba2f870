"""What a stream has shown so far, as the features of a model."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

from stopping_core.types import Need, Probe, Request, Step


class Evidence(ABC):
    """A signal that reads several numbers at once.

    The engine keeps it up to date as any other. Its ``row`` depends on the text and on the counts
    of tokens, not on how the text was chunked.

    Attributes:
        names: Of the features, in the order of ``row``.
        probe_names: Of those of a probe, in the order of ``of_probe``.
        needs: What it reads beyond the text.
    """

    names: ClassVar[tuple[str, ...]]
    probe_names: ClassVar[tuple[str, ...]] = ()
    needs: frozenset[Need] = frozenset()

    @abstractmethod
    def reset(self, request: Request) -> None:
        """Forget the last stream; a new one begins for this request."""

    @abstractmethod
    def update(self, step: Step) -> None:
        """Take the next piece of text or the next boundary mark."""

    @abstractmethod
    def row(self) -> tuple[float, ...]:
        """The features here, NaN where one is not known."""

    def of_probe(self, probe: Probe) -> tuple[float, ...]:
        """The features of what the model would answer here, NaN where one is not known."""
        return ()

    @property
    def value(self) -> float | None:
        """None: no single number says it."""
        return None
