"""Recording in batches: tokens as one by one, exact readings, probes that see no future."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from transformers import LlamaForCausalLM, PreTrainedTokenizerBase

from transformers_stopping.probing import Prober
from transformers_stopping.recording import Recorder, Recording, fingerprint

TEXTS = ["Why?", "What is it that you want to know of me?", "a", "Because.", "Why?"]
SEEDS = [1, 2, 3, 4, 5]


def ids(tokenizer: PreTrainedTokenizerBase, texts: list[str]) -> list[list[int]]:
    return [list(tokenizer(text, add_special_tokens=False)["input_ids"]) for text in texts]


def tops(recording: Recording) -> NDArray[np.float32]:
    assert recording.top_logprobs is not None
    return recording.top_logprobs


def assert_same(expected: Recording, actual: Recording) -> None:
    """The same tokens, and readings that agree to float32's rounding."""
    assert expected.ids == actual.ids
    assert (expected.tokens, expected.finish_reason) == (actual.tokens, actual.finish_reason)
    for name in ("logprobs", "top_logprobs", "entropy", "margin", "end_probability"):
        np.testing.assert_allclose(
            getattr(actual, name), getattr(expected, name), rtol=2e-3, atol=2e-4, err_msg=name
        )


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_batched_is_single(
    model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerBase, temperature: float
) -> None:
    """A batch of unequal prompts gives what each prompt gives alone, sampled by its own seed."""
    recorder = Recorder(model, tokenizer, max_tokens=40, top_logprobs=4, temperature=temperature)
    prompts = ids(tokenizer, TEXTS)
    together = recorder.record(prompts, SEEDS)
    alone = [recorder.record([one], [seed])[0] for one, seed in zip(prompts, SEEDS, strict=True)]
    for expected, actual in zip(alone, together, strict=True):
        assert_same(expected, actual)
    assert (together[0].ids == together[4].ids) is (temperature == 0.0)


def test_same_batch_again(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerBase) -> None:
    """The same batch gives the same bits again: what a resumed recording rests on."""
    recorder = Recorder(model, tokenizer, max_tokens=40, top_logprobs=4, temperature=1.0)
    first, second = (recorder.record(ids(tokenizer, TEXTS), SEEDS) for _ in range(2))
    for one, other in zip(first, second, strict=True):
        assert one.ids == other.ids
        np.testing.assert_array_equal(one.top_logprobs, other.top_logprobs)


def test_is_generate(model: Any, tokenizer: PreTrainedTokenizerBase) -> None:
    """A greedy recording has the tokens of transformers' own generate, the end token left out."""
    prompts = ids(tokenizer, TEXTS)
    recorded = Recorder(model, tokenizer, max_tokens=40).record(prompts, SEEDS)
    for prompt, recording in zip(prompts, recorded, strict=True):
        whole: Any = model.generate(
            torch.tensor([prompt]),
            attention_mask=torch.ones(1, len(prompt), dtype=torch.long),
            max_new_tokens=40,
            do_sample=False,
        )
        said = [token for token in whole[0, len(prompt) :].tolist() if token != 1]
        assert said == list(recording.ids)
        assert "".join(recording.tokens) == tokenizer.decode(said, skip_special_tokens=True)


def test_readings_are_of_the_model(
    model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerBase
) -> None:
    """Each reading is that of the model's own distribution, whatever the temperature."""
    [prompt] = ids(tokenizer, ["Why?"])
    recorder = Recorder(model, tokenizer, max_tokens=12, top_logprobs=3, temperature=2.0)
    [recording] = recorder.record([prompt], [0])
    with torch.no_grad():
        logits = model(torch.tensor([[*prompt, *recording.ids]])).logits[0, len(prompt) - 1 :]
    chances = torch.log_softmax(logits.double(), -1)[: len(recording.ids)]
    best = chances.sort(-1, descending=True).values
    chosen = chances[range(len(recording.ids)), list(recording.ids)]
    for expected, actual in (
        (chosen, recording.logprobs),
        (best[:, :3], tops(recording)),
        (-(chances.exp() * chances).sum(-1), recording.entropy),
        (best[:, 0].exp() - best[:, 1].exp(), recording.margin),
        (chances[:, 1].exp(), recording.end_probability),
    ):
        np.testing.assert_allclose(actual, expected.numpy(), rtol=2e-3, atol=2e-4)
    assert list(recording.seconds) == sorted(recording.seconds)


def test_several_end_tokens(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerBase) -> None:
    """Any of the end tokens ends a run, and their probabilities are one."""
    [prompt] = ids(tokenizer, ["Why?"])
    [before] = Recorder(model, tokenizer, max_tokens=8).record([prompt], [0])
    config = model.generation_config
    assert config is not None
    was = config.eos_token_id
    config.eos_token_id = [1, before.ids[3]]
    try:
        [cut] = Recorder(model, tokenizer, max_tokens=8).record([prompt], [0])
    finally:
        config.eos_token_id = was
    first = before.ids.index(before.ids[3])
    assert (cut.ids, cut.finish_reason) == (before.ids[:first], "stop")
    assert (cut.end_probability >= before.end_probability[:first]).all()


