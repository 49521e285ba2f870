"""The criterion: rows stop one by one, in batches, under beams, and for one run after another."""

from __future__ import annotations

import copy
from itertools import pairwise
from typing import Any

import pytest
import torch

from stopping_core import (
    AdaptiveStopping,
    Checkpoint,
    Completion,
    Decision,
    Policy,
    Request,
    Signal,
)
from stopping_core.policies import Threshold
from stopping_core.signals import TopKEntropy
from stopping_core.testing import FakeClock
from stopping_core.types import CONTINUE
from transformers_stopping import AdaptiveStoppingCriteria

JSON = '{"city": "Paris", "in": ["France"]}'
PROMPTS = ["Short", "A longer prompt than that", "Middle one"]


class AfterTokens(Policy):
    """Stops at a count of tokens, whatever the text."""

    def __init__(self, tokens: int) -> None:
        self.tokens = tokens

    def decide(self, checkpoint: Checkpoint) -> Decision:
        stop = checkpoint.tokens >= self.tokens
        return Decision(True, "count", forced=True) if stop else CONTINUE

    def marks(self) -> tuple[int, ...]:
        return (self.tokens,)


def run(model: Any, tokenizer: Any, criteria: Any, prompts: list[str], **kwargs: Any) -> Any:
    inputs = tokenizer(prompts, return_tensors="pt", padding=True)
    inputs.pop("token_type_ids", None)
    kwargs.setdefault("max_new_tokens", 60)
    return model.generate(**inputs, stopping_criteria=[criteria], **kwargs)


def width(tokenizer: Any, prompts: list[str]) -> int:
    return max(len(tokenizer(prompt)["input_ids"]) for prompt in prompts)


def test_one_row_stops_when_its_json_is_closed(model: Any, tokenizer: Any, script: Any) -> None:
    """The text is trimmed at the brace, and no more is generated than is needed to see it."""
    criteria = AdaptiveStoppingCriteria(tokenizer, AdaptiveStopping())
    saying = script(5, JSON + "\nAnd much more of it follows here.")
    out = run(model, tokenizer, criteria, ["Short"], logits_processor=saying)
    (completion,) = criteria.completions
    assert (JSON, "cut", "json", True) == (
        completion.text,
        completion.finish_reason,
        completion.reason,
        completion.complete,
    )
    assert len(JSON) <= out.shape[1] - 5 <= len(JSON) + 2
    assert out.shape[1] - 5 == completion.usage.generated
    assert 5 == completion.usage.prompt


def test_rows_stop_one_by_one(model: Any, tokenizer: Any, script: Any) -> None:
    """Each row of a padded batch gives what it gives alone: cut, ended, or out of budget."""
    texts = [JSON + " and then a lot more is said", "A short one.", "x" * 100]
    criteria = AdaptiveStoppingCriteria(tokenizer, AdaptiveStopping())
    wide = width(tokenizer, PROMPTS)
    run(model, tokenizer, criteria, PROMPTS, logits_processor=script(wide, *texts))
    together = criteria.completions
    assert [JSON, "A short one.", "x" * 60] == [c.text for c in together]
    assert ["cut", "stop", "length"] == [c.finish_reason for c in together]
    assert [True, True, False] == [c.complete for c in together]
    assert [5, 25, 10] == [c.usage.prompt for c in together]
    for prompt, text, completion in zip(PROMPTS, texts, together, strict=True):
        saying = script(len(prompt), text)
        run(model, tokenizer, criteria, [prompt], logits_processor=saying)
        (alone,) = criteria.completions
        assert (completion.text, completion.usage) == (alone.text, alone.usage)


def test_a_stopped_row_is_padded_while_the_others_go_on(
    model: Any, tokenizer: Any, script: Any
) -> None:
    """What generate appends to a finished row is not taken for its answer."""
    criteria = AdaptiveStoppingCriteria(tokenizer, AdaptiveStopping())
    saying = script(5, JSON + "\n more", "y" * 50)
    out = run(model, tokenizer, criteria, ["Short", "Other"], logits_processor=saying)
    assert out[0, 5 + len(JSON) + 2 :].unique().tolist() == [0]
    assert JSON == criteria.completions[0].text


@pytest.mark.parametrize("mode", ["shadow", "off"])
def test_other_modes_change_nothing(model: Any, tokenizer: Any, script: Any, mode: Any) -> None:
    """No row is stopped; the shadow says where it would have been."""
    said = JSON + "\nmore"
    criteria = AdaptiveStoppingCriteria(tokenizer, AdaptiveStopping(mode=mode))
    out = run(model, tokenizer, criteria, ["Short"], logits_processor=script(5, said))
    (completion,) = criteria.completions
    assert (said, 5 + len(said) + 1) == (completion.text, out.shape[1])
    assert (mode == "shadow") == (completion.would_stop is not None)


