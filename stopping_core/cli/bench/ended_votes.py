"""Votes over samples that the learned rule ends, against the vote over all that were recorded."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from stopping_core.cli.bench.part import Part
from stopping_core.cli.bench.scores import Mask, Scores, add_up
from stopping_core.cli.bench.sweeping import Material, Unfit, channel_of, cross_cut, every_of
from stopping_core.cli.bench.table import Halves, Swept
from stopping_core.cli.bench.votes import Ballot
from stopping_core.hybrids import DecidedVote
from stopping_core.policies import Policy
from stopping_core.policies.baselines import SampleRule, VoteOfN
from stopping_core.policies.learned import LearnedStopping
from stopping_core.policies.learned.loss_model import TIERS, Tier
from stopping_core.traces.columns import Columns
from stopping_core.traces.evidence import MissingEvidence
from stopping_core.traces.run import Trace

CONFIDENCES = (0.999, 0.99, 0.98, 0.95, 0.9, 0.8, 0.7, 0.5)
"""At which the vote is ended, careful ones first."""

_THIN = 3  # of the thresholds of the learned rule's grid, every third is tried


@dataclass(frozen=True, slots=True)
class EndedVote:
    """A vote over samples that a policy ends.

    Args:
        policy: Of each sample.
        rule: Of the vote.
    """

    policy: Policy
    rule: SampleRule

    def __repr__(self) -> str:
        return f"{self.rule!r} of {self.policy!r}"


def sweep_ended(trace: Trace, ballot: Ballot, part: Part, full: Scores) -> Iterator[Swept]:
    """Try votes whose samples the learned rule ends, at pairs of settings.

    For each tier of the rule first a vote of all samples, which says what ending them is worth by
    itself; then one that is ended when it is decided.
    """
    kinds: Mapping[str, tuple[SampleRule, ...]] = {
        "vote of N": (VoteOfN(ballot.recorded),),
        "decided vote": tuple(DecidedVote(one, ballot.recorded) for one in CONFIDENCES),
    }
    material = _material(trace, ballot, part)
    for tier in TIERS[channel_of(trace)]:
        names = {f"{kind}, samples ended (this library), {tier}": kinds[kind] for kind in kinds}
        try:
            ballots = _ended(tier, ballot, material)
        except (MissingEvidence, Unfit) as error:
            for name in names:
                yield Swept(name, tier, (), (), (), missing=str(error))
            continue
        for name, rules in names.items():
            tried = [(EndedVote(policy, rule), own) for policy, own in ballots for rule in rules]
            scores = tuple(own.scores(own.drawn(one.rule)) for one, own in tried)
            yield Swept(
                name,
                tier,
                tuple(" ".join(repr(one).split()) for one, _ in tried),
                scores,
                tuple(add_up(one, full, part.halves.choose) for one in scores),
                note="fitted on the choosing questions, by cross-fitting",
                rules=tuple(one for one, _ in tried),
            )


def _ended(tier: Tier, ballot: Ballot, material: Material) -> list[tuple[Policy, Ballot]]:
    """The samples as the rule leaves them, at each of its thresholds.

    Raises:
        MissingEvidence: The runs do not hold what the tier reads.
        Unfit: The rule cannot be fitted on them.
    """
    grid = LearnedStopping.grid(tier, material.columns.channel)[::_THIN]
    cuts = (cross_cut(rule, material, None) for rule in grid)
    return [(policy, ballot.cut(one)) for policy, one in cuts]


def _material(trace: Trace, ballot: Ballot, part: Part) -> Material:
    """The single samples, split as their questions are."""
    tags, channel = trace.header.reasoning_tags, channel_of(trace)
    columns = Columns(trace.runs, channel=channel, tags=tags, every=every_of(trace))

    def of_runs(questions: Mask) -> Mask:
        mask = np.zeros(len(trace.runs), dtype=np.bool_)
        for number in np.flatnonzero(questions):
            mask[list(ballot.numbers[number])] = True
        return mask

    choose, report = of_runs(part.halves.choose), of_runs(part.halves.report)
    halves = Halves(choose, report, np.ones_like(choose), part.halves.families, None)
    return Material(columns, halves, tuple(map(of_runs, part.folds)))
