"""The monitor as a whole: what it is told, what it advises, and what it never does."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from stopping_core.monitoring import Advice, Monitor, Observation, Outcome

LEVELS, START = (0.1, 0.2, 0.4, 0.6), 0.4


def kept(level: float | None, shadow: Outcome | None = None, time: float = 0.0) -> Observation:
    """A request that was not cut."""
    return Observation(level=level, would_stop=False, shadow=shadow, time=time)


def lost(level: float, tenant: str = "a", time: float = 0.0) -> Observation:
    """A request whose audit found the answer lost."""
    return Observation(
        level=level, would_stop=True, audited=True, loss=1.0, segment={"tenant": tenant}, time=time
    )


def test_losses_retreat_and_evidence_comes_back() -> None:
    """It goes one level down by losses, says why and when, and comes back by shadow losses."""
    monitor = Monitor(LEVELS, start=START)
    told = [monitor.observe(lost(START, time=float(time))) for time in range(60)]
    first = next(advice for advice in told if advice.why)
    assert Advice(0.2, ("all",), (), "risk above 0.4 in all") == first
    safe = Outcome(level=START, would_stop=True, audited=True, loss=0.0)
    while monitor.level != START:
        monitor.observe(kept(monitor.level, safe, time=60.0))
    down, up = monitor.retreat.history
    assert ((START, 0.2), (0.2, START, 60.0)) == (
        (down.before, down.after),
        (up.before, up.after, up.time),
    )


def test_tests_begin_anew_at_each_level() -> None:
    """After a change the losses at the level that was left count no more."""
    monitor = Monitor(LEVELS, start=START)
    while monitor.level == START:
        monitor.observe(lost(START))
    assert monitor.segments is not None
    before = monitor.passed_over
    monitor.observe(lost(START))
    tested = monitor.segments.monitors["all"].n
    assert (0.2, 0, 1) == (monitor.segments.alpha, tested, monitor.passed_over - before)


def test_requests_that_are_not_audited_count_as_nothing_lost() -> None:
    """Every request counts; a would-be stop without an audit is a 0 among the weighted losses."""
    monitor = Monitor(LEVELS, start=START, least_share=0.25)
    monitor.observe(Observation(level=START, would_stop=True, share=0.25))
    monitor.observe(kept(START))
    monitor.observe(Observation(level=START, would_stop=True, audited=True, loss=0.5, share=0.25))
    assert monitor.segments is not None
    assert 3 == monitor.n == monitor.segments.monitors["all"].n


@pytest.mark.parametrize(
    ("arguments", "weighted"),
    [
        ({"would_stop": False}, (0.0, 1.0)),
        ({"would_stop": False, "audited": True, "loss": 0.0, "share": 0.25}, (0.0, 1.0)),
        ({"would_stop": True, "share": 0.25}, (0.0, 1.0)),
        ({"would_stop": True, "audited": True, "loss": 0.5, "share": 0.25}, (0.5, 4.0)),
    ],
)
def test_known_losses_stand_for_those_that_are_not(
    arguments: dict[str, Any], weighted: tuple[float, float]
) -> None:
    """The loss of an audit counts 1 / share; all that is not known counts as 0."""
    assert weighted == Outcome(level=0.1, **arguments).weighted


@given(
    share=st.floats(0.01, 1), losses=st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1)
)
def test_weighted_losses_are_unbiased(share: float, losses: list[tuple[float, bool]]) -> None:
    """Over the lot of the audit the mean of the weighted losses is that of the true ones."""
    true, expected = 0.0, 0.0
    for loss, stops in losses:
        true += loss * stops
        for known, chance in ((True, share), (False, 1 - share)):
            seen = Outcome(
                level=0.1,
                would_stop=stops,
                audited=known and stops,
                loss=loss if known and stops else None,
                share=share,
            )
            value, weight = seen.weighted
            expected += chance * value * weight
    assert pytest.approx(true) == expected


def test_shadows_of_other_levels_are_no_evidence() -> None:
    """What is told about a level that is not ahead is counted, and proves nothing."""
    monitor = Monitor(LEVELS, start=START)
    monitor.retreat.on_alarm("begun so", 0.0)
    monitor.retreat.on_alarm("begun so", 0.0)
    evidence = []
    for level in (0.1, 0.2, 0.4, 0.6):
        shadow = Outcome(level=level, would_stop=True, audited=True, loss=0.0)
        monitor.observe(kept(monitor.level, shadow))
        assert monitor.retreat.evidence is not None
        evidence.append(monitor.retreat.evidence.n)
    assert [0, 1, 1, 1] == evidence


def test_a_segment_may_be_told_without_a_retreat() -> None:
    """Without segments_retreat the alarm of a tenant is told, and the level stays."""
    advised = {}
    for retreats in (True, False):
        monitor = Monitor(LEVELS, start=START, segments_retreat=retreats)
        for _ in range(3000):  # so that all together is far below its level
            monitor.observe(kept(START))
        advice = Advice(START)
        while not advice.alarms:
            advice = monitor.observe(lost(START, tenant="bad"))
        advised[retreats] = advice.level, advice.alarms
    assert {True: (0.2, ("tenant=bad",)), False: (START, ("tenant=bad",))} == advised


def test_where_nothing_is_cut_nothing_is_tested() -> None:
    """At no cutting there is no alarm, and the way back is open."""
    monitor = Monitor([0.1], start=0.1)
    while monitor.level is not None:
        monitor.observe(lost(0.1))
    advice = monitor.observe(kept(None))
    assert (Advice(None), None, 0.1) == (advice, monitor.segments, monitor.retreat.ahead)


def test_drift_is_told_and_changes_no_level() -> None:
    """A feature that moves is a warning."""
    monitor = Monitor(LEVELS, start=START, features=["length"])
    told: set[tuple[str, ...]] = set()
    for place in range(400):
        length = 10.0 + place % 3 if place < 200 else 40.0 + place % 3
        seen = Observation(level=START, would_stop=False, features={"length": length})
        told.add(monitor.observe(seen).drifted)
    assert ({(), ("length",)}, START) == (told, monitor.level)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"level": 1.5}, r"level must be in \(0, 1\) or None, got 1.5"),
        ({"share": 0.0}, r"share must be in \(0, 1\], got 0.0"),
        ({"loss": -1.0}, r"loss must be in \[0, 1\] or None, got -1.0"),
        ({"loss": math.nan}, r"loss must be in \[0, 1\] or None, got nan"),
        ({"loss": 0.5}, "loss must be 0 or None where nothing is cut, got 0.5"),
        ({"level": None, "would_stop": True}, "would_stop must be False where level is None"),
        ({"would_stop": True, "loss": 0.5}, "loss must be known where audited, and only there"),
        ({"would_stop": True, "audited": True}, "loss must be known where audited"),
        ({"time": math.inf}, "time must be finite, got inf"),
    ],
)
def test_observations_that_do_not_go_together(arguments: dict[str, Any], message: str) -> None:
    """A caller's mistake raises when the observation is made."""
    with pytest.raises(ValueError, match=message):
        Observation(**({"level": 0.1, "would_stop": False} | arguments))