def test_sampling_follows_the_distribution(
    model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerBase
) -> None:
    """Over many seeds the first token comes as often as its probability says."""
    [prompt] = ids(tokenizer, ["Why?"])
    runs = 2000
    recorder = Recorder(model, tokenizer, max_tokens=1, top_logprobs=1, temperature=1.0)
    recorded = recorder.record([prompt] * runs, list(range(runs)))
    said = [one for one in recorded if one.ids]
    chance = math.exp(tops(said[0])[0, 0])
    best = sum(one.logprobs[0] == tops(one)[0, 0] for one in said)
    deviation = math.sqrt(runs * chance * (1 - chance))
    assert abs(best - runs * chance) < 5 * deviation


@pytest.mark.parametrize("one_line", [True, False])
def test_batched_probe_is_unbatched(
    model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerBase, one_line: bool
) -> None:
    """A probe answers as the model does after just that prefix and the words, and no more."""
    prompts = ids(tokenizer, TEXTS)
    runs = [one.ids for one in Recorder(model, tokenizer, max_tokens=30).record(prompts, SEEDS)]
    where = [tuple(range(0, len(run) + 1, 7)) for run in runs]
    prober = Prober(model, tokenizer, "So: ", max_tokens=12)
    [words] = ids(tokenizer, ["So: "])
    probes = prober.probe(prompts, runs, where, one_line=one_line)
    alone = Recorder(model, tokenizer, max_tokens=12)
    for prompt, run, places, found in zip(prompts, runs, where, probes, strict=True):
        assert tuple(found) == places
        for at, probe in found.items():
            before = [*prompt, *run[:at], *words]
            [reference] = alone.record([before], [0])
            whole = "".join(reference.tokens)
            blank = len(whole) - len(whole.lstrip())
            line = whole[:blank] + whole[blank:].partition("\n")[0] if one_line else whole
            assert probe.text == line
            assert probe.reread == len(before)
            assert probe.logprobs == pytest.approx(reference.logprobs[: probe.tokens], abs=1e-3)
            if reference.ids:
                assert probe.entropy == pytest.approx(reference.entropy[0], rel=1e-3)


def test_probes_in_little_memory(
    model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerBase, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Probes made in many small groups are those made in one."""
    prompts = ids(tokenizer, TEXTS)
    runs = [one.ids for one in Recorder(model, tokenizer, max_tokens=20).record(prompts, SEEDS)]
    where = [tuple(range(0, len(run) + 1, 3)) for run in runs]
    large = Prober(model, tokenizer, "So: ", max_tokens=6)
    monkeypatch.setattr("transformers_stopping.probing._MEMORY", 2 * 16 * 16 * 100)
    small = Prober(model, tokenizer, "So: ", max_tokens=6)
    for one, other in zip(
        large.probe(prompts, runs, where, one_line=False),
        small.probe(prompts, runs, where, one_line=False),
        strict=True,
    ):
        assert {at: (probe.text, probe.tokens) for at, probe in one.items()} == {
            at: (probe.text, probe.tokens) for at, probe in other.items()
        }


def test_embedded_batch_is_single(embedded: Any) -> None:
    """The embedded model says the same in a batch as alone, or the two parted at a near tie."""
    model, tokenizer = embedded
    asked = ["What is a list?", "Name the largest planet of the solar system.", "What is 2 + 2?"]
    prompts = [
        list(
            tokenizer.apply_chat_template(
                [{"role": "user", "content": text}], add_generation_prompt=True
            )["input_ids"]
        )
        for text in asked
    ]
    recorder = Recorder(model, tokenizer, max_tokens=24)
    together = recorder.record(prompts, [0, 0, 0])
    for prompt, actual in zip(prompts, together, strict=True):
        [expected] = recorder.record([prompt], [0])
        if expected.ids != actual.ids:
            parted = next(
                at
                for at, pair in enumerate(zip(expected.ids, actual.ids, strict=False))
                if pair[0] != pair[1]
            )
            assert expected.margin[parted] < 1e-3
        else:
            assert_same(expected, actual)


def test_fingerprint(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerBase) -> None:
    """One changed weight makes another model, and the same weights the same."""
    before = fingerprint(model, tokenizer)
    assert fingerprint(model, tokenizer) == before
    weights: Any = model.lm_head.weight
    with torch.no_grad():
        weights[0, 0] += 1.0
        after = fingerprint(model, tokenizer)
        weights[0, 0] -= 1.0
    assert before != after


def test_bad_arguments(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerBase) -> None:
    """Settings outside their interval are refused by name."""
    for name, value in (("max_tokens", 0), ("top_logprobs", -1), ("temperature", -0.5)):
        given: dict[str, Any] = {"max_tokens": 8, name: value}
        with pytest.raises(ValueError, match=f"{name} must be .*, got {value}"):
            Recorder(model, tokenizer, **given)
    with pytest.raises(ValueError, match="words must hold at least one token, got ''"):
        Prober(model, tokenizer, "")
    with pytest.raises(ValueError, match=r"question 'q': 500 tokens .* beyond .* context of 512"):
        Recorder(model, tokenizer, max_tokens=40).check("q", [2] * 500)
