"""What users and models wrote, as plain text and nothing else.

Tables and lists to choose from read no Markdown and no HTML, nor does ``st.code``. None of what is
stored is in a chart, a heading or a message.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import streamlit as st

ROWS: Final = 500
"""Rows that a table shows."""

NOT_STOPPED: Final = "not stopped"
NOT_KNOWN: Final = "not known"

_DIGITS: Final = {"saved": 1, "loss": 2, "satisfaction": 1, "retried": 1, "change": 1}
"""Columns that are shares, shown in per cent with so many digits behind the point."""

_FORMATS: Final = {
    **{name: f"%.{digits}f%%" for name, digits in _DIGITS.items()},
    **dict.fromkeys(("seconds", "seconds, median", "seconds, 90%"), "%.2f"),
    **dict.fromkeys(("mean", "mean before", "mean after"), "%.1f"),
}


def table(
    rows: Sequence[Mapping[str, Any]], count: int | None = None, narrow: str | None = None
) -> None:
    """Show rows as plain text and numbers.

    Args:
        rows: The most important first; they have the same columns.
        count: Of how many these are, None for no more.
        narrow: A column that is not wider than usual, however long its texts.
    """
    columns: dict[str, Any] = {
        name: st.column_config.NumberColumn(format=_FORMATS.get(name, "localized"))
        for name, value in (rows[0] if rows else {}).items()
        if name in _FORMATS or (isinstance(value, int) and not isinstance(value, bool))
    }
    if narrow is not None:
        columns[narrow] = st.column_config.TextColumn(width="medium")
    st.dataframe(
        [{name: _value(name, value) for name, value in row.items()} for row in rows[:ROWS]],
        hide_index=True,
        column_config=columns,
        placeholder="–",
    )
    if (count or len(rows)) > ROWS:
        st.caption(f"{ROWS} of {count or len(rows):,} are shown.")


def choice(place: Any, label: str, values: Iterable[str], empty: str) -> str | None:
    """Let one of the values be chosen; None is all of them."""
    options = [None, *sorted(set(values))]
    found: str | None = place.selectbox(
        label, options, format_func=lambda value: "all" if value is None else value or empty
    )
    return found


def _value(name: str, value: Any) -> Any:
    return value if value is None or name not in _DIGITS else 100 * value
