"""The charts: by day, what requests took and saved, what stops lose, and what people say."""

from __future__ import annotations

from datetime import date
from typing import Any, Final

import plotly.graph_objects as go
import streamlit as st

from stopping_core.cli.dashboard.reading import Shown

_BLUE: Final = "#2563eb"
_GREEN: Final = "#16a34a"
_BAND: Final = "rgba(37, 99, 235, 0.15)"


def charts(here: Shown) -> None:
    """Show four charts, two beside each other."""
    left, right = st.columns(2)
    with left:
        _tokens(here)
    with right:
        _lengths(here)
    left, right = st.columns(2)
    with left:
        _loss(here)
    with right:
        _satisfaction(here)


def _tokens(here: Shown) -> None:
    st.subheader("Output tokens by day")
    days = [one.day for one in here.tokens]
    billed = go.Bar(x=days, y=[one.generated for one in here.tokens], name="generated")
    saved = go.Bar(x=days, y=[one.avoided for one in here.tokens], name="saved, at most")
    billed.marker.color, saved.marker.color = _BLUE, _GREEN
    _draw([billed, saved], "tokens", barmode="stack")


def _lengths(here: Shown) -> None:
    st.subheader("Generated tokens of a request")
    days = [one.day for one in here.tokens]
    low, middle, high = (
        [getattr(one, name) for one in here.tokens] for name in ("low", "median", "high")
    )
    _draw(_band(days, low, middle, high, ("10% to 90%", "median")), "tokens")


def _loss(here: Shown) -> None:
    st.subheader("Loss of a request, so far")
    if not here.losses.audited:
        st.caption("No stop was audited here.")
        return
    days = [one.day for one in here.risk]
    low, middle, high = (
        [getattr(one, name) for one in here.risk] for name in ("lower", "mean", "upper")
    )
    lines = _band(days, low, middle, high, ("confidence sequence", "estimate"))
    # The first days say little, and their bounds would flatten all that follows.
    top = max(1.5 * high[len(high) // 2], *middle[len(middle) // 2 :])
    _draw(lines, "", tickformat=".1%", top=top)


def _satisfaction(here: Shown) -> None:
    st.subheader("Satisfaction by day")
    if not here.satisfaction:
        st.caption("There is no feedback here.")
        return
    days, means, _ = zip(*here.satisfaction, strict=True)
    line = go.Scatter(x=days, y=means, mode="lines+markers", line={"color": _BLUE})
    _draw([line], "", tickformat=".0%", top=1.05)


def _band(
    days: list[date],
    low: list[float],
    middle: list[float],
    high: list[float],
    names: tuple[str, str],
) -> list[Any]:
    """Return three lines, with the outer two as a band."""
    hidden = go.Scatter(x=days, y=low, line={"width": 0}, showlegend=False, hoverinfo="skip")
    filled = go.Scatter(x=days, y=high, line={"width": 0}, fill="tonexty", fillcolor=_BAND)
    line = go.Scatter(x=days, y=middle, mode="lines+markers", line={"color": _BLUE})
    filled.mode, filled.name, line.name = "lines", *names
    hidden.mode = "lines"
    return [hidden, filled, line]


def _draw(
    traces: list[Any],
    title: str,
    *,
    tickformat: str = "",
    barmode: str = "group",
    top: float | None = None,
) -> None:
    figure = go.Figure(traces)
    figure.update_layout(
        barmode=barmode,
        height=280,
        margin={"l": 0, "r": 0, "t": 10, "b": 0},
        legend={"orientation": "h", "y": -0.15},
        yaxis={
            "title": title,
            "rangemode": "tozero",
            "tickformat": tickformat,
            "range": None if top is None else [0, top],
        },
        xaxis={"type": "date", "tickformat": "%b %d"},
    )
    st.plotly_chart(figure, config={"displaylogo": False, "displayModeBar": False})
