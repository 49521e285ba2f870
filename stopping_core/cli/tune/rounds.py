"""Settings that are proposed a round at a time, by what the rounds before have shown."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import optuna
from optuna.samplers import BaseSampler
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState, create_trial

from stopping_core.cli.bench.scores import Point
from stopping_core.cli.tune.trying import REFUSED, NoPolicy, in_a_line, made, why
from stopping_core.policies import Policy

if TYPE_CHECKING:
    from stopping_core.cli.tune.space import Space

DIRECTIONS = (StudyDirection.MINIMIZE, StudyDirection.MAXIMIZE)
"""Of what a trial is told: right answers lost, tokens saved."""

WHY = "pruned"
"""The trial's attribute that says why it was."""

POLICY = "policy"
"""The trial's attribute that says what was tried."""

Measured: TypeAlias = Callable[[Mapping[int, Policy]], Iterator[tuple[int, Point | str]]]
"""Measures policies by their numbers, in any order: what each does, or why it cannot be tried."""


@dataclass(frozen=True, slots=True)
class Proposal:
    """A setting that is not tried yet.

    Args:
        asked: What the space asked for, and was given.
        policy: What it made of that; None where it refused.
        missing: Why there is none, or ``""``.
    """

    asked: FrozenTrial
    policy: Policy | None
    missing: str = ""

    def told(self, outcome: Point | str) -> FrozenTrial:
        """Return the finished trial."""
        refused = isinstance(outcome, str)
        return create_trial(
            state=TrialState.PRUNED if refused else TrialState.COMPLETE,
            values=None if isinstance(outcome, str) else [outcome.lost, outcome.saving],
            params=self.asked.params,
            distributions=self.asked.distributions,
            user_attrs={WHY: outcome} if refused else {POLICY: in_a_line(self.policy)},
            system_attrs=self.asked.system_attrs,
        )


def propose(
    known: Sequence[FrozenTrial],
    numbers: Sequence[int],
    sampler: Callable[[int], BaseSampler],
    space: Space,
) -> dict[int, Proposal]:
    """Propose settings, none of which depends on what another one of them will do.

    Args:
        known: The finished trials of the rounds before, in order.
        numbers: Of the proposals: how many trials are finished before each.
        sampler: Gives a sampler for each number.
        space: Where they come from.

    Raises:
        ValueError: The space returns no policy.
    """
    study = optuna.create_study(directions=list(DIRECTIONS))  # in memory, and forgotten
    study.add_trials(known)
    proposed = {}
    for number in numbers:
        study.sampler = sampler(number)
        trial = study.ask()
        policy, missing = None, ""
        try:
            policy = made(space, trial)
        except NoPolicy:
            raise
        except REFUSED as error:
            missing = why(error)
        asked = study.get_trials(deepcopy=False)[trial.number]
        proposed[number] = Proposal(asked, policy, missing)
    return proposed


def tried(proposed: Mapping[int, Proposal], measured: Measured) -> Iterator[FrozenTrial]:
    """Try the settings of a round; give the finished trials in the order of their numbers.

    So what is kept of a round that is broken off is its beginning, and the rest can be proposed
    again.
    """
    outcomes: dict[int, Point | str] = {
        number: one.missing for number, one in proposed.items() if one.policy is None
    }
    found = measured(
        {number: one.policy for number, one in proposed.items() if one.policy is not None}
    )
    for number, one in proposed.items():
        while number not in outcomes:
            done, outcome = next(found)
            outcomes[done] = outcome
        yield one.told(outcomes[number])
