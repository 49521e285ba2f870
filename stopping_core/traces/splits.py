"""Parts of a set of runs that share nothing: what is chosen on one is reported on another."""

from __future__ import annotations

import math
import random
from collections import defaultdict
from collections.abc import Mapping, Sequence

from stopping_core.traces.run import Run


def split(runs: Sequence[Run], shares: Mapping[str, float], seed: int) -> dict[str, list[int]]:
    """Deal runs out to parts, and keep together what belongs together.

    A family of runs (else its group, else its question) goes to one part as a whole: a setting that
    was chosen on a question about a passage has seen the passage. Families are shuffled, then dealt
    out from the largest, each to the part that lacks most of its share of the runs. The same runs,
    in any order, give the same parts.

    Args:
        runs: The runs.
        shares: What share of the runs each part is to have, > 0; they sum to 1.
        seed: Of the shuffle.

    Returns:
        The numbers of the runs of each part, rising. Where families are few or large the shares
        are missed.

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
        families[_family(run)].append(number)
    order = sorted(families)
    random.Random(seed).shuffle(order)
    order.sort(key=lambda family: -len(families[family]))
    parts: dict[str, list[int]] = {part: [] for part in shares}
    for family in order:
        part = max(parts, key=lambda part: shares[part] * len(runs) - len(parts[part]))
        parts[part] += families[family]
    for part, numbers in parts.items():
        if not numbers:
            raise ValueError(
                f"shares must leave no part empty, got {shares[part]} for {part!r} of {len(runs)} "
                f"runs in {len(families)} families"
            )
        numbers.sort()
    return parts


def _family(run: Run) -> tuple[str, str]:
    """What is kept whole, and of which kind its name is."""
    if run.family:
        return "family", run.family
    return ("group", run.group) if run.group else ("question", run.question_id)
