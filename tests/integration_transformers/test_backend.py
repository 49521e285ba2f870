"""The backend: pulled token by token, continued exactly, with generate's own settings."""

from __future__ import annotations

import copy
import math
import threading
from typing import Any

import pytest
import torch
from transformers import MistralConfig, MistralForCausalLM

from stopping_core import Step, Usage
from transformers_stopping import TransformersBackend

PROMPT = "Tell me something"


def plain(model: Any, tokenizer: Any, tokens: int, **kwargs: Any) -> list[int]:
    """What generate itself says, as token ids."""
    inputs = tokenizer(PROMPT, return_tensors="pt")
    found = model.generate(
        input_ids=inputs["input_ids"],
        attention_mask=inputs["attention_mask"],
        max_new_tokens=tokens,
        **kwargs,
    )
    return list(found[0, inputs["input_ids"].shape[1] :].tolist())


def text(steps: list[Step]) -> str:
    return "".join(step.text for step in steps)


def usage(step: Step) -> Usage:
    assert step.usage is not None
    return step.usage


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"repetition_penalty": 1.3, "no_repeat_ngram_size": 3},
        {"do_sample": True, "temperature": 0.8, "top_p": 0.9},
        {"min_new_tokens": 40},
        {"use_cache": False},
        {"prefill_chunk_size": 5},
        {"cache_implementation": "static"},
    ],
    ids=lambda settings: next(iter(settings), "greedy"),
)
def test_tokens_are_those_of_generate(
    model: Any, tokenizer: Any, call: Any, settings: dict[str, Any]
) -> None:
    """Token for token what generate gives, sampled ones under the same seed included."""
    torch.manual_seed(3)
    expected = plain(model, tokenizer, 48, **settings)
    backend = TransformersBackend(model, tokenizer, PROMPT, **settings)
    torch.manual_seed(3)
    list(backend(call(tokens=48)))
    assert expected == list(backend.token_ids)


def test_nothing_is_computed_beyond_what_is_read(
    model: Any, tokenizer: Any, call: Any, count: Any
) -> None:
    """A forward pass a step, none when the stream is made or closed, no thread, ever."""
    counter, threads = count(model), threading.active_count()
    steps = TransformersBackend(model, tokenizer, PROMPT)(call())
    assert [] == counter.read
    for _ in range(5):
        next(steps)
    assert threads == threading.active_count()
    steps.close()
    assert [len(PROMPT), 1, 1, 1, 1] == counter.read


@pytest.mark.parametrize("cut", [1, 2, 7, 20, 31])
def test_continuation_equals_the_uninterrupted_run(
    model: Any, tokenizer: Any, call: Any, count: Any, cut: int
) -> None:
    """Cut anywhere and continued, a greedy answer is the same, and nothing is reread."""
    expected = plain(model, tokenizer, 40, min_new_tokens=40)
    backend = TransformersBackend(model, tokenizer, PROMPT, min_new_tokens=40)
    first = list(backend(call(tokens=cut)))
    counter = count(model)
    second = list(backend(call("continue", 2, 40 - cut, prefix=text(first))))
    assert expected == list(backend.token_ids)
    said = text(first) + text(second)
    assert tokenizer.decode(expected, skip_special_tokens=True).rstrip("\ufffd") == said
    assert [1] * (40 - cut) == counter.read
    assert 1 == usage(second[-1]).prompt


@pytest.mark.parametrize("kind", ["static", "dynamic"])
def test_any_kind_of_cache_is_continued(model: Any, tokenizer: Any, call: Any, kind: str) -> None:
    """Reused where it can grow, made anew where its size is fixed: the tokens are the same."""
    settings: dict[str, Any] = {"min_new_tokens": 30, "cache_implementation": kind}
    backend = TransformersBackend(model, tokenizer, PROMPT, **settings)
    said = text(list(backend(call(tokens=12))))
    list(backend(call("continue", 2, 18, prefix=said)))
    assert plain(model, tokenizer, 30, min_new_tokens=30) == list(backend.token_ids)


