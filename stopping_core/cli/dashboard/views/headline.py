"""The figures at the top, each with what it means."""

from __future__ import annotations

import streamlit as st

from stopping_core.cli.dashboard import figures
from stopping_core.cli.dashboard.reading import CONFIDENCE, Shown


def headline(here: Shown) -> None:
    """Show requests, tokens saved, loss, satisfaction, latency and retries."""
    found, loss = here.numbers, here.losses
    one, two, three, four, five, six = st.columns(6)
    one.metric("Requests", f"{found.requests:,}")
    two.metric(
        "Tokens saved",
        _percent(found.saved),
        help=f"At most: {found.avoided:,} were avoided by cuts, by an estimate that is an upper "
        f"bound, and {found.billed:,} billed.",
    )
    three.metric(
        "Loss of a request",
        _percent(loss.mean if loss.audited else None, 2),
        help="Estimated from audited stops, without bias. A request that was not stopped loses 0, "
        "and an audit that failed counts as lost.",
    )
    four.metric(
        "Satisfaction",
        _percent(found.satisfaction),
        help=f"Mean of {found.judged:,} pieces of feedback: {', '.join(figures.SATISFACTION)}.",
    )
    five.metric("Seconds, median", _seconds(found.median))
    six.metric("Retried", _percent(found.retried / found.requests))
    said = f"Seconds: 90% of requests within {_seconds(found.p90)}, 99% within "
    said += f"{_seconds(found.p99)}. Not complete: {found.incomplete:,}."
    st.caption(said)
    st.caption(_told(here))
    if here.risk and here.risk[-1].lower > here.risk[-1].upper:
        st.warning("The loss has changed within this time: its bounds contradict each other.")


def _told(here: Shown) -> str:
    loss, said = here.losses, "No stop was audited here."
    if loss.audited:
        last = here.risk[-1]
        said = (
            f"Loss: between {last.lower:.2%} and {last.upper:.2%}, with a confidence of "
            f"{CONFIDENCE:.0%} at all days together, from {last.audited:,} audited stops among "
            f"{last.requests:,} requests that could be audited."
        )
    if loss.failed:
        said += f" {loss.failed:,} of these audits failed and count as lost."
    if loss.ungraded:
        said += f" {loss.ungraded:,} audited stops were not graded and are left out."
    levels = sorted({one.risk for one in here.outcomes if one.risk is not None})
    if levels and loss.audited:
        said += f" Certified levels in use: {', '.join(f'{level:.2%}' for level in levels[:10])}."
    return said


def _percent(value: float | None, digits: int = 1) -> str:
    return "–" if value is None else f"{value:.{digits}%}"


def _seconds(value: float | None) -> str:
    return "–" if value is None else f"{value:,.2f}"
