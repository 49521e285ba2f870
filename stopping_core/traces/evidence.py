"""What a rule needs and the recorded runs do not hold: it is refused, and nothing is guessed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping

from stopping_core.policies import AllOf, AnyOf, Patience, Policy
from stopping_core.traces.run import Run
from stopping_core.types import Need, Probe

_HELD: Mapping[str, Callable[[Run], bool]] = {
    "logprobs": lambda run: run.logprobs is not None,
    "top_logprobs": lambda run: run.top_logprobs is not None,
    "end_probability": lambda run: run.end_probability is not None,
    "seconds": lambda run: run.seconds is not None,
}
_PROBES: Mapping[str, tuple[str, Callable[[Probe], bool]]] = {
    "logprobs": ("probes with logprobs", lambda probe: bool(probe.logprobs)),
    "top_logprobs": ("probes with entropy", lambda probe: probe.entropy is not None),
}
_HOW: Mapping[str, str] = {
    "logprobs": "record the runs from a source that gives logprobs",
    "top_logprobs": "record the runs with top_logprobs >= 1",
    "end_probability": "record the runs from a local model",
    "seconds": "record the runs with the time of each token",
    "probes": "record the runs with probes at the places where it asks or ends the thinking",
    "probes with logprobs": "record the probes from a source that gives logprobs",
    "probes with entropy": "record the probes from a local model",
    "samples": "several runs of one question are judged together, not replayed one by one",
    "rounds": "the rounds of an agent are not recorded in runs",
    "hidden_states": "hidden states are not recorded in runs",
}


class MissingEvidence(ValueError):
    """A rule needs what the recorded runs do not hold.

    Args:
        rule: The rule, as it prints itself.
        need: What is missing: a need of the rule, or what its probes lack.
        where: Which run, or which place in it.
    """

    def __init__(self, rule: str, need: Need | str, where: str) -> None:
        super().__init__(f"{rule} needs {need}, and {where} holds none: {_HOW[need]}")
        self.rule = rule
        self.need = need


def check_evidence(policy: Policy, runs: Iterable[Run]) -> None:
    """Refuse a rule that needs what a run does not hold.

    A rule sees the stream by its signals only. So what a rule that probes needs beyond them, it
    needs of its probes: ``"logprobs"`` those of the answer, ``"top_logprobs"`` the entropy of its
    first token. A run none of whose answers holds them is refused: the rule could make nothing of
    any. One answer without them is a gap, as in a run's readings.

    Whether a probe is missing shows only where the rule asks for it, and is not looked for here.

    Raises:
        MissingEvidence: Names the rule, what it needs, the first run without it, and what to do.
    """
    of_run, of_probes = (sorted(needs) for needs in _needs(policy))
    for run in runs if of_run or of_probes else ():
        for need in of_run:
            if need not in _HELD or not _HELD[need](run):
                raise MissingEvidence(repr(policy), need, _name(run))
        for need in of_probes:
            lack, held = _PROBES[need]
            answered = (held(probe) for probe in run.probes.values() if probe.tokens)
            if not next(answered, True) and not any(answered):
                raise MissingEvidence(repr(policy), lack, _name(run))


def no_probe(policy: Policy, run: Run, place: int) -> MissingEvidence:
    """The error of a rule that asks, or ends the thinking, where no probe was recorded.

    Args:
        policy: The rule.
        run: The run.
        place: Raw tokens up to there.
    """
    return MissingEvidence(repr(policy), "probes", f"{_name(run)} after {place} tokens")


def _needs(policy: Policy) -> tuple[set[Need], set[Need]]:
    """What it needs of a run, and what of its probes, each part of it by itself."""
    of_run: set[Need] = set()
    of_probes: set[Need] = set()
    for rule in _rules(policy):
        read = {need for one in rule.signals() for need in getattr(one, "needs", ())}
        own = (rule.needs() - read) & _PROBES.keys() if "probes" in rule.needs() else set()
        of_probes |= own
        of_run |= rule.needs() - own - {"probes"}
    return of_run, of_probes


def _rules(policy: Policy) -> Iterator[Policy]:
    """The rules that a rule is made of, or itself."""
    if isinstance(policy, AllOf | AnyOf):
        for part in policy.parts:
            yield from _rules(part)
    elif isinstance(policy, Patience):
        yield from _rules(policy.policy)
    else:
        yield policy


def _name(run: Run) -> str:
    return f"run {run.sample} of question {run.question_id!r}"