def test_one_object_serves_run_after_run(model: Any, tokenizer: Any, script: Any) -> None:
    """A new run is seen by itself: another prompt, the same prompt again, another batch size."""
    criteria = AdaptiveStoppingCriteria(tokenizer, AdaptiveStopping(policy=AfterTokens(6)))
    for prompts in (["Short"], ["Short"], ["Short and longer"], ["Other", "Short"], ["Sh"]):
        out = run(model, tokenizer, criteria, prompts, suppress_tokens=[0, 1])
        assert [6] * len(prompts) == [c.usage.generated for c in criteria.completions]
        assert width(tokenizer, prompts) + 6 == out.shape[1]
    run(model, tokenizer, criteria, ["Short"], max_new_tokens=3)
    run(model, tokenizer, criteria, ["Shirt and more"], suppress_tokens=[0, 1])
    assert [6] == [c.usage.generated for c in criteria.completions]


def test_a_run_goes_on_after_a_reset(model: Any, tokenizer: Any) -> None:
    """What a run returned may be the prompt of the next."""
    criteria = AdaptiveStoppingCriteria(tokenizer, AdaptiveStopping(policy=AfterTokens(6)))
    out = run(model, tokenizer, criteria, ["Short"], max_new_tokens=4)
    criteria.reset()
    again = model.generate(
        out,
        attention_mask=torch.ones_like(out),
        max_new_tokens=20,
        stopping_criteria=[criteria],
    )
    assert out.shape[1] + 6 == again.shape[1]


@pytest.mark.parametrize("beams", [2, 4])
def test_every_beam_is_judged_by_its_own_text(model: Any, tokenizer: Any, beams: int) -> None:
    """Beams that are sorted anew at each step are still judged by what they hold."""
    stopping = AdaptiveStopping(policy=AfterTokens(7))
    criteria = AdaptiveStoppingCriteria(tokenizer, stopping)
    wide = width(tokenizer, PROMPTS)
    seen: list[torch.Tensor] = []

    def watch(input_ids: torch.Tensor, scores: Any, **kwargs: Any) -> torch.Tensor:
        seen.append(input_ids.clone())
        done = criteria(input_ids, scores, **kwargs)
        for ids, over in zip(input_ids, done.tolist(), strict=True):
            alone = AdaptiveStoppingCriteria(tokenizer, stopping)
            for length in range(wide + 1, input_ids.shape[1] + 1):
                expected = alone(ids[None, :length]).item()
            assert expected == over
        return done

    out = run(model, tokenizer, watch, PROMPTS, num_beams=beams, suppress_tokens=[0])
    moved = [not torch.equal(b[:, : a.shape[1]], a) for a, b in pairwise(seen)]
    assert any(moved)
    assert out.shape[1] <= wide + 12


def test_assisted_decoding_brings_several_tokens_at_once(model: Any, tokenizer: Any) -> None:
    """With the prompt's length said, a row stops in the block in which its answer was done."""
    criteria = AdaptiveStoppingCriteria(
        tokenizer, AdaptiveStopping(policy=AfterTokens(6)), prompt_length=5
    )
    run(model, tokenizer, criteria, ["Short"], assistant_model=model)
    (completion,) = criteria.completions
    assert (6, "cut") == (completion.usage.generated, completion.finish_reason)


def test_confidence_needs_scores(model: Any, tokenizer: Any) -> None:
    """A policy on entropy fires where generate hands out scores, and never where it does not."""
    unsure: Signal = TopKEntropy(window=2)
    policy = Threshold(unsure, at_least=0.0, reason="entropy", forced=True)
    stopping = AdaptiveStopping(policy=policy, checkpoint_every=4)
    criteria = AdaptiveStoppingCriteria(tokenizer, stopping)
    run(model, tokenizer, criteria, PROMPTS, max_new_tokens=12)
    assert {""} == {c.reason for c in criteria.completions}
    scored = {"return_dict_in_generate": True, "output_scores": True}
    run(model, tokenizer, criteria, PROMPTS, max_new_tokens=12, min_new_tokens=12, **scored)
    assert {("entropy", 4)} == {(c.reason, c.usage.generated) for c in criteria.completions}


def test_a_deadline_stops_every_row(model: Any, tokenizer: Any, script: Any) -> None:
    """Seconds count from the first token of the run."""
    clock = FakeClock()
    criteria = AdaptiveStoppingCriteria(tokenizer, AdaptiveStopping(max_seconds=2), clock=clock)

    def tick(input_ids: torch.Tensor, scores: Any, **kwargs: Any) -> torch.Tensor:
        clock.advance(0.5)
        return torch.zeros(input_ids.shape[0], dtype=torch.bool)

    inputs = tokenizer(["Short", "Other"], return_tensors="pt")
    model.generate(
        input_ids=inputs["input_ids"],
        attention_mask=inputs["attention_mask"],
        max_new_tokens=30,
        logits_processor=script(5, "z" * 40, "q" * 40),
        stopping_criteria=[tick, criteria],
    )
    assert ["deadline", "deadline"] == [c.reason for c in criteria.completions]
    assert [5, 5] == [c.usage.generated for c in criteria.completions]


