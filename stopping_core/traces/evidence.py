"""What a rule needs and the recorded runs do not hold: it is refused, and nothing is guessed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from stopping_core.policies import Policy
from stopping_core.traces.run import Run
from stopping_core.types import Need

_HELD: Mapping[str, Callable[[Run], bool]] = {
    "logprobs": lambda run: run.logprobs is not None and _probes_have_logprobs(run),
    "top_logprobs": lambda run: run.top_logprobs is not None,
    "end_probability": lambda run: run.end_probability is not None,
    "seconds": lambda run: run.seconds is not None,
}
_HOW: Mapping[str, str] = {
    "logprobs": "record the runs from a source that gives logprobs",
    "top_logprobs": "record the runs with top_logprobs >= 1",
    "end_probability": "record the runs from a local model",
    "seconds": "record the runs with the time of each token",
    "probes": "record the runs with probes at the places where it asks or ends the thinking",
    "samples": "several runs of one question are judged together, not replayed one by one",
    "rounds": "the rounds of an agent are not recorded in runs",
    "hidden_states": "hidden states are not recorded in runs",
}


class MissingEvidence(ValueError):
    """A rule needs what the recorded runs do not hold.

    Args:
        rule: The rule, as it prints itself.
        need: What is missing.
        where: Which run, or which place in it.
    """

    def __init__(self, rule: str, need: Need | str, where: str) -> None:
        super().__init__(f"{rule} needs {need}, and {where} holds none: {_HOW[need]}")
        self.rule = rule
        self.need = need


def check_evidence(policy: Policy, runs: Iterable[Run]) -> None:
    """Refuse a rule that needs what a run does not hold.

    Probes are not looked for here: whether one is missing shows only where the rule asks for it.

    Raises:
        MissingEvidence: Names the rule, what it needs, the first run without it, and what to do.
    """
    needs = sorted(policy.needs() - {"probes"})
    for run in runs if needs else ():
        for need in needs:
            if need not in _HELD or not _HELD[need](run):
                raise MissingEvidence(repr(policy), need, _name(run))


def no_probe(policy: Policy, run: Run, place: int) -> MissingEvidence:
    """The error of a rule that asks, or ends the thinking, where no probe was recorded.

    Args:
        policy: The rule.
        run: The run.
        place: Raw tokens up to there.
    """
    return MissingEvidence(repr(policy), "probes", f"{_name(run)} after {place} tokens")


def _probes_have_logprobs(run: Run) -> bool:
    return all(probe.logprobs or not probe.tokens for probe in run.probes.values())


def _name(run: Run) -> str:
    return f"run {run.sample} of question {run.question_id!r}"