def test_evidence_that_is_surely_seen_counts_for_more() -> None:
    """Requests that ran uncut are all seen: their losses weigh 1, and the bets are larger."""
    needed = []
    for share in (1.0, 0.1):
        monitor = Monitor(LEVELS, start=START, shadow_share=share)
        for _ in range(100):
            if monitor.observe(lost(START)).level != START:
                break
        needed.append(0)
        while monitor.level != START:
            monitor.observe(kept(monitor.level, Outcome(level=START, would_stop=False)))
            needed[-1] += 1
    assert needed[0] < needed[1] / 2


def test_a_share_below_the_least_is_refused() -> None:
    """The bets rely on the least share; what is refused is not taken."""
    monitor = Monitor(LEVELS, start=START, least_share=0.5, shadow_share=0.5)
    before = monitor.to_dict()
    bare = Outcome(level=0.6, would_stop=True, share=0.1)
    for seen in (Observation(level=START, would_stop=True, share=0.1), kept(START, bare)):
        with pytest.raises(ValueError, match=r"share must be in \[0.5, 1\], got 0.1"):
            monitor.observe(seen)
    assert before == monitor.to_dict()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"least_share": 0.0}, r"least_share must be in \(0, 1\], got 0.0"),
        ({"most_segments": -1}, "most_segments must be >= 0, got -1"),
        ({"start": 0.3}, "start must be one of levels"),
        ({"drift_delta": 2.0}, r"delta must be in \(0, 1\), got 2.0"),
    ],
)
def test_settings_out_of_their_interval(arguments: dict[str, Any], message: str) -> None:
    """A caller's mistake is named with its interval and value."""
    with pytest.raises(ValueError, match=message):
        Monitor(LEVELS, **({"start": START} | arguments))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"segments": None}, "monitor.segments.alpha must be 0.4, got None"),
        ({"segments_retreat": 1}, "monitor.segments_retreat must be true or false, got 1"),
        ({"delta": 0.5}, "monitor.retreat.delta must be 0.5, got 0.05"),
    ],
)
def test_damaged_state_is_refused(change: dict[str, Any], message: str) -> None:
    """Parts that do not go together are named."""
    with pytest.raises(ValueError, match=message):
        Monitor.from_dict(Monitor(LEVELS, start=START).to_dict() | change)


