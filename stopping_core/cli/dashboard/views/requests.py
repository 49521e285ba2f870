"""Single requests: a table to choose from, and all that is known of one."""

from __future__ import annotations

from dataclasses import fields
from typing import Any, get_args

import sqlalchemy as sa
import streamlit as st

from stopping_core.cli.dashboard import figures
from stopping_core.cli.dashboard.reading import Shown
from stopping_core.cli.dashboard.views.plain import NOT_STOPPED, ROWS, choice, table
from stopping_core.feedback import Arm, Feedback, Outcome, OutcomeStore


def requests(here: Shown, url: str) -> None:
    """Show the latest requests that pass the filters, and the one whose whole id is given."""
    st.subheader("Requests")
    left, middle, right = st.columns([2, 1, 1])
    wanted = left.text_input("Request id, or a part of it").strip()
    arm = choice(middle, "Arm", get_args(Arm), "")
    reason = choice(right, "Reason", (one.reason for one in here.outcomes), NOT_STOPPED)
    found = figures.chosen(here.outcomes, arm=arm, reason=reason, id_part=wanted)
    if found:
        table([_row(one) for one in found[: -ROWS - 1 : -1]], len(found))
    else:
        st.caption("None of the requests here is like this.")
    if wanted:
        _details(wanted, url)


def _row(one: Outcome) -> dict[str, Any]:
    return {
        "request id": one.request_id,
        "time, UTC": f"{one.time:%Y-%m-%d %H:%M:%S}",
        "tenant": one.tenant,
        "use case": one.use_case,
        "arm": one.arm,
        "reason": one.reason,
        "tokens": one.generated,
        "tokens saved": one.avoided,
        "seconds": one.seconds,
        "attempts": one.attempts,
        "audit": _audit(one),
        "loss": one.loss,
        "complete": one.complete,
        "model": one.model,
    }


def _audit(one: Outcome) -> str:
    """What came of its audit."""
    if one.loss is not None:
        return "graded"
    if one.audit_failed:
        return "failed"
    return "not graded" if one.arm == "audit" else ""


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
        table([_note(one) for one in feedback])
    st.caption("All else that is known of it")
    names = [field.name for field in fields(one) if field.name not in {"prompt", "text"}]
    known = [(name, value) for name in names if (value := getattr(one, name)) not in ("", None)]
    table([{"field": name, "value": str(value)} for name, value in known])


def _note(one: Feedback) -> dict[str, Any]:
    return {
        "kind": one.kind,
        "value": one.value,
        "time, UTC": f"{one.time:%Y-%m-%d %H:%M:%S}",
        "note": one.note,
    }
