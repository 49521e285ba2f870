"""The four wheels hold what a user needs, and nothing that would shadow another package."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from email import message_from_bytes
from email.message import Message
from pathlib import Path
from zipfile import ZipFile

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = {
    "stopping_core": (".", "stopping_core"),
    "langchain_stopping": ("integrations/langchain", "langchain_stopping"),
    "llama_index_llms_stopping": ("integrations/llama_index", "llama_index/llms/stopping"),
    "transformers_stopping": ("integrations/transformers", "transformers_stopping"),
}


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, ZipFile]:
    """The wheels, built from this tree with the build tools that are installed."""
    target = tmp_path_factory.mktemp("wheels")
    pip = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation"]
    folders = [str(ROOT / folder) for folder, _ in PACKAGES.values()]
    subprocess.run([*pip, "--wheel-dir", str(target), *folders], check=True)
    return {name: ZipFile(next(target.glob(f"{name}-*.whl"))) for name in PACKAGES}


def metadata(wheel: ZipFile) -> Message:
    """Read the wheel's METADATA."""
    (name,) = [name for name in wheel.namelist() if name.endswith(".dist-info/METADATA")]
    return message_from_bytes(wheel.read(name))


@pytest.mark.parametrize("name", PACKAGES)
def test_wheel_holds_types_and_licence(wheels: Mapping[str, ZipFile], name: str) -> None:
    """Each wheel carries its marker of type information and the full text of its licence."""
    files = wheels[name].namelist()
    package = PACKAGES[name][1]
    assert f"{package}/py.typed" in files
    assert f"{package}/__init__.py" in files
    (licence,) = [file for file in files if file.endswith(".dist-info/licenses/LICENSE")]
    assert wheels[name].read(licence) == (ROOT / "LICENSE").read_bytes()
    assert metadata(wheels[name])["License-Expression"] == "Apache-2.0"


@pytest.mark.parametrize("name", PACKAGES)
def test_wheel_holds_nothing_outside_its_package(wheels: Mapping[str, ZipFile], name: str) -> None:
    """No file outside the package: above all no __init__.py in a namespace that others share."""
    package = PACKAGES[name][1]
    strays = [
        file
        for file in wheels[name].namelist()
        if not file.startswith(f"{package}/") and ".dist-info/" not in file
    ]
    assert strays == []


def test_core_wheel_holds_the_demo_questions(wheels: Mapping[str, ZipFile]) -> None:
    """The demo reads its questions from the package."""
    assert "stopping_core/cli/demo/questions.jsonl" in wheels["stopping_core"].namelist()


def test_core_needs_only_tenacity(wheels: Mapping[str, ZipFile]) -> None:
    """Everything else is an extra, so that a service pays for what it uses."""
    needed = metadata(wheels["stopping_core"]).get_all("Requires-Dist", [])
    assert ["tenacity>=9"] == [line for line in needed if "extra ==" not in line]
