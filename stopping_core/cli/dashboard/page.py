"""The page itself: a script that Streamlit runs anew at every click."""

from __future__ import annotations

import hmac
import os
from typing import Final

import sqlalchemy as sa
import streamlit as st

from stopping_core.cli.dashboard import figures
from stopping_core.cli.dashboard.reading import SECONDS, read, shown
from stopping_core.cli.dashboard.run import DAYS, STORE, TOKEN
from stopping_core.cli.dashboard.views.charts import charts
from stopping_core.cli.dashboard.views.drift import drift
from stopping_core.cli.dashboard.views.headline import headline
from stopping_core.cli.dashboard.views.plain import NOT_KNOWN, choice
from stopping_core.cli.dashboard.views.requests import requests
from stopping_core.cli.dashboard.views.segments import segments

MOST: Final = 100_000
"""Requests that are read, the latest."""


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
    if st.sidebar.button("Read anew", help=f"It is read anew by itself after {SECONDS} s."):
        read.clear()
        st.rerun()
    st.caption(f"The last {days} days, read at {found.at:%Y-%m-%d %H:%M:%S} UTC. Days are in UTC.")
    if found.more:
        st.warning(f"There are more: only the latest {MOST:,} requests are read.")
    segment = tuple(
        choice(st.sidebar, name.capitalize(), map(key, found.outcomes), NOT_KNOWN)
        for name, key in figures.SEGMENTS.items()
    )
    here = shown(found, found.at, segment)
    if here.outcomes:
        headline(here)
        charts(here)
        drift(here)
        segments(here)
    else:
        st.info("There are no requests here.")
    requests(here, url)


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


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


if __name__ == "__main__":
    show()
