"""Every notebook runs from top to bottom, on the interpreter that runs the tests."""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

import nbformat
import pytest
from jupyter_client.kernelspec import KernelSpecManager
from nbclient import NotebookClient
from nbformat.v4 import new_code_cell

NOTEBOOKS = sorted((Path(__file__).parents[2] / "notebooks").glob("*.ipynb"))
SLOW = {
    "03_calibrate_and_certify": "records 180 runs: 4 minutes",
    "04_feedback_and_monitoring": "records 130 runs: 5 minutes",
    "05_samples_beams_rounds": "draws and records some 400 samples: 4 minutes",
}
HOLDS = {
    "05_samples_beams_rounds": (
        "spent_early < 0.8 * spent_whole",
        "all(row[5] <= row[3] for row in rows)",
        "same >= len(rows) - 2 and right >= len(rows) // 2",
        "all(report['decided'] for report in reports) and drawn < 8 * len(reports)",
        "0 < booked <= 1.5 * by_server",
        "response.additional_kwargs['vote']['decided']",
        "all(1.0 not in made.scores[:-1] for made in best)",
        "first <= passed and sum(len(made.samples) for made in best) < 8 * len(best)",
        "searches['ends', 'no policy'][1] == searches['ends', 'transformers'][1]",
        "searches['ends', 'no policy'][0] < searches['ends', 'transformers'][0]",
        "searches['runs on', 'no policy'][1].startswith(searches['runs on', 'line'][1])",
        "2 * searches['runs on', 'line'][0] < searches['runs on', 'no policy'][0]",
        "all(ended['made'] < full['made'] == 5 for _, ended, full in pairs)",
        "purses['little'].empty and purses['little'].spent.tokens <= 40",
        "not purses['enough'].empty and purses['enough'].spent.requests >= 4",
        "[0.3] == [level.risk for level in certificate.levels]",
        "0 < level.questions < len(parts['sampled']) and level.saving > 0",
        "sum(bills['certified']) < sum(bills['vote of 4'])",
        "hits['certified'] >= hits['vote of 4'] - 2",
        "purse.spent.risk == 0.3",
    ),
}
"""What is true of a notebook's variables at its end, beside that no cell raises."""
RUN = [
    pytest.param(path, id=path.stem, marks=[pytest.mark.slow] if path.stem in SLOW else [])
    for path in NOTEBOOKS
]


@pytest.fixture
def kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A kernel of this interpreter: the one that is installed by name may be another's."""
    folder = tmp_path / "kernels" / "this-interpreter"
    folder.mkdir(parents=True)
    command = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    spec = {"argv": command, "display_name": "this interpreter", "language": "python"}
    (folder / "kernel.json").write_text(json.dumps(spec))
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path))
    assert folder.name in KernelSpecManager().find_kernel_specs()
    return folder.name


@pytest.mark.model
@pytest.mark.timeout(900)
@pytest.mark.parametrize("path", RUN)
def test_runs(path: Path, kernel: str) -> None:
    """No cell raises, and what the notebook shows holds."""
    notebook = nbformat.read(path, as_version=4)  # type: ignore[no-untyped-call]  # has no types
    for claim in HOLDS.get(path.stem, ()):
        cell = new_code_cell(f"assert {claim}")  # type: ignore[no-untyped-call]  # has no types
        notebook.cells.append(cell)
    NotebookClient(notebook, timeout=600, kernel_name=kernel).execute()


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_names_no_machine(path: Path) -> None:
    """What is stored holds no path and no port of the machine that it ran on."""
    text = path.read_text(encoding="utf-8")
    machine = (
        str(Path.home()),
        str(Path.cwd()),
        tempfile.gettempdir(),
        "site-packages",
        "127.0.0.1",
    )
    assert [] == [word for word in machine if word in text]
