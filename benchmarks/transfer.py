"""What a certificate is worth on runs it was not made for: ``python -m benchmarks.transfer``.

A policy is fitted and certified on runs of one model, template and source of questions, and then
cuts other runs: of another template, of a model that was quantised otherwise, of other questions.
The table says what it loses there, whether that is within the certified level, and how a session
would have refused it by default.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from typer.testing import CliRunner

from stopping_core import AdaptiveStopping
from stopping_core.admission import Admission
from stopping_core.calibration.bounds import binomial_p_value
from stopping_core.certificates import Certificate, CertifiedLevel
from stopping_core.cli.app import app
from stopping_core.cli.certify.run import columns_of, one_of_each
from stopping_core.cli.fit.recorded import (
    Recorded,
    family_hash,
    passage_hash,
    read_recorded,
    request_of,
)
from stopping_core.completeness import default_check
from stopping_core.errors import NotCertified
from stopping_core.traces.columns import Columns
from stopping_core.traces.graded import Graded
from stopping_core.traces.run import Run, Trace
from stopping_core.traces.splits import split
from stopping_core.traces.store import read_trace, write_trace
from stopping_core.traces.sweep import cut
from stopping_core.types import Request

_LEVELS = "0.02,0.05"
_KEPT = 0.3  # of the runs: reported on, and neither fitted nor certified on


@dataclass(frozen=True, slots=True)
class Row:
    """What a certified level does on some runs.

    Args:
        name: Of the runs.
        risk: The level.
        runs: Independent runs, one a passage.
        right: How many of them are right if nothing cuts them.
        lost: How many of these the policy loses.
        saved: Share of the tokens that it saves.
        exceeds: p-value of "the level is kept here": small where it is not.
        refused: The differences for which a session refuses a request by default.
        held_back: Share of the requests that it would answer without a cut, as unlike all others.
    """

    name: str
    risk: float
    runs: int
    right: int
    lost: int
    saved: float
    exceeds: float
    refused: tuple[str, ...]
    held_back: float


def certified(path: Path, folder: Path) -> tuple[Certificate, Path]:
    """Fit and certify on four fifths of a file's families; return the certificate and the rest.

    Raises:
        SystemExit: No level could be certified; what the commands said.
    """
    trace = read_trace(path)
    parts = split(trace.runs, {"certified": 1 - _KEPT, "kept": _KEPT}, seed=1)
    files = {name: folder / f"{path.stem}-{name}.parquet" for name in parts}
    for name, numbers in parts.items():
        write_trace(files[name], Trace(trace.header, tuple(trace.runs[n] for n in numbers)))
    model, out = folder / "model.json", folder / "certificate.json"
    for command in (
        ["fit", str(files["certified"]), "--out", str(model)],
        ["certify", str(model), str(files["certified"]), "--out", str(out), "--risk", _LEVELS],
    ):
        done = CliRunner().invoke(app, command)
        print(done.output)
        if done.exit_code:
            raise SystemExit(done.exit_code)
    return Certificate.load(out), files["kept"]


def rows(name: str, path: Path, certificate: Certificate, stopping: AdaptiveStopping) -> list[Row]:
    """Cut the runs of a file at every certified level.

    Of passages and families that were fitted or certified on, nothing is taken.
    """
    recorded = read_recorded([path], None)
    runs = one_of_each(_unseen(certificate, recorded.runs), "group", 0)
    columns = columns_of(runs, certificate.scope)
    graded = Graded(columns)
    full = graded.full() >= 1
    checked = _checked(stopping, runs, recorded)
    return [_row(name, level, certificate, graded, full, checked) for level in certificate.levels]


def _row(
    name: str,
    level: CertifiedLevel,
    certificate: Certificate,
    graded: Graded,
    full: np.ndarray[tuple[int], np.dtype[np.bool_]],
    checked: tuple[tuple[str, ...], float],
) -> Row:
    columns: Columns = graded.columns
    cuts = cut(columns, certificate.policy(level.risk), default_check())
    stopped = np.flatnonzero(cuts.stopped)
    lost = int((full[stopped] & ~graded.right(cuts.row[stopped])).sum())
    count = len(columns.runs)
    return Row(
        name,
        level.risk,
        count,
        int(full.sum()),
        lost,
        float(1 - cuts.generated.sum() / columns.lengths.sum()),
        1 - binomial_p_value(lost - 1, count, level.risk) if lost else 1.0,
        *checked,
    )


def _unseen(certificate: Certificate, runs: Sequence[Run]) -> list[Run]:
    seen = {
        name
        for origin in (certificate.fitted, certificate.certified)
        for name in (*origin.families, *origin.passages)
    }
    return [run for run in runs if not {family_hash(run), passage_hash(run)} & seen]


def _checked(
    stopping: AdaptiveStopping, runs: Sequence[Run], recorded: Recorded
) -> tuple[tuple[str, ...], float]:
    """What a session says to requests as they were made for these runs: refused, not cut."""
    found, unlike = set[str](), 0
    for run in runs:
        try:
            admission = Admission(stopping, _asked(run, recorded))
        except NotCertified as error:
            found |= error.differences.keys()
        else:
            unlike += not admission.may_cut
    return tuple(sorted(found)), unlike / len(runs)


def _asked(run: Run, recorded: Recorded) -> Request:
    """The request as a local model of the recording would have had it."""
    scope, known = recorded.scope, request_of(run)
    message = ""
    if scope.frame is not None:
        before, after = scope.frame
        message = run.prompt.removeprefix(before).removesuffix(after)
    return Request(
        prompt=known.prompt,
        question=message,
        model=scope.model,
        model_fingerprint=scope.model_fingerprint,
        sampling={"temperature": scope.temperature},
    )


def table(made: Sequence[Row]) -> str:
    """Write the rows as Markdown."""
    lines = [
        "| runs | level | passages | full runs right | lost if all are cut | saved | kept? | "
        "by default |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in made:
        share = f"{row.lost} ({100 * row.lost / row.runs:.1f}%)"
        kept = "yes" if row.lost <= row.risk * row.runs else f"no, p = {row.exceeds:.2g}"
        cells = (
            row.name,
            f"{100 * row.risk:g}%",
            str(row.runs),
            f"{100 * row.right / row.runs:.0f}%",
            share,
            f"{100 * row.saved:.1f}%",
            kept,
            f"refused: {', '.join(row.refused)}" if row.refused else _answered(row.held_back),
        )
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _answered(held_back: float) -> str:
    return f"{100 * held_back:.0f}% are not cut" if held_back else "cut"


def main() -> None:
    """Certify on one file, and cut the others."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("certified", type=Path, help="fitted, certified and reported on")
    parser.add_argument("others", type=Path, nargs="+", help="reported on")
    parser.add_argument("--out", type=Path, required=True, help="the table, Markdown")
    asked = parser.parse_args()
    folder = asked.out.parent
    folder.mkdir(parents=True, exist_ok=True)
    certificate, kept = certified(asked.certified, folder)
    stopping = AdaptiveStopping.load(folder / "certificate.json", certificate.levels[0].risk)
    made = [
        row
        for path in (kept, *asked.others)
        for row in rows(path.stem, path, certificate, stopping)
    ]
    told = table(made)
    asked.out.write_text(told + "\n", "utf-8")
    print(told)


if __name__ == "__main__":
    main()
