"""Levels that are closed to a segment, or to all, and the way back of each."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from scipy import stats

from stopping_core.monitoring import Outcome
from stopping_core.steering.watch import Watch

RISKS = (0.01, 0.05)
HARD, EASY = {"tenant": "hard"}, {"tenant": "easy"}


def watch(**changes: Any) -> Watch:
    given: dict[str, Any] = {"delta": 0.1, "least_share": 1.0}
    return Watch(RISKS, **{**given, **changes})


def outcome(level: float, lost: bool) -> Outcome:
    return Outcome(level=level, would_stop=True, audited=True, loss=float(lost))


def see(one: Watch, level: float, lost: bool, segment: Mapping[str, str], cut: bool) -> list[str]:
    known = outcome(level, lost)
    return one.observe(known, cut=cut, segment=segment, features={}, time=0.0)


def serve(one: Watch, count: int, lost: Mapping[str, float], seed: int = 0) -> list[str]:
    """Requests of all tenants in turn, each at what is open to it, or uncut at what is closed."""
    rng, told = np.random.default_rng(seed), []
    for turn in range(count):
        tenant = list(lost)[turn % len(lost)]
        segment = {"tenant": tenant}
        closed, level = one.closed(segment), one.open_risk(segment)
        cut = level > 0 and (closed is None or rng.random() < 0.5)
        at = level if cut or closed is None else closed
        told += see(one, at, bool(rng.random() < lost[tenant]), segment, cut)
    return told


def test_a_hard_segment_closes_a_level_to_itself_alone() -> None:
    """The others keep theirs, and those that have not been seen get it too."""
    one = watch()
    told = serve(one, 1500, {"hard": 0.2, "easy": 0.0, "calm": 0.0, "mild": 0.0, "soft": 0.0})
    assert one.open_risk(HARD) < 0.05
    assert [0.05, 0.05, 0.05] == [one.open_risk(who) for who in (EASY, {"tenant": "new"}, {})]
    assert one.closed(EASY) is None
    assert {"tenant=hard": one.open_risk(HARD)} == one.restricted
    assert told[0] == "risk above 0.05 in tenant=hard: open were levels up to 0.05, now up to 0.01"


def test_it_is_opened_to_it_again_by_its_own_requests() -> None:
    """Uncut ones of the others say nothing of it."""
    one = watch()
    serve(one, 600, {"hard": 0.3, "easy": 0.0, "calm": 0.0, "mild": 0.0})
    closed = one.closed(HARD)
    assert closed is not None
    for _ in range(2000):
        see(one, closed, False, EASY, cut=False)
    assert closed == one.closed(HARD)
    told = serve(one, 4000, {"hard": 0.0})
    assert (0.05, {}) == (one.open_risk(HARD), one.restricted)
    assert told[-1].startswith("risk below 0.05 with confidence")
    assert "in tenant=hard: open were levels up to 0.01, now up to 0.05" in told[-1]


def test_evidence_for_a_closed_level_is_no_use_of_it() -> None:
    """What its uncut requests would have lost is not held against those who are served there."""
    one = watch()
    serve(one, 600, {"hard": 0.3, "easy": 0.0, "calm": 0.0, "mild": 0.0})
    for _ in range(300):
        see(one, 0.05, True, HARD, cut=False)
    assert 0.05 == one.open_risk(EASY)


def test_what_all_lose_is_closed_to_all() -> None:
    """Also to segments that have not been heard of."""
    one = watch()
    serve(one, 1500, {str(number): 0.3 for number in range(20)})
    assert one.open_risk() < 0.05
    assert one.open_risk({"tenant": "new"}) == one.open_risk()


def test_a_segment_is_tested_at_the_level_that_all_are_closed_to() -> None:
    """What loses too much there by itself is closed to it, as before the retreat of all."""
    one = watch()
    while one.open_risk() == 0.05:
        serve(one, 20, {str(number): 0.3 for number in range(20)})
    assert 0.01 == one.open_risk()
    easy = {str(number): 0.0 for number in range(49)}
    told = serve(one, 6000, {"hard": 0.3, **easy}, seed=1)
    assert one.open_risk(HARD) == 0.0
    assert any("in tenant=hard" in line for line in told)
    assert one.open_risk({"tenant": "3"}) > 0


def test_segments_beyond_the_most_are_watched_together() -> None:
    """And closed together."""
    one = watch(most=1)
    serve(one, 3000, {"first": 0.0, "second": 0.2, "third": 0.2, **dict.fromkeys("abcdefgh", 0.0)})
    assert 0.05 == one.open_risk({"tenant": "first"})
    assert ["all", "other", "tenant=first"] == list(one.to_dict())


def test_a_request_of_several_segments_gets_the_least() -> None:
    """The level that none of them has closed."""
    one = watch()
    for turn in range(800):
        see(one, 0.05, turn % 2 == 0, {**EASY, "use_case": "maths"}, cut=turn < 1)
        see(one, 0.05, turn % 8 == 0 and turn < 400, {**EASY, "use_case": "faq"}, cut=True)
    assert one.open_risk({**EASY, "use_case": "maths"}) <= one.open_risk(EASY)


def test_wrong_alarms_are_as_rare_as_is_promised() -> None:
    """Every segment exactly at the level: closed to anyone in a share of delta of the streams.

    An exact binomial test would see three times as many.
    """
    streams, delta = 60, 0.1
    alarms = 0
    for seed in range(streams):
        one = Watch((0.05,), delta=delta, least_share=1.0)
        alarms += bool(serve(one, 500, {"a": 0.05, "b": 0.05}, seed))
    assert stats.binomtest(alarms, streams, delta, alternative="greater").pvalue > 0.01


def test_settings_are_checked() -> None:
    """The error names what is wrong."""
    with pytest.raises(ValueError, match="most must be >= 0, got -1"):
        watch(most=-1)
    with pytest.raises(ValueError, match=r"least_share must be in \(0, 1\], got 0"):
        watch(least_share=0)


def test_it_goes_through_json() -> None:
    """With what is closed to whom; not under other settings."""
    one = watch()
    serve(one, 600, {"hard": 0.3, "easy": 0.0, "calm": 0.0, "mild": 0.0})
    kept = json.loads(json.dumps(one.to_dict()))
    twin = watch().resumed(kept, "watch")
    assert (kept, one.restricted) == (twin.to_dict(), twin.restricted)
    told = [serve(each, 2500, {"hard": 0.0}, seed=1) for each in (one, twin)]
    assert told[0] == told[1]
    assert told[0]
    with pytest.raises(ValueError, match=r"watch\.all must be of the same settings"):
        watch(delta=0.2).resumed(kept, "watch")
    with pytest.raises(ValueError, match=r"watch\.tenant=easy must be of the same settings"):
        watch(most=1).resumed(kept, "watch")
    with pytest.raises(ValueError, match=r"watch must be an object that begins with \['all'"):
        watch().resumed({"tenant=a": []}, "watch")
