"""A vote over samples that are decoded together: each as alone, none longer than it must."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from transformers import (
    LogitsProcessor,
    MistralConfig,
    MistralForCausalLM,
    T5Config,
    T5ForConditionalGeneration,
)

from stopping_core import (
    AdaptiveStopping,
    BudgetExhausted,
    Completion,
    Request,
    Session,
    Step,
    Verdict,
)
from stopping_core.budgets import FixedBudget, GeometricBudget
from stopping_core.hybrids import BestOf, DecidedVote, Poll, Purse
from stopping_core.hybrids.voting import Vote, current_vote
from stopping_core.policies import Never, Policy, Threshold
from stopping_core.policies.baselines import DeepConf, Sample, VoteOfN, draw
from stopping_core.signals import MeanLogprob
from stopping_core.types import CONTINUE, PROBE, Boundary, Checkpoint, Decision, Need, Probe
from transformers_stopping import generate, vote
from transformers_stopping.loop import Loop

PROMPT = "Tell me."
SEED = 5
COUNT = 5


def accept(request: Request, draft: Any) -> Verdict:
    return Verdict(bool(draft.text), "nothing")


def long_enough(request: Request, draft: Any) -> Verdict:
    return Verdict(len(draft.text) >= 24, "too short")


class Judge:
    """Wants a text that goes on, and is asked behind a cut only."""

    slow = True

    def __call__(self, request: Request, draft: Any) -> Verdict:
        return Verdict("Three" in draft.text, "too short")


def letters(text: str) -> str:
    """An answer that a few samples share."""
    return "ab"[len(text) % 2]


class FirstLine(Policy):
    def decide(self, checkpoint: Checkpoint) -> Decision:
        return Decision(Boundary.LINE in checkpoint.boundary, "line")


@dataclass
class Asks(Policy):
    """Asks at every checkpoint, and stops at an answer that holds some letter."""

    wanted: str

    def decide(self, checkpoint: Checkpoint) -> Decision:
        return PROBE

    def weigh(self, checkpoint: Checkpoint, probe: Probe) -> Decision:
        return Decision(True, "asked") if self.wanted in probe.text else CONTINUE

    def needs(self) -> frozenset[Need]:
        return frozenset({"probes"})


class Opening(LogitsProcessor):
    """Makes a model begin with a text; what follows is its own, and so are blanks, ``_``."""

    def __init__(self, tokenizer: Any, text: str, width: int = len(PROMPT)) -> None:
        self.width, self.ids = width, tokenizer(text)["input_ids"]
        self.blank = tokenizer("_")["input_ids"][0]

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        said = input_ids.shape[1] - self.width
        if said < len(self.ids) and self.ids[said] != self.blank:
            scores = scores.clone()
            scores[:, self.ids[said]] += 1e4
        return scores


class Passes:
    """The rows and columns of each forward pass."""

    def __init__(self, model: Any) -> None:
        self.shapes: list[tuple[int, ...]] = []
        self.handle = model.register_forward_hook(self, with_kwargs=True)

    def __call__(self, module: Any, args: Any, kwargs: dict[str, Any], output: Any) -> None:
        self.shapes.append(tuple(kwargs["input_ids"].shape))

    @property
    def rows(self) -> list[int]:
        return [rows for rows, _ in self.shapes]


@pytest.fixture
def passes(model: Any) -> Any:
    watched = Passes(model)
    yield watched
    watched.handle.remove()


@pytest.fixture
def alone(monkeypatch: pytest.MonkeyPatch, model: Any, tokenizer: Any) -> Callable[..., Completion]:
    """Draw one sample by itself: the backend's own calls and cache, with the draws of the vote."""

    def one(number: int, stopping: AdaptiveStopping, **kwargs: Any) -> Completion:
        draws = np.random.default_rng((SEED, number))

        def choose(loop: Loop, scores: torch.Tensor, config: Any) -> torch.Tensor:
            if not config.do_sample:
                return scores.argmax(dim=-1)
            ladder = torch.softmax(scores.double(), dim=-1).cumsum(dim=-1)
            point = draws.random() * ladder[:, -1:]
            return torch.searchsorted(ladder, point, right=True)[:, 0]

        monkeypatch.setattr(Loop, "_choose", choose)
        return generate(model, tokenizer, PROMPT, stopping, **{"do_sample": True, **kwargs})

    return one


def outcome(made: Completion) -> tuple[Any, ...]:
    """All that does not depend on where a token was read."""
    calls = [(a.kind, a.generated, a.finish_reason, a.reason, a.probed) for a in made.attempts]
    return made.text, made.reasoning, made.verdict, made.reason, calls


