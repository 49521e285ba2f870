"""What the monitor of the risk sees, how soon, and what it costs: ``python -m benchmarks.monitor``.

False alarms: the share of streams that ever raise one, of a risk exactly at alpha, where delta is
promised. Delays: the risk is half of alpha at first, then so many times alpha; requests from there
to the alarm, median, and the share of streams that had none when the patience was over. Every
request is cut, and a share of them is audited. The streams are simulated many at once, as the tests
show to be the same as one monitor each.

Updates are timed one by one, in microseconds, medians over rounds.
"""

from __future__ import annotations

import argparse
import itertools
import time
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from stopping_core.monitoring import (
    ConfidenceSequence,
    Monitor,
    Observation,
    RiskMonitor,
    Segments,
)
from stopping_core.monitoring.betting import Betting

ALPHAS = (0.01, 0.02, 0.05)
SHARES = (0.1, 0.25, 1.0)
TIMES = (1.5, 2.0, 3.0, 5.0)

# In losses that are audited and expected at alpha.
AT_ALPHA, BEFORE, PATIENCE = 100, 20, 150

ROUNDS, UPDATES = 9, 2000


def found(
    risks: Sequence[tuple[int, float]], alpha: float, share: float, delta: float, streams: int
) -> NDArray[np.float64]:
    """When each stream raised its alarm.

    Args:
        risks: How many requests have which risk, one after the other.
        alpha: Level of the monitor.
        share: Of audits.
        delta: Of the monitor.
        streams: How many.

    Returns:
        Requests until the alarm; inf where there was none.  # (streams,)
    """
    rng = np.random.default_rng(0)
    betting = Betting(np.full(streams, alpha), most_weight=1 / share)
    when = np.full(streams, np.inf)
    for requests, risk in risks:
        for _ in range(requests):
            weighted = (rng.random(streams) < risk * share) / share
            betting.update(weighted)
            if (weighted > 0).any():  # wealth rises by losses only
                when[(when == np.inf) & (betting.peak >= -np.log(delta))] = betting.n
                if (when < np.inf).all():
                    return when
    return when


def row(alpha: float, share: float, delta: float, streams: int) -> str:
    """False alarms and delays at one level and share of audits."""
    unit = 1 / (alpha * share)
    wrong = found([(round(AT_ALPHA * unit), alpha)], alpha, share, delta, streams) < np.inf
    cells = [f"{alpha:<8g}{share:<8g}{wrong.mean():8.1%}"]
    before = round(BEFORE * unit)
    for times in TIMES:
        risks = [(before, alpha / 2), (round(PATIENCE * unit), times * alpha)]
        when = found(risks, alpha, share, delta, streams)
        delay = when[when > before] - before
        missed = np.isinf(delay).mean()
        cells.append(f"{np.median(delay):10,.0f}" + (f" ({missed:.0%})" if missed else ""))
    return "".join(f"{cell:<18}" for cell in cells)


def timed(update: Callable[[float], object]) -> float:
    """Median over rounds of the mean time of an update, microseconds."""
    losses = (np.random.default_rng(0).random(UPDATES) < 0.01).astype(float).tolist()
    rounds = []
    for _ in range(ROUNDS):
        begun = time.perf_counter()
        for loss in losses:
            update(loss)
        rounds.append(time.perf_counter() - begun)
    return 1e6 * float(np.median(rounds)) / UPDATES


def costs() -> dict[str, float]:
    """Microseconds an update, by what is updated."""
    segments = Segments(0.05)
    names = itertools.cycle({"tenant": f"{number}", "model": "one"} for number in range(20))
    monitor = Monitor([0.02, 0.05], start=0.05, features=["question_length", "tokens"])

    def observe(loss: float) -> object:
        seen = Observation(
            level=monitor.level,
            would_stop=True,
            audited=True,
            loss=loss,
            segment=next(names),
            features={"question_length": 80.0, "tokens": 120.0 + loss},
        )
        return monitor.observe(seen)

    return {
        "RiskMonitor": timed(RiskMonitor(0.05).update),
        "ConfidenceSequence": timed(ConfidenceSequence().update),
        "Segments, two fields": timed(lambda loss: segments.update(next(names), loss)),
        "Monitor, two features": timed(observe),
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Print all figures."""
    parser = argparse.ArgumentParser(prog="benchmarks.monitor", description=__doc__)
    parser.add_argument("--streams", type=int, default=500)
    parser.add_argument("--delta", type=float, default=0.05)
    given = parser.parse_args(arguments)
    print(f"{given.streams} streams, delta {given.delta:g}; delays in requests, medians")
    print(f"false alarms over {AT_ALPHA} audited losses expected at alpha; the rise comes")
    print(f"after {BEFORE}, and after {PATIENCE} more the patience is over (share still unseen)")
    heads = [f"{'alpha':<8}{'audits':<8}false", *(f"{times:8g} alpha" for times in TIMES)]
    print(
        "".join(f"{head:<25}" if not place else f"{head:<18}" for place, head in enumerate(heads))
    )
    for alpha, share in itertools.product(ALPHAS, SHARES):
        print(row(alpha, share, given.delta, given.streams), flush=True)
    print("an update, microseconds")
    for name, figure in costs().items():
        print(f"  {name:26}{figure:9.2f}")


if __name__ == "__main__":
    main()
