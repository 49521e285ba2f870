"""Data sets of the Hub by name, or of a local folder, through ``datasets``."""

from __future__ import annotations

from collections.abc import Iterator

from stopping_core.errors import MissingPackage
from stopping_core.questions.record import Record


def rows(source: str) -> Iterator[Record]:
    """Yield the rows of ``hub:NAME``, ``hub:NAME:CONFIG`` or ``hub:NAME:CONFIG:SPLIT``.

    An empty CONFIG is the default one. SPLIT may be left out where there is only one, and may be
    anything that ``datasets`` takes for one (``validation[:200]``).

    Raises:
        ValueError: The name has another form, or there are several splits and none is named.
        MissingPackage: ``datasets`` is not installed.
    """
    name, config, split, *_ = [*source.removeprefix("hub:").split(":", 2), "", ""]
    if not name:
        raise ValueError(f"source must be hub:NAME[:CONFIG[:SPLIT]], got {source!r}")
    try:
        from datasets import Dataset, load_dataset
    except ImportError as error:
        raise MissingPackage("datasets", "hub") from error
    found = load_dataset(name, config or None, split=split or None)
    if not isinstance(found, Dataset):
        if len(found) != 1:
            raise ValueError(
                f"{source}: has the splits {', '.join(map(str, found))}: name one, as in "
                f"hub:{name}:{config}:{next(iter(found))}"
            )
        (found,) = found.values()
    for position, row in enumerate(found, start=1):
        yield Record(source, f"row {position}", position, row)
