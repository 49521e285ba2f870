"""A vote over samples that are decoded together: what it computes, books, tells and refuses."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from transformers import (
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
    Verdict,
)
from stopping_core.budgets import FixedBudget
from stopping_core.hybrids import BestOf, DecidedVote, Purse
from stopping_core.hybrids.voting import Vote, current_vote
from stopping_core.policies.baselines import DeepConf, Sample, VoteOfN, draw
from stopping_core.policies.baselines.group_confidence import Overheard
from tests.integration_transformers.batched import (
    ENDED,
    ENDS,
    OFF,
    PROMPT,
    SEED,
    Opening,
    Passes,
    accept,
    letters,
    ramble,
)
from transformers_stopping import vote


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
    stopping, kwargs = ENDED
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


def test_a_rule_may_end_samples_by_their_confidence(model: Any, tokenizer: Any, alone: Any) -> None:
    """DeepConf, as over recorded samples: the same votes, and tokens only where it goes on."""
    whole = ramble(FixedBudget(60), checkpoint_every=1, attempts=1, completeness=accept)
    rule = DeepConf(warmup=3, keep=0.5, window=4, consensus=None, most=9)
    heard: list[Overheard] = []
    recorded = []
    for number in range(9):
        heard.append(Overheard())
        text = alone(number, whole.replace(policy=heard[-1]), **ENDS).text
        confidences = np.array(heard[-1].confidences)
        recorded.append(Sample(letters(text), len(confidences), confidences=confidences))
    wanted = draw(rule, recorded)
    made = vote(model, tokenizer, PROMPT, rule, whole, key=letters, seed=SEED, **ENDS)
    ended = [one.reason == "low confidence" for one in made.samples]
    assert 0 < sum(ended) < 6
    assert not any(ended[:3])
    assert (wanted.answer, wanted.usage.generated) == (made.answer, made.tokens)
    assert made.winner is made.samples[wanted.winner or 0]


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
        ({"rule": DeepConf()}, "mode must be 'active' for DeepConf.*got 'off'"),
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
