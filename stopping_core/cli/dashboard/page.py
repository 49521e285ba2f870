"""The page itself: a script that Streamlit runs anew at every click.

What users and models wrote is shown as plain text and nothing else: in tables, in lists to choose
from and in ``st.code``, which read no Markdown and no HTML. None of it is in a chart, a heading or
a message.
"""

from __future__ import annotations

import hmac
import os
from collections.abc import Iterable
from dataclasses import dataclass, fields
from datetime import UTC, datetime, timedelta
from typing import Any, Final, get_args

import plotly.graph_objects as go
import sqlalchemy as sa
import streamlit as st

from stopping_core.cli.dashboard import figures
from stopping_core.cli.dashboard.run import DAYS, STORE, TOKEN
from stopping_core.feedback import Arm, Feedback, Outcome, OutcomeStore

MOST: Final = 100_000
"""Requests that are read, the latest."""

_ROWS: Final = 500
"""Rows that a table shows."""

_SECONDS: Final = 300
"""How long what was read stands."""

_CONFIDENCE: Final = 0.95
_BLUE, _GREEN, _BAND = "#2563eb", "#16a34a", "rgba(37, 99, 235, 0.15)"
_FORMATS: Final[dict[str, Any]] = {
    **dict.fromkeys(("saved", "loss", "satisfaction", "retried"), "percent"),
    **dict.fromkeys(("seconds", "seconds, median", "seconds, 90%"), "%.2f"),
}
_NEVER, _ANY, _UNKNOWN = "not stopped", "all", "not known"


@dataclass(frozen=True, slots=True)
class Read:
    """What was read of the store: the outcomes and the feedback, and whether there are more."""

    at: datetime
    outcomes: list[Outcome]
    feedback: list[Feedback]
    more: bool


@dataclass(frozen=True, slots=True)
class Shown:
    """What is shown of it: one choice of tenant, use case and model."""

    outcomes: list[Outcome]
    feedback: list[Feedback]
    numbers: figures.Numbers
    risk: list[figures.Risk]
    tokens: list[figures.Tokens]
    satisfaction: list[tuple[Any, float, int]]


@st.cache_resource(ttl=_SECONDS, max_entries=1, show_spinner="Reading the store")
def read(url: str, days: int, most: int) -> Read:
    """Read the latest outcomes without their texts, and what was said since the first of them."""
    now = datetime.now(UTC)
    with OutcomeStore(url) as store:
        found = store.outcomes(since=now - timedelta(days=days), limit=most + 1, texts=False)
        outcomes = found[-most:]
        feedback = store.feedback(since=outcomes[0].time, limit=most) if outcomes else []
    return Read(now, outcomes, feedback, len(found) > most)


@st.cache_resource(ttl=_SECONDS, max_entries=8, show_spinner="Working out the figures")
def shown(_found: Read, read_at: datetime, segment: tuple[str | None, ...]) -> Shown:
    """Work out the figures of what was read at that moment, of one choice of segments."""
    tenant, use_case, model = segment
    outcomes = figures.chosen(_found.outcomes, tenant=tenant, use_case=use_case, model=model)
    ids = {one.request_id for one in outcomes}
    feedback = [one for one in _found.feedback if one.request_id in ids]
    return Shown(
        outcomes,
        feedback,
        figures.numbers(outcomes, feedback),
        figures.risk(outcomes, 1 - _CONFIDENCE),
        figures.tokens(outcomes),
        figures.satisfaction(feedback),
    )


def show() -> None:
    """Show the page, or ask for the token."""
    st.set_page_config("Stopping", layout="wide")
    st.title("Stopping")
    if not _admitted():
        return
    url, days = os.environ.get(STORE, "sqlite:///stopping.db"), int(os.environ.get(DAYS, "30"))
    try:
        found = read(url, days, MOST)
    except sa.exc.SQLAlchemyError as error:
        st.error(f"The store cannot be read: {type(error).__name__}.")
        return
    if st.sidebar.button("Read anew", help=f"It is read anew by itself after {_SECONDS} s."):
        read.clear()
        st.rerun()
    st.caption(f"The last {days} days, read at {found.at:%Y-%m-%d %H:%M:%S} UTC. Days are in UTC.")
    if found.more:
        st.warning(f"There are more: only the latest {MOST:,} requests are read.")
    segment = tuple(
        _choice(st.sidebar, name.capitalize(), map(key, found.outcomes), _UNKNOWN)
        for name, key in figures.SEGMENTS.items()
    )
    here = shown(found, found.at, segment)
    if here.outcomes:
        _headline(here)
        _charts(here)
        _segments(here)
    else:
        st.info("There are no requests here.")
    _requests(here, url)


