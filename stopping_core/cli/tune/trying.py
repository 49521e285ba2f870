"""One setting: what a space makes of it, what it does, or why it cannot be tried."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from optuna.exceptions import TrialPruned

from stopping_core.cli.bench.scores import Point
from stopping_core.cli.tune.half import Searched
from stopping_core.policies import Policy

if TYPE_CHECKING:
    from stopping_core.cli.tune.space import Space

_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")

REFUSED = (ValueError, TrialPruned)
"""What a setting raises that cannot be tried."""


class NoPolicy(ValueError):
    """A space returns something else: a mistake in the space, and not in the setting."""


def made(space: Space, trial: Any) -> Policy:
    """Make the policy of a trial.

    Raises:
        NoPolicy: The space returns something else.
        ValueError: The setting cannot be tried; so does TrialPruned say.
    """
    policy = space(trial)
    if not isinstance(policy, Policy):
        raise NoPolicy(f"--space must return a Policy, got {policy!r}")
    return policy


def measure(searched: Searched, policy: Policy) -> Point | str:
    """Say what a policy does to the searched runs, or why it cannot be tried."""
    try:
        return searched.point(policy)
    except REFUSED as error:
        return why(error)


def in_a_line(policy: object) -> str:
    """Print a policy; without addresses in memory, which are others in each call."""
    return _ADDRESS.sub("", " ".join(repr(policy).split()))


def why(error: Exception) -> str:
    """Say why a setting cannot be tried."""
    return str(error) or f"the space raises {type(error).__name__}"
