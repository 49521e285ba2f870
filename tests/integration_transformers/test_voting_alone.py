"""Samples that are decoded together: each is what it is alone, token for token."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stopping_core import (
    AdaptiveStopping,
    Completion,
    Session,
    Step,
    Verdict,
)
from stopping_core.budgets import FixedBudget, GeometricBudget
from stopping_core.hybrids import DecidedVote, Poll
from stopping_core.policies import Never, Threshold
from stopping_core.policies.baselines import VoteOfN
from stopping_core.signals import MeanLogprob
from tests.integration_transformers.batched import (
    COUNT,
    ENDED,
    ENDS,
    OFF,
    PROMPT,
    SEED,
    THINKING,
    Asks,
    Judge,
    Opening,
    Passes,
    accept,
    letters,
    long_enough,
    outcome,
    ramble,
)
from transformers_stopping import vote

CASES: dict[str, tuple[AdaptiveStopping, dict[str, Any], set[str]]] = {
    "to the end": (AdaptiveStopping(mode="off"), {"max_new_tokens": 40}, {"first"}),
    "settings of generate": (
        AdaptiveStopping(mode="off"),
        {
            "max_new_tokens": 40,
            "min_new_tokens": 12,
            "temperature": 0.7,
            "top_k": 30,
            "top_p": 0.9,
            "repetition_penalty": 1.2,
            "no_repeat_ngram_size": 3,
            "stop_strings": ["e"],
        },
        {"first"},
    ),
    "cut": (
        AdaptiveStopping(
            policy=Threshold(MeanLogprob(window=3), at_least=-1.0, reason="sure"),
            completeness=accept,
            checkpoint_every=1,
        ),
        {"max_new_tokens": 40},
        {"first"},
    ),
    "continued": (
        ramble(GeometricBudget(first=7), completeness=long_enough, attempts=6),
        {"suppress_tokens": [0, 1]},
        {"first", "continue"},
    ),
    "begun anew": (
        ramble(FixedBudget(60), completeness=long_enough, attempts=4),
        {"sequence_bias": [[[1], 6.0]]},
        {"first", "restart"},
    ),
    "reasoning ended": (*ENDED, {"first", "close_reasoning"}),
    "reasoning probed": (
        AdaptiveStopping(
            policy=Never(),
            reasoning=Asks("d"),
            probe="</think>\n\nA",
            probe_tokens=4,
            checkpoint_every=4,
            completeness=accept,
        ),
        {"opens": THINKING, "max_new_tokens": 90, "temperature": 2.0},
        {"first", "close_reasoning", "restart"},
    ),
    "answer probed": (
        AdaptiveStopping(
            policy=Asks("e"),
            probe="; so",
            probe_tokens=4,
            checkpoint_every=4,
            completeness=long_enough,
            attempts=5,
            budget=GeometricBudget(first=20),
        ),
        {"max_new_tokens": 70},
        {"first", "continue", "restart"},
    ),
    "cut too soon": (
        AdaptiveStopping(completeness=Judge(), attempts=8),
        {"opens": '{"a": 1}\nThen T__. And Three.', "max_new_tokens": 40},
        {"first", "continue"},
    ),
    "loop dropped": (
        AdaptiveStopping(budget=GeometricBudget(first=400), attempts=2),
        {"opens": "We begin here._" + "and again and again " * 20, "max_new_tokens": 290},
        {"first", "reseed"},
    ),
}


@pytest.mark.parametrize(
    ("case", "at_once"),
    [*((case, COUNT) for case in CASES), ("continued", 2), ("begun anew", 2), ("answer probed", 2)],
)
def test_each_sample_is_what_it_is_alone(
    model: Any, tokenizer: Any, alone: Any, case: str, at_once: int
) -> None:
    """Cut, checked, continued, probed and closed in a batch as by itself, call for call."""
    stopping, kwargs, kinds = CASES[case]
    kwargs = dict(kwargs)
    if opens := kwargs.pop("opens", ""):
        kwargs["logits_processor"] = [Opening(tokenizer, opens)]
    made = vote(
        model, tokenizer, PROMPT, VoteOfN(COUNT), stopping, at_once=at_once, seed=SEED, **kwargs
    )
    expected = [alone(number, stopping, **kwargs) for number in range(COUNT)]
    assert [outcome(one) for one in expected] == [outcome(one) for one in made.samples]
    assert 1 < len({one.text for one in made.samples}) or case == "reasoning ended"
    assert kinds == {attempt.kind for one in made.samples for attempt in one.attempts}
    assert [len(PROMPT), 0, 0, 0, 0] == [one.usage.prompt for one in made.samples]
    assert not any(one.usage.estimated for one in made.samples)


@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    most=st.integers(1, 7),
    at_once=st.integers(1, 8),
    ahead=st.integers(0, 3),
    first=st.integers(3, 30),
    attempts=st.integers(1, 4),
)
def test_every_token_is_booked(
    model: Any,
    tokenizer: Any,
    *,
    most: int,
    at_once: int,
    ahead: int,
    first: int,
    attempts: int,
) -> None:
    """A row of a pass is a token of a sample, one that voted or one that was dropped."""
    told: list[Completion] = []
    stopping = ramble(
        GeometricBudget(first=first),
        attempts=attempts,
        completeness=long_enough,
        hooks=(lambda request, made: told.append(made),),
    )
    passes = Passes(model)
    try:
        made = vote(
            model,
            tokenizer,
            PROMPT,
            DecidedVote(0.9, most=most),
            stopping,
            key=letters,
            at_once=at_once,
            ahead=ahead,
            seed=SEED,
            max_new_tokens=50,
        )
    finally:
        passes.handle.remove()
    assert len(told) == len(made.samples) + made.cancelled
    assert sum(one.usage.generated for one in told) == len(told) + sum(passes.rows[1:])
    read = sum(rows * columns for rows, columns in passes.shapes)
    inner = sum(max(0, call.generated - 1) for one in told for call in one.attempts)
    assert read == inner + sum(one.usage.prompt + one.usage.reread for one in told)
    assert max(passes.rows) <= at_once


def test_going_on_after_a_cut_is_the_uninterrupted_sample(
    model: Any, tokenizer: Any, passes: Passes
) -> None:
    """Not one draw, token or pass more than in one call."""
    made: list[Poll[Completion]] = []
    counts: list[int] = []
    for first, attempts in ((60, 1), (7, 9)):
        stopping = ramble(GeometricBudget(first=first), attempts=attempts, completeness=accept)
        stopping = stopping.replace(completeness=lambda r, d: Verdict(len(d.text) > 40))
        before = len(passes.shapes)
        quiet: dict[str, Any] = {"suppress_tokens": [0, 1], "max_new_tokens": 60}
        made.append(vote(model, tokenizer, PROMPT, VoteOfN(4), stopping, seed=SEED, **quiet))
        counts.append(len(passes.shapes) - before)
    whole, pieces = made
    for one, other in zip(whole.samples, pieces.samples, strict=True):
        assert {"first", "continue"} == {attempt.kind for attempt in other.attempts}
        assert one.text.startswith(other.text)
    assert counts[1] <= counts[0]


def test_an_answer_behind_reasoning_that_was_ended_is_greedy(model: Any, tokenizer: Any) -> None:
    """The same for all samples, however hot, and what generate says behind those words."""
    stopping, kwargs, _ = CASES["reasoning ended"]
    opens = [Opening(tokenizer, kwargs["opens"])]
    made = vote(
        model,
        tokenizer,
        PROMPT,
        VoteOfN(3),
        stopping,
        temperature=5.0,
        max_new_tokens=30,
        logits_processor=opens,
    )
    ids = tokenizer(PROMPT + THINKING + "</think>\n\nA", return_tensors="pt")["input_ids"]
    said = model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=20)
    text = tokenizer.decode(said[0, ids.shape[1] :], skip_special_tokens=True)
    assert ["A" + text.rstrip("\ufffd")] * 3 == [one.text for one in made.samples]


def test_a_prompt_of_one_token_is_begun_anew(model: Any, tokenizer: Any) -> None:
    """Nothing of it is left in memory before its last token."""
    stopping, kwargs, _ = CASES["begun anew"]
    made = vote(model, tokenizer, "?", VoteOfN(4), stopping, seed=SEED, **kwargs)
    again = vote(model, tokenizer, "?", VoteOfN(4), stopping, seed=SEED, at_once=1, **kwargs)
    assert "restart" in {attempt.kind for one in made.samples for attempt in one.attempts}
    assert [outcome(one) for one in made.samples] == [outcome(one) for one in again.samples]


def test_the_readings_are_those_of_a_single_call(
    model: Any, tokenizer: Any, alone: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A policy sees each token of a row as the backend gives it, padding or not."""
    seen: dict[Session, list[Step]] = {}
    feed = Session.feed

    def note(session: Session, step: Step, now: float) -> Any:
        seen.setdefault(session, []).append(step)
        return feed(session, step, now)

    monkeypatch.setattr(Session, "feed", note)
    vote(model, tokenizer, PROMPT, VoteOfN(4), OFF, seed=SEED, at_once=3, **ENDS)
    for number in range(4):
        alone(number, OFF, **ENDS)
    together, apart = list(seen.values())[:4], list(seen.values())[4:]
    for steps, expected in zip(together, apart, strict=True):
        for step, other in zip(steps, expected, strict=True):
            assert (step.raw, step.finish_reason) == (other.raw, other.finish_reason)
            for name in ("logprob", "entropy", "margin", "end_probability", "top_logprobs"):
                known = pytest.approx(getattr(other, name), abs=2e-4, rel=2e-3)
                assert known == getattr(step, name)


def test_the_embedded_model_says_in_a_batch_what_it_says_alone(embedded: Any) -> None:
    """Stopped at a sentence or ended by itself, a vote for the capital of France."""
    model, tokenizer = embedded
    asked = [{"role": "user", "content": "In one sentence, what is the capital of France?"}]
    stopping = AdaptiveStopping.from_profile("realtime_chat")
    made, apart = (
        vote(model, tokenizer, asked, VoteOfN(3), stopping, at_once=rows, max_new_tokens=24)
        for rows in (3, 1)
    )
    assert [one.text for one in apart.samples] == [one.text for one in made.samples]
    assert "paris" in str(made.answer)
