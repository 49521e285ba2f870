"""``stopping record`` on two workers against one: ``python -m benchmarks.cluster``.

Both record the same questions, in turns: of an endpoint of this machine that takes a set time for
each token, however many calls it has, and of a local model, of which each worker computes with one
thread. A worker makes so many calls at a time, so two make twice as many; a third way shows what
one worker does with that many. Every file has to hold the same runs, in all but their times.

Seconds go from the line that says how many runs there are to record to the one that says what came
of them. Before it Ray starts and a worker makes its tool; the others may still be at theirs, and
what they miss counts. What comes before and after is told beside it, as a user waits for all.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import statistics
import subprocess
import sys
import tempfile
import time
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from stopping_core.traces.run import Run, Trace
from stopping_core.traces.store import read_trace
from tests.support.sse_server import CountingServer, Script

DELAY = 0.02
"""Seconds a token of the endpoint."""

ONE, TWO, TWICE = "1 worker", "2 workers", "1 worker, twice the calls"
"""The ways to record. All are compared with the first."""

_RECORD = "from stopping_core.cli.app import main; main()"
_BEGUN = " runs to record"
_DONE = " of them new"
_HEADS = (
    "runs of",
    "way",
    "seconds",
    "runs a second",
    "times one worker",
    "start, seconds",
    "whole command, seconds",
    "times one worker, whole",
)


@dataclass(frozen=True, slots=True)
class Recorded:
    """One call of ``stopping record``.

    Args:
        start: Seconds until it records.
        seconds: Until all is recorded, after that.
        whole: Until it has ended, from the beginning.
        runs: How many.
    """

    start: float
    seconds: float
    whole: float
    runs: int

    @property
    def speed(self) -> float:
        """Runs a second, once it records."""
        return self.runs / self.seconds


def answering(body: Mapping[str, Any]) -> Script:
    """An answer of the question's own, of 20 to 51 tokens."""
    asked = zlib.crc32(str(body["messages"]).encode())
    return Script([f" {asked >> place % 28 & 15}" for place in range(20 + asked % 32)])


def record(out: Path, arguments: Sequence[str]) -> tuple[Recorded, Trace]:
    """Record once into a new file.

    Raises:
        RuntimeError: It failed.
    """
    command = [sys.executable, "-c", _RECORD, "record", *arguments, "--out", str(out)]
    begun = recorded = None
    said = []
    start = time.perf_counter()
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "COLUMNS": "400"},
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            now = time.perf_counter() - start
            said.append(line)
            begun = now if begun is None and _BEGUN in line else begun
            recorded = now if _DONE in line else recorded
    whole = time.perf_counter() - start
    if process.returncode or begun is None or recorded is None:
        raise RuntimeError(f"{' '.join(command)} failed: {''.join(said)}")
    trace = read_trace(out)
    return Recorded(begun, recorded - begun, whole, len(trace.runs)), trace


def content(trace: Trace) -> list[Any]:
    """All that is in a file, but for the times of its tokens."""
    names = [one.name for one in dataclasses.fields(Run) if one.name != "seconds"]
    return [trace.header, [{name: getattr(run, name) for name in names} for run in trace.runs]]


def measure(
    shared: Sequence[str], ways: Mapping[str, Sequence[str]], repetitions: int
) -> dict[str, list[Recorded]]:
    """Record in each way, in turns.

    Args:
        shared: Arguments of all ways.
        ways: Further arguments of each.
        repetitions: How often.

    Returns:
        What came of each way, by its name.

    Raises:
        RuntimeError: A call failed.
        AssertionError: Two files do not hold the same runs.
    """
    found: dict[str, list[Recorded]] = {way: [] for way in ways}
    names = list(ways)
    first: list[Any] = []
    with tempfile.TemporaryDirectory() as folder:
        for number in range(repetitions):
            turn = number % len(names)
            for way in (*names[turn:], *names[:turn]):
                out = Path(folder) / f"{number}-{names.index(way)}.parquet"
                one, trace = record(out, [*shared, *ways[way]])
                first = first or content(trace)
                np.testing.assert_equal(content(trace), first, f"{way}: other runs")
                found[way].append(one)
                print(f"{way}: {one.seconds:.1f} s", flush=True)
    return found


