"""What recording outcomes costs: ``python -m benchmarks.outcomes [--postgres URL]``.

For each database, with 1 process and with 8: how long ``record`` takes, at the median and the 99th
percentile, microseconds; and how many events a second reach the store, from the first record until
all is stored. Latency is taken twice: at a steady rate, as requests come, and in a burst, where the
thread that moves the lines to the store works at the same time and wants the interpreter too.

An event is one outcome with two features and no texts. The tables of the PostgreSQL database are
made where there are none, and what is recorded stays there.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from multiprocessing import get_context
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import NamedTuple

import numpy as np

from stopping_core.feedback import Outcome, OutcomeStore, OutcomeWriter

PROCESSES = (1, 8)
PAUSE = 0.005  # seconds between two records at a steady rate: 200 a second and process
STEADY = 400  # records of a process at a steady rate

EVENT = Outcome(
    user="ann",
    tenant="acme",
    use_case="faq",
    model="SmolLM2-135M-Instruct",
    model_fingerprint="0123456789abcdef",
    reason="sentence",
    finish_reason="cut",
    prompt_tokens=412,
    generated=57,
    avoided=199,
    seconds=1.25,
    cost=0.000123,
    features={"question_words": 9.0, "context_words": 120.0},
)


class Figures(NamedTuple):
    """Of one database and number of processes."""

    steady: list[float]  # microseconds a record
    burst: list[float]
    seconds: float  # until all of the burst is stored


def record(writer: OutcomeWriter, count: int, pause: float) -> list[float]:
    """Record events; making them is left out.

    Returns:
        Microseconds of each call.
    """
    clock, took = time.perf_counter, []
    for number in range(count):
        event = replace(EVENT, request_id=f"{os.getpid()}-{time.time_ns()}-{number}")
        begun = clock()
        writer.record(event)
        took.append(1e6 * (clock() - begun))
        if pause:
            time.sleep(pause)
    return took


def work(url: str, spool: str, events: int, together: Barrier | None = None) -> Figures:
    """Measure one process: it begins its burst with the others."""
    with OutcomeStore(url) as store, OutcomeWriter(store, spool) as writer:
        record(writer, 50, 0)
        writer.flush()
        steady = record(writer, STEADY, PAUSE)
        writer.flush()
        if together is not None:
            together.wait()
        begun = time.perf_counter()
        burst = record(writer, events, 0)
        writer.flush()
        return Figures(steady, burst, time.perf_counter() - begun)


_together: Barrier | None = None


def _join(barrier: Barrier) -> None:
    global _together  # noqa: PLW0603 - a pool hands a barrier down in no other way
    _together = barrier


def _work(task: tuple[str, str, int]) -> Figures:
    return work(*task, _together)


def measure(url: str, spool: str, events: int, processes: int) -> Figures:
    """Measure so many processes at once: their latencies together, and the slowest one's time."""
    if processes == 1:
        return work(url, spool, events)
    context = get_context("spawn")
    barrier = context.Barrier(processes)
    with context.Pool(processes, _join, (barrier,)) as pool:
        tasks = [(url, spool, events // processes)] * processes
        parts = pool.map(_work, tasks, chunksize=1)
    return Figures(
        [one for part in parts for one in part.steady],
        [one for part in parts for one in part.burst],
        max(part.seconds for part in parts),
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="benchmarks.outcomes", description=__doc__)
    parser.add_argument("--postgres", metavar="URL", help="an empty database to write to")
    parser.add_argument("--events", type=int, default=20_000, help="in a burst, over all processes")
    given = parser.parse_args(arguments)
    print(
        f"{given.events:,} events in a burst, {1 / PAUSE:g} a second and process at a steady rate, "
        f"{os.cpu_count()} cores\n"
        f"{'':12}{'':>9}{'record, steady, us':>22}{'record, burst, us':>22}{'stored':>14}\n"
        f"{'database':12}{'processes':>9}{'p50':>11}{'p99':>11}{'p50':>11}{'p99':>11}"
        f"{'events a second':>18}"
    )
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        urls = {"SQLite": f"sqlite:///{folder}/stopping.db"}
        if given.postgres:
            urls["PostgreSQL"] = given.postgres
        for database, url in urls.items():
            for processes in PROCESSES:
                spool = str(folder / f"{database}-{processes}")
                figures = measure(url, spool, given.events, processes)
                latency = [
                    float(np.percentile(took, share))
                    for took in (figures.steady, figures.burst)
                    for share in (50, 99)
                ]
                shown = "".join(f"{one:11.1f}" for one in latency)
                rate = given.events / figures.seconds
                print(f"{database:12}{processes:>9}{shown}{rate:18,.0f}", flush=True)


if __name__ == "__main__":
    main()
