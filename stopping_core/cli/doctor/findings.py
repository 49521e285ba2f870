"""What one examination found, and what it settles of the provider table's row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

YES, NO, UNCLEAR, UNMEASURED = "yes", "no", "unclear", "not measured"

REPETITIONS = 3
"""How often is measured what varies; medians are told."""

STORY: Sequence[Mapping[str, str]] = (
    {"role": "user", "content": "Write a long story about a village at a river."},
)
"""Asks for more text than any budget here allows."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing found.

    Args:
        name: What was examined.
        verdict: ``yes``, ``no``, ``unclear`` or ``not measured``, or a word of its own.
        evidence: What was seen, in words and figures.
        row: Entries of :class:`~stopping_core.providers.Provider` that are settled by it.
        figures: Its figures by name, the unit in the name.
    """

    name: str
    verdict: str
    evidence: str
    row: Mapping[str, Any] = field(default_factory=dict)
    figures: Mapping[str, float] = field(default_factory=dict)


def verdict(seen: bool) -> str:
    """Say yes or no."""
    return YES if seen else NO


def milliseconds(seconds: float) -> str:
    """Write a time with as many digits as it deserves.

    Examples:
        >>> milliseconds(0.00031), milliseconds(0.0187), milliseconds(2.5)
        ('0.31 ms', '19 ms', '2500 ms')
    """
    value = seconds * 1000
    return f"{value:.2f} ms" if value < 1 else f"{value:.0f} ms"
