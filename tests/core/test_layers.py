"""Imports point one way, and a test holds the arrows."""

from __future__ import annotations

from pathlib import Path

import grimp
from importlinter.cli import EXIT_STATUS_SUCCESS, lint_imports

CONFIG = Path(__file__).parents[2] / "pyproject.toml"


def test_imports_point_one_way() -> None:
    """Every import contract is kept; a broken one is printed with the import that broke it."""
    assert lint_imports(config_filename=str(CONFIG), no_cache=True) == EXIT_STATUS_SUCCESS


def test_core_names_no_llama_index() -> None:
    """import-linter cannot forbid a namespace that our own package is a part of, so this does."""
    graph = grimp.build_graph("stopping_core", include_external_packages=True, cache_dir=None)
    importers = (
        graph.find_modules_that_directly_import("llama_index")
        if "llama_index" in graph.modules
        else set()
    )
    assert {name for name in importers if not name.startswith("stopping_core.cli.")} == set()
