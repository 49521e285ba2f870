"""The pilot: within the certificate, watched, and back again."""

from __future__ import annotations

import copy
import json
import logging
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from stopping_core import (
    AdaptiveStopping,
    Boundary,
    Checkpoint,
    Request,
)
from stopping_core.certificates import Certificate
from stopping_core.costs import CostRegime
from stopping_core.results import Setting
from stopping_core.steering import (
    LevelBandit,
    Objective,
    Pacer,
    Pilot,
    Satisfaction,
    Savings,
)
from stopping_core.testing import FakeClock
from tests.steering.traffic import CERTIFICATE, WHOLE, Traffic, graded, pilot


def test_contented_users_get_the_largest_level_with_its_audits() -> None:
    """And nothing is closed while the risk is kept."""
    traffic = Traffic(pilot())
    made = traffic.go(1500, lambda setting: 0.02)
    assert {Setting(0.05, audit=0.5)} == set(made)
    assert (0.05, []) == (traffic.pilot.open_risk, traffic.pilot.report()["changes"])


def test_losses_close_a_level_and_evidence_opens_it_again(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """From 5% down as far as it must, and back when the trouble is over; all of it is told."""
    told: list[str] = []
    traffic = Traffic(pilot(on_change=told.append))
    with caplog.at_level(logging.WARNING):
        traffic.go(3000, lambda setting: 0.3 if setting.risk == 0.05 else 0.0)
    assert 0.02 == traffic.pilot.open_risk
    assert told == [why for _, why in traffic.pilot.history]
    assert "risk above 0.05 in all" in told[0]
    assert "open were levels up to 0.05, now up to 0.02" in caplog.text
    uncut = [one for one in traffic.go(400, lambda setting: 0.0) if not one.cut]
    assert {Setting(0.05, cut=False)} == set(uncut)
    traffic.go(6000, lambda setting: 0.0)
    assert 0.05 == traffic.pilot.open_risk
    assert "risk below 0.05" in told[-1]


def test_a_tenant_that_loses_too_much_gets_a_safer_level_and_the_others_keep_theirs() -> None:
    """It is told whose level was closed, and evidence is gathered from its requests alone."""
    traffic = Traffic(one := pilot())

    def lost(setting: Setting) -> float:
        return 0.3 if setting.risk == 0.05 else 0.0

    late: dict[str, set[Setting]] = {"hard": set(), "easy": set()}
    for turn in range(3000):
        tenant = "easy" if turn % 5 else "hard"
        (setting,) = traffic.go(1, lost if tenant == "hard" else lambda _: 0.0, tenant=tenant)
        if turn > 2000:
            late[tenant].add(setting)
    report = one.report()
    assert (0.05, {"tenant=hard": 0.02}) == (report["open_risk"], report["restricted"])
    assert {Setting(0.05, audit=0.5)} == late["easy"]
    assert {Setting(0.02, audit=0.5), Setting(0.05, cut=False)} == late["hard"]
    assert "risk above 0.05 in tenant=hard" in report["changes"][0][1]


def test_where_every_level_loses_nothing_is_cut() -> None:
    """The certificate does not hold any more; each request then says whether it does again."""
    traffic = Traffic(pilot())
    traffic.go(4000, lambda setting: 0.4)
    assert 0.0 == traffic.pilot.open_risk
    assert {Setting(0.01, cut=False)} == set(traffic.go(50, lambda setting: 0.4))
    traffic.go(8000, lambda setting: 0.0)
    assert 0.01 <= traffic.pilot.open_risk


def test_caps_hold_for_whoever_they_name() -> None:
    """The least of them, below all that is learned; 0 cuts nothing."""
    one = pilot(caps={"use_case=medical": 0.01, "tenant=careful": 0.02, "user=never": 0.0})
    traffic = Traffic(one)
    for labels, risk, cut in (
        ({"use_case": "medical"}, 0.01, True),
        ({"tenant": "careful"}, 0.02, True),
        ({"tenant": "careful", "use_case": "medical"}, 0.01, True),
        ({"user": "never"}, 0.01, False),
        ({"tenant": "other"}, 0.05, True),
    ):
        (setting,) = traffic.go(1, lambda setting: 0.0, **labels)
        assert (risk, cut) == (setting.risk, setting.cut), labels


def test_an_angry_tenant_gets_a_careful_level_and_the_others_keep_theirs() -> None:
    """By feedback on answers, which names them by the request."""
    one = pilot(bandit=LevelBandit(Satisfaction(20.0), token_worth=0.3, seed=1))
    traffic, rng = Traffic(one), np.random.default_rng(1)
    late: dict[str, list[Setting]] = {"angry": [], "calm": []}
    for turn in range(3000):
        tenant = ("angry", "calm")[turn % 2]
        (setting,) = traffic.go(1, lambda setting: 0.0, tenant=tenant)
        pleased = 0.2 if tenant == "angry" and setting.cut and setting.risk > 0.01 else 0.95
        assert one.give_feedback(str(traffic.number), float(rng.random() < pleased))
        if turn > 2000:
            late[tenant].append(setting)
    mild = [one for one in late["angry"] if not one.cut or one.risk == 0.01]
    bold = [one for one in late["calm"] if one.cut and one.risk >= 0.02]
    assert len(mild) > 0.9 * len(late["angry"])
    assert len(bold) > 0.9 * len(late["calm"])
    assert not one.give_feedback("nobody", 1.0)
    with pytest.raises(ValueError, match=r"value must be in \[0, 1\], got 2"):
        one.give_feedback("1", 2)


def test_load_moves_along_the_open_levels_and_never_beyond() -> None:
    """Users prefer the careful level; under load they get the one that saves."""
    known = Satisfaction(10.0, memory=1.0)
    for _ in range(3000):
        known.add("0.05", 0.5)
        known.add("0.01", 0.95)
        known.add("0.02", 0.5)
        known.add("none", 0.5)
    clock = FakeClock()
    one = pilot(
        bandit=LevelBandit(known, token_worth=0.3, seed=2),
        pacer=Pacer(Objective("load", 5.0, rate=0.5)),
        clock=clock,
        caps={"tenant=capped": 0.02},
    )
    traffic = Traffic(one)
    assert {0.01} == {setting.risk for setting in traffic.go(50, lambda setting: 0.0)}
    waiting = []
    for _ in range(60):
        clock.advance(1.0)
        waiting.append(traffic.begin())
    assert one.report()["price"] > 10
    assert 0.05 == waiting[-1][1].risk
    assert 0.02 == traffic.begin(tenant="capped")[1].risk


def test_it_learns_what_a_level_saves_in_fact() -> None:
    """Half of the requests are stopped, and saved nearly whole; nine of ten of these are not seen.

    Those that are not stopped do not count for more because of that.
    """
    known = Savings(memory=1.0)
    bandit = LevelBandit(Satisfaction(1e6), token_worth=1.0, seed=0, savings=known)
    traffic = Traffic(pilot(audit=0.1, bandit=bandit))
    traffic.places[0.05] = Checkpoint(9, 5, 0.1, Boundary.SENTENCE)
    for _ in range(3000):
        traffic.go(1, lambda setting: 0.0)
        traffic.go(1, lambda setting: 0.0, use_case="short")
    assert pytest.approx(0.475, abs=0.03) == known.share("0.05", 0.6)


def test_a_level_that_saves_less_than_its_certificate_says_is_left_for_a_better_one() -> None:
    """And is not tried any more for its promise alone."""
    traffic = Traffic(pilot())
    traffic.places[0.05] = Checkpoint(9, 95, 0.1, Boundary.SENTENCE)
    assert 0.05 == traffic.go(1, lambda setting: 0.0)[0].risk
    traffic.go(2000, lambda setting: 0.0)
    assert {0.02} == {setting.risk for setting in traffic.go(100, lambda setting: 0.0)}


def test_cost_and_latency_are_kept_up_to_date() -> None:
    """By what completions say."""
    clock = FakeClock()
    prices = CostRegime("usd", input=0.0, cached=0.0, output=1.0)
    for objective in (Objective("cost", 1.0, rate=1.0), Objective("latency", 0.1, rate=1.0)):
        one = pilot(pacer=Pacer(objective), prices=prices, clock=clock)
        traffic = Traffic(one)
        for _ in range(5):
            clock.advance(1.0)
            traffic.go(1, lambda setting: 0.0)
        assert one.report()["price"] > 1.0


def test_settings_with_a_pilot_are_copied_with_the_same_one(tmp_path: Path) -> None:
    """Frameworks copy settings; a process of its own needs a pilot of its own."""
    CERTIFICATE.write(tmp_path / "certificate.json")
    loaded = AdaptiveStopping.load(tmp_path / "certificate.json", risk=0.05)
    assert loaded.certificate is not None
    one = Pilot(loaded.certificate, graded)
    twin = copy.deepcopy(one.attach(loaded))
    assert one.steer == twin.steer
    with pytest.raises(TypeError, match="a Pilot cannot be pickled: it belongs to one process"):
        pickle.dumps(one.attach(loaded))


def test_it_goes_on_after_a_restart() -> None:
    """With what it has learned and what is closed; not under another certificate or settings."""
    traffic = Traffic(one := pilot())
    traffic.go(3000, lambda setting: 0.3 if setting.risk == 0.05 else 0.0)
    one.give_feedback(str(traffic.number), 0.0)
    kept = json.loads(json.dumps(one.to_dict()))
    twin = pilot()
    twin.restore(kept)
    assert (one.open_risk, kept) == (twin.open_risk, twin.to_dict())
    with pytest.raises(ValueError, match=r"pilot\.certificate must be"):
        pilot().restore({**kept, "certificate": "other"})
    with pytest.raises(ValueError, match="must be of the same settings"):
        pilot(delta=0.2).restore(kept)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"risk": 0.005}, "risk must be at least a certified level, one of 0.01, 0.02, 0.05"),
        ({"audit": 0.0}, r"audit must be in \(0, 1\), got 0.0"),
        ({"explore": 1.0}, r"explore must be in \[0, 1\), got 1.0"),
        ({"caps": {"city=x": 0.1}}, "caps must map labels"),
        ({"caps": {"user=x": 1.0}}, "caps must map labels"),
        ({"patience": 0.0}, "patience must be > 0, got 0.0"),
    ],
)
def test_settings_are_checked(changes: dict[str, Any], message: str) -> None:
    """The error names what is wrong."""
    with pytest.raises(ValueError, match=message):
        pilot(**changes)


