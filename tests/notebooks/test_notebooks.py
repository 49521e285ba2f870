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

NOTEBOOKS = sorted((Path(__file__).parents[2] / "notebooks").glob("*.ipynb"))
SLOW = {
    "03_calibrate_and_certify": "records 180 runs: 4 minutes",
    "04_feedback_and_monitoring": "records 130 runs: 5 minutes",
}
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
    """No cell raises."""
    notebook = nbformat.read(path, as_version=4)  # type: ignore[no-untyped-call]  # has no types
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
