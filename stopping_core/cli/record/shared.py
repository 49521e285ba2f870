"""A recording whose batches are shared out to workers on Ray; only this process writes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from operator import attrgetter

from stopping_core.cli.cluster.connection import LOCAL
from stopping_core.cli.cluster.workers import Workers
from stopping_core.cli.record.run import Settings, make_source
from stopping_core.cli.record.task import Source, Task
from stopping_core.traces.journal import Key
from stopping_core.traces.run import Header, Run

_FEW = 2  # workers, where none are named


@contextmanager
def shared(settings: Settings, task: Task) -> Iterator[Source]:
    """Let each of several workers have the source that the settings name.

    A local model computes with one thread in each, unless the settings name more: runs depend on
    how many there are, and so on no environment.

    Raises:
        ValueError: The workers are too many, or have other packages or another model; or what
            making the source raises.
        ConnectionError: There is no cluster, or it has lost its workers.
    """
    local = settings.base_url is None
    packages = ("torch", "transformers", "transformers-stopping") if local else ("openai",)
    threads = settings.threads or 1
    with Workers(
        settings.ray or LOCAL,
        settings.workers or _FEW,
        partial(make_source, replace(settings, threads=threads), task),
        attrgetter("header"),
        ("stopping-core", *packages),
        cpus=threads if local else 1,
        at_once=1 if local else settings.concurrency,
    ) as workers:
        yield SharedSource(workers)


class SharedSource:
    """The same source in each of several workers.

    A batch is done again as a whole where its worker dies, so no run is half one worker's. An
    endpoint's worker has as many batches in its hands as it makes calls, and gives up by itself
    when too many in a row have failed.

    Args:
        workers: They have begun.
    """

    def __init__(self, workers: Workers[Source]) -> None:
        self._workers = workers
        self.header: Header = workers.description

    def batched(self, keys: list[Key]) -> Sequence[Sequence[Key]]:
        """Let one of them share out the runs, as it would for itself."""
        return self._workers.ask(_batched, keys)

    def record(
        self,
        batches: dict[int, list[Key]],
        keep: Callable[[int, list[Run]], None],
        watch: Callable[[int], None],
    ) -> list[str]:
        """Record batches in whichever order they are done.

        Raises:
            ConnectionError: The workers die time and again; what is kept is kept.
        """
        failed: list[str] = []
        for number, (runs, why) in self._workers.deal(_record, batches):
            failed += why
            if runs:
                keep(number, runs)
                watch(sum(map(len, runs)))
        return failed


def _batched(source: Source, keys: list[Key]) -> Sequence[Sequence[Key]]:
    return source.batched(keys)


def _record(source: Source, batch: list[Key]) -> tuple[list[Run], list[str]]:
    """Record one batch; return its runs, and what failed."""
    runs: list[Run] = []
    failed = source.record({0: batch}, lambda _, some: runs.extend(some), lambda _: None)
    return runs, failed
