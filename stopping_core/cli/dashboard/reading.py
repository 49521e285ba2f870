"""What the page shows, read from the store and worked out once for all who look at it."""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Generator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Final

import streamlit as st

from stopping_core.cli.dashboard import figures
from stopping_core.cli.dashboard.drifts import Looked, drifts
from stopping_core.errors import MissingPackage
from stopping_core.feedback import Feedback, Outcome, OutcomeStore

CONFIDENCE: Final = 0.95
"""Of the bounds of the loss."""

SECONDS: Final = 300
"""How long what was read stands."""


@dataclass(frozen=True, slots=True)
class Read:
    """What was read of the store: the outcomes and the feedback, and whether there are more."""

    at: datetime
    outcomes: list[Outcome]
    feedback: list[Feedback]
    more: bool


@dataclass(frozen=True, slots=True)
class Shown:
    """What is shown of it: one choice of tenant, use case and model.

    Drift is None where river, which finds it, is not installed.
    """

    outcomes: list[Outcome]
    feedback: list[Feedback]
    numbers: figures.Numbers
    losses: figures.Losses
    risk: list[figures.Risk]
    tokens: list[figures.Tokens]
    satisfaction: list[tuple[date, float, int]]
    drift: Looked | None


@st.cache_resource(ttl=SECONDS, max_entries=1, show_spinner="Reading the store")
def read(url: str, days: int, most: int) -> Read:
    """Read the latest outcomes without their texts, and what was said since the first of them."""
    now = datetime.now(UTC)
    with _uncollected(), OutcomeStore(url) as store:
        found = store.outcomes(since=now - timedelta(days=days), limit=most + 1, texts=False)
        outcomes = found[-most:]
        feedback = store.feedback(since=outcomes[0].time, limit=most) if outcomes else []
    return Read(now, outcomes, feedback, len(found) > most)


@st.cache_resource(ttl=SECONDS, max_entries=8, show_spinner="Working out the figures")
def shown(_found: Read, read_at: datetime, segment: tuple[str | None, ...]) -> Shown:
    """Work out the figures of what was read at that moment, of one choice of segments."""
    tenant, use_case, model = segment
    outcomes = figures.chosen(_found.outcomes, tenant=tenant, use_case=use_case, model=model)
    ids = {one.request_id for one in outcomes}
    feedback = [one for one in _found.feedback if one.request_id in ids]
    with _uncollected():
        return Shown(
            outcomes,
            feedback,
            figures.numbers(outcomes, feedback),
            figures.losses(outcomes),
            figures.risk(outcomes, 1 - CONFIDENCE),
            figures.tokens(outcomes),
            figures.satisfaction(feedback),
            _drift(outcomes),
        )


def _drift(outcomes: list[Outcome]) -> Looked | None:
    try:
        return drifts(outcomes)
    except MissingPackage:
        return None


@contextlib.contextmanager
def _uncollected() -> Generator[None]:
    """Keep the garbage collector, which would go through all outcomes again and again, away."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
