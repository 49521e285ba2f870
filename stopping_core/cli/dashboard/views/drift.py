"""Whether the requests are still as they were."""

from __future__ import annotations

from typing import Any

import streamlit as st

from stopping_core.cli.dashboard.drifts import DELTA, MOST_FEATURES, Drift, Looked
from stopping_core.cli.dashboard.reading import Shown
from stopping_core.cli.dashboard.views.plain import table


def drift(here: Shown) -> None:
    """Show where a feature drifted, and which ones did not."""
    st.subheader("Drift")
    looked = here.drift
    if looked is None:
        st.caption("It is not looked for: river is missing, pip install 'stopping-core[monitor]'.")
        return
    st.caption(_told(looked, len(here.outcomes)))
    if looked.found:
        table([_row(one) for one in reversed(looked.found)], narrow="feature")
    drifted = {one.feature for one in looked.found}
    same = {name: told for name, told in looked.features.items() if name not in drifted}
    if same:
        st.caption("No drift in these:" if drifted else "These are:")
        rows = [
            {"feature": name, "requests": count, "mean": mean}
            for name, (count, mean) in same.items()
        ]
        table(rows, narrow="feature")


def _told(looked: Looked, requests: int) -> str:
    found, count = len(looked.found), len(looked.features)
    said = {0: "No drift was found", 1: "One change was found"}.get(
        found, f"{found:,} changes were found"
    )
    said += (
        f" in all {requests:,} requests here. Looked at in the order of time were the generated "
        f"tokens and the stored features, {count} in all (ADWIN on the logarithm, delta {DELTA:g} "
        f"for all together). Drift is a reason to look, and no proof of loss."
    )
    if looked.left_out:
        said += f" At most {MOST_FEATURES} are looked at: {looked.left_out:,} rarer were left out."
    return said


def _row(one: Drift) -> dict[str, Any]:
    return {
        "feature": one.feature,
        "found, UTC": f"{one.seen:%Y-%m-%d %H:%M}",
        "mean before": one.before,
        "mean after": one.after,
        "change": one.after / one.before - 1 if one.before else None,
        "requests before": one.requests_before,
        "requests after": one.requests_after,
    }
