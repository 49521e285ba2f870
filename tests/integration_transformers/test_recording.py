"""Recording in batches: tokens as one by one, exact readings, probes that see no future."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from tokenizers import normalizers, pre_tokenizers
from transformers import LlamaForCausalLM, PreTrainedTokenizerBase

from tests.support.tiny_model import byte_tokenizer, rambling_model
from transformers_stopping import load
from transformers_stopping.fingerprints import fingerprint
from transformers_stopping.probing import Prober
from transformers_stopping.recording import Recorder, Recording

CHAT = "{{ messages[0]['content'] }}"
TEXTS = ["Why?", "What is it that you want to know of me?", "a", "Because.", "Why?"]
SEEDS = [1, 2, 3, 4, 5]


def ids(tokenizer: PreTrainedTokenizerBase, texts: list[str]) -> list[list[int]]:
    return [list(tokenizer(text, add_special_tokens=False)["input_ids"]) for text in texts]


def tops(recording: Recording) -> NDArray[np.float32]:
    assert recording.top_logprobs is not None
    return recording.top_logprobs


def ends(recording: Recording) -> NDArray[np.float32]:
    assert recording.end_probability is not None
    return recording.end_probability


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


@pytest.mark.parametrize("temperature", [0.0, 0.5, 2.0])
def test_readings_are_of_the_model(
    model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerBase, temperature: float
) -> None:
    """Each reading is that of the model's own distribution, whatever the temperature."""
    [prompt] = ids(tokenizer, ["Why?"])
    recorder = Recorder(model, tokenizer, max_tokens=12, top_logprobs=3, temperature=temperature)
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
        (chances[:, 1].exp(), ends(recording)),
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
    assert (ends(cut) >= ends(before)[:first]).all()


def test_no_end_token(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerBase) -> None:
    """Where nothing ends a run all go on to the cap, and no probability of an end is made up."""
    config: Any = model.generation_config
    was, config.eos_token_id = config.eos_token_id, None
    try:
        recorder = Recorder(model, tokenizer, max_tokens=20, temperature=1.0)
        recorded = recorder.record(ids(tokenizer, TEXTS), SEEDS)
    finally:
        config.eos_token_id = was
    assert recorder.ends == frozenset()
    for one in recorded:
        assert (one.finish_reason, len(one.ids), one.end_probability) == ("length", 20, None)
        assert np.isfinite(one.logprobs).all()


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_sampling_follows_the_distribution(
    model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerBase, temperature: float
) -> None:
    """Over many seeds the best token comes as often as the scores over the temperature say."""
    [prompt] = ids(tokenizer, ["Why?"])
    runs = 2000
    recorder = Recorder(model, tokenizer, max_tokens=1, top_logprobs=0, temperature=temperature)
    recorded = recorder.record([prompt] * runs, list(range(runs)))
    with torch.no_grad():
        logits = model(torch.tensor([prompt])).logits[0, -1].double()
    chances = torch.softmax(logits / temperature, -1)
    best = int(chances.argmax())
    chance = float(chances[best])
    found = sum(one.ids == (best,) for one in recorded)
    assert abs(found - runs * chance) < 5 * math.sqrt(runs * chance * (1 - chance))


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
    prompts = [
        list(
            tokenizer.apply_chat_template(
                [{"role": "user", "content": text}], add_generation_prompt=True
            )["input_ids"]
        )
        for text in ("What is a list?", "Name the largest planet of the solar system.")
    ]
    recorder = Recorder(model, tokenizer, max_tokens=8)
    together = recorder.record(prompts, [0, 0])
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


def change_weight(model: Any, tokenizer: Any) -> None:
    with torch.no_grad():
        model.lm_head.weight[0, 0] += 1.0


def change_config(model: Any, tokenizer: Any) -> None:
    model.config.rms_norm_eps *= 2


def change_end(model: Any, tokenizer: Any) -> None:
    model.generation_config.eos_token_id = [1, 7]


def change_template(model: Any, tokenizer: Any) -> None:
    tokenizer.chat_template += " "


def change_normaliser(model: Any, tokenizer: Any) -> None:
    tokenizer.backend_tokenizer.normalizer = normalizers.Lowercase()


def change_splitting(model: Any, tokenizer: Any) -> None:
    tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()


def change_special(model: Any, tokenizer: Any) -> None:
    tokenizer.bos_token = "<pad>"  # which a chat template may write


def change_vocabulary(model: Any, tokenizer: Any) -> None:
    tokenizer.add_tokens(["because"])


@pytest.mark.parametrize(
    "change",
    [
        change_weight,
        change_config,
        change_end,
        change_template,
        change_normaliser,
        change_splitting,
        change_special,
        change_vocabulary,
    ],
)
def test_fingerprint(change: Callable[[Any, Any], None]) -> None:
    """Whatever changes what is said makes another model."""
    tokenizer = byte_tokenizer(CHAT)
    model = rambling_model(tokenizer)
    before = fingerprint(model, tokenizer)
    change(model, tokenizer)
    assert before != fingerprint(model, tokenizer)


def test_fingerprint_is_steady(tmp_path: Path) -> None:
    """Neither use nor a copy on the disk makes another model, nor the order of the end tokens."""
    tokenizer = byte_tokenizer(CHAT)
    model = rambling_model(tokenizer)
    config: Any = model.generation_config
    config.eos_token_id = [1, 7]
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    before = fingerprint(model, tokenizer)
    assert before == fingerprint(*load(tmp_path))
    tokenizer(TEXTS, padding=True, truncation=True, max_length=4)
    config.eos_token_id = [7, 1]
    assert before == fingerprint(model, tokenizer)
    tokenizer.pad_token = tokenizer.eos_token
    model.config.pad_token_id, model.config.use_cache = 1, False
    assert before == fingerprint(model, tokenizer)


def test_room_for_a_run_and_its_probes(
    model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerBase
) -> None:
    """A prompt, the cap and a probe at the end of the run may fill the context, and no more."""
    recorder = Recorder(model, tokenizer, max_tokens=40)
    room = Prober(model, tokenizer, "So: ", max_tokens=6).room
    assert room == 4 + 6
    recorder.check("q", [2] * 472)
    recorder.check("q", [2] * 462, room)
    with pytest.raises(
        ValueError,
        match=r"^question 'q': 473 tokens of prompt and 40 of answer go beyond .* context of 512$",
    ):
        recorder.check("q", [2] * 473)
    with pytest.raises(
        ValueError,
        match=r"^question 'q': 463 tokens of prompt, 40 of answer and 10 of a probe go beyond ",
    ):
        recorder.check("q", [2] * 463, room)


def test_bad_arguments(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerBase) -> None:
    """Settings outside their interval are refused by name."""
    for name, value in (("max_tokens", 0), ("top_logprobs", -1), ("temperature", -0.5)):
        given: dict[str, Any] = {"max_tokens": 8, name: value}
        with pytest.raises(ValueError, match=f"{name} must be .*, got {value}"):
            Recorder(model, tokenizer, **given)
    with pytest.raises(ValueError, match="words must hold at least one token, got ''"):
        Prober(model, tokenizer, "")