def ramble(budget: Any, **more: Any) -> AdaptiveStopping:
    return AdaptiveStopping(policy=Never(), reasoning=Never(), budget=budget, **more)


THINKING = "<think>ab\n"
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
    "reasoning ended": (
        AdaptiveStopping(
            policy=Never(), reasoning=FirstLine(), probe="</think>\n\nA", completeness=accept
        ),
        {"opens": THINKING, "max_new_tokens": 40, "temperature": 2.0},
        {"first", "close_reasoning"},
    ),
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


ENDS: dict[str, Any] = {"sequence_bias": [[[1], 4.0]], "max_new_tokens": 60}
"""Settings under which some samples end soon, and some late."""
OFF = AdaptiveStopping(mode="off")


def test_a_row_leaves_the_batch_when_its_sample_ends(
    model: Any, tokenizer: Any, passes: Passes
) -> None:
    """The prompt is read once; then a pass has a row for each sample that goes on."""
    made = vote(model, tokenizer, PROMPT, VoteOfN(6), OFF, seed=SEED, **ENDS)
    lengths = [one.usage.generated for one in made.samples]
    assert len(set(lengths)) > 3
    assert (1, len(PROMPT)) == passes.shapes[0]
    alive = [sum(length > step for length in lengths) for step in range(1, max(lengths))]
    assert [(rows, 1) for rows in alive] == passes.shapes[1:]


def test_a_sample_that_begins_joins_those_under_way(
    model: Any, tokenizer: Any, passes: Passes
) -> None:
    """A pass has a row for each that goes on; one that begins reads nothing of its own."""
    made = vote(model, tokenizer, PROMPT, VoteOfN(9), OFF, seed=SEED, at_once=3, **ENDS)
    left = [one.usage.generated for one in made.samples]
    assert 9 == len(left)
    rows: list[int] = []
    going: list[int] = []
    while going or left:
        rows += [len(going)] if going else []
        room = 3 - len(going)
        going, left = [*going, *left[:room]], left[room:]
        going = [tokens - 1 for tokens in going if tokens > 1]
    assert [(1, len(PROMPT)), *((count, 1) for count in rows)] == passes.shapes


def test_words_are_read_for_one_row_alone(model: Any, tokenizer: Any, passes: Passes) -> None:
    """What only one sample reads is a pass of its own; its neighbours are not held up."""
    stopping, kwargs, _ = CASES["reasoning ended"]
    opens = [Opening(tokenizer, kwargs["opens"])]
    vote(
        model,
        tokenizer,
        PROMPT,
        VoteOfN(2),
        stopping,
        max_new_tokens=12,
        logits_processor=opens,
        seed=SEED,
    )
    words = (1, 1 + len(tokenizer("</think>\n\nA")["input_ids"]))  # behind the last token
    assert [(2, 1), words, words, (2, 1)] == passes.shapes[-4:]


def test_nothing_is_computed_once_the_vote_is_decided(
    model: Any, tokenizer: Any, passes: Passes, alone: Any
) -> None:
    """Those under way are dropped at once: told as abandoned, with the tokens that they took."""
    told: list[Completion] = []
    stopping = AdaptiveStopping(mode="off", hooks=(lambda request, made: told.append(made),))
    rule = DecidedVote(0.9, most=9)
    made = vote(model, tokenizer, PROMPT, rule, stopping, key=letters, ahead=6, seed=SEED, **ENDS)
    left = [one for one in told if "abandoned" in one.verdict.reason]
    assert made.cancelled > 0
    assert not made.short
    assert {"abandoned: Decided"} == {one.attempts[-1].error for one in left}
    assert len(told) == len(made.samples) + made.cancelled
    last = max(one.usage.generated for one in told)
    assert len(passes.shapes) == last  # the prompt's, and one a token behind the first
    texts = [alone(number, OFF, **ENDS).text for number in range(9)]
    drawn = draw(rule, [Sample(letters(text), 1) for text in texts])
    assert (drawn.answer, drawn.samples) == (made.answer, len(made.votes))
    assert texts[: drawn.samples] == [one.text for one in made.samples]
    assert made.winner is not None
    assert made.winner.text == texts[drawn.winner or 0]


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


