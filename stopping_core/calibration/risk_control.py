"""Learn then Test: how far towards aggressive settings a bound on the risk can be proven."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from stopping_core.calibration.bounds import (
    binomial_p_value,
    binomial_upper_bound,
    hoeffding_bentkus_p_value,
    hoeffding_bentkus_upper_bound,
    runs_needed,
)

Floats: TypeAlias = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class RiskLevel:
    """What was proven at one level of risk.

    The figures are those of the setting that was chosen. Where none was, they are those of the
    first setting, which is then what failed.

    Args:
        alpha: The level: the risk is to be at most this.
        setting: Number of the most aggressive setting that is certified; None: refused.
        units: Independent units that were tested: groups, or runs where each stands for itself.
        loss: Mean loss that was observed, over units.
        p_value: Of "the risk of this setting is above alpha".
        share: Share of delta at which it was tested: certified where the p-value is at most this.
        bound: Upper bound of the risk at confidence 1 - ``share``: at most alpha where certified.
            What is promised of all levels together is alpha. The bound is of this one setting, as
            if it had been fixed beforehand.
        exact: Tested by the exact binomial; else by Hoeffding-Bentkus.
        needed: Units that would be enough, more than ``units``, were the loss to stay what it is
            (:func:`runs_needed`). None where certified, and where no number would do.
    """

    alpha: float
    setting: int | None
    units: int
    loss: float
    p_value: float
    share: float
    bound: float
    exact: bool
    needed: int | None


def control_risk(
    losses: ArrayLike,
    levels: Sequence[float],
    *,
    delta: float = 0.05,
    groups: Sequence[Hashable] | None = None,
) -> tuple[RiskLevel, ...]:
    """Choose for each level of risk the most aggressive setting that is proven to keep it.

    With probability 1 - delta over the data, every setting up to the chosen one of every level has
    a risk of at most that level. Settings are tested one after the other, from the first, until one
    fails: see :func:`fixed_sequences`. The loss need not rise from setting to setting. It should do
    so roughly, because what comes after a failure is never looked at.

    Runs of one group are dependent, so the unit is the group. Its loss is the mean over its runs,
    and the risk is the mean over groups: of a run that is drawn from a group that is drawn. Where
    large groups lose more than small ones this is not the mean over runs.

    The test is the exact binomial where every group is one run and every loss is 0 or 1, else
    Hoeffding-Bentkus. A group of several runs has a loss that can lie between, even if it happens
    to be 0 or 1 in the data at hand, and a test must not be chosen by what the data happen to be.
    For the same reason a loss that can lie between is not to be tested on data where it never did.
    One run of each group, drawn before its loss is known, is tested exactly instead: the same risk,
    and often proven with fewer groups.

    The promise is void where the order of the settings, the levels or delta were chosen on the same
    runs, where groups are not independent draws from the questions to come, and where model,
    template or the way of decoding are others.

    Args:
        losses: Of each run at each setting, in [0, 1]; settings from careful to aggressive, fixed
            beforehand.  # (runs, settings)
        levels: Of risk, in (0, 1), rising.
        delta: Probability that any level is wrong, in (0, 1).
        groups: The group of each run. None: every run is an independent draw.  # (runs,)

    Returns:
        One for each level.

    Raises:
        ValueError: An argument is not as above.
        MissingPackage: scipy is not installed.

    Examples:
        >>> never, careful, bold = [0] * 300, [0] * 299 + [1], [0, 1] * 150
        >>> losses = np.array([never, careful, bold]).T
        >>> [level.setting for level in control_risk(losses, [0.01, 0.05])]
        [None, 1]

    References:
        Angelopoulos, Bates, Candès, Jordan and Lei (2021), Learn then Test: Calibrating Predictive
        Algorithms to Achieve Risk Control, sections 2 and 3. arXiv:2110.01052.
    """
    _check_delta(delta)
    _check_levels(levels)
    table = _checked(losses)
    exact = bool(((table == 0) | (table == 1)).all())
    if groups is not None:
        runs, table = len(table), _group_means(table, groups)
        exact = exact and len(table) == runs
    units, loss = len(table), table.mean(axis=0)

    def p_value(setting: int, alpha: float) -> float:
        if exact:
            return binomial_p_value(round(loss[setting] * units), units, alpha)
        return hoeffding_bentkus_p_value(float(loss[setting]), units, alpha)

    p_values = np.array([[p_value(j, alpha) for alpha in levels] for j in range(len(loss))])
    passed, share = fixed_sequences(p_values, delta)

    def told(alpha: float, certified: int) -> RiskLevel:
        setting = max(certified - 1, 0)
        mean = float(loss[setting])
        if exact:
            bound = binomial_upper_bound(round(mean * units), units, share)
        else:
            bound = hoeffding_bentkus_upper_bound(mean, units, share)
        return RiskLevel(
            alpha=alpha,
            setting=setting if certified else None,
            units=units,
            loss=mean,
            p_value=p_value(setting, alpha),
            share=share,
            bound=bound,
            exact=exact,
            needed=None
            if certified
            else runs_needed(alpha, share, mean, exact=exact, beyond=units),
        )

    return tuple(map(told, levels, passed))


def fixed_sequences(p_values: ArrayLike, delta: float) -> tuple[tuple[int, ...], float]:
    """Test settings in order, at several nested levels at once, with one error rate for all.

    At each level the settings are tested from the first until one fails. All tests are made at
    delta / d, where d bounds the number of *different* settings at which the levels could go wrong
    first. It begins as the number of levels (Bonferroni) or of settings, if that is less. It falls
    as settings pass, and what failed is then tested again. So no less is certified than by
    Bonferroni, and with one setting or one level nothing is paid.

    Proof. Let there be m settings, and let b(i) be the first whose risk is above level i, where
    there is one. Level i goes wrong only by passing b(i). As levels rise, b(i) does not fall, and
    from the first level without one on there is none. Before anything went wrong the number of
    settings that level i has passed, c(i), is at most b(i), counted from 0. So for every i the
    values b take on at most i values at the levels below i, counted from 0, and lie among the
    m - c(i) last settings from level i on: there are at most min over i of i + m - c(i) different
    ones, and at most as many as levels. That is d, and it only falls as c rises. So when something
    goes wrong for the first time, a hypothesis at a setting among the b is rejected at delta / d,
    with d at least the number of the different b. Of the levels that share one such setting the
    highest has the smallest p-value, so all of them together go wrong there with probability at
    most delta / d. The sum over the different b is at most delta.

    Args:
        p_values: Of "the risk of this setting is above this level": settings from careful to
            aggressive, levels rising. None rises with the level.  # (settings, levels)
        delta: Probability that any level passes a setting that it should not, in (0, 1).

    Returns:
        How many settings passed at each level, and the share of delta at which all were tested.

    Raises:
        ValueError: An argument is not as above.

    Examples:
        >>> fixed_sequences([[0.04, 0.001], [0.2, 0.02]], delta=0.05)
        ((1, 2), 0.05)
        >>> fixed_sequences([[0.04, 0.001], [0.2, 0.03]], delta=0.05)
        ((0, 1), 0.025)

    References:
        Goeman and Solari (2010), The Sequential Rejection Principle of Familywise Error Control.
        Annals of Statistics 38(6). Shaffer (1986), Modified Sequentially Rejective Multiple Test
        Procedures. Journal of the American Statistical Association 81.
    """
    _check_delta(delta)
    table = np.asarray(p_values, dtype=np.float64)
    if table.ndim != 2 or not table.size:
        raise ValueError(f"p_values must have shape (settings, levels), got {table.shape}")
    if not ((table >= 0) & (table <= 1)).all():
        raise ValueError(f"p_values must be in [0, 1], got {table.min()} to {table.max()}")
    if (np.diff(table, axis=1) > 1e-12).any():  # more than rounding
        raise ValueError(f"p_values must not rise with the level, got {table.tolist()}")
    settings, levels = table.shape
    places = min(settings, levels)
    while True:
        failed = np.vstack([table > delta / places, np.ones(levels, dtype=bool)])
        passed = failed.argmax(axis=0)  # (levels,)
        fewer = min(levels, *(np.arange(levels) + settings - passed).tolist())
        if fewer in (0, places):
            return tuple(passed.tolist()), delta / places
        places = fewer


def _group_means(table: Floats, groups: Sequence[Hashable]) -> Floats:
    """The mean over the runs of each group.  # (groups, settings)."""
    if len(groups) != len(table):
        raise ValueError(
            f"groups must name a group for each of {len(table)} runs, got {len(groups)}"
        )
    numbers = {group: number for number, group in enumerate(dict.fromkeys(groups))}
    group = np.array([numbers[name] for name in groups])
    sums = np.zeros((len(numbers), table.shape[1]))
    np.add.at(sums, group, table)
    means: Floats = sums / np.bincount(group)[:, np.newaxis]
    return means


def _checked(losses: ArrayLike) -> Floats:
    table = np.asarray(losses, dtype=np.float64)
    if table.ndim != 2 or not table.size:
        raise ValueError(
            f"losses must have shape (runs, settings), none of them 0, got {table.shape}"
        )
    outside = np.argwhere(~((table >= 0) & (table <= 1)))  # NaN too
    if len(outside):
        run, setting = outside[0].tolist()
        raise ValueError(
            f"losses must be in [0, 1], got {table[run, setting]} for run {run}, setting {setting}"
        )
    return table


def _check_levels(levels: Sequence[float]) -> None:
    inside = all(0 < level < 1 for level in levels)
    if not levels or not inside or any(high <= low for low, high in pairwise(levels)):
        raise ValueError(f"levels must be in (0, 1) and rise, one or more, got {list(levels)}")


def _check_delta(delta: float) -> None:
    if not 0 < delta < 1:
        raise ValueError(f"delta must be in (0, 1), got {delta}")
