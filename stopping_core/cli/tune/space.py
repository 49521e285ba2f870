"""The settings that are searched."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeAlias

from stopping_core.cli.bench.imported import imported
from stopping_core.cli.bench.sweeping import channel_of, every_of
from stopping_core.cli.tune.rules import Rule, rules
from stopping_core.policies import LoopGuard, MinTokens, Policy
from stopping_core.traces.evidence import MissingEvidence, check_evidence
from stopping_core.traces.run import Trace

if TYPE_CHECKING:
    from stopping_core.cli.tune.rules import Asked

    Space: TypeAlias = Callable[[Asked], Policy]

DEFAULT = "stopping_core"
"""What the default space is called where a search is kept."""

_FEW = 64  # tokens before which a rule may be kept from stopping
_STEP = 8  # tokens; a multiple of what lies between a learned rule's looks: no place is added


def named(path: str) -> Space:
    """Import a space of the user's.

    Raises:
        ValueError: There is no such function.
    """
    found = imported(path, "--space")
    if not callable(found):
        raise ValueError(f"--space must name a function, got {path!r}: {found!r}")
    space: Space = found
    return space


class DefaultSpace:
    """One of several rules, perhaps not before some tokens, perhaps with a guard against loops.

    Only rules whose evidence the runs hold are in it. Learned rules come without a model, to be
    fitted.

    Args:
        trace: The runs to search on.

    Attributes:
        rules: What it chooses from, by name.
    """

    def __init__(self, trace: Trace) -> None:
        channel, every = channel_of(trace), every_of(trace)
        longest = max(trace.header.max_tokens, every)
        self._guards = channel == "answer"  # a loop of thoughts may begin where no probe is
        self.rules: dict[str, Rule] = {
            name: rule
            for name, rule in rules(channel, every, longest).items()
            if _has_evidence(rule, trace)
        }

    def __call__(self, trial: Asked) -> Policy:
        """Make the policy of a trial."""
        name = trial.suggest_categorical("rule", tuple(self.rules))
        policy = self.rules[name].make(trial)
        if name == "budget":
            return policy
        least = trial.suggest_int("min_tokens", 0, _FEW, step=_STEP)
        policy = policy & MinTokens(least) if least else policy
        if self._guards and trial.suggest_categorical("loop_guard", (False, True)):
            policy = policy | LoopGuard()
        return policy


def _has_evidence(rule: Rule, trace: Trace) -> bool:
    try:
        check_evidence(rule.example, trace.runs)
    except MissingEvidence:
        return False
    return "probes" not in rule.example.needs() or any(run.probes for run in trace.runs)
