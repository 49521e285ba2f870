"""Compare formulations: ``python -m benchmarks.formulations RUNS.parquet... --out FILE.md``."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from benchmarks.formulations.compare import compare
from benchmarks.formulations.told import markdown
from stopping_core.traces.store import read_trace


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the table, and print it."""
    parser = argparse.ArgumentParser(prog="benchmarks.formulations", description=__doc__)
    parser.add_argument("runs", type=Path, nargs="+", help="recorded runs with known answers")
    parser.add_argument("--out", type=Path, required=True, help="the table, Markdown")
    parser.add_argument("--seed", type=int, default=0, help="of the folds and of the draws")
    parser.add_argument("--folds", type=int, default=5, help="which share no family")
    given = parser.parse_args(arguments)
    if given.folds < 2:
        parser.error(f"--folds must be >= 2, got {given.folds}")
    compared = {}
    for path in given.runs:
        trace = read_trace(path)
        compared[path.name] = compare(trace, folds=given.folds, seed=given.seed)
    text = markdown(compared, folds=given.folds, seed=given.seed)
    given.out.parent.mkdir(parents=True, exist_ok=True)
    given.out.write_text(text, "utf-8")
    print(text)


if __name__ == "__main__":
    main()
