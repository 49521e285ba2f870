"""Votes that the benchmark holds live: on the same draws, each paid as far as it goes."""

from __future__ import annotations

from dataclasses import replace

import pytest

from benchmarks.live_votes import Booth
from stopping_core.hybrids import Purse
from stopping_core.policies.baselines import DeepConf, VoteOfN
from tests.baselines.readings import run
from tests.support.tiny_model import byte_tokenizer, rambling_model
from transformers_stopping import vote

CAP = 24
PROMPTS = ("Tell me.", "And then?", "Why?")


@pytest.fixture(scope="module")
def booth() -> Booth:
    """A model of random weights."""
    tokenizer = byte_tokenizer()
    asked = [replace(run(["a"]), prompt=prompt, gold=("never",)) for prompt in PROMPTS]
    return Booth(rambling_model(tokenizer), tokenizer, asked, 0.8, CAP)


def test_a_question_has_the_same_draws_for_each_rule(booth: Booth) -> None:
    """Those of its own vote; one that a cap has broken off is taken as a recorded one is."""
    held = booth.hold(VoteOfN(4), booth.whole)
    wanted, texts = [], []
    for number, prompt in enumerate(PROMPTS):
        purse = Purse()
        made = vote(
            booth.model,
            booth.tokenizer,
            prompt,
            VoteOfN(4),
            booth.whole,
            seed=number,
            purse=purse,
            max_new_tokens=CAP,
            temperature=0.8,
            top_k=0,
            top_p=1.0,
        )
        wanted.append(purse.spent.tokens)
        assert made.winner is not None
        texts.append(made.winner.text)
    assert wanted == held.generated.tolist()
    assert max(wanted) == 4 * CAP
    assert not held.right.any()
    known = [replace(one, gold=(text,)) for one, text in zip(booth.runs, texts, strict=True)]
    assert replace(booth, runs=known).hold(VoteOfN(4), booth.whole).right.all()


def test_deepconf_ends_samples_where_its_window_fills(booth: Booth) -> None:
    """The published one never does; a short one saves tokens behind the warm-up."""
    full = booth.hold(VoteOfN(8), booth.whole).generated
    published = booth.hold(DeepConf(2, 0.5, 2048, None, 8), booth.whole).generated
    short = booth.hold(DeepConf(2, 0.5, 4, None, 8), booth.whole).generated
    warm = booth.hold(VoteOfN(2), booth.whole).generated
    assert full.tolist() == published.tolist()
    assert (warm < short).all()
    assert (short < full).all()
