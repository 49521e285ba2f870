"""The needed length of a recorded run is where the engine would have been done with it."""

from __future__ import annotations

import pytest

from stopping_core.completeness import default_check
from stopping_core.policies import MaxTokens, Never, Policy, Threshold
from stopping_core.profiles import PROFILES, careful
from stopping_core.results import Verdict
from stopping_core.signals import Sentences
from stopping_core.testing import words
from stopping_core.traces import Columns, needed_lengths, replay
from stopping_core.types import Boundary
from tests.traces.made_runs import Foresighted, make_run, plain_runs, thinking_runs


@pytest.mark.parametrize(
    "policy",
    [Never(), Threshold(Sentences(), at_least=1), MaxTokens(7), PROFILES["balanced"].by_hand()],
    ids=repr,
)
def test_it_is_what_the_engine_says(policy: Policy) -> None:
    """A stop needs what had come by then, a natural end a token more, at the cap the cap."""
    runs = [*plain_runs(), *thinking_runs()]
    runs.append(make_run(words("It is long and has no end"), 300, finish_reason="length"))
    needed = needed_lengths(Columns(runs), policy)
    for run, found in zip(runs, needed.tolist(), strict=True):
        outcome = replay(run, policy, check=default_check())
        ended = outcome.checkpoint is None and run.finish_reason != "length"
        assert max(1, outcome.tokens + ended) == found


def test_a_check_can_refuse_a_stop() -> None:
    """Under a check that never passes, only forced stops and ends are left."""
    runs = plain_runs()
    refusing = needed_lengths(Columns(runs), careful(), lambda request, draft: Verdict(False))
    natural = needed_lengths(Columns(runs), Never())
    assert (needed_lengths(Columns(runs), careful()) <= refusing).all()
    assert (refusing <= natural).all()


def test_thinking_that_is_ended_needs_its_answer_too() -> None:
    """What closes the reasoning, and the answer, are part of the length."""
    columns = Columns(thinking_runs(), channel="reasoning")
    policy = Foresighted(Boundary.LINE, 1)
    needed = needed_lengths(columns, policy)
    outcomes = [replay(run, policy, channel="reasoning") for run in columns.runs]
    stopped = [outcome for outcome in outcomes if outcome.checkpoint is not None]
    assert stopped
    for outcome, found in zip(outcomes, needed.tolist(), strict=True):
        if outcome.checkpoint is not None:
            assert outcome.usage.generated == found >= outcome.tokens