def test_a_purse_ends_the_sampling(model: Any, tokenizer: Any) -> None:
    """Two at once keep to it together; each is booked, the prompt with the first."""
    purse = Purse(tokens=45)
    made = vote(
        model,
        tokenizer,
        PROMPT,
        VoteOfN(9),
        ramble(FixedBudget(20), completeness=accept),
        at_once=2,
        purse=purse,
        seed=SEED,
        suppress_tokens=[0, 1],
    )
    assert made.short
    assert 3 == len(made.samples) == purse.spent.requests
    assert 45 == purse.spent.tokens == made.tokens
    assert purse.spent.tokens == sum(one.usage.generated for one in made.samples)
    empty = vote(model, tokenizer, PROMPT, VoteOfN(3), AdaptiveStopping(), purse=purse)
    assert (0, True, None, "") == (len(empty.samples), empty.short, empty.winner, empty.answer)


def test_those_that_are_dropped_are_on_the_purse(model: Any, tokenizer: Any) -> None:
    """All that was generated is booked, whether it voted or not."""
    purse = Purse()
    rule = DecidedVote(0.9, most=9)
    made = vote(
        model, tokenizer, PROMPT, rule, OFF, key=letters, ahead=6, purse=purse, seed=SEED, **ENDS
    )
    assert made.cancelled > 0
    assert purse.spent.requests == len(made.samples) + made.cancelled
    assert purse.spent.tokens > sum(one.usage.generated for one in made.samples)


def test_a_sample_that_fails_leaves_the_others(model: Any, tokenizer: Any, alone: Any) -> None:
    """A check that raises, or an exhausted budget: the sample does not vote, and is told."""
    told: list[Completion] = []

    def picky(request: Request, draft: Any) -> Verdict:
        if len(draft.text) < 10:
            raise RuntimeError("too short to check")
        return Verdict(True)

    hooks = (lambda request, made: told.append(made),)
    stopping = ramble(FixedBudget(60), completeness=picky, hooks=hooks)
    made = vote(model, tokenizer, PROMPT, VoteOfN(6), stopping, seed=SEED, **ENDS)
    assert 0 < made.failed < 6
    assert 6 == made.failed + len(made.samples) == len(told)
    assert all(len(one.text) >= 10 for one in made.samples)
    stopping = stopping.replace(completeness=lambda r, d: Verdict(False), on_exhausted="raise")
    with pytest.raises(BudgetExhausted, match="no complete answer after 3 attempts") as raised:
        vote(model, tokenizer, PROMPT, VoteOfN(2), stopping, seed=SEED, **ENDS)
    assert 0 < raised.value.completion.usage.generated <= 60


def test_a_pass_that_fails_ends_the_vote(model: Any, tokenizer: Any) -> None:
    """The error goes up as it is, and the hooks have what came of each sample."""
    told: list[Completion] = []
    stopping = AdaptiveStopping(mode="off", hooks=(lambda request, made: told.append(made),))
    left = [5]

    def explode(module: Any, args: Any) -> None:
        left[0] -= 1
        if not left[0]:
            raise RuntimeError("out of memory")

    handle = model.register_forward_pre_hook(explode)
    try:
        with pytest.raises(RuntimeError, match="out of memory"):
            vote(model, tokenizer, PROMPT, VoteOfN(3), stopping, max_new_tokens=20)
    finally:
        handle.remove()
    assert [4] * 3 == [one.usage.generated for one in told]
    assert {"abandoned: RuntimeError"} == {one.attempts[-1].error for one in told}