class Anything(RuleBasedStateMachine):
    """Whatever comes, in whatever order: no level that is not certified, closed, or above a cap."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = FakeClock()
        self.pilot = pilot(
            risk=0.02,
            caps={"use_case=medical": 0.01},
            clock=self.clock,
            pacer=Pacer(Objective("load", 2.0, rate=1.0)),
        )
        self.traffic = Traffic(self.pilot)
        self.running: list[tuple[Request, Setting]] = []

    @rule(
        use_case=st.sampled_from(["", "medical", "short"]),
        tenant=st.sampled_from(["", "a", "b"]),
    )
    def begin(self, use_case: str, tenant: str) -> None:
        medical, labels = use_case == "medical", {"tenant": tenant, "use_case": use_case}
        report = self.pilot.report()
        mine = [f"{name}={value}" for name, value in labels.items()]
        before = min(report["open_risk"], *(report["restricted"].get(one, 0.02) for one in mine))
        request, setting = self.traffic.begin(**labels)
        assert setting.risk in (0.01, 0.02)
        if setting.cut:
            assert setting.risk <= min(before, 0.01 if medical else 0.02)
            assert setting.audit == 0.5
        self.running.append((request, setting))

    @precondition(lambda self: self.running)
    @rule(data=st.data(), lost=st.sampled_from([0.0, 1.0]))
    def end(self, data: st.DataObject, lost: float) -> None:
        place = data.draw(st.integers(0, len(self.running) - 1))
        self.traffic.end(*self.running.pop(place), lost)

    @rule(count=st.integers(1, 40), lost=st.sampled_from([0.0, 0.5, 1.0]))
    def pass_many(self, count: int, lost: float) -> None:
        for request, setting in [self.traffic.begin() for _ in range(count)]:
            self.traffic.end(request, setting, lost)

    @rule(risk=st.sampled_from([0.01, 0.02]), tokens=st.integers(0, WHOLE))
    def save(self, risk: float, tokens: int) -> None:
        self.traffic.places[risk] = Checkpoint(9, tokens, 0.1, Boundary.SENTENCE)

    @rule(value=st.floats(0, 1))
    def say(self, value: float) -> None:
        self.pilot.give_feedback(str(self.traffic.number), value)

    @rule(seconds=st.sampled_from([0.5, 30.0, 700.0]))
    def wait(self, seconds: float) -> None:
        self.clock.advance(seconds)

    @rule()
    def restart(self) -> None:
        kept = json.loads(json.dumps(self.pilot.to_dict()))
        self.pilot.restore(kept)
        assert kept == self.pilot.to_dict()

    @invariant()
    def only_certified(self) -> None:
        report = self.pilot.report()
        for risk in (report["open_risk"], *report["restricted"].values()):
            assert risk in (0.0, 0.01, 0.02)
        assert 1.0 <= self.pilot.pacer.price <= 100.0
        for name in ("0.01", "0.02"):
            for tenant in ("", "a", "b"):
                assert 0 <= self.pilot.bandit.savings.share(name, 0.5, tenant=tenant) <= 1


TestAnything = Anything.TestCase
TestAnything.settings = settings(max_examples=40, stateful_step_count=25, deadline=None)


def test_a_certificate_is_what_it_takes() -> None:
    """The levels of this one, up to the risk."""
    assert isinstance(CERTIFICATE, Certificate)
    assert [0.01, 0.02] == [level.risk for level in pilot(risk=0.02).levels]
