"""Imports point one way, and a test holds the arrows."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import grimp

ROOT = Path(__file__).parents[2]


def test_imports_point_one_way() -> None:
    """Every import contract is kept; a broken one is printed with the import that broke it.

    In a process of its own, because import-linter switches off the loggers of its process.
    """
    code = "from importlinter.cli import lint_imports_command; lint_imports_command()"
    command = [sys.executable, "-c", code, "--no-cache"]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr


def test_core_names_no_llama_index() -> None:
    """import-linter cannot forbid a namespace that our own package is a part of, so this does."""
    graph = grimp.build_graph("stopping_core", include_external_packages=True, cache_dir=None)
    importers = (
        graph.find_modules_that_directly_import("llama_index")
        if "llama_index" in graph.modules
        else set()
    )
    assert {name for name in importers if not name.startswith("stopping_core.cli.")} == set()
