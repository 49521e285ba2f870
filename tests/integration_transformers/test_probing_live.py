"""Probes in the middle of a live call, and answers behind reasoning that was ended."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import pytest
from transformers import LlamaForCausalLM, LogitsProcessor, PreTrainedTokenizerBase

from stopping_core import AdaptiveStopping, Call, Request, Session, run
from stopping_core.policies import Never, Policy
from stopping_core.traces.replay import replay
from stopping_core.traces.run import Run
from stopping_core.types import CONTINUE, PROBE, Boundary, Checkpoint, Decision, Need, Probe
from tests.support.tiny_model import saying_model
from transformers_stopping import AdaptiveStoppingCriteria, TransformersBackend, generate, stream
from transformers_stopping.probing import Prober
from transformers_stopping.recording import Recorder

PROMPT = "Tell me."
ASK = "; so"


@dataclass
class Asks(Policy):
    """Asks at some boundary, or every few tokens, and stops at an answer."""

    at: Boundary = Boundary.NONE
    wanted: str | None = None

    def decide(self, checkpoint: Checkpoint) -> Decision:
        return PROBE if not self.at or self.at & checkpoint.boundary else CONTINUE

    def weigh(self, checkpoint: Checkpoint, probe: Probe) -> Decision:
        hit = self.wanted is not None and self.wanted in probe.text
        return Decision(True, "asked") if hit else CONTINUE

    def needs(self) -> frozenset[Need]:
        return frozenset({"probes"})


def test_a_probe_changes_nothing_and_equals_the_recorded_one(
    model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerBase
) -> None:
    """At every checkpoint the answer that a finished run is asked for, to the last digits."""
    backend = TransformersBackend(model, tokenizer, PROMPT, max_new_tokens=40)
    bare = TransformersBackend(model, tokenizer, PROMPT, max_new_tokens=40)
    asked: dict[int, Probe] = {}
    text = ""
    for step in backend(Call("first", 1, 40)):
        text += step.text
        place = len(backend.token_ids)
        if step.text and place >= 8 * (len(asked) + 1):
            asked[place] = backend.probe(text, ASK, max_tokens=6, one_line=False)
    list(bare(Call("first", 1, 40)))
    assert bare.token_ids == backend.token_ids
    prober = Prober(model, tokenizer, ASK, max_tokens=6)
    ids = [token for token in backend.token_ids if token != 1]
    (recorded,) = prober.probe([backend.prompt.ids], [ids], [sorted(asked)], one_line=False)
    assert len(asked) >= 3
    for place, probe in asked.items():
        known = recorded[place]
        assert (known.text, known.tokens, known.reread) == (probe.text, probe.tokens, probe.reread)
        assert pytest.approx(known.logprobs, abs=1e-4) == probe.logprobs


def test_a_place_inside_what_came_is_asked_about_as_well(
    model: LlamaForCausalLM,
    tokenizer: PreTrainedTokenizerBase,
    script: Callable[..., list[LogitsProcessor]],
) -> None:
    """Text is held back while it may go on; another text than the model's is read anew."""
    said: dict[str, Any] = {"logits_processor": script(len(PROMPT), "It is four. Five.")}
    backend = TransformersBackend(model, tokenizer, PROMPT, **said)
    text = "".join(step.text for step in backend(Call("first", 1, 30)))
    assert "It is four. Five." == text
    fresh = TransformersBackend(model, tokenizer, PROMPT)
    for written in (text[:9], "something else", ""):
        inside = backend.probe(written, ASK, max_tokens=5, one_line=True)
        anew = fresh.probe(written, ASK, max_tokens=5, one_line=True)
        assert (anew.text, anew.tokens) == (inside.text, inside.tokens)
    with pytest.raises(ValueError, match="words must hold at least one token, got ''"):
        backend.probe(text, "", max_tokens=5, one_line=True)


def test_reasoning_is_ended_and_the_answer_goes_on_from_the_words(
    tokenizer: PreTrainedTokenizerBase,
) -> None:
    """With a second call, or by the answer that the probe gave: the same text, streamed or not."""
    model = saying_model(tokenizer, "?<think>ab\ncd", "AB.")
    for reasoning, kinds in (
        (_FirstLine(), ["first", "close_reasoning"]),
        (Asks(Boundary.LINE, "B"), ["first"]),
    ):
        stopping = AdaptiveStopping(
            policy=Never(), reasoning=reasoning, probe="</think>\n\nA", probe_tokens=5
        )
        done = generate(model, tokenizer, "Q?", stopping, max_new_tokens=30)
        assert ("AB.", "ab\n", True) == (done.text, done.reasoning, done.complete)
        assert kinds == [attempt.kind for attempt in done.attempts]
        assert (2 if len(kinds) == 1 else 0) == done.usage.probed
        live = stream(model, tokenizer, "Q?", stopping, max_new_tokens=30)
        assert "AB." == "".join(emission.text for emission in live)


def test_the_tokens_of_the_reasoning_are_kept_as_they_are(
    tokenizer: PreTrainedTokenizerBase,
) -> None:
    """The second call reads the words only, behind what the cache holds."""
    model = saying_model(tokenizer, "?<think>ab\ncd", "AB.")
    backend = TransformersBackend(model, tokenizer, "Q?")
    stopping = AdaptiveStopping(policy=Never(), reasoning=_FirstLine(), probe="</think>\n\nA")
    done = run(Session(stopping, Request()), backend)
    _, second = done.attempts
    assert "AB." == done.text
    assert len(tokenizer("</think>\n\nA")["input_ids"]) + 1 >= (second.prompt_tokens or 0) > 0


def test_criteria_of_a_batch_cannot_probe(
    tokenizer: PreTrainedTokenizerBase,
) -> None:
    """They see tokens, and cannot ask."""
    stopping = AdaptiveStopping(policy=Asks(wanted="x"), probe=ASK)
    with pytest.raises(ValueError, match="policy must not need probes where the model cannot"):
        AdaptiveStoppingCriteria(tokenizer, stopping)


class _FirstLine(Policy):
    def decide(self, checkpoint: Checkpoint) -> Decision:
        return Decision(Boundary.LINE in checkpoint.boundary, "line")


def test_live_is_what_the_replay_of_the_recorded_run_says(
    tokenizer: PreTrainedTokenizerBase,
) -> None:
    """The same answer from the same place, with a probe or without."""
    said, words, question = "?<think>ab\ncd", "</think>\n\nA", "Q?"
    model = saying_model(tokenizer, said, "AB.")
    ids = tokenizer(question)["input_ids"]
    (recorded,) = Recorder(model, tokenizer, max_tokens=30).record([ids], [0])
    (probes,) = Prober(model, tokenizer, words, max_tokens=5).probe(
        [ids], [recorded.ids], [[len("<think>ab\n")]], one_line=False
    )
    run = Run(
        question_id="q",
        question=question,
        gold=("AB.",),
        prompt_tokens=len(ids),
        probes={at: replace(probe, text="A" + probe.text) for at, probe in probes.items()},
        **recorded.columns(),
    )
    for reasoning in (_FirstLine(), Asks(Boundary.LINE, "B")):
        told = replay(run, reasoning, channel="reasoning")
        stopping = AdaptiveStopping(policy=Never(), reasoning=reasoning, probe=words)
        done = generate(model, tokenizer, question, stopping, max_new_tokens=30)
        assert ("AB.", told.text) == (told.text, done.text)
        assert (told.probes > 0) == (done.usage.probed > 0)