def _admitted() -> bool:
    """Ask for the token; how long it takes does not tell how much of it was right."""
    token = os.environ.get(TOKEN)
    if token is None or st.session_state.get("admitted"):
        return True
    given = st.text_input("Token", type="password")
    if not given:
        return False
    if hmac.compare_digest(_bytes(given), _bytes(token)):
        st.session_state["admitted"] = True
        st.rerun()
    st.error("This is not the token.")
    return False


def _headline(here: Shown) -> None:
    found, last = here.numbers, here.risk[-1] if here.risk else None
    audited = last is not None and last.audited > 0
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
        _percent(last.mean, 2) if last is not None and audited else "–",
        help="Estimated from audited stops, without bias. A request that was not stopped loses 0.",
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
    st.caption(_told(here, last) if last is not None and audited else "No stop was audited here.")
    if last is not None and last.lower > last.upper:
        st.warning("The loss has changed within this time: its bounds contradict each other.")


def _told(here: Shown, last: figures.Risk) -> str:
    levels = sorted({one.risk for one in here.outcomes if one.risk is not None})
    said = (
        f"Loss: between {last.lower:.2%} and {last.upper:.2%}, with a confidence of "
        f"{_CONFIDENCE:.0%} at all days together, from {last.audited:,} audited stops among "
        f"{last.requests:,} requests that could be audited."
    )
    missing = figures.ungraded(here.outcomes)
    if missing:
        said += f" {missing:,} audited stops were not graded and are left out."
    if levels:
        said += f" Certified levels in use: {', '.join(f'{level:.2%}' for level in levels[:10])}."
    return said


