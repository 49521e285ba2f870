"""Monitors of segments: shares of delta, and that nothing is lost."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stopping_core.monitoring import Segments
from stopping_core.monitoring.segments import share_of

REQUESTS = st.lists(
    st.tuples(
        st.dictionaries(st.sampled_from(["tenant", "model"]), st.sampled_from("abcde")),
        st.floats(0, 1),
    ),
    max_size=40,
)


@given(requests=REQUESTS, most=st.integers(0, 6))
def test_every_request_counts_where_it_belongs(
    requests: list[tuple[dict[str, str], float]], most: int
) -> None:
    """Once in all, once in each of its segments, and once in other if one has no place."""
    segments = Segments(0.1, most=most)
    counts: dict[str, int] = {"all": 0, "other": 0}
    for segment, loss in requests:
        segments.update(segment, loss)
        counts["all"] += 1
        pooled = False
        for field, value in segment.items():
            name = f"{field}={value}"
            if name in counts or len(counts) - 2 < most:
                counts[name] = counts.get(name, 0) + 1
            else:
                pooled = True
        counts["other"] += pooled
    found = {name: monitor.n for name, monitor in segments.monitors.items()}
    assert (counts, counts["other"]) == (found, segments.pooled)


@given(requests=REQUESTS, most=st.integers(0, 6))
def test_shares_add_up_to_at_most_delta(
    requests: list[tuple[dict[str, str], float]], most: int
) -> None:
    """However many segments come, their error rates together are at most delta."""
    segments = Segments(0.1, 0.05, most=most)
    for segment, loss in requests:
        segments.update(segment, loss)
    assert sum(monitor.delta for monitor in segments.monitors.values()) <= 0.05 * (1 + 1e-12)


def test_shares_never_run_out() -> None:
    """The parts of delta fall with the place, and add up to 1 over all places."""
    total = sum(map(share_of, range(1, 100001)))
    assert 1 - 1e-5 < total < 1


def test_an_alarm_is_told_once() -> None:
    """A segment that raised its alarm is named by the request that did it, and kept in alarms."""
    segments = Segments(0.05)
    told = [name for _ in range(20) for name in segments.update({"tenant": "a"}, 1)]
    assert (["all", "tenant=a"], ("all", "tenant=a")) == (sorted(told), segments.alarms)


def test_one_bad_tenant_is_found_among_many() -> None:
    """A tenant that loses is named, though all requests together keep their level."""
    segments = Segments(0.1)
    for place in range(3000):
        segments.update({"tenant": "bad" if place % 50 == 0 else "good"}, place % 50 == 0)
    assert ("tenant=bad",) == segments.alarms


@given(requests=REQUESTS, more=REQUESTS)
def test_a_restart_changes_nothing(
    requests: list[tuple[dict[str, str], float]], more: list[tuple[dict[str, str], float]]
) -> None:
    """Through JSON it is what it was, order of coming included, and goes on likewise."""
    segments = Segments(0.1, most=3)
    for segment, loss in requests:
        segments.update(segment, loss)
    again = Segments.from_dict(json.loads(json.dumps(segments.to_dict(), sort_keys=True)))
    assert segments.to_dict() == again.to_dict()
    for segment, loss in more:
        assert segments.update(segment, loss) == again.update(segment, loss)
    assert segments.to_dict() == again.to_dict()


def test_reset_begins_anew() -> None:
    """After reset no segment is known."""
    segments = Segments(0.1)
    segments.update({"tenant": "a"}, 1)
    segments.reset()
    assert Segments(0.1).to_dict() == segments.to_dict()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda one: one.update({"a=b": "c"}, 0), "segment must name fields without '='"),
        (lambda one: one.update({"a": "c"}, 2), r"loss must be in \[0, 1\], got 2"),
        (lambda _: Segments(0.1, most=-1), "most must be >= 0, got -1"),
        (lambda _: Segments(1.0), r"alpha must be in \(0, 1\), got 1.0"),
    ],
)
def test_mistakes_are_named_and_nothing_is_taken(call: Any, message: str) -> None:
    """A caller's mistake raises, and leaves everything as it was."""
    segments = Segments(0.1)
    with pytest.raises(ValueError, match=message):
        call(segments)
    assert Segments(0.1).to_dict() == segments.to_dict()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda told: told[1:], r"segments.monitors\[0\]\[0\] must be 'all', got 'other'"),
        (lambda told: told[:1], r"segments.monitors must begin with \['all', 'other'\]"),
        (lambda told: [*told, told[2]], r"monitors\[3\]\[0\] must be one of 50, each once"),
        (lambda told: [*told[:2], ["b", told[0][1]]], r"monitors\[2\]\[1\].delta must be"),
        (lambda told: [*told, "b"], r"monitors\[3\] must be a name and a monitor"),
    ],
)
def test_damaged_state_is_refused(change: Any, message: str) -> None:
    """What cannot have been written is named."""
    segments = Segments(0.1)
    segments.update({"tenant": "a"}, 0)
    data = segments.to_dict()
    with pytest.raises(ValueError, match=message):
        Segments.from_dict(data | {"monitors": change(data["monitors"])})