def rows(what: str, found: Mapping[str, Sequence[Recorded]]) -> list[str]:
    """Write what came of the ways as rows of the table: medians, and ranges of what is paired."""
    lines = []
    for way, some in found.items():
        pairs = list(zip(some, found[ONE], strict=True))
        cells = (
            what,
            way,
            _median([one.seconds for one in some]),
            _median([one.speed for one in some]),
            _ratio([one.speed / other.speed for one, other in pairs]),
            _median([one.start for one in some]),
            _median([one.whole for one in some]),
            _ratio([other.whole / one.whole for one, other in pairs]),
        )
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def _median(values: Sequence[float]) -> str:
    return f"{statistics.median(values):.1f}"


def _ratio(values: Sequence[float]) -> str:
    return f"{statistics.median(values):.2f} ({min(values):.2f} to {max(values):.2f})"


def of_endpoint(questions: Path, runs: int, calls: int, repetitions: int) -> list[str]:
    """Record an endpoint's runs, and write the rows."""
    ways = {
        ONE: ("--workers", "1", "--concurrency", str(calls)),
        TWO: ("--workers", "2", "--concurrency", str(calls)),
        TWICE: ("--workers", "1", "--concurrency", str(2 * calls)),
    }
    with CountingServer(answering, delay=DELAY) as server:
        shared = [str(questions), "--limit", str(runs), "--top-logprobs", "0"]
        shared += ["--base-url", server.base_url, "--model", server.model]
        found = measure(shared, ways, repetitions)
    return rows(f"an endpoint, {1000 * DELAY:.0f} ms a token, {calls} calls a worker", found)


def of_model(
    model: Path, questions: Path, runs: int, repetitions: int, more: Sequence[str]
) -> list[str]:
    """Record a local model's runs, and write the rows."""
    shared = [str(questions), "--limit", str(runs), "--model", str(model.resolve()), *more]
    ways = {ONE: ("--workers", "1"), TWO: ("--workers", "2")}
    return rows(f"{model.name}, one thread a worker", measure(shared, ways, repetitions))


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure both, and write the table."""
    parser = argparse.ArgumentParser(prog="benchmarks.cluster", description=__doc__)
    parser.add_argument("--model", type=Path, default=Path("build/synthetic-testbed"))
    parser.add_argument("--template", default="testbed", help="of the local model's questions")
    parser.add_argument("--questions", type=Path, help="left out, the model's questions.jsonl")
    parser.add_argument("--runs", type=int, default=192, help="of each call, that many questions")
    parser.add_argument(
        "--calls", type=int, default=4, help="at once, of a worker, to the endpoint"
    )
    parser.add_argument("--batch", type=int, default=16, help="runs at once, of the local model")
    parser.add_argument("--max-tokens", type=int, default=900, help="of the local model's runs")
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--out", type=Path, help="write the table there, Markdown")
    asked = parser.parse_args(arguments)
    questions = asked.questions or asked.model / "questions.jsonl"
    more = ["--template", asked.template, "--batch", str(asked.batch)]
    more += ["--max-tokens", str(asked.max_tokens)]
    load = os.getloadavg()[0]
    lines = [
        f"{asked.runs} runs a call, {asked.repetitions} calls of each way in turns, all on "
        f"{os.cpu_count()} cores, which had a load of {load:.1f} before. Medians, and of what is "
        f"compared within a turn also the range. All files of one source hold the same runs.",
        "",
        f"| {' | '.join(_HEADS)} |",
        "|---" * len(_HEADS) + "|",
        *of_endpoint(questions, asked.runs, asked.calls, asked.repetitions),
        *of_model(asked.model, questions, asked.runs, asked.repetitions, more),
    ]
    if asked.out is not None:
        asked.out.write_text("\n".join(lines) + "\n", "utf-8")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
