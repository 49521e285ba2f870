"""Recorded samples to a certificate, and the certified vote live in each integration."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from llama_index.core.base.llms.types import ChatMessage

from langchain_stopping import AdaptiveChatModel, AdaptiveVote
from llama_index.llms.stopping import adaptive_llm, avote
from llama_index.llms.stopping import vote as llama_vote
from stopping_core import NotCertified
from stopping_core.cli.fit.recorded import passage_hash, read_recorded
from stopping_core.completeness import default_check
from stopping_core.hybrids import VoteCertificate
from stopping_core.policies.baselines import Drawn, Sample, draw, vote_key
from stopping_core.traces.replay import replay
from stopping_core.traces.run import Run
from tests.cli.certifiable import FRAME
from tests.cli.sampled import certified
from tests.integration_langchain.setting import openai
from tests.integration_llama_index.asking import scripted
from tests.support.sse_server import CountingServer
from tests.support.tiny_model import byte_tokenizer, rambling_model
from transformers_stopping import vote as batched_vote

RISK = 0.1
CHAT = (
    "{% for m in messages %}<|{{ m['role'] }}|>{{ m['content'] }}<eos>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("votes")
    certified(folder)
    return folder


@pytest.fixture(scope="module")
def certificate(folder: Path) -> VoteCertificate:
    return VoteCertificate.load(folder / "vote.json")


@pytest.fixture(scope="module")
def questions(folder: Path, certificate: VoteCertificate) -> list[list[Run]]:
    """The samples of some questions that the levels were tested on."""
    found: dict[str, list[Run]] = {}
    for run in read_recorded([folder / "samples.parquet"], None).runs:
        if passage_hash(run) in certificate.certified.passages:
            found.setdefault(run.question_id, []).append(run)
    return list(found.values())[:6]


def replayed(certificate: VoteCertificate, runs: list[Run]) -> tuple[Drawn, list[str]]:
    """What the recording says of a vote: how it goes, and the text of each sample."""
    policy = certificate.stopping(RISK).policy
    ends = [replay(run, policy, tags=None, check=default_check()) for run in runs]
    samples = [Sample(vote_key(one.text), one.tokens) for one in ends]
    return draw(certificate.rule(RISK), samples), [one.text for one in ends]


def message(run: Run) -> str:
    return run.prompt.removeprefix(FRAME[0]).removesuffix(FRAME[1])


@pytest.mark.parametrize("asynchronous", [False, True])
@pytest.mark.parametrize("framework", ["langchain", "llama_index"])
def test_a_live_vote_is_the_recorded_one(
    certificate: VoteCertificate,
    questions: list[list[Run]],
    framework: str,
    asynchronous: bool,
) -> None:
    """Over a real server that says what was recorded: the same votes, the same text, certified."""
    rule, settings = certificate.rule(RISK), certificate.stopping(RISK)
    for runs in questions:
        wanted, texts = replayed(certificate, runs)
        assert wanted.winner is not None
        with CountingServer([list(run.tokens) for run in runs], delay=0) as server:
            text: Any
            told: Any
            if framework == "langchain":
                chat = openai(server, temperature=0.8)
                model = AdaptiveChatModel(inner=chat, stopping=settings)
                ask = AdaptiveVote(model, rule, at_once=1)
                asked = message(runs[0])
                made = asyncio.run(ask.ainvoke(asked)) if asynchronous else ask.invoke(asked)
                text, told = made.content, made.response_metadata["vote"]
            else:
                like = scripted(server, temperature=0.8)
                llm, messages = (
                    adaptive_llm(like, settings),
                    [ChatMessage(content=message(runs[0]))],
                )
                if asynchronous:
                    said = asyncio.run(avote(llm, messages, rule, at_once=1))
                else:
                    said = llama_vote(llm, messages, rule, at_once=1)
                text, told = said.message.content, said.additional_kwargs["vote"]
            assert wanted.samples == len(server.calls)
        assert (texts[wanted.winner], str(wanted.answer)) == (text, told["answer"])
        assert (wanted.samples, "") == (told["samples"], told["uncertified"])
        assert told["tokens"] >= wanted.usage.generated


def test_another_key_is_refused_before_anything_is_sent(
    certificate: VoteCertificate, questions: list[list[Run]]
) -> None:
    """What decides is a part of what was certified."""
    with CountingServer([list(run.tokens) for run in questions[0]], delay=0) as server:
        chat = openai(server, temperature=0.8)
        model = AdaptiveChatModel(inner=chat, stopping=certificate.stopping(RISK))
        for other in (
            AdaptiveVote(model, certificate.rule(RISK), key=str.strip),
            AdaptiveVote(model, certificate.rule(0.4)),
        ):
            with pytest.raises(NotCertified, match="certified is one by"):
                other.invoke(message(questions[0][0]))
        assert not server.calls


def test_transformers_holds_its_samples_against_it(
    certificate: VoteCertificate, questions: list[list[Run]]
) -> None:
    """Other weights are refused; where they are trusted, the vote draws all and says so."""
    tokenizer = byte_tokenizer(CHAT)
    model = rambling_model(tokenizer)
    model.config.name_or_path = certificate.scope.model
    rule, asked = certificate.rule(RISK), [{"role": "user", "content": message(questions[0][0])}]
    given: dict[str, Any] = {"temperature": 0.8, "top_k": 0, "top_p": 1.0, "max_new_tokens": 8}
    with pytest.raises(NotCertified, match="weights, quantisation or engine"):
        batched_vote(model, tokenizer, asked, rule, certificate.stopping(RISK), **given)
    trusted = certificate.stopping(RISK, trust=("model", "budget"), attempts=1)
    made = batched_vote(model, tokenizer, asked, rule, trusted, **given)
    assert rule.most == len(made.votes)
    assert "weights, quantisation or engine" in (made.uncertified or "")
