"""The rules of the default space, each with the parameters that a trial gives it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from stopping_core.policies import MaxTokens, Never, Policy, Threshold
from stopping_core.policies.baselines import KStable
from stopping_core.policies.learned import LearnedStopping
from stopping_core.policies.learned.loss_model import TIERS, Tier
from stopping_core.signals import (
    AnswerPattern,
    Margin,
    MeanLogprob,
    Novelty,
    Paragraphs,
    Repetition,
    Sentences,
    TopKEntropy,
)
from stopping_core.types import Boundary, Channel

if TYPE_CHECKING:
    from optuna import Trial
    from optuna.trial import FixedTrial

    Asked: TypeAlias = Trial | FixedTrial

_ENDS = Boundary.SENTENCE | Boundary.LINE | Boundary.PARAGRAPH
_PLACES = {"anywhere": Boundary.NONE, "ends": _ENDS}
_WINDOWS = (4, 8, 16, 32)


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule at settings that are still open.

    Args:
        make: Takes a trial, and returns the rule at the settings that the trial gives.
        example: The rule at some setting: it needs of the runs what all settings do.
    """

    make: Callable[[Asked], Policy]
    example: Policy


def rules(channel: Channel, every: int, longest: int) -> dict[str, Rule]:
    """Name the rules of a channel.

    In answers: the learned rule, so many sentences or paragraphs, a final answer, a budget. In
    reasoning: the learned rule, a budget, and answers of probes that stay the same. In both,
    thresholds on how sure the model is of its last tokens, and on how much it repeats itself.

    In reasoning all are asked where lines end or where there are probes: elsewhere the recording
    does not show what a stop leaves.

    Args:
        channel: Where they stop.
        every: Tokens between two checkpoints; in reasoning, between two probes.
        longest: Tokens up to which budgets are tried, >= ``every``.
    """
    found = _of_answers() if channel == "answer" else _of_reasoning()
    found["budget"] = Rule(_budget(channel, every, longest), Never())
    found["confidence"] = Rule(_confidence(channel), Threshold(MeanLogprob(), at_least=0))
    found["entropy"] = Rule(_entropy(channel), Threshold(TopKEntropy(), at_most=0))
    found["margin"] = Rule(_margin(channel), Threshold(Margin(), at_least=1))
    found["repetition"] = Rule(_repetition(channel), Never())
    found["novelty"] = Rule(_novelty(channel), Never())
    return found


def _of_answers() -> dict[str, Rule]:
    return {
        "learned": Rule(_learned_answer, LearnedStopping(0.0)),
        "sentences": Rule(_sentences, Never()),
        "paragraphs": Rule(_paragraphs, Never()),
        "final_answer": Rule(_final_answer, Never()),
    }


def _of_reasoning() -> dict[str, Rule]:
    found = {
        f"learned_{tier}": Rule(
            _learned_reasoning(tier), LearnedStopping(0.0, tier=tier, channel="reasoning")
        )
        for tier in TIERS["reasoning"]
    }
    return {**found, "stable": Rule(_stable, KStable())}


def _learned_answer(trial: Asked) -> Policy:
    threshold = trial.suggest_float("learned.threshold", -8.5, -2.0, step=0.05)
    every = trial.suggest_categorical("learned.every", (2, 4, 8))
    return LearnedStopping(threshold, every=every)


def _learned_reasoning(tier: Tier) -> Callable[[Asked], Policy]:
    def make(trial: Asked) -> Policy:
        threshold = trial.suggest_float(f"learned_{tier}.threshold", -6.0, 0.0, step=0.05)
        return LearnedStopping(threshold, tier=tier, channel="reasoning")

    return make


def _sentences(trial: Asked) -> Policy:
    count = trial.suggest_int("sentences.count", 1, 6)
    return Threshold(Sentences(), at_least=count, at=_ENDS)


def _paragraphs(trial: Asked) -> Policy:
    count = trial.suggest_int("paragraphs.count", 1, 4)
    return Threshold(Paragraphs(), at_least=count, at=Boundary.PARAGRAPH)


def _final_answer(trial: Asked) -> Policy:
    return Threshold(AnswerPattern(), at_least=1)


def _stable(trial: Asked) -> Policy:
    return KStable(trial.suggest_int("stable.k", 2, 6))


def _budget(channel: Channel, every: int, longest: int) -> Callable[[Asked], Policy]:
    def make(trial: Asked) -> Policy:
        if channel == "answer":
            return MaxTokens(trial.suggest_int("budget.tokens", min(4, longest), longest, log=True))
        last = longest - longest % every
        return MaxTokens(trial.suggest_int("budget.tokens", every, last, step=every))

    return make


def _confidence(channel: Channel) -> Callable[[Asked], Policy]:
    def make(trial: Asked) -> Policy:
        surprise = trial.suggest_float("confidence.surprise", 0.001, 1.0, log=True)  # nats
        window = trial.suggest_categorical("confidence.window", _WINDOWS)
        place = _place(trial, "confidence", channel)
        return Threshold(MeanLogprob(window), at_least=-_round(surprise), at=place)

    return make


def _entropy(channel: Channel) -> Callable[[Asked], Policy]:
    def make(trial: Asked) -> Policy:
        most = trial.suggest_float("entropy.at_most", 0.003, 3.0, log=True)  # nats
        window = trial.suggest_categorical("entropy.window", _WINDOWS)
        place = _place(trial, "entropy", channel)
        return Threshold(TopKEntropy(window), at_most=_round(most), at=place)

    return make


def _margin(channel: Channel) -> Callable[[Asked], Policy]:
    def make(trial: Asked) -> Policy:
        least = trial.suggest_float("margin.at_least", 0.5, 1.0, step=0.005)
        window = trial.suggest_categorical("margin.window", _WINDOWS)
        return Threshold(Margin(window), at_least=least, at=_place(trial, "margin", channel))

    return make


def _repetition(channel: Channel) -> Callable[[Asked], Policy]:
    def make(trial: Asked) -> Policy:
        least = trial.suggest_float("repetition.at_least", 0.02, 0.6, step=0.02)
        n = trial.suggest_int("repetition.n", 2, 4)
        place = _place(trial, "repetition", channel)
        return Threshold(Repetition(n), at_least=least, at=place)

    return make


def _novelty(channel: Channel) -> Callable[[Asked], Policy]:
    def make(trial: Asked) -> Policy:
        most = trial.suggest_float("novelty.at_most", 0.0, 0.7, step=0.02)
        window = trial.suggest_categorical("novelty.window", (8, 16, 32))
        return Threshold(Novelty(window), at_most=most, at=_place(trial, "novelty", channel))

    return make


def _place(trial: Asked, name: str, channel: Channel) -> Boundary:
    """Where a threshold looks: in reasoning only where lines end."""
    if channel == "reasoning":
        return Boundary.LINE
    return _PLACES[trial.suggest_categorical(f"{name}.at", tuple(_PLACES))]


def _round(value: float) -> float:
    """Three digits, which a reader can copy."""
    return float(f"{value:.3g}")