def test_a_full_sliding_window_is_continued_or_read_anew(
    tokenizer: Any, call: Any, script: Any, count: Any
) -> None:
    """Going on needs no step back; taking back an end token does, and reads the exact tokens."""
    torch.manual_seed(7)
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2}
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2, "initializer_range": 0.6}
    config = MistralConfig(vocab_size=258, sliding_window=8, pad_token_id=0, eos_token_id=1)
    config.update({**sizes, **heads})
    model = MistralForCausalLM(config)
    expected = plain(model, tokenizer, 30, min_new_tokens=30)
    backend = TransformersBackend(model, tokenizer, PROMPT, min_new_tokens=30)
    said = text(list(backend(call(tokens=12))))
    list(backend(call("continue", 2, 18, prefix=said)))
    assert expected == list(backend.token_ids)
    saying = script(len(PROMPT), "Yes")
    backend = TransformersBackend(model, tokenizer, PROMPT, logits_processor=saying)
    list(backend(call()))
    counter = count(model)
    list(backend(call("continue", 2, 2, prefix="Yes")))
    assert [len(PROMPT) + 3, 1] == counter.read


def test_text_beyond_the_prefix_is_given_out_again_without_being_generated(
    model: Any, tokenizer: Any, call: Any, script: Any, count: Any
) -> None:
    """Where a cut dropped a few characters, the continuation begins with them, at no cost."""
    width = len(PROMPT)
    backend = TransformersBackend(
        model, tokenizer, PROMPT, logits_processor=script(width, "One. Two. Three.")
    )
    list(backend(call(tokens=7)))
    counter = count(model)
    steps = list(backend(call("continue", 2, 20, prefix="One.")))
    assert (" Tw", 0) == (steps[0].text, steps[0].tokens)
    assert " Two. Three." == text(steps)
    assert len("o. Three.") + 1 == len(counter.read) == usage(steps[-1]).generated


@pytest.mark.parametrize("kind", ["continue", "reseed", "close_reasoning"])
def test_another_prefix_is_read_anew(
    model: Any, tokenizer: Any, call: Any, count: Any, kind: str
) -> None:
    """A prefix that this backend did not generate is tokenised and prefilled with the prompt."""
    backend = TransformersBackend(model, tokenizer, PROMPT)
    list(backend(call(tokens=8)))
    counter = count(model)
    steps = list(backend(call(kind, 2, 3, prefix="Something else")))
    assert len(PROMPT + "Something else") == counter.read[0] == usage(steps[0]).prompt
    whole = TransformersBackend(model, tokenizer, PROMPT + "Something else")
    list(whole(call(tokens=3)))
    assert whole.token_ids == backend.token_ids


def test_a_resampled_call_is_sampled_with_its_own_seed(
    model: Any, tokenizer: Any, call: Any
) -> None:
    """It differs by attempt, repeats itself, and draws on no global seed."""
    backend = TransformersBackend(model, tokenizer, PROMPT)

    def said(attempt: int, resample: bool) -> tuple[int, ...]:
        list(backend(call("restart", attempt, 24, resample=resample)))
        return backend.token_ids

    state = torch.get_rng_state()
    second, third = said(2, True), said(3, True)
    assert second == said(2, True)
    assert 3 == len({second, third, said(1, False)})
    assert torch.equal(state, torch.get_rng_state())


def test_the_end_of_the_text_and_of_the_budget_are_told_apart(
    model: Any, tokenizer: Any, call: Any, script: Any
) -> None:
    """``stop`` where the model ends, its end token billed; ``length`` where the budget does."""
    saying = script(len(PROMPT), "Yes.")
    backend = TransformersBackend(model, tokenizer, PROMPT, logits_processor=saying)
    steps = list(backend(call()))
    assert ("Yes.", "stop", 5) == (text(steps), steps[-1].finish_reason, usage(steps[-1]).generated)
    steps = list(backend(call(tokens=3)))
    assert ("Yes", "length", 3) == (text(steps), steps[-1].finish_reason, len(steps))
    assert [None, None, "length"] == [step.finish_reason for step in steps]


def test_a_stop_string_ends_the_text(model: Any, tokenizer: Any, call: Any, script: Any) -> None:
    """The model's own stop strings work as they do there."""
    backend = TransformersBackend(
        model,
        tokenizer,
        PROMPT,
        logits_processor=script(len(PROMPT), "One; two; three"),
        stop_strings=["two"],
    )
    steps = list(backend(call()))
    assert ("One; two", "stop") == (text(steps), steps[-1].finish_reason)


