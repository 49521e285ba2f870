"""The price of a token under load, cost and latency."""

from __future__ import annotations

import json

import pytest

from stopping_core.steering import Objective, Pacer, Smoothed


def pressed(pacer: Pacer, name: str, value: float, seconds: int, start: int = 0) -> float:
    for now in range(start, start + seconds + 1):
        pacer.observe(name, value, float(now))
    return pacer.price


def test_it_rises_above_the_limit_and_falls_back_below() -> None:
    """To its ceiling and to 1, and no further."""
    pacer = Pacer(Objective("load", 10.0))
    assert 1.0 == pacer.price == pressed(pacer, "load", 5.0, 60)
    assert 1.0 < pressed(pacer, "load", 20.0, 10, 61) < 2.0
    assert pytest.approx(100.0) == pressed(pacer, "load", 1e6, 600, 100)
    assert 1.0 == pressed(pacer, "load", 0.0, 600, 800)


def test_it_keeps_a_limit_that_it_can_keep() -> None:
    """The load falls with the price; in the long run it is at its limit."""
    pacer, loads = Pacer(Objective("load", 10.0)), []
    for now in range(4000):
        load = 20.0 / (1 + 0.5 * (pacer.price - 1))  # 10 at a price of 3
        pacer.observe("load", load, float(now))
        loads.append(load)
    assert pytest.approx(10.0, rel=0.01) == sum(loads[-500:]) / 500
    assert pytest.approx(3.0, rel=0.02) == pacer.price


def test_objectives_are_held_together() -> None:
    """Each has a price of its own, and tokens have their product."""
    pacer = Pacer(Objective("load", 10.0), Objective("latency", 2.0, rate=0.1))
    load = pressed(pacer, "load", 20.0, 10)
    assert load < pressed(pacer, "latency", 4.0, 10)


def test_a_gap_counts_for_a_minute_and_a_clock_that_goes_back_for_nothing() -> None:
    """So that one late observation does not throw the price to its end."""
    pacer = Pacer(Objective("load", 10.0))
    pacer.observe("load", 20.0, 0.0)
    pacer.observe("load", 20.0, 1e9)
    once = pacer.price
    slowly = pressed(Pacer(Objective("load", 10.0)), "load", 20.0, 60)
    assert pytest.approx(slowly) == once > 1.0
    pacer.observe("load", 20.0, 0.0)
    assert once == pacer.price


def test_it_goes_through_json() -> None:
    """What is not an objective any more is passed over."""
    pacer = Pacer(Objective("load", 10.0), Objective("cost", 1.0))
    pressed(pacer, "load", 30.0, 20)
    kept = json.loads(json.dumps(pacer.to_dict()))
    assert pacer.price == Pacer(Objective("load", 10.0)).restore(kept).price
    assert 1.0 == Pacer(Objective("latency", 10.0)).restore(kept).price


def test_settings_and_values_are_checked() -> None:
    """The error names what is wrong, and its value."""
    for make, message in (
        (lambda: Objective("load", 0.0), "most must be > 0, got 0.0"),
        (lambda: Objective("load", 1.0, rate=-1.0), "rate must be > 0, got -1.0"),
        (lambda: Pacer(dearest=1.0), "dearest must be > 1, got 1.0"),
        (lambda: Pacer(Objective("a", 1.0), Objective("a", 2.0)), "names that differ"),
        (lambda: Pacer().observe("load", 1.0, 0.0), r"name must be one of \[\], got 'load'"),
        (lambda: Pacer(Objective("a", 1.0)).observe("a", -1.0, 0.0), "value must be >= 0, got -1"),
        (lambda: Smoothed(0.0), "seconds must be > 0, got 0.0"),
    ):
        with pytest.raises(ValueError, match=message):
            make()


def test_a_mean_forgets() -> None:
    """By half after ln 2 of its time; a rate counts what came a second."""
    smoothed = Smoothed(10.0)
    assert 0.0 == smoothed.mean(0.0) == smoothed.rate(0.0)
    for now in range(200):
        smoothed.add(3.0, float(now))
    assert pytest.approx(3.0) == smoothed.mean(199.0)
    assert pytest.approx(3.0, rel=0.06) == smoothed.rate(199.0)
    smoothed.add(9.0, 1000.0)
    assert pytest.approx(9.0) == smoothed.mean(1000.0)
