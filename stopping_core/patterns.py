"""Regular expressions that a caller gives."""

from __future__ import annotations

import re
from typing import Any


def compile_pattern(pattern: Any) -> re.Pattern[str]:
    """Return the argument ``pattern`` as a compiled regular expression for text.

    Args:
        pattern: A regular expression, or its source.

    Raises:
        ValueError: If it is neither, does not compile, or is one for bytes.
    """
    try:
        compiled = re.compile(pattern)
    except (re.error, TypeError, RecursionError, OverflowError) as error:
        raise ValueError(
            f"pattern must be a regular expression, got {pattern!r}: {error}"
        ) from error
    if not isinstance(compiled.pattern, str):
        raise ValueError(f"pattern must be a regular expression for text, got {pattern!r}")
    return compiled
