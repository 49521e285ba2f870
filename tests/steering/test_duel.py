"""A challenger beside the rule in use: what it would have left, and when it is better."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from stopping_core import AdaptiveStopping, Audit, Completion, Request, Session, run
from stopping_core.budgets import GeometricBudget
from stopping_core.completeness import AnswerPresent
from stopping_core.policies import MinTokens, Never, Threshold
from stopping_core.policies.baselines import KStable
from stopping_core.results import Trial, Verdict
from stopping_core.signals import Sentences
from stopping_core.steering import Duel
from stopping_core.testing import ScriptedModel, words
from stopping_core.types import Boundary, Checkpoint, Usage

TEXT = "One is here. Two is here. Three is here. Four is here."
ONE, TWO, THREE = (Threshold(Sentences(), at_least=count) for count in (1, 2, 3))


def go(draw: float = 0.0, *scripts: list[str], **changes: Any) -> Completion:
    made = AdaptiveStopping(policy=TWO, challenger=ONE, audit=0.25).replace(**changes)
    session = Session(made, Request(), streaming=True, draw=lambda: draw)
    return run(session, ScriptedModel(*(scripts or (words(TEXT),))).backend)


@pytest.mark.parametrize(
    ("policy", "challenger", "text"),
    [
        (TWO, ONE, "One is here."),
        (ONE, TWO, "One is here. Two is here."),
        (Never(), THREE, "One is here. Two is here. Three is here."),
        (ONE, Never(), TEXT),
    ],
)
def test_it_is_tried_on_the_full_run(policy: Any, challenger: Any, text: str) -> None:
    """Before the stop that is noted or after it, or without one; the answer is not changed."""
    done, bare = (go(policy=policy, challenger=one, audit=0.25) for one in (challenger, None))
    assert done.trial is not None
    assert (text, TEXT, len(words(TEXT))) == (done.trial.text, done.trial.full, done.trial.tokens)
    assert (text == TEXT) is (done.trial.checkpoint is None)
    assert (bare.text, bare.reason, bare.trial) == (done.text, done.reason, None)


def test_only_answers_that_are_seen_to_the_end_tell() -> None:
    """Drawn for an audit, or in shadow; not cut ones, nor where the run broke off."""
    assert None is go(0.5).trial
    shadow = go(0.5, mode="shadow").trial
    assert shadow is not None
    assert ("One is here.", TEXT) == (shadow.text, shadow.full)
    broken: Any = [*words("One is here. Two is here. Three"), ConnectionError("reset")]
    assert None is go(0.0, broken).trial


def test_its_stops_are_checked_like_any() -> None:
    """Where a stop would not be made it is none."""
    text = "It is so. The answer is 4. And more."
    done = go(0.0, words(text), policy=Never(), completeness=AnswerPresent())
    assert done.trial is not None
    assert "It is so. The answer is 4." == done.trial.text


def test_it_follows_an_answer_over_several_calls() -> None:
    """The second goes on where the first ended."""
    done = go(
        0.0,
        words(TEXT),
        words(TEXT)[5:],
        policy=Never(),
        challenger=TWO & MinTokens(4),
        budget=GeometricBudget(first=5, growth=8.0),
    )
    assert done.trial is not None
    assert ("One is here. Two is here.", TEXT) == (done.trial.text, done.trial.full)


def test_a_challenger_that_probes_is_refused() -> None:
    """It would change what is paid."""
    with pytest.raises(ValueError, match="challenger must not need probes"):
        AdaptiveStopping(challenger=KStable())
    with pytest.raises(TypeError, match="challenger must be a Policy, got 7"):
        AdaptiveStopping(challenger=7)  # type: ignore[arg-type]  # wrong on purpose


PLACE = Checkpoint(9, 4, 0.1, Boundary.SENTENCE)


def compared(stop: int | None, ours: int | None, lost: bool, we: bool = False) -> Completion:
    """A request of ten tokens, stopped by the challenger and by the rule in use after so many."""

    def at(tokens: int | None) -> Checkpoint | None:
        return None if tokens is None else Checkpoint(9, tokens, 0.1, Boundary.SENTENCE)

    place = at(ours)
    return Completion(
        text="",
        reasoning="",
        complete=True,
        verdict=Verdict(True),
        finish_reason="stop",
        reason="",
        usage=Usage(),
        attempts=(),
        seconds=1.0,
        audit=None if place is None else Audit(place, "answer", "lost" if we else "", "", "stop"),
        trial=Trial(at(stop), "lost" if lost else "kept", "full", 10, "stop"),
    )


def judge(request: Request, audit: Audit) -> float:
    return float(audit.cut == "lost")


def test_a_better_one_is_found_and_a_worse_one_too() -> None:
    """More is saved at a risk that is kept; less is saved; or too much is lost."""
    rng = np.random.default_rng(0)
    for stop, ours, risk, finding in (
        (3, 6, 0.0, "promote"),
        (8, 6, 0.0, "keep"),
        (None, 6, 0.0, "keep"),
        (3, None, 0.2, "keep"),
        (3, 6, 0.2, "keep"),
    ):
        duel = Duel(judge, risk=0.05)
        assert "undecided" == duel.finding
        for _ in range(1500):
            duel.take(Request(), compared(stop, ours, bool(rng.random() < risk)))
        assert (finding, 1500) == (duel.finding, duel.requests)


def test_one_that_mends_a_broken_risk_is_promoted_though_it_saves_less() -> None:
    """What the rule in use saves beyond its risk is no merit."""
    rng, duel = np.random.default_rng(0), Duel(judge, risk=0.05)
    for _ in range(1500):
        duel.take(Request(), compared(8, 3, False, bool(rng.random() < 0.2)))
        assert "keep" != duel.finding
    assert "promote" == duel.finding
    assert duel.gain[1] < 0


def test_equal_ones_are_hardly_ever_told_apart() -> None:
    """At every look, over a hundred comparisons: wrong in no more than they may be."""
    wrong = 0
    for seed in range(100):
        rng, duel, found = np.random.default_rng(seed), Duel(judge, risk=0.05), set()
        for _ in range(300):
            stop, ours = rng.choice([2, 5, 8], 2).tolist()
            duel.take(Request(), compared(stop, ours, False))
            found.add(duel.finding)
        wrong += found != {"undecided"}
    assert wrong <= 5


def test_what_says_nothing_is_passed_over() -> None:
    """No trial, or no gold answer; a loss that is not told counts."""

    class Some:
        def knows(self, request: Request) -> bool:
            return bool(request.metadata)

        def __call__(self, request: Request, audit: Audit) -> float | None:
            return None

    duel = Duel(Some(), risk=0.05)
    duel.take(Request(), compared(3, 6, False))
    assert 0 == duel.requests
    for _ in range(60):
        duel.take(Request(metadata={"gold": "x"}), compared(3, 6, False))
    assert (60, "keep") == (duel.requests, duel.finding)
    assert (-1.0, 1.0) == Duel(judge, 0.05).gain