class AnyHistory(RuleBasedStateMachine):
    """Requests of all kinds in any order, with restarts between."""

    def __init__(self) -> None:
        super().__init__()
        self.monitor = Monitor(LEVELS, start=START, least_share=0.5, most_segments=2)
        self.clock = 0.0

    def tell(self, seen: Observation) -> None:
        """Tell it of a request, and hold the advice against what came before."""
        before, changes = self.monitor.level, self.monitor.retreat.changes
        ready = self.monitor.retreat.evidence
        advice = self.monitor.observe(seen)
        self.clock += 1
        order = [None, *LEVELS]
        step = order.index(advice.level) - order.index(before)
        assert self.monitor.level == advice.level
        assert abs(step) == self.monitor.retreat.changes - changes
        assert (step != 0) == bool(advice.why)
        if advice.alarms:
            assert -1 == step
        if step == 1:
            assert ready is not None
            assert ready.alarm

    @rule(
        tenant=st.sampled_from("abc"),
        loss=st.sampled_from([0.0, 0.3, 1.0]),
        share=st.sampled_from([0.5, 1.0]),
        level=st.sampled_from(LEVELS),
        in_use=st.booleans(),
        times=st.integers(1, 20),
    )
    def audits(
        self, tenant: str, loss: float, share: float, level: float, in_use: bool, times: int
    ) -> None:
        """Audited requests, at the level in use or at another one."""
        for _ in range(times):
            at = self.monitor.level if in_use else level
            if at is None:
                self.tell(Observation(level=None, would_stop=False, time=self.clock))
                continue
            self.tell(
                Observation(
                    level=at,
                    would_stop=True,
                    audited=True,
                    loss=loss,
                    share=share,
                    segment={"tenant": tenant},
                    time=self.clock,
                )
            )

    @rule(loss=st.sampled_from([0.0, 0.0, 1.0]), times=st.integers(1, 200))
    def shadows(self, loss: float, times: int) -> None:
        """Requests that ran to the end and tell about the level ahead."""
        for _ in range(times):
            ahead = self.monitor.retreat.ahead
            at = START if ahead is None else ahead
            shadow = Outcome(level=at, would_stop=True, audited=True, loss=loss)
            self.tell(kept(self.monitor.level, shadow, time=self.clock))

    @rule(times=st.integers(1, 30))
    def unknown(self, times: int) -> None:
        """Requests that were cut and not audited."""
        for _ in range(times):
            at = self.monitor.level
            self.tell(Observation(level=at, would_stop=at is not None, share=0.5, time=self.clock))

    @precondition(lambda self: self.monitor.retreat.may_return())
    @rule()
    def returns_by_hand(self) -> None:
        """Whoever holds the retreat can come back where the evidence is there."""
        self.monitor.retreat.come_back(self.clock)
        self.restart()

    @rule()
    def restart(self) -> None:
        """Through JSON it is what it was."""
        told = self.monitor.to_dict()
        self.monitor = Monitor.from_dict(json.loads(json.dumps(told)))
        assert told == self.monitor.to_dict()

    @invariant()
    def level_is_certified_and_not_beyond_the_start(self) -> None:
        """Never a level that is not certified, and none more aggressive than the start."""
        level = self.monitor.level
        assert level is None or (level in LEVELS and level <= START)


TestAnyHistory = AnyHistory.TestCase
TestAnyHistory.settings = settings(max_examples=60, stateful_step_count=25, deadline=None)
