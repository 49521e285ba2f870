"""Parts of a set of runs that share nothing: what is chosen on one is reported on another."""

from __future__ import annotations

import math
import random
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

from stopping_core.traces.run import Run

_ORDERS = 64
_NEAR = 0.05  # of the runs


def split(runs: Sequence[Run], shares: Mapping[str, float], seed: int) -> dict[str, list[int]]:
    """Deal runs out to parts, and keep together what belongs together.

    A family of runs (else its group, else its question) goes to one part as a whole: a setting that
    was chosen on a question about a passage has seen the passage. Families are dealt out in random
    order, each to the part that lacks most of its share of the runs. Of several such orders the
    first is taken whose parts are near their shares, or about as near as they come: few families
    of unequal size may fall badly. The same runs, in any order, give the same parts.

    Args:
        runs: The runs.
        shares: What share of the runs each part is to have, > 0; they sum to 1.
        seed: Of the orders.

    Returns:
        The numbers of the runs of each part, rising. Where families are few or large the shares
        are missed, by less than the largest family.

    Raises:
        ValueError: The shares are not as above, or a part would be empty.

    Examples:
        >>> runs = [Run(f"q{i}", "?", ("a",), ("a",), "stop", family="ab"[i % 2]) for i in range(6)]
        >>> sorted(split(runs, {"choose": 0.5, "report": 0.5}, seed=0).values())
        [[0, 2, 4], [1, 3, 5]]
    """
    if not shares or not all(share > 0 for share in shares.values()):
        raise ValueError(f"shares must be one or more numbers > 0, got {dict(shares)}")
    if not math.isclose(math.fsum(shares.values()), 1, abs_tol=1e-6):
        raise ValueError(f"shares must sum to 1, got {dict(shares)}")
    families: dict[tuple[str, str], list[int]] = defaultdict(list)
    for number, run in enumerate(runs):
        families[family_of(run)].append(number)
    wanted = {part: share * len(runs) for part, share in shares.items()}
    near, tried = _NEAR * len(runs), []
    order, rng = sorted(families), random.Random(seed)
    for _ in range(_ORDERS):
        rng.shuffle(order)
        parts = _deal([families[family] for family in order], wanted)
        tried.append((_miss(parts, wanted), parts))
        if tried[-1][0] <= near:
            break
    least = min(miss for miss, _ in tried)
    parts = next(
        parts for miss, parts in tried if miss <= (near if least <= near else least + near)
    )
    for part, numbers in parts.items():
        if not numbers:
            raise ValueError(
                f"shares must leave no part empty, got {shares[part]} for {part!r} of {len(runs)} "
                f"runs in {len(families)} families"
            )
    return {part: sorted(numbers) for part, numbers in parts.items()}


def family_of(run: Run) -> tuple[str, str]:
    """Name what is kept whole, by its kind and its name: family, else group, else question."""
    if run.family:
        return "family", run.family
    return ("group", run.group) if run.group else ("question", run.question_id)


def _deal(families: Iterable[list[int]], wanted: Mapping[str, float]) -> dict[str, list[int]]:
    """Give each family to the part that lacks most runs."""
    parts: dict[str, list[int]] = {part: [] for part in wanted}
    for family in families:
        parts[max(parts, key=lambda part: wanted[part] - len(parts[part]))] += family
    return parts


def _miss(parts: Mapping[str, list[int]], wanted: Mapping[str, float]) -> float:
    """By how many runs a part misses what it wants, at most; infinite where one is empty."""
    if not all(parts.values()):
        return math.inf
    return max(abs(len(numbers) - wanted[part]) for part, numbers in parts.items())
