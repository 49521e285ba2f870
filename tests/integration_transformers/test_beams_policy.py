"""Beam search by the policy's word: what it finishes, what it reads, and what is booked."""

from __future__ import annotations

from typing import Any

import pytest

from stopping_core import AdaptiveStopping, Completion, Request, Signal, Step
from stopping_core.policies import Threshold
from tests.support.beams import Says, chain, run
from tests.support.tiny_model import rambling_model
from transformers_stopping import AdaptiveBeamSearch

JSON = '{"city": "Paris"}'
PROMPTS = ["Short", "A longer prompt than that", "Middle one"]


class SumOfLogprobs:
    """The sum of the answer's logprobs, nats."""

    value: float | None = 0.0

    def reset(self, request: Request) -> None:
        self.value = 0.0

    def update(self, step: Step) -> None:
        if step.logprob is not None:
            self.value = (self.value or 0.0) + step.logprob


def test_the_policy_finishes_a_hypothesis(model: Any, tokenizer: Any) -> None:
    """An answer that is done ends the search, however much the model would go on to say."""
    table = {"": {"{": 0.9, "N": 0.1}, **chain(JSON + "\n And more and more of it")}
    settings = {"logits_processor": [Says(tokenizer, 5, table)], "max_new_tokens": 60}
    plain = run(model, tokenizer, ["Short"], early_stopping="never", **settings)
    search = AdaptiveBeamSearch(tokenizer, AdaptiveStopping())
    ours = run(model, tokenizer, ["Short"], custom_generate=search, **settings)
    (result,) = search.results
    (best,) = result.completions
    assert (JSON, "cut", "json", True) == (best.text, best.finish_reason, best.reason, True)
    assert result.settled == result.steps <= len(JSON) + 2 < len(plain.scores)
    assert tokenizer.decode(ours.sequences[0, 5:]).startswith(JSON)


@pytest.mark.parametrize("mode", ["shadow", "off"])
def test_other_modes_finish_nothing(model: Any, tokenizer: Any, mode: Any) -> None:
    """The shadow says where a hypothesis would have been finished."""
    said = JSON + "\n More."
    table = {"": {"{": 0.9, "N": 0.1}, **chain(said)}
    search = AdaptiveBeamSearch(tokenizer, AdaptiveStopping(mode=mode))
    settings = {"logits_processor": [Says(tokenizer, 5, table)]}
    run(model, tokenizer, ["Short"], custom_generate=search, **settings)
    best = search.results[0].completions[0]
    assert (said, "stop") == (best.text, best.finish_reason)
    assert (mode == "shadow") == (best.would_stop is not None)


def test_the_policy_reads_the_confidence_of_its_own_hypothesis(tokenizer: Any) -> None:
    """Each one is finished by the token that takes the sum of its own logprobs below a bound."""
    model: Any = rambling_model(tokenizer)
    signal: Signal = SumOfLogprobs()
    policy = Threshold(signal, at_most=-3.0, reason="sum", forced=True)
    stopping = AdaptiveStopping(policy=policy, checkpoint_every=1)
    search = AdaptiveBeamSearch(tokenizer, stopping)
    letters = set(tokenizer("abcdefghijklmnopqrstuvwxyz")["input_ids"])
    settings = {
        "length_penalty": 0.0,
        "num_return_sequences": 4,
        "suppress_tokens": sorted(set(range(len(tokenizer))) - letters),
        "renormalize_logits": True,
    }
    out = run(model, tokenizer, PROMPTS, custom_generate=search, **settings)
    steps = model.compute_transition_scores(out.sequences, out.scores, out.beam_indices)
    completions = [c for result in search.results for c in result.completions]
    assert {"sum"} == {completion.reason for completion in completions}
    for row, completion in zip(steps.tolist(), completions, strict=True):
        tokens = len(completion.text)
        assert sum(row[: tokens - 1]) > -3.0 - 1e-4
        assert sum(row[:tokens]) == sum(row) <= -3.0 + 1e-4


def test_one_from_behind_is_judged_with_its_next_token(model: Any, tokenizer: Any) -> None:
    """A candidate outside the best is not judged; where it goes on, all of it is read."""
    signal: Signal = SumOfLogprobs()
    policy = Threshold(signal, at_most=-2.0, reason="sum", forced=True)
    stopping = AdaptiveStopping(policy=policy, checkpoint_every=1)
    table = {"": {"a": 0.5, "b": 0.3, "c": 0.2}, "a": {"": 0.9, "x": 0.1}, **chain("bef", 2)}
    table |= {"b": {"d": 0.6, "e": 0.4}}
    search = AdaptiveBeamSearch(tokenizer, stopping)
    settings = {"num_beams": 2, "num_return_sequences": 2, "length_penalty": 0.0}
    processor = [Says(tokenizer, 5, table)]
    run(
        model,
        tokenizer,
        ["Short"],
        custom_generate=search,
        logits_processor=processor,
        **settings,
    )
    (result,) = search.results
    assert [("a", ""), ("be", "sum")] == [(c.text, c.reason) for c in result.completions]
    assert 3 == result.steps


def test_all_that_was_computed_is_booked_on_the_best(model: Any, tokenizer: Any) -> None:
    """Forward steps times beams; the hook hears of it once for each prompt."""
    heard: list[tuple[Request, Completion]] = []

    def hook(request: Request, completion: Completion) -> None:
        heard.append((request, completion))

    table = {"": {"y": 0.7, "n": 0.3}, **chain("yes"), **chain("no")}
    stopping = AdaptiveStopping(hooks=(hook,))
    search = AdaptiveBeamSearch(tokenizer, stopping, requests=Request(question="really?"))
    settings = {"num_return_sequences": 2, "logits_processor": [Says(tokenizer, 5, table)]}
    run(model, tokenizer, ["Short"], custom_generate=search, **settings)
    (result,) = search.results
    best, other = result.completions
    assert {"yes", "no"} == {best.text, other.text}
    assert 4 * result.steps == best.usage.generated == best.attempts[0].generated
    assert best.usage.generated - len(best.text) - 1 == best.usage.discarded
    assert len(other.text) + 1 == other.usage.generated
    assert [("really?", best)] == [(request.question, told) for request, told in heard]


def test_the_limit_is_said(model: Any, tokenizer: Any) -> None:
    """Nothing was settled; the answer broke off."""
    search = AdaptiveBeamSearch(tokenizer, AdaptiveStopping())
    settings = {"max_new_tokens": 6, "suppress_tokens": [0, 1]}
    run(model, tokenizer, ["Short"], custom_generate=search, **settings)
    (result,) = search.results
    assert (None, 6) == (result.settled, result.steps)
    assert ("length", False) == (
        result.completions[0].finish_reason,
        result.completions[0].complete,
    )