def test_going_on_after_the_end_makes_the_model_say_something_else(
    model: Any, tokenizer: Any, call: Any, script: Any
) -> None:
    """Where it ended too early, its end token is taken back and not allowed again at once."""
    backend = TransformersBackend(
        model, tokenizer, PROMPT, logits_processor=script(len(PROMPT), "Yes")
    )
    first = list(backend(call()))
    assert 1 == first[-1].raw
    steps = list(backend(call("continue", 2, 2, prefix=text(first))))
    assert 1 != steps[0].raw
    assert 1 == usage(steps[0]).prompt
    assert "Yes" == tokenizer.decode(backend.token_ids[:3])


def test_half_a_character_waits_for_its_other_half(
    model: Any, tokenizer: Any, call: Any, script: Any
) -> None:
    """A budget that ends inside a character gives none of it; the continuation gives it whole."""
    backend = TransformersBackend(
        model, tokenizer, PROMPT, logits_processor=script(len(PROMPT), "a\u65e5b")
    )
    first = list(backend(call(tokens=2)))
    assert "a" == text(first)
    assert "\u65e5b" == text(list(backend(call("continue", 2, 9, prefix="a"))))


def test_confidence_is_exact(model: Any, tokenizer: Any, call: Any) -> None:
    """All readings of a step are those of the model's own full distribution."""
    backend = TransformersBackend(model, tokenizer, PROMPT, top_logprobs=3, temperature=0.5)
    step = next(backend(call()))
    ids = torch.tensor([tokenizer(PROMPT)["input_ids"]])
    with torch.no_grad():
        logprobs = torch.log_softmax(model(ids).logits[0, -1], dim=-1)
    best = logprobs.topk(3).values.tolist()
    assert best == pytest.approx(step.top_logprobs, abs=1e-4)
    assert best[0] == pytest.approx(step.logprob, abs=1e-4)
    assert math.exp(best[0]) - math.exp(best[1]) == pytest.approx(step.margin, abs=1e-4)
    assert float(-(logprobs.exp() * logprobs).sum()) == pytest.approx(step.entropy, abs=1e-4)
    end = float(logprobs[tokenizer.eos_token_id].exp())
    assert end == pytest.approx(step.end_probability, abs=1e-6)
    silent = next(TransformersBackend(model, tokenizer, PROMPT, top_logprobs=0)(call()))
    assert silent.top_logprobs is None


def test_an_error_inside_generate_comes_out_where_the_steps_are_read(
    model: Any, tokenizer: Any, call: Any
) -> None:
    """And the broken cache is not used again: the next call is the uninterrupted run."""

    def explode(module: Any, args: Any) -> None:
        raise RuntimeError("out of memory")

    backend = TransformersBackend(model, tokenizer, PROMPT)
    steps = backend(call(tokens=20))
    said = "".join(next(steps).text for _ in range(8))
    handle = model.model.layers[1].register_forward_pre_hook(explode)
    with pytest.raises(RuntimeError, match="out of memory"):
        next(steps)
    handle.remove()
    list(backend(call("continue", 2, 12, prefix=said)))
    assert plain(model, tokenizer, 20) == list(backend.token_ids)


@pytest.mark.parametrize("error", [RuntimeError("out of memory"), KeyboardInterrupt()])
def test_a_cache_that_is_half_written_is_dropped(
    model: Any, tokenizer: Any, call: Any, count: Any, error: BaseException
) -> None:
    """The first layer has stored the token and the second has not: everything is read anew."""

    def explode(module: Any, args: Any) -> None:
        raise error

    backend = TransformersBackend(model, tokenizer, PROMPT)
    steps = backend(call(tokens=20))
    said = "".join(next(steps).text for _ in range(8))
    cache = backend._run.cache
    assert cache is not None
    handle = model.model.layers[0].self_attn.o_proj.register_forward_pre_hook(explode)
    try:
        with pytest.raises(type(error)):
            next(steps)
    finally:
        handle.remove()
    first, second = (cache.get_seq_length(layer) for layer in range(2))
    assert first == second + 1
    counter = count(model)
    list(backend(call("continue", 2, 12, prefix=said)))
    assert len(PROMPT) + 8 == counter.read[0]
    assert plain(model, tokenizer, 20) == list(backend.token_ids)