def test_a_hook_that_fails_costs_no_sample(
    model: Any, tokenizer: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """It is logged, as by the drivers, without its text."""

    def broken(request: Any, made: Any) -> None:
        raise ValueError("secret")

    stopping = AdaptiveStopping(mode="off", hooks=(broken,))
    made = vote(model, tokenizer, PROMPT, VoteOfN(2), stopping, max_new_tokens=4)
    assert 2 == len(made.samples)
    assert 2 == sum("a hook failed" in record.message for record in caplog.records)
    assert "secret" not in caplog.text


def test_the_best_by_a_scorer(model: Any, tokenizer: Any) -> None:
    """The rule is told scores; the winner is the sample with the highest."""
    made = vote(
        model,
        tokenizer,
        PROMPT,
        BestOf(most=5),
        OFF,
        key=str.strip,
        scorer=len,
        seed=SEED,
        **ENDS,
    )
    texts = [one.text for one in made.samples]
    assert made.scores == tuple(map(len, texts))
    assert made.winner is not None
    assert made.winner.text == max(texts, key=len)

    def broken(text: str) -> float:
        raise RuntimeError("no judge")

    with pytest.raises(RuntimeError, match="no judge"):
        vote(model, tokenizer, PROMPT, BestOf(2), OFF, scorer=broken, max_new_tokens=8)


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


def test_gradients_stay_as_the_caller_has_them(model: Any, tokenizer: Any) -> None:
    """The user's own check runs with them, and no pass builds a graph."""
    modes: list[bool] = []

    def check(request: Any, draft: Any) -> Verdict:
        modes.append(torch.is_grad_enabled())
        return Verdict(True)

    stopping = ramble(FixedBudget(5), completeness=check)
    vote(model, tokenizer, PROMPT, VoteOfN(2), stopping)
    assert [True, True] == modes
    assert torch.is_grad_enabled()
    assert not torch.is_inference_mode_enabled()


def test_messages_and_what_is_known_of_them(model: Any, tokenizer: Any) -> None:
    """The chat template is used, and each sample is a request of its own."""
    told: list[tuple[Request, Completion]] = []
    stopping = AdaptiveStopping(mode="off", hooks=(lambda *one: told.append(one),))
    asked = [{"role": "user", "content": "Hello"}]
    vote(model, tokenizer, asked, VoteOfN(2), stopping, max_new_tokens=4, temperature=0.6)
    (first, one), (second, other) = told
    assert "<|user|>Hello<eos><|assistant|>" == first.prompt == second.prompt
    assert ("Hello", True, 0.6) == (first.question, first.chat, first.sampling["temperature"])
    assert one.request_id != other.request_id
    assert first.prompt_tokens == second.prompt_tokens == one.usage.prompt


def test_the_samples_are_those_of_one_vote(model: Any, tokenizer: Any) -> None:
    """By which a certificate of votes, and a purse that books its risk, know them."""
    votes: list[Vote | None] = []
    stopping = AdaptiveStopping(mode="off", hooks=(lambda *one: votes.append(current_vote()),))
    rule = VoteOfN(3)
    vote(model, tokenizer, PROMPT, rule, stopping, max_new_tokens=4)
    assert votes[0] is not None
    assert votes[0].rule is rule
    assert [votes[0]] * 3 == votes
    assert current_vote() is None


def sliding(tokenizer: Any) -> Any:
    return MistralForCausalLM(
        MistralConfig(
            vocab_size=258,
            sliding_window=8,
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
        )
    )


def two_parts(tokenizer: Any) -> Any:
    config = T5Config(vocab_size=258, d_model=16, d_kv=4, d_ff=16, num_layers=1, num_heads=2)
    return T5ForConditionalGeneration(config)


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"at_once": 0}, "at_once must be >= 1, got 0"),
        ({"ahead": -1}, "ahead must be >= 0, got -1"),
        ({"seed": -1}, "seed must be >= 0, got -1"),
        ({"do_sample": False}, "do_sample must be True to draw samples, got False"),
        ({"temperature": 0.0}, "temperature must be > 0 to draw samples, got 0.0"),
        ({"num_beams": 2}, "num_beams must be 1, got 2"),
        ({"token_type_ids": torch.ones(1, 1)}, "got inputs of the model: .'token_type_ids'"),
        ({"top_logprobs": -1}, "top_logprobs must be >= 0, got -1"),
        ({"rule": BestOf(3)}, "scorer must be given for BestOf"),
        ({"rule": DeepConf()}, "rule must need nothing but samples, DeepConf.* needs"),
        ({"make": sliding}, "attend to the whole text in every layer to be batched, Mistral"),
        ({"make": two_parts}, "model must be decoder-only, got T5"),
        ({"prompt": ""}, "prompt must not be empty"),
    ],
    ids=lambda one: next(iter(one)) if isinstance(one, dict) else "",
)
def test_a_callers_mistake_is_said_before_anything_is_read(
    model: Any, tokenizer: Any, passes: Passes, kwargs: dict[str, Any], message: str
) -> None:
    """Name, interval, value."""
    given = {"rule": VoteOfN(2), "prompt": PROMPT, **kwargs}
    make = given.pop("make", None)
    with pytest.raises(ValueError, match=message):
        vote(
            model if make is None else make(tokenizer),
            tokenizer,
            given.pop("prompt"),
            given.pop("rule"),
            OFF,
            **given,
        )
    assert [] == passes.shapes


def test_a_configuration_that_does_not_sample_is_refused(model: Any, tokenizer: Any) -> None:
    """One that is given whole is taken at its word."""
    config = model.generation_config
    with pytest.raises(ValueError, match="do_sample must be True to draw samples"):
        vote(model, tokenizer, PROMPT, VoteOfN(2), OFF, generation_config=config)


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
