"""What makes a level of a length model a promise: conformal offsets, from runs it has not seen."""

from __future__ import annotations

import math
import random
from collections.abc import Hashable, Sequence
from dataclasses import replace
from fractions import Fraction
from typing import SupportsIndex

from stopping_core.budgets.lengths import LengthModel
from stopping_core.budgets.request_features import features_of
from stopping_core.types import Request


def calibrate(
    model: LengthModel,
    requests: Sequence[Request],
    needed: Sequence[SupportsIndex],
    groups: Sequence[Hashable] | None = None,
    seed: int = 0,
) -> LengthModel:
    """Return the model with an offset for each level, so that the level is kept.

    Promise: for a request drawn as these were, the needed length is at most the model's quantile at
    level q with a probability of at least q. The probability is over the request and over the draw
    of the runs here, together: one calibration may fall short by some 1/sqrt(n), and the promise is
    of the average request, not of each kind of request. It holds whatever the model is worth; a bad
    one only has wide quantiles. Each level keeps it by itself. By how much more it holds is not
    said: quantiles are whole tokens, rounded up, and none is less than that of a level below.

    Void where the runs here and the request are not exchangeable (another model, template, policy,
    completeness check or source of questions, or runs of one passage taken for independent), where
    the model was fitted or chosen on these runs, and for lengths above the cap: a run that came to
    it counts as one that needs just as much.

    Args:
        model: The model; offsets that it has are forgotten.
        requests: Of runs that the model was not fitted on, at least one.
        needed: Tokens that each needed; more than the cap counts as the cap.  # (n,)
        groups: What belongs together: one run of each group is drawn, and the others are left out.
            None where all are independent.  # (n,)
        seed: Of that draw.

    Returns:
        With the ceil((n + 1) q)-th smallest of log(needed) - quantile as the offset of level q;
        with None, for the cap, where that is beyond the n-th.

    Raises:
        ValueError: There are no runs, or the arguments differ in length.

    References:
        Romano, Patterson and Candès (2019), Conformalized Quantile Regression, theorem 1, of one
        side. arXiv:1905.03222. Dunn, Wasserman and Ramdas (2022), Distribution-Free Prediction
        Sets for Two-Layer Hierarchical Models: one draw a group. arXiv:1809.07441.
    """
    count = len(requests)
    if count < 1:
        raise ValueError("requests must hold at least 1, got 0")
    if len(needed) != count or (groups is not None and len(groups) != count):
        lengths = count, len(needed), None if groups is None else len(groups)
        raise ValueError(f"requests, needed and groups must be of one length, got {lengths}")
    drawn = range(count) if groups is None else _one_a_group(groups, seed)
    scores = [_scores(model, requests[one], needed[one]) for one in drawn]
    offsets = tuple(
        _order_statistic(sorted(row[place] for row in scores), level)
        for place, level in enumerate(model.levels)
    )
    return replace(model, offsets=offsets, runs=len(scores))


def _scores(model: LengthModel, request: Request, needed: SupportsIndex) -> list[float]:
    """By how much the log of the needed length exceeds each quantile.  # (levels,)."""
    tokens = min(max(1, int(needed)), model.cap)
    return [math.log(tokens) - log for log in model.log_quantiles(features_of(request))]


def _order_statistic(rising: Sequence[float], level: float) -> float | None:
    """The ceil((n + 1) level)-th smallest, or None: exact, with the level as it is written."""
    rank = math.ceil((len(rising) + 1) * Fraction(str(level)))
    return rising[rank - 1] if rank <= len(rising) else None


def _one_a_group(groups: Sequence[Hashable], seed: int) -> list[int]:
    """Draw the number of one run of each group."""
    members: dict[Hashable, list[int]] = {}
    for number, group in enumerate(groups):
        members.setdefault(group, []).append(number)
    rng = random.Random(seed)
    return [rng.choice(numbers) for numbers in members.values()]
