"""What the pilot hears of requests, and whom it tells: in their order, and whatever fails."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from stopping_core import (
    AdaptiveStopping,
    Audit,
    Request,
    labelled,
    run,
)
from stopping_core.results import Attempt, Setting
from stopping_core.session import Session
from stopping_core.steering import (
    LevelBandit,
    Pilot,
    Satisfaction,
)
from stopping_core.testing import FakeClock, ScriptedModel
from tests.calibration.certified import ASKED
from tests.steering.traffic import CERTIFICATE, PLACE, Traffic, pilot


def test_losses_are_told_in_the_order_in_which_requests_began() -> None:
    """Those that are cut end first; the audits that began before them are waited for."""
    clock = FakeClock()
    one = pilot(clock=clock, patience=60.0)
    traffic = Traffic(one)
    late = traffic.begin()
    traffic.go(3000, lambda setting: 0.5)
    assert (0.05, 1) == (one.open_risk, one.report()["running"])
    traffic.end(*late, 0.0)
    assert one.open_risk < 0.05
    traffic.begin()
    clock.advance(61.0)
    traffic.go(1, lambda setting: 0.0)
    assert 1 == one.report()["given_up"]


def test_what_says_nothing_is_counted() -> None:
    """Neither for nor against a level."""
    traffic = Traffic(one := pilot())
    broken = Attempt("first", 9, 9, 0, 9, 1.0, None, "learned", error="reset")
    for changes in (
        {"uncertified": "another model"},
        {"attempts": (broken,)},
        {"audit": None, "audit_share": 0.0},
        {"audit": Audit(PLACE, "answer", "", "?", "stop")},
        {"request_id": "nobody's"},
    ):
        request, setting = traffic.begin()
        traffic.end(request, setting, 1.0, **changes)
    report = one.report()
    assert (3, 0, 1, 1) == tuple(
        report[name] for name in ("unseen", "ungraded", "failed", "unknown")
    )


def test_gold_of_a_part_of_the_traffic_is_enough() -> None:
    """The rest is left out, stopped or not, and does not count as no loss."""

    class Some:
        def knows(self, request: Request) -> bool:
            return int(str(request.metadata["request_id"])) % 5 == 0

        def __call__(self, request: Request, audit: Audit) -> float:
            return float(audit.full)

    traffic = Traffic(one := pilot())
    one._loss = Some()
    traffic.go(3000, lambda setting: 0.3)
    assert 0.0 == one.open_risk
    assert 2400 == one.report()["ungraded"]


def test_audits_that_fail_count_as_lost() -> None:
    """Whatever broke them may be what the losses have in common."""
    traffic = Traffic(one := pilot())
    for _ in range(600):
        request, setting = traffic.begin()
        failed = setting.cut and traffic.rng.random() < setting.audit
        traffic.end(request, setting, 0.0, audit=None, audit_failed=failed)
    assert one.open_risk < 0.05
    assert one.report()["failed"] > 100


def test_feedback_on_an_answer_that_was_not_cut_says_nothing_of_its_level() -> None:
    """As after a model was swapped: what was chosen was not done."""
    traffic = Traffic(one := pilot())
    request, setting = traffic.begin()
    assert setting.cut
    traffic.end(request, setting, 0.0, mode="shadow", uncertified="another model")
    one.give_feedback(str(traffic.number), 1.0)
    assert ["", "none"] == sorted(one.bandit.satisfaction.to_dict()["counts"])


def test_a_loss_that_fails_holds_nobody_up() -> None:
    """It is logged, and what it was to say counts as lost."""

    def broken(request: Request, audit: Audit) -> float:
        raise RuntimeError("no judge")

    for loss in (broken, lambda request, audit: float("nan"), lambda request, audit: 7.0):
        traffic = Traffic(one := pilot())
        one._loss = loss
        traffic.go(50, lambda setting: 0.0)
        report = one.report()
        assert (0, 0) == (report["running"], report["given_up"])
        assert report["failed"] > 0


def test_it_steers_and_hears_of_real_sessions(tmp_path: Path) -> None:
    """Attached to settings; a swapped model is answered without a cut."""
    CERTIFICATE.write(tmp_path / "certificate.json")
    loaded = AdaptiveStopping.load(tmp_path / "certificate.json", risk=0.05)
    held = loaded.certificate
    assert held is not None
    one = Pilot(
        held,
        lambda request, audit: 1.0,
        audit=0.5,
        bandit=LevelBandit(Satisfaction(1e6), token_worth=1.0, seed=0),
    )
    stopping = one.attach(loaded)
    with labelled(tenant="acme"):
        for _ in range(60):
            model = ScriptedModel([" It", " is", " Paris", ".", " And", " more", "."])
            done = run(Session(stopping, ASKED), model.backend)
            assert done.request_id
    assert one.open_risk < 0.05
    assert "tenant=acme" in one.history[0][1] or "all" in one.history[0][1]
    swapped = Session(stopping, Request(prompt="x", question="x", model="other"))
    assert "shadow" == swapped.stopping.mode
    with pytest.raises(ValueError, match=r"stopping must have the certificate .*, got none"):
        one.attach(AdaptiveStopping())
    careful = AdaptiveStopping.load(tmp_path / "certificate.json", risk=0.02)
    with pytest.raises(ValueError, match=r"that of the settings, 0\.02, got 0\.05: make the pilot"):
        one.attach(careful)


def test_who_is_told_of_a_change_holds_up_nobody() -> None:
    """Another request is steered meanwhile."""
    steered: list[Setting] = []

    def slow(told: str) -> None:
        thread = threading.Thread(target=lambda: steered.append(traffic.begin()[1]))
        thread.start()
        thread.join(5.0)
        assert not thread.is_alive()

    traffic = Traffic(pilot(on_change=slow))
    traffic.go(3000, lambda setting: 0.3 if setting.risk == 0.05 else 0.0)
    assert traffic.pilot.open_risk < 0.05
    assert steered


def test_a_knows_that_fails_counts_as_a_loss_that_is_not_told() -> None:
    """It takes no request out of the tests, and holds up none."""

    class Fails:
        def knows(self, request: Request) -> bool:
            raise RuntimeError("no gold today")

        def __call__(self, request: Request, audit: Audit) -> float:
            raise RuntimeError("nor here")

    traffic = Traffic(pilot(loss=Fails()))
    traffic.go(400, lambda setting: 0.0)
    assert 0 == traffic.pilot.report()["running"]
    assert traffic.pilot.open_risk < 0.05