@pytest.mark.parametrize("end", [1, 40])
def test_every_end_of_the_model_ends_a_row(model: Any, tokenizer: Any, end: int) -> None:
    """The model has two ends and pads with one that its tokenizer does not know as such."""
    bare = copy.deepcopy(tokenizer)
    bare.pad_token = None
    bare.eos_token = "z"
    config = copy.deepcopy(model.generation_config)
    config.update(eos_token_id=[40, 1], pad_token_id=40)
    criteria = AdaptiveStoppingCriteria(bare, AdaptiveStopping(), generation_config=config)
    said = [bare("Yes.")["input_ids"], bare("Maybe so.")["input_ids"]]

    def push(input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        at = input_ids.shape[1] - 5
        for row, ids in enumerate(said):
            scores[row, [*ids, *[end] * 12][at]] += 1e4
        return scores

    out = run(
        model,
        tokenizer,
        criteria,
        ["Short", "Other"],
        generation_config=config,
        max_new_tokens=12,
        logits_processor=[push],
    )
    assert 40 == out[0, -1]
    assert ["Yes.", "Maybe so."] == [c.text for c in criteria.completions]
    assert ["stop", "stop"] == [c.finish_reason for c in criteria.completions]
    assert [5, 10] == [c.usage.generated for c in criteria.completions]


def test_a_prompt_of_embeddings_is_no_mistake(model: Any, tokenizer: Any, script: Any) -> None:
    """``generate`` then shows only what it generated, from the first token on."""
    embeddings = model.get_input_embeddings()(tokenizer("Short", return_tensors="pt")["input_ids"])
    for length in (None, 5):
        criteria = AdaptiveStoppingCriteria(tokenizer, AdaptiveStopping(), length)
        for said in (JSON + "\nAnd more of it.", "One.", JSON + "\nAnd more."):
            model.generate(
                inputs_embeds=embeddings.detach(),
                max_new_tokens=60,
                logits_processor=script(0, said),
                stopping_criteria=[criteria],
            )
            (completion,) = criteria.completions
            assert said.partition("\n")[0] == completion.text
            assert 0 == completion.usage.prompt


def test_requests_and_hooks_belong_to_rows(model: Any, tokenizer: Any, script: Any) -> None:
    """Each row has its request, rows of one prompt share it, and hooks hear of every row."""
    heard: list[tuple[Request, Completion]] = []

    def hook(request: Request, completion: Completion) -> None:
        heard.append((request, completion))

    stopping = AdaptiveStopping(hooks=(hook,))
    requests = [Request(question="a"), Request(question="b")]
    criteria = AdaptiveStoppingCriteria(tokenizer, stopping, requests=requests, max_new_tokens=60)
    run(
        model,
        tokenizer,
        criteria,
        ["Short", "Other"],
        num_return_sequences=2,
        do_sample=True,
        logits_processor=script(5, *["One."] * 4),
    )
    criteria.completions  # noqa: B018 - reading ends the run
    assert ["a", "a", "b", "b"] == [request.question for request, _ in heard]
    assert {"One."} == {completion.text for _, completion in heard}
    with pytest.raises(ValueError, match="one for each of 3 rows, got 2"):
        run(model, tokenizer, criteria, PROMPTS)


def test_what_was_saved_is_estimated_only_against_a_known_limit(
    model: Any, tokenizer: Any, script: Any
) -> None:
    """Without the limit that generate was given nothing is claimed."""
    for limit in (None, 60):
        criteria = AdaptiveStoppingCriteria(tokenizer, AdaptiveStopping(), max_new_tokens=limit)
        run(model, tokenizer, criteria, ["Short"], logits_processor=script(5, JSON + "\n more"))
        usage = criteria.completions[0].usage
        assert (60 - usage.generated if limit else 0) == usage.avoided
        assert not usage.estimated


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"prompt_length": 0}, "prompt_length must be >= 1, got 0"),
        ({"max_new_tokens": 0}, "max_new_tokens must be >= 1, got 0"),
        ({"top_logprobs": -1}, "top_logprobs must be >= 0, got -1"),
    ],
)
def test_a_callers_mistake_is_said_at_once(
    tokenizer: Any, kwargs: dict[str, Any], message: str
) -> None:
    """Name, interval, value."""
    with pytest.raises(ValueError, match=message):
        AdaptiveStoppingCriteria(tokenizer, AdaptiveStopping(), **kwargs)
