"""The four wheels hold what a user needs, and nothing that would shadow another package."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
from collections.abc import Mapping
from email import message_from_bytes
from email.message import Message
from importlib.metadata import version
from pathlib import Path
from zipfile import ZipFile

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[2]
PACKAGES = {
    "stopping_core": (".", "stopping_core"),
    "langchain_stopping": ("integrations/langchain", "langchain_stopping"),
    "llama_index_llms_stopping": ("integrations/llama_index", "llama_index/llms/stopping"),
    "transformers_stopping": ("integrations/transformers", "transformers_stopping"),
}

NOT_NEEDED = {"langchain", "langgraph", "__editable__", "_editable_impl_langchain_stopping"}
WITHOUT_LANGCHAIN = """
import sys

sys.path.insert(0, sys.argv[1])
from langchain_core.language_models import FakeListChatModel

import langchain_stopping
from stopping_core import AdaptiveStopping, MissingPackage

assert langchain_stopping.__file__.startswith(sys.argv[1])
stopping = AdaptiveStopping()
inner = FakeListChatModel(responses=["Paris."])
langchain_stopping.AdaptiveChatModel(inner=inner, stopping=stopping).invoke("?")
with langchain_stopping.adaptive_stopping(stopping):
    inner.with_config(callbacks=[langchain_stopping.AdaptiveStopHandler(stopping)]).invoke("?")
try:
    langchain_stopping.AdaptiveStopMiddleware
except MissingPackage as error:
    print(error)
"""
WITHOUT_MIDDLEWARE = (
    "langchain is needed here and is not installed: pip install 'langchain-stopping[agents]'"
)


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


@pytest.mark.parametrize("data", ["cli/demo/questions.jsonl", "providers.toml"])
def test_core_wheel_holds_its_data(wheels: Mapping[str, ZipFile], data: str) -> None:
    """The demo reads its questions from the package, and every client its row of providers."""
    held = wheels["stopping_core"].read(f"stopping_core/{data}")
    assert (ROOT / "stopping_core" / data).read_bytes() == held


@pytest.mark.parametrize("name", PACKAGES)
def test_what_a_wheel_asks_for_is_what_the_tests_run_with(
    wheels: Mapping[str, ZipFile], name: str
) -> None:
    """Of each requirement, extras included, a version that satisfies it is installed here."""
    asked = [Requirement(line) for line in metadata(wheels[name]).get_all("Requires-Dist", [])]
    found = {one.name: version(one.name) for one in asked}
    assert asked
    assert [] == [str(one) for one in asked if found[one.name] not in one.specifier]


def test_langchain_stopping_works_without_langchain(
    wheels: Mapping[str, ZipFile], tmp_path: Path
) -> None:
    """Installed from its wheel, beside langchain-core alone, it lacks the middleware only."""
    installed = Path(sysconfig.get_path("purelib"))
    for path in installed.iterdir():
        if path.name.partition("-")[0].partition(".")[0] not in NOT_NEEDED:
            (tmp_path / path.name).symlink_to(path)
    for name in ("stopping_core", "langchain_stopping"):
        wheels[name].extractall(tmp_path)
    # -S leaves site-packages out, -I the working directory and the environment.
    command = [sys.executable, "-I", "-S", "-c", WITHOUT_LANGCHAIN, str(tmp_path)]
    said = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ["", WITHOUT_MIDDLEWARE] == [said.stderr, said.stdout.strip()]


def test_core_needs_only_tenacity(wheels: Mapping[str, ZipFile]) -> None:
    """Everything else is an extra, so that a service pays for what it uses."""
    needed = metadata(wheels["stopping_core"]).get_all("Requires-Dist", [])
    assert ["tenacity>=9"] == [line for line in needed if "extra ==" not in line]
