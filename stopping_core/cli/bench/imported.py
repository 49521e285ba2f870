"""What the user names by ``module:attribute``."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any


def imported(path: str, argument: str) -> Any:
    """Import ``module:attribute``, from the working directory too, as ``python -m`` does.

    Args:
        path: What was given.
        argument: What it was given for; errors begin with it.

    Raises:
        ValueError: It names a file, or leads to nothing.
    """
    module, _, attribute = path.partition(":")
    if module.endswith(".py"):
        dotted = module.removesuffix(".py").replace("/", ".")
        raise ValueError(
            f"{argument} must be {dotted}:{attribute}, a module and not a file; got {path}"
        )
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        found = importlib.import_module(module)
        for part in attribute.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError, ValueError) as error:
        raise ValueError(f"{argument} must be an importable {path!r}: {error}") from error
    return found
