"""What policies make of the runs of one half."""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from stopping_core.cli.bench.scores import Mask, Point, Scores, add_up
from stopping_core.cli.bench.sweeping import (
    Material,
    channel_of,
    cross_cut,
    every_of,
    fit_parts,
    fitted,
)
from stopping_core.cli.bench.table import intervals
from stopping_core.cli.tune.runs import Dealt
from stopping_core.completeness import default_check
from stopping_core.policies import AllOf, AnyOf, Patience, Policy
from stopping_core.policies.learned import LearnedStopping
from stopping_core.policies.learned.loss_model import LossModel
from stopping_core.protocols import CompletenessCheck
from stopping_core.traces.columns import Columns
from stopping_core.traces.sweep import cut

_KEPT = 4  # distances between looks whose readings are kept


@dataclass(frozen=True, slots=True)
class Figures:
    """What a policy does to the reported runs.

    Args:
        point: What it adds up to.
        intervals: 95% intervals of saving, lost and gained, percent; None where the families are
            too few.
    """

    point: Point
    intervals: dict[str, list[float]] | None


class Half:
    """The runs of one half, ready to be cut; what is costly is kept.

    Readings are kept for the rules that look at the same places. Learned rules look at places of
    their own, and reading them anew for each of two hundred thresholds would be most of the work.

    Args:
        dealt: The runs.
    """

    def __init__(self, dealt: Dealt) -> None:
        self.dealt = dealt
        self._check: CompletenessCheck | None = None
        if channel_of(dealt.trace) == "answer":
            self._check = default_check()
        self._materials: dict[Hashable, Material] = {}

    @property
    def right(self) -> int:
        """How many full answers are right."""
        return int(self.material(()).full.right.sum())

    def material(self, places: Hashable) -> Material:
        """The runs for rules that look at the same places, made at the first call."""
        if places in self._materials:
            self._materials[places] = self._materials.pop(places)
        else:
            if len(self._materials) >= _KEPT:
                self._materials.pop(next(iter(self._materials)))
            self._materials[places] = self._made()
        return self._materials[places]

    def _made(self) -> Material:
        trace = self.dealt.trace
        columns = Columns(
            trace.runs,
            channel=channel_of(trace),
            tags=trace.header.reasoning_tags,
            every=every_of(trace),
        )
        return Material(columns, self.dealt.halves, self.dealt.folds)


class Searched(Half):
    """The half that the search sees: rules are fitted on it."""

    def __init__(self, dealt: Dealt) -> None:
        super().__init__(dealt)
        self._models: dict[Hashable, LossModel | None] = {}

    def point(self, policy: Policy) -> Point:
        """Cut all runs, each by what was fitted on other families where the policy is fitted.

        Raises:
            MissingEvidence: The runs do not hold what the policy needs.
            Unfit: It cannot be fitted on them.
        """
        material = self.material(looks(policy))
        _, cuts = cross_cut(policy, material, self._check, partial(self._fit, material=material))
        return add_up(material.scorer.scores(cuts), material.full, material.halves.choose)

    def fitted(self, policy: Policy) -> Policy:
        """Fit a policy on all runs of this half; itself where nothing in it is fitted.

        Raises:
            MissingEvidence: The runs do not hold what the policy needs.
            Unfit: It cannot be fitted on them.
        """
        material = self.material(looks(policy))
        everything = np.ones(len(material.columns.runs), dtype=np.bool_)
        return fit_parts(policy, partial(self._fit, where=everything, material=material))

    def _fit(self, rule: Any, *, where: Mask, material: Material) -> Any:
        """Fit a rule; the model of a learned one is the same for all its thresholds."""
        if not isinstance(rule, LearnedStopping):
            return fitted(rule, material, where)
        key = rule.every, rule.tier, rule.channel, where.tobytes()
        if key not in self._models:
            bare = LearnedStopping(rule.threshold, None, rule.every, rule.tier, rule.channel)
            self._models[key] = fitted(bare, material, where).model
        return LearnedStopping(rule.threshold, self._models[key], rule.every)


class Reported(Half):
    """The half that no trial sees."""

    def figures(self, policy: Policy) -> Figures:
        """Cut all runs by a policy that needs no more fitting.

        Raises:
            MissingEvidence: The runs do not hold what the policy needs.
        """
        material = self.material(looks(policy))
        halves, full = material.halves, material.full
        scores: Scores = material.scorer.scores(cut(material.columns, policy, self._check))
        return Figures(add_up(scores, full, halves.report), intervals(scores, full, halves))


def looks(policy: Policy) -> Hashable:
    """How far apart the learned parts of a policy look."""
    return tuple(sorted({rule.every for rule in _learned(policy)}))


def _learned(policy: Policy) -> Iterator[LearnedStopping]:
    if isinstance(policy, LearnedStopping):
        yield policy
    elif isinstance(policy, Patience):
        yield from _learned(policy.policy)
    elif isinstance(policy, AllOf | AnyOf):
        for part in policy.parts:
            yield from _learned(part)
