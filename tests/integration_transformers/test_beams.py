"""Beam search that ends when its best is certain: exact, sooner, each prompt by itself."""

from __future__ import annotations

import random
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import T5Config, T5ForConditionalGeneration

from stopping_core import AdaptiveStopping, Request
from tests.support.beams import Says, chain, run
from tests.support.tiny_model import END, rambling_model
from transformers_stopping import AdaptiveBeamSearch
from transformers_stopping.beams import best_to_come

OFF = AdaptiveStopping(mode="off")
PROMPTS = ["Short", "A longer prompt than that", "Middle one"]


@given(
    logprobs=st.lists(st.floats(-5, 0, width=32), min_size=1, max_size=12),
    split=st.integers(0, 11),
    room=st.integers(0, 8),
    penalty=st.floats(-2, 3),
)
def test_no_end_is_better_than_the_best_to_come(
    logprobs: list[float], split: int, room: int, penalty: float
) -> None:
    """Whatever follows, and whenever it ends."""
    told, most = split % len(logprobs), len(logprobs) + room
    sums = torch.tensor([sum(logprobs[:told])], dtype=torch.float64)
    hope = best_to_come(sums, told, most, penalty)
    for end in range(told + 1, len(logprobs) + 1):
        assert sum(logprobs[:end]) / end**penalty <= hope.item() + 1e-9


@pytest.mark.parametrize("seed", range(12))
def test_it_returns_what_never_stopping_early_does(tokenizer: Any, seed: int, count: Any) -> None:
    """Sequences and scores are equal, over random models and settings, in no more steps."""
    rng = random.Random(seed)
    model = rambling_model(tokenizer, seed)
    counter = count(model)
    for length_penalty in (-1.0, 0.0, 0.5, 1.0, 2.0):
        likely = rng.choice([0.0, 3.0, 6.0])

        def ends(ids: torch.Tensor, scores: torch.Tensor, likely: float = likely) -> torch.Tensor:
            return torch.log_softmax(scores + likely * (torch.arange(scores.shape[1]) == END), -1)

        beams = rng.choice([2, 3, 4, 5])
        settings = {
            "num_beams": beams,
            "num_return_sequences": rng.choice([1, 1, 2, beams]),
            "length_penalty": length_penalty,
            "max_new_tokens": rng.choice([8, 20]),
            "eos_token_id": rng.choice([[END], [END, 40]]),
            "pad_token_id": rng.choice([0, END]),
            "logits_processor": [ends],
        }
        prompts = PROMPTS[: rng.choice([1, 2, 3])]
        plain = run(model, tokenizer, prompts, early_stopping="never", **settings)
        needed = len(counter.read)
        search = AdaptiveBeamSearch(tokenizer, AdaptiveStopping(mode=rng.choice(["off", "shadow"])))
        ours = run(model, tokenizer, prompts, custom_generate=search, **settings)
        taken = len(counter.read) - needed
        counter.read.clear()
        assert plain.sequences.tolist() == ours.sequences.tolist()
        assert plain.sequences_scores.tolist() == ours.sequences_scores.tolist()
        assert taken <= needed
        assert [taken] * len(prompts) == [result.steps for result in search.results]
        told = [score for result in search.results for score in result.scores]
        assert ours.sequences_scores.tolist() == told


def test_an_encoder_and_decoder_search_alike(tokenizer: Any) -> None:
    """The prompt is the encoder's; what is decoded is judged all the same."""
    torch.manual_seed(3)
    size = {"d_model": 32, "d_kv": 8, "d_ff": 64, "num_layers": 2, "num_heads": 4}
    shape: Any = {**size, "vocab_size": len(tokenizer), "decoder_start_token_id": 0}
    config = T5Config(**shape)
    model = T5ForConditionalGeneration(config)
    model.train(False)
    for penalty in (0.0, 1.0):
        settings = {"length_penalty": penalty, "max_new_tokens": 20}
        search = AdaptiveBeamSearch(tokenizer, OFF, requests=Request(prompt="whole"))
        plain = run(model, tokenizer, PROMPTS, early_stopping="never", **settings)
        ours = run(model, tokenizer, PROMPTS, custom_generate=search, **settings)
        assert plain.sequences.tolist() == ours.sequences.tolist()
        assert len(PROMPTS) == len(search.results)


def test_it_does_not_wait_for_answers_that_nobody_wants(model: Any, tokenizer: Any) -> None:
    """One certain answer is enough, where transformers waits for as many as there are beams."""
    table = {"": {"a": 0.97, "b": 0.03}, **chain("a")}
    settings = {"logits_processor": [Says(tokenizer, 5, table)]}
    search = AdaptiveBeamSearch(tokenizer, OFF)
    ours = run(model, tokenizer, ["Short"], custom_generate=search, **settings)
    assert (2, 2) == (search.results[0].settled, search.results[0].steps)
    for early_stopping in (True, False, "never"):
        plain = run(model, tokenizer, ["Short"], early_stopping=early_stopping, **settings)
        assert plain.sequences[0, 5:7].tolist() == ours.sequences[0, 5:].tolist()
        assert 5 < len(plain.scores)


def test_it_waits_for_the_longer_answer_that_overtakes(model: Any, tokenizer: Any) -> None:
    """Its score rises with its length: transformers' rule by the present length ends too early."""
    long = "bdddddddd"
    table = {"": {"a": 0.5, "b": 0.3, "c": 0.2}, "b": {"e": 0.55, "d": 0.45}}
    table |= chain("a") | chain("be", 2) | chain(long, 2)
    settings = {"num_beams": 2, "logits_processor": [Says(tokenizer, 5, table)]}
    settings["max_new_tokens"] = 12
    texts = []
    for early_stopping in (False, "never"):
        plain = run(model, tokenizer, ["Short"], early_stopping=early_stopping, **settings)
        texts.append(tokenizer.decode(plain.sequences[0, 5:], skip_special_tokens=True))
    search = AdaptiveBeamSearch(tokenizer, OFF)
    run(model, tokenizer, ["Short"], custom_generate=search, **settings)
    (result,) = search.results
    assert ["a", long, long] == [*texts, result.completions[0].text]
    assert len(long) + 1 == result.settled


