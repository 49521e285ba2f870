"""The figures by tenant, use case and model, and how often each reason stopped a request."""

from __future__ import annotations

from typing import Any

import streamlit as st

from stopping_core.cli.dashboard import figures
from stopping_core.cli.dashboard.reading import Shown
from stopping_core.cli.dashboard.views.plain import NOT_KNOWN, NOT_STOPPED, table


def segments(here: Shown) -> None:
    """Show a table for each kind of segment, and one of the reasons."""
    st.subheader("Segments")
    names = list(figures.SEGMENTS)
    *tabs, last = st.tabs([*names, "reason"])
    for tab, name in zip(tabs, names, strict=True):
        with tab:
            table(_rows(here, name), narrow=name)
    counted = figures.reasons(here.outcomes)
    with last:
        rows = [{"reason": why or NOT_STOPPED, "requests": count} for why, count in counted]
        table(rows, narrow="reason")


def _rows(here: Shown, name: str) -> list[dict[str, Any]]:
    found = figures.by_segment(here.outcomes, here.feedback, figures.SEGMENTS[name])
    return [
        {
            name: value or NOT_KNOWN,
            "requests": one.requests,
            "saved": one.saved,
            "loss": losses.mean if losses.audited else None,
            "audits": losses.audited,
            "failed audits": losses.failed,
            "not graded": losses.ungraded,
            "satisfaction": one.satisfaction,
            "judged": one.judged,
            "seconds, median": one.median,
            "seconds, 90%": one.p90,
            "retried": one.retried / one.requests,
            "not complete": one.incomplete,
        }
        for value, (one, losses) in found.items()
    ]
