"""The oldest versions that the tests run with are those that the packages ask for."""

from __future__ import annotations

import tomllib
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from packaging.requirements import Requirement
from packaging.version import Version

ROOT = Path(__file__).parents[2]
PROJECTS = (".", "integrations/langchain", "integrations/llama_index", "integrations/transformers")
UNDERNEATH = {"langgraph"}
"""Pinned because it comes with langchain, which leaves open which one; nothing asks for it."""


def asked() -> Iterator[Requirement]:
    """What the four packages ask of others, extras included."""
    projects = [
        tomllib.loads((ROOT / folder / "pyproject.toml").read_text("utf-8"))["project"]
        for folder in PROJECTS
    ]
    ours = {project["name"] for project in projects}
    for project in projects:
        extras = project.get("optional-dependencies", {}).values()
        for line in [*project["dependencies"], *(line for extra in extras for line in extra)]:
            requirement = Requirement(line)
            if requirement.name not in ours:
                yield requirement


def pinned() -> dict[str, Version]:
    """The versions of requirements-oldest.txt."""
    lines = (ROOT / "requirements-oldest.txt").read_text("utf-8").splitlines()
    pins = [line.split("==") for line in lines if not line.startswith("#")]
    return {name: Version(version) for name, version in pins}


def test_the_oldest_versions_are_the_lower_bounds() -> None:
    """Each bound is tested, and nothing older than a bound is: all name the same versions."""
    floors: dict[str, set[Version]] = defaultdict(set)
    for requirement in asked():
        bounds = [s.version for s in requirement.specifier if s.operator == ">="]
        assert 1 == len(bounds), f"{requirement} has no lower bound"
        floors[requirement.name].add(Version(bounds[0]))
    pins = {name: {version} for name, version in pinned().items() if name not in UNDERNEATH}
    assert pins == floors
    assert UNDERNEATH <= pinned().keys()