def test_each_prompt_of_a_batch_is_judged_by_itself(model: Any, tokenizer: Any) -> None:
    """It is settled when it would be alone, whatever its padding, and then no longer changes."""
    prompts = ["Short", "A longer prompt than that"]
    saying = [
        {"": {"y": 0.9, "n": 0.1}, **chain("yes"), **chain("no")},
        {"": {"m": 0.8, "q": 0.2}, **chain("maybe so, maybe not")},
    ]

    def says(ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        halves = zip(saying, ids.chunk(2), scores.chunk(2), strict=True)
        return torch.cat([Says(tokenizer, 25, table)(i, s) for table, i, s in halves])

    search = AdaptiveBeamSearch(tokenizer, OFF)
    run(model, tokenizer, prompts, custom_generate=search, logits_processor=[says])
    together = search.results
    for prompt, table, result in zip(prompts, saying, together, strict=True):
        alone = Says(tokenizer, len(prompt), table)
        run(model, tokenizer, [prompt], custom_generate=search, logits_processor=[alone])
        (by_itself,) = search.results
        assert by_itself.settled == result.settled
        assert by_itself.completions[0].text == result.completions[0].text
        assert len(prompt) == result.completions[0].usage.prompt
    assert [4, 20] == [result.settled for result in together]
    assert [20, 20] == [result.steps for result in together]


def test_as_many_are_certain_as_are_returned(model: Any, tokenizer: Any) -> None:
    """The search goes on for the second best, and returns both, best first."""
    table = {"": {"y": 0.7, "n": 0.3}, **chain("yes"), **chain("never mind")}
    settled = []
    for returned in (1, 2):
        search = AdaptiveBeamSearch(tokenizer, OFF)
        settings = {"num_return_sequences": returned, "length_penalty": 0.0}
        processor = [Says(tokenizer, 5, table)]
        out = run(
            model,
            tokenizer,
            ["Short"],
            custom_generate=search,
            logits_processor=processor,
            **settings,
        )
        (result,) = search.results
        settled.append(result.settled)
        assert ["yes", "never mind"][:returned] == [c.text for c in result.completions]
        assert sorted(result.scores, reverse=True) == list(result.scores)
        assert returned == len(out.sequences)
    assert [4, 11] == settled


def test_two_choices_and_many_beams(model: Any, tokenizer: Any) -> None:
    """Beams that have nothing to choose from are told from those that have."""

    def few(ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        kept = torch.full_like(scores, -torch.inf)
        kept[:, [END, 40]] = scores[:, [END, 40]]
        return kept

    settings = {"logits_processor": [few], "max_new_tokens": 8, "num_return_sequences": 4}
    plain = run(model, tokenizer, ["Short"], early_stopping="never", **settings)
    search = AdaptiveBeamSearch(tokenizer, AdaptiveStopping(mode="shadow"))
    ours = run(model, tokenizer, ["Short"], custom_generate=search, **settings)
    assert plain.sequences.tolist() == ours.sequences.tolist()


def test_a_prompt_of_embeddings_is_searched_alike(model: Any, tokenizer: Any) -> None:
    """``generate`` then shows only what it generated, from the first token on."""
    ids = tokenizer("Short", return_tensors="pt")["input_ids"]
    embeddings = model.get_input_embeddings()(ids).detach()
    settings = {"inputs_embeds": embeddings, "num_beams": 3, "max_new_tokens": 12}
    plain = model.generate(early_stopping="never", **settings)
    search = AdaptiveBeamSearch(tokenizer, AdaptiveStopping(mode="shadow"))
    assert plain.tolist() == model.generate(custom_generate=search, **settings).tolist()
    (completion,) = search.results[0].completions
    assert tokenizer.decode(plain[0], skip_special_tokens=True) == completion.text


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"do_sample": True}, "got beam_sample"),
        ({"num_beams": 1}, "num_beams >= 2.* got greedy_search"),
        ({"num_beam_groups": 2}, "got group_beam_search"),
        ({"force_words_ids": [[40]]}, "got constrained_beam_search"),
        ({"sequence_bias": [[[40], 20.0]]}, "scores must be <= 0 after the logits processors"),
    ],
)
def test_another_search_is_refused(
    model: Any, tokenizer: Any, kwargs: dict[str, Any], message: str
) -> None:
    """What a bound cannot be given for, and what has no beams."""
    search = AdaptiveBeamSearch(tokenizer, OFF)
    with pytest.raises(ValueError, match=message):
        run(model, tokenizer, ["Short"], custom_generate=search, **kwargs)


def test_a_callers_mistake_is_said_at_once(model: Any, tokenizer: Any) -> None:
    """Name, interval, value."""
    with pytest.raises(TypeError, match="stopping must be an AdaptiveStopping, got Token"):
        AdaptiveBeamSearch(OFF, tokenizer)  # type: ignore[arg-type]  # the wrong way round
    with pytest.raises(ValueError, match="top_logprobs must be >= 0, got -1"):
        AdaptiveBeamSearch(tokenizer, OFF, top_logprobs=-1)
    for known in ([], [Request()]):
        search = AdaptiveBeamSearch(tokenizer, OFF, requests=known)
        with pytest.raises(ValueError, match=f"one for each of 3 prompts, got {len(known)}"):
            run(model, tokenizer, PROMPTS, custom_generate=search)
