"""Every exported signal, policy, check and budget is put through the contract it has to keep."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import pytest

from stopping_core import Policy, Request, Signal, budgets, completeness, policies, signals
from stopping_core.policies import MinTokens, Never, Threshold
from stopping_core.profiles import PROFILES
from stopping_core.signals import Sentences
from stopping_core.testing import check_budget, check_completeness, check_policy, check_signal
from tests.core.made_lengths import made_lengths

sentence = Threshold(Sentences(), at_least=1)

POLICIES: dict[str, Callable[[], Policy]] = {
    "AllOf": lambda: sentence & MinTokens(3),
    "AnyOf": lambda: sentence | MinTokens(20),
    "Deadline": lambda: policies.Deadline(1.0),
    "LoopGuard": policies.LoopGuard,
    "MaxTokens": lambda: policies.MaxTokens(7),
    "MinTokens": lambda: policies.MinTokens(7),
    "Never": Never,
    "Patience": lambda: policies.Patience(sentence, 2),
    "Threshold": lambda: sentence,
}
CHECKS: dict[str, Callable[[], Any]] = {
    "JsonSchema": lambda: completeness.JsonSchema({"type": "object"}),
    "Judge": lambda: completeness.Judge(lambda request, text: len(text) > 3),
    "Matches": lambda: completeness.Matches("a"),
    "all_of": lambda: completeness.all_of(completeness.EndsSentence(), completeness.JsonText()),
    "any_of": lambda: completeness.any_of(completeness.EndsSentence(), completeness.JsonText()),
    "default_check": completeness.default_check,
}
BUDGETS: dict[str, Callable[[], Any]] = {
    "CostCeiling": lambda: budgets.CostCeiling(0.01, 1.0, 4.0, budgets.GeometricBudget()),
    "DeadlineBudget": lambda: budgets.DeadlineBudget(5.0, budgets.GeometricBudget()),
    "FixedBudget": lambda: budgets.FixedBudget(64),
    "GeometricBudget": budgets.GeometricBudget,
    "QuantileBudget": lambda: budgets.QuantileBudget(made_lengths()),
}


def exported(module: Any) -> list[str]:
    """The names of a module's public classes, and of its makers of checks."""
    names = [
        n
        for n in module.__all__
        if isinstance(getattr(module, n), type) and not inspect.isabstract(getattr(module, n))
    ]
    return names + [n for n in ("all_of", "any_of", "default_check") if n in module.__all__]


@pytest.mark.parametrize("name", exported(signals))
def test_signals(name: str) -> None:
    """Readings do not depend on the chunking, and a reset forgets everything."""
    check_signal(getattr(signals, name))
    assert isinstance(getattr(signals, name)(), Signal)


@pytest.mark.parametrize("name", exported(policies))
def test_policies(name: str) -> None:
    """Stops do not depend on the chunking, and do not see the future."""
    check_policy(POLICIES[name])


@pytest.mark.parametrize("name", sorted(PROFILES))
def test_the_policies_of_the_profiles(name: str) -> None:
    """What users get by name keeps the contract too."""
    check_policy(lambda: _policy(name))


@pytest.mark.parametrize("name", exported(completeness))
def test_checks(name: str) -> None:
    """Any text gets a verdict, with a reason where it is incomplete."""
    check_completeness(CHECKS.get(name, getattr(completeness, name))())


@pytest.mark.parametrize("name", [name for name in exported(budgets) if name != "LengthModel"])
def test_budgets(name: str) -> None:
    """Grants are whole, positive and growing."""
    check_budget(BUDGETS[name]())


class Eager:
    """A signal that breaks its contract: it counts chunks."""

    def __init__(self) -> None:
        self.value: float | None = 0.0

    def reset(self, request: Request) -> None:
        self.value = 0.0

    def update(self, step: Any) -> None:
        self.value = (self.value or 0.0) + 1


def test_a_broken_signal_is_found() -> None:
    """The contract check can fail."""
    with pytest.raises(AssertionError, match="Eager depends on the chunking"):
        check_signal(Eager)


def test_a_signal_that_takes_a_step_for_a_token_is_found() -> None:
    """A chunk of many tokens is many tokens."""

    class Mean(Eager):
        """The mean logprob of the steps."""

        def __init__(self) -> None:
            super().__init__()
            self.seen: list[float] = []

        def reset(self, request: Request) -> None:
            self.value, self.seen = None, []

        def update(self, step: Any) -> None:
            if step.logprob is not None:
                self.seen = [*self.seen, step.logprob][-8:]
                self.value = sum(self.seen) / len(self.seen)

    with pytest.raises(AssertionError, match="Mean counts a step of"):
        check_signal(Mean)


def test_a_broken_policy_is_found() -> None:
    """So can the one for policies."""
    with pytest.raises(AssertionError, match="depends on chunking"):
        check_policy(lambda: Threshold(Eager(), at_least=6))


def test_a_broken_budget_is_found() -> None:
    """And the one for budgets."""
    with pytest.raises(AssertionError, match="grants 0 tokens"):
        check_budget(lambda request, ledger: 0)
    with pytest.raises(AssertionError, match="takes back: 64 after 128"):
        check_budget(lambda request, ledger: 128 >> len(ledger))


def _policy(name: str) -> Policy:
    from stopping_core import AdaptiveStopping

    return AdaptiveStopping.from_profile(name).policy