def _charts(here: Shown) -> None:
    left, right = st.columns(2)
    days = [one.day for one in here.tokens]
    with left:
        st.subheader("Output tokens by day")
        billed = go.Bar(x=days, y=[one.generated for one in here.tokens], name="generated")
        saved = go.Bar(x=days, y=[one.avoided for one in here.tokens], name="saved, at most")
        billed.marker.color, saved.marker.color = _BLUE, _GREEN
        _draw([billed, saved], "tokens", barmode="stack")
    with right:
        st.subheader("Generated tokens of a request")
        low, middle, high = (
            [getattr(one, name) for one in here.tokens] for name in ("low", "median", "high")
        )
        _draw(_band(days, low, middle, high, ("10% to 90%", "median")), "tokens")
    left, right = st.columns(2)
    with left:
        st.subheader("Loss of a request, so far")
        if here.risk and here.risk[-1].audited:
            low, middle, high = (
                [getattr(one, name) for one in here.risk] for name in ("lower", "mean", "upper")
            )
            days = [one.day for one in here.risk]
            lines = _band(days, low, middle, high, ("confidence sequence", "estimate"))
            # The first days say little, and their bounds would flatten all that follows.
            top = max(1.5 * high[len(high) // 2], *middle[len(middle) // 2 :])
            _draw(lines, "", tickformat=".1%", top=top)
        else:
            st.caption("No stop was audited here.")
    with right:
        st.subheader("Satisfaction by day")
        if here.satisfaction:
            said_on, means = ([one[place] for one in here.satisfaction] for place in (0, 1))
            line = go.Scatter(x=said_on, y=means, mode="lines+markers", line={"color": _BLUE})
            _draw([line], "", tickformat=".0%", top=1.05)
        else:
            st.caption("There is no feedback here.")


def _band(
    days: list[Any], low: list[float], middle: list[float], high: list[float], names: Any
) -> list[Any]:
    """Return three lines, with the outer two as a band."""
    hidden = go.Scatter(x=days, y=low, line={"width": 0}, showlegend=False, hoverinfo="skip")
    filled = go.Scatter(x=days, y=high, line={"width": 0}, fill="tonexty", fillcolor=_BAND)
    line = go.Scatter(x=days, y=middle, mode="lines+markers", line={"color": _BLUE})
    filled.mode, filled.name, line.name = "lines", names[0], names[1]
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


def _segments(here: Shown) -> None:
    st.subheader("Segments")
    names = list(figures.SEGMENTS)
    for tab, name in zip(st.tabs([*names, "reason"]), [*names, None], strict=True):
        with tab:
            if name is None:
                counted = figures.reasons(here.outcomes)
                rows = [{"reason": why or _NEVER, "requests": count} for why, count in counted]
            else:
                rows = _segment_rows(here, name)
            _table(rows, narrow=name or "reason")


def _segment_rows(here: Shown, name: str) -> list[dict[str, Any]]:
    found = figures.by_segment(here.outcomes, here.feedback, figures.SEGMENTS[name])
    return [
        {
            name: value or _UNKNOWN,
            "requests": one.requests,
            "saved": one.saved,
            "loss": loss if audits else None,
            "audits": audits,
            "satisfaction": one.satisfaction,
            "judged": one.judged,
            "seconds, median": one.median,
            "seconds, 90%": one.p90,
            "retried": one.retried / one.requests,
            "not complete": one.incomplete,
        }
        for value, (one, loss, audits) in found.items()
    ]


def _requests(here: Shown, url: str) -> None:
    st.subheader("Requests")
    left, middle, right = st.columns([2, 1, 1])
    wanted = left.text_input("Request id, or a part of it").strip()
    arm = _choice(middle, "Arm", get_args(Arm), "")
    reason = _choice(right, "Reason", (one.reason for one in here.outcomes), _NEVER)
    found = figures.chosen(here.outcomes, arm=arm, reason=reason, id_part=wanted)
    _table([_row(one) for one in found[: -_ROWS - 1 : -1]], len(found))
    if wanted:
        _details(wanted, url)


def _row(one: Outcome) -> dict[str, Any]:
    return {
        "request id": one.request_id,
        "time, UTC": f"{one.time:%Y-%m-%d %H:%M:%S}",
        "tenant": one.tenant,
        "use case": one.use_case,
        "model": one.model,
        "arm": one.arm,
        "reason": one.reason,
        "generated": one.generated,
        "avoided": one.avoided,
        "seconds": one.seconds,
        "attempts": one.attempts,
        "loss": one.loss,
        "complete": one.complete,
    }


def _details(request_id: str, url: str) -> None:
    """Show one request: it may be older than what the tables show."""
    try:
        with OutcomeStore(url) as store:
            one, feedback = store.find(request_id), store.feedback_of(request_id)
    except sa.exc.SQLAlchemyError as error:
        st.error(f"The store cannot be read: {type(error).__name__}.")
        return
    if one is None:
        st.caption("No request has exactly this id: give a whole one to look into it.")
        return
    st.subheader("One request")
    for title, text in (("Prompt", one.prompt), ("Answer", one.text)):
        st.caption(title if text is not None else f"{title}: not kept.")
        if text is not None:
            st.code(text, language=None, wrap_lines=True)
    st.caption("Feedback" if feedback else "No feedback.")
    if feedback:
        _table(
            [
                {
                    "kind": note.kind,
                    "value": note.value,
                    "time, UTC": f"{note.time:%Y-%m-%d %H:%M:%S}",
                    "note": note.note,
                }
                for note in feedback
            ]
        )
    names = [field.name for field in fields(one) if field.name not in {"prompt", "text"}]
    st.caption("All else that is known of it")
    known = [(name, getattr(one, name)) for name in names]
    _table(
        [{"field": name, "value": str(value)} for name, value in known if value not in ("", None)]
    )


def _table(rows: list[dict[str, Any]], count: int | None = None, narrow: str | None = None) -> None:
    """Show rows as plain text and numbers, one column not wider than usual, and of how many."""
    names = {name for row in rows[:1] for name in row}
    formats = {name: kind for name, kind in _FORMATS.items() if name in names}
    columns: dict[str, Any] = {
        name: st.column_config.NumberColumn(format=kind) for name, kind in formats.items()
    }
    if narrow is not None:
        columns[narrow] = st.column_config.TextColumn(width="medium")
    st.dataframe(rows[:_ROWS], hide_index=True, column_config=columns)
    if (count or len(rows)) > _ROWS:
        st.caption(f"{_ROWS} of {count or len(rows):,} are shown.")


def _choice(place: Any, label: str, values: Iterable[str], empty: str) -> str | None:
    """Let one of the values be chosen; None is all of them."""
    options = [None, *sorted(set(values))]
    found: str | None = place.selectbox(
        label, options, format_func=lambda value: _ANY if value is None else value or empty
    )
    return found


def _percent(value: float | None, digits: int = 1) -> str:
    return "–" if value is None else f"{value:.{digits}%}"


def _seconds(value: float | None) -> str:
    return "–" if value is None else f"{value:,.2f}"


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


if __name__ == "__main__":
    show()