def test_the_least_length_is_that_of_the_answer_not_of_the_call(
    model: Any, tokenizer: Any, call: Any, script: Any
) -> None:
    """What the first call gave counts: the continuation may end once both reach it."""
    saying = script(len(PROMPT), "Yes")
    backend = TransformersBackend(
        model, tokenizer, PROMPT, min_new_tokens=6, logits_processor=saying
    )
    said = text(list(backend(call(tokens=4))))
    list(backend(call("continue", 2, 20, prefix=said)))
    assert 7 == len(backend.token_ids)
    assert 1 == backend.token_ids[-1]


def test_a_first_call_without_a_whole_character_is_continued(
    model: Any, tokenizer: Any, call: Any, script: Any, count: Any
) -> None:
    """There is no text to go on from, but there are tokens: not one is read or made twice."""
    backend = TransformersBackend(
        model, tokenizer, PROMPT, logits_processor=script(len(PROMPT), "\u65e5b")
    )
    assert "" == text(list(backend(call(tokens=2))))
    counter = count(model)
    assert "\u65e5b" == text(list(backend(call("continue", 2, 9, prefix=""))))
    assert [1] * 3 == counter.read


@pytest.mark.parametrize(
    ("limits", "expected"),
    [
        ({"max_length": 26}, 9),
        ({"max_length": 26, "max_new_tokens": 5}, 5),
        ({"max_length": 26, "max_new_tokens": 15}, 9),
    ],
)
def test_a_length_limits_the_prompt_and_the_answer(
    model: Any, tokenizer: Any, call: Any, limits: dict[str, Any], expected: int
) -> None:
    """What the prompt of 17 tokens leaves of it; the lesser of two limits holds."""
    config = copy.deepcopy(model.generation_config)
    config.update(suppress_tokens=[0, 1], **limits)
    for given in ({"suppress_tokens": [0, 1], **limits}, {"generation_config": config}):
        backend = TransformersBackend(model, tokenizer, PROMPT, **given)
        assert expected == len(list(backend(call(tokens=None))))


def test_gradients_stay_as_the_caller_has_them(model: Any, tokenizer: Any, call: Any) -> None:
    """Between two steps the caller's own setting holds, and no step builds a graph."""
    steps = TransformersBackend(model, tokenizer, PROMPT)(call())
    next(steps)
    assert torch.is_grad_enabled()
    steps.close()
    assert torch.is_grad_enabled()


def test_messages_go_through_the_chat_template(model: Any, tokenizer: Any, call: Any) -> None:
    """The user's turn is closed and the assistant's opened; a begun answer is continued."""
    asked = {"role": "user", "content": "Hello"}
    prompt = TransformersBackend(model, tokenizer, [asked]).prompt
    assert ("<|user|>Hello<eos><|assistant|>", "Hello") == (prompt.text, prompt.question)
    assert [1] == [token for token in prompt.ids if token < 2]
    begun = {"role": "assistant", "content": "Hi, I"}
    prompt = TransformersBackend(model, tokenizer, [asked, begun]).prompt
    assert prompt.text.endswith("<|assistant|>Hi, I")


@pytest.mark.parametrize(
    ("prompt", "kwargs", "message"),
    [
        ("", {}, "prompt must not be empty"),
        ([], {}, "prompt must not be empty"),
        (["a", "b"], {}, "prompt must be one text or one list of messages"),
        ({"role": "user", "content": "a"}, {}, "prompt must be one text or one list of messages"),
        ("abc", {"max_length": 3}, "max_length must be > 3, the prompt's tokens, got 3"),
        ("a", {"num_beams": 2}, "num_beams must be 1, got 2"),
        ("a", {"streamer": None}, "must leave out"),
        ("a", {"top_logprobs": -1}, "top_logprobs must be >= 0, got -1"),
    ],
)
def test_a_callers_mistake_is_said_when_the_backend_is_made(
    model: Any, tokenizer: Any, prompt: Any, kwargs: dict[str, Any], message: str
) -> None:
    """Name, interval, value."""
    with pytest.raises(ValueError, match=message):
        TransformersBackend(model, tokenizer, prompt, **kwargs)
