"""What users say of a level, shrunk towards their group."""

from __future__ import annotations

import json

import pytest

from stopping_core.steering import Satisfaction


def mean(known: Satisfaction, level: str, **who: str) -> float:
    good, bad = known.posterior(level, **who)
    return good / (good + bad)


def test_nobody_has_said_anything() -> None:
    """Half of the answers please, with the weight of the strength."""
    assert (5.0, 5.0) == Satisfaction(10.0).posterior("0.02", tenant="acme", user="ann")


def test_one_without_feedback_is_as_the_group() -> None:
    """A user as the tenant, a tenant as all."""
    known = Satisfaction(10.0, memory=1.0)
    for _ in range(1000):
        known.add("0.02", 1.0, tenant="acme", user="ann")
        known.add("0.02", 0.0, tenant="other", user="eve")
    assert mean(known, "0.02", tenant="acme", user="bob") == pytest.approx(
        mean(known, "0.02", tenant="acme")
    )
    assert mean(known, "0.02", tenant="new") == pytest.approx(mean(known, "0.02"))
    assert mean(known, "0.02", tenant="acme") > 0.98
    assert mean(known, "0.02", tenant="other") < 0.02
    assert pytest.approx(0.5, abs=0.01) == mean(known, "0.02")


def test_much_own_feedback_outweighs_the_group() -> None:
    """Ten answers against a strength of ten: half way; worked out by hand."""
    known = Satisfaction(10.0, memory=1.0)
    for _ in range(10):
        known.add("a", 0.0, tenant="t", user="u")
    # all levels: 5 of 20; the level: 2.5 of 20; the tenant: 1.25 of 20; the user: 0.625 of 20
    assert pytest.approx(1 / 32) == mean(known, "a", tenant="t", user="u")
    assert pytest.approx(1 / 8) == mean(known, "a")
    assert pytest.approx(1 / 4) == mean(known, "b")


def test_a_user_is_its_tenants() -> None:
    """Two of one name at two tenants are two."""
    known = Satisfaction(1.0)
    for _ in range(50):
        known.add("a", 0.0, tenant="one", user="ann")
    assert mean(known, "a", tenant="one", user="ann") < mean(known, "a", tenant="two", user="ann")


def test_old_feedback_fades() -> None:
    """After a change the new word counts."""
    fading, keeping = Satisfaction(memory=0.9), Satisfaction(memory=1.0)
    for known in (fading, keeping):
        for value in [1.0] * 200 + [0.0] * 100:
            known.add("a", value)
    assert mean(fading, "a") < 0.3
    assert mean(keeping, "a") > 0.6


def test_memory_is_bounded() -> None:
    """Who was heard of longest ago is its group's again."""
    known = Satisfaction(most=3)
    for number in range(50):
        known.add("a", 0.0, tenant=f"t{number}")
    assert len(known.to_dict()["counts"]["a"]) <= 7
    assert mean(known, "a", tenant="t0") == pytest.approx(mean(known, "a", tenant="nobody"))
    assert mean(known, "a", tenant="t49") < mean(known, "a", tenant="t0")


def test_it_goes_through_json() -> None:
    """And says the same."""
    known = Satisfaction(7.0, 0.99, 12)
    for value in (1.0, 0.3, 0.0):
        known.add("0.05", value, tenant="t", user="u")
    twin = Satisfaction.from_dict(json.loads(json.dumps(known.to_dict())))
    assert known.to_dict() == twin.to_dict()
    assert known.posterior("0.05", tenant="t", user="u") == twin.posterior(
        "0.05", tenant="t", user="u"
    )


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"strength": 0.0}, "strength must be > 0, got 0.0"),
        ({"strength": float("nan")}, "strength must be > 0, got nan"),
        ({"memory": 1.5}, r"memory must be in \(0, 1\], got 1.5"),
        ({"most": 0}, "most must be >= 1, got 0"),
    ],
)
def test_settings_are_checked(settings: dict[str, float], message: str) -> None:
    """The error names the setting and its value."""
    with pytest.raises(ValueError, match=message):
        Satisfaction(**settings)  # type: ignore[arg-type]  # one of several types
    with pytest.raises(ValueError, match=r"value must be in \[0, 1\], got 2"):
        Satisfaction().add("a", 2)
