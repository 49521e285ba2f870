"""Recorded runs to a certificate, and the certificate to each integration: one file, one line."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from langchain_core.messages import AIMessage, HumanMessage
from langchain_openai import ChatOpenAI
from llama_index.core.base.llms.types import ChatMessage
from llama_index.llms.openai_like import OpenAILike
from pydantic import SecretStr
from transformers import LlamaForCausalLM, LogitsProcessor, PreTrainedTokenizerBase

from langchain_stopping import AdaptiveChatModel, AdaptiveStopHandler
from llama_index.llms.stopping import adaptive_llm
from stopping_core import AdaptiveStopping
from stopping_core.certificates import Certificate
from stopping_core.cli.fit.recorded import family_hash
from stopping_core.completeness import default_check
from stopping_core.errors import NotCertified
from stopping_core.steering import Catalogue
from stopping_core.traces.replay import replay
from stopping_core.traces.run import Run
from stopping_core.traces.store import write_trace
from tests.cli.certifiable import FRAME, TEMPLATE, certifiable, stopping
from tests.support.sse_server import MODEL, CountingServer
from tests.support.tiny_model import byte_tokenizer, rambling_model
from transformers_stopping import AdaptiveStoppingCriteria, generate
from transformers_stopping.fingerprints import fingerprint
from transformers_stopping.loading import model_name

RISK = 0.1
CHAT = (
    "{% for m in messages %}<|{{ m['role'] }}|>{{ m['content'] }}<eos>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory, local: Any) -> Path:
    """What the command line makes of recorded runs of the local model."""
    folder = tmp_path_factory.mktemp("certified")
    trace, model, out = (folder / name for name in ("t.parquet", "model.json", "certificate.json"))
    write_trace(trace, certifiable(model_fingerprint=fingerprint(*local)))
    for command in (
        ("fit", trace, "--out", model),
        ("certify", model, trace, "--out", out, "--risk", RISK),
    ):
        code, printed = stopping(*command)
        assert code == 0, printed
    return out


@pytest.fixture(scope="module")
def unseen(certificate: Path) -> Run:
    """A run that the fit has not seen, and that the certified policy cuts."""
    made = Certificate.load(certificate)
    policy = made.policy(RISK)
    return next(
        run
        for run in certifiable().runs
        if family_hash(run) in made.certified.families
        and replay(run, policy, tags=None, check=default_check()).stopped
    )


@pytest.fixture
def server(unseen: Run) -> Iterator[CountingServer]:
    """Says what was recorded."""
    with CountingServer([list(unseen.tokens)]) as server:
        yield server


def _message(run: Run) -> str:
    return run.prompt.removeprefix(FRAME[0]).removesuffix(FRAME[1])


def _messages(run: Run) -> list[dict[str, str]]:
    return [{"role": "user", "content": _message(run)}]


def _cut(certificate: Path, run: Run) -> str:
    policy = Certificate.load(certificate).policy(RISK)
    return replay(run, policy, tags=None, check=default_check()).text


def _openai(server: CountingServer, model: str = MODEL) -> ChatOpenAI:
    key = SecretStr("none")
    return ChatOpenAI(
        base_url=server.base_url, model=model, api_key=key, max_retries=0, temperature=0
    )


def _like(server: CountingServer, model: str = MODEL) -> OpenAILike:
    return OpenAILike(
        model=model,
        api_base=server.base_url,
        api_key="none",
        is_chat_model=True,
        max_retries=0,
        temperature=0,
    )


def test_langchain(certificate: Path, unseen: Run, server: CountingServer) -> None:
    """The wrapper cuts where the replay of the recorded run was cut."""
    model = AdaptiveChatModel(
        inner=_openai(server), stopping=AdaptiveStopping.load(certificate, risk=RISK)
    )
    answer = model.invoke(_message(unseen))
    assert _cut(certificate, unseen) == answer.content
    assert "learned" == answer.response_metadata["stopping"]["reason"]


def test_langchain_handler(certificate: Path, unseen: Run, server: CountingServer) -> None:
    """The handler holds the request against the certificate as the wrapper does."""
    handler = AdaptiveStopHandler(AdaptiveStopping.load(certificate, risk=RISK))
    config: Any = {"callbacks": [handler]}
    chunks = list(_openai(server).stream([HumanMessage(_message(unseen))], config=config))
    assert _cut(certificate, unseen) == "".join(str(chunk.content) for chunk in chunks)
    with pytest.raises(NotCertified, match="model is 'other'"):
        list(_openai(server, "other").stream(_message(unseen), config=config))


def test_llama_index(certificate: Path, unseen: Run, server: CountingServer) -> None:
    """The wrapper cuts where the replay of the recorded run was cut."""
    llm = adaptive_llm(_like(server), AdaptiveStopping.load(certificate, risk=RISK))
    answer = llm.chat([ChatMessage(content=_message(unseen))])
    assert _cut(certificate, unseen) == answer.message.content
    assert "learned" == answer.additional_kwargs["stopping"]["reason"]


class _Says(LogitsProcessor):
    """Makes any model say a text, and then end."""

    def __init__(self, prompt: int, ids: list[int]) -> None:
        self.prompt = prompt
        self.ids = ids

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        pushed = scores.clone()
        pushed[0, self.ids[input_ids.shape[1] - self.prompt]] += 1e4
        return pushed


@pytest.fixture(scope="module")
def local() -> tuple[LlamaForCausalLM, PreTrainedTokenizerBase]:
    """A tiny model of the recorded one's name, and a chat template that frames as recorded."""
    torch.set_num_threads(1)
    tokenizer = byte_tokenizer(CHAT)
    model = rambling_model(tokenizer)
    model.config.name_or_path = MODEL
    return model, tokenizer


def test_transformers(certificate: Path, unseen: Run, local: Any) -> None:
    """The loop over a local model knows its name, and its rendered prompt as the recorded one."""
    model, tokenizer = local
    ids = [*tokenizer(unseen.text, add_special_tokens=False)["input_ids"], 1]
    prompt = len(tokenizer(unseen.prompt, add_special_tokens=False)["input_ids"])
    made = generate(
        model,
        tokenizer,
        _messages(unseen),
        AdaptiveStopping.load(certificate, risk=RISK, trust=("sampling",)),
        logits_processor=[_Says(prompt, ids)],
    )
    assert "logits_processor is set" == made.uncertified
    assert unseen.text.startswith(made.text)
    assert ("learned", "cut") == (made.reason, made.finish_reason)
    assert made.text != unseen.text


def test_an_uncertified_request_is_refused_everywhere(
    certificate: Path, unseen: Run, server: CountingServer, local: Any
) -> None:
    """Another model or another prompt: no integration sends anything, unless it is trusted."""
    stopping = AdaptiveStopping.load(certificate, risk=RISK)
    other, message = "Tell me of rivers.", _message(unseen)
    model, tokenizer = local
    for kind, name, asked in (("model", "other", message), ("template", MODEL, other)):
        langchain = AdaptiveChatModel(inner=_openai(server, name), stopping=stopping)
        llama = adaptive_llm(_like(server, name), stopping)
        model.config.name_or_path, sent = name, len(server.requests)
        for call in (
            lambda chain=langchain, text=asked: chain.invoke(text),
            lambda chain=langchain, text=asked: list(chain.stream(text)),
            lambda llm=llama, text=asked: llm.chat([ChatMessage(content=text)]),
            lambda llm=llama, text=asked: llm.complete(f"{text} now"),
            lambda text=asked: generate(
                model, tokenizer, [{"role": "user", "content": text}], stopping
            ),
        ):
            with pytest.raises(NotCertified) as caught:
                call()
            assert kind in caught.value.differences
        assert sent == len(server.requests)
        trusted = stopping.replace(trust=(kind, "budget"))
        AdaptiveChatModel(inner=_openai(server, name), stopping=trusted).invoke(asked)
        adaptive_llm(_like(server, name), trusted).chat([ChatMessage(content=asked)])
        generate(model, tokenizer, [{"role": "user", "content": asked}], trusted, max_new_tokens=4)
        assert sent + 2 == len(server.requests)
    model.config.name_or_path = MODEL


def test_keywords_of_a_call_are_held_against_it(
    certificate: Path, unseen: Run, server: CountingServer, local: Any
) -> None:
    """Another model, temperature, stop word or limit, given with the call: nothing is sent."""
    stopping = AdaptiveStopping.load(certificate, risk=RISK)
    langchain = AdaptiveChatModel(inner=_openai(server), stopping=stopping)
    llama = adaptive_llm(_like(server), stopping)
    handled: Any = {"callbacks": [AdaptiveStopHandler(stopping)]}
    asked = [ChatMessage(content=_message(unseen))]
    calls: dict[str, list[dict[str, Any]]] = {
        "model": [{"model": "other"}],
        "sampling": [
            {"temperature": 0.5},
            {"stop": ["."]},
            {"extra_body": {"min_tokens": 9}},
            {"extra_body": {"temperature": 1.5}},
            {"extra_body": {"chat_template_kwargs": {"enable_thinking": False}}},
        ],
        "budget": [{"max_tokens": 8}, {"extra_body": {"max_tokens": 8}}],
    }
    for kind, keywords in calls.items():
        for given in keywords:
            for call in (
                lambda given=given: langchain.invoke(_message(unseen), **given),
                lambda given=given: list(
                    _openai(server).stream(_message(unseen), config=handled, **given)
                ),
                lambda given=given: llama.chat(asked, **given),
            ):
                with pytest.raises(NotCertified) as caught:
                    call()
                assert {kind} == set(caught.value.differences), given
    model, tokenizer = local
    for changed in (
        {"do_sample": True},
        {"repetition_penalty": 1.3},
        {"stop_strings": ["."]},
        {"eos_token_id": 65},
        {"logits_processor": [_Says(1, [1])]},
    ):
        with pytest.raises(NotCertified) as caught:
            generate(model, tokenizer, _messages(unseen), stopping, **changed)
        assert {"sampling"} == set(caught.value.differences)
    assert [] == server.requests


def test_what_is_sent_beside_the_text_is_held_against_it(
    certificate: Path, unseen: Run, server: CountingServer
) -> None:
    """An image, a turn before, a tool; a prompt that the LLM forms by itself: nothing is sent."""
    stopping = AdaptiveStopping.load(certificate, risk=RISK)
    text = _message(unseen)
    langchain = AdaptiveChatModel(inner=_openai(server), stopping=stopping, cut_with_tools=True)
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}
    tool = {"type": "function", "function": {"name": "look", "parameters": {}}}
    rude, raw = _like(server), _like(server)
    rude.completion_to_prompt = lambda prompt: f"Be rude.\n{prompt}"
    raw.is_chat_model = False
    formed, bare = adaptive_llm(rude, stopping), adaptive_llm(raw, stopping)
    for call in (
        lambda: langchain.invoke([HumanMessage([{"type": "text", "text": text}, image])]),
        lambda: langchain.invoke([AIMessage(""), HumanMessage(text)]),
        lambda: langchain.bind(tools=[tool]).invoke(text),
        lambda: formed.complete(text),
        lambda: bare.complete(text),
        lambda: bare.chat([ChatMessage(content=text)]),
    ):
        with pytest.raises(NotCertified) as caught:
            call()
        assert {"template"} == set(caught.value.differences)
    assert [] == server.requests


def test_the_model_behind_a_name_is_looked_at(certificate: Path, unseen: Run, local: Any) -> None:
    """Weights that were changed, as by quantising them, are another model."""
    model, tokenizer = local
    stopping = AdaptiveStopping.load(certificate, risk=RISK)
    other = copy.deepcopy(model).to(torch.bfloat16)
    with pytest.raises(NotCertified, match="weights, quantisation or engine") as caught:
        generate(other, tokenizer, _messages(unseen), stopping)
    assert {"model"} == set(caught.value.differences)


def test_the_criteria_take_a_certificate(certificate: Path, unseen: Run, local: Any) -> None:
    """A batch in the user's own ``generate``: each row is held against it, and cut by it."""
    model, tokenizer = local
    stopping = AdaptiveStopping.load(certificate, risk=RISK)
    criteria = AdaptiveStoppingCriteria(tokenizer, stopping, model=model, max_new_tokens=400)
    ids = [*tokenizer(unseen.text, add_special_tokens=False)["input_ids"], 1]

    def answers(messages: list[list[dict[str, str]]]) -> tuple[str, ...]:
        inputs = tokenizer.apply_chat_template(
            messages, add_generation_prompt=True, return_tensors="pt", return_dict=True
        )
        says = _Says(inputs["input_ids"].shape[1], ids)
        model.generate(
            **inputs,
            max_new_tokens=400,
            stopping_criteria=[criteria],
            logits_processor=[says],
        )
        return tuple(row.text for row in criteria.completions)

    (text,) = answers([_messages(unseen)])
    assert unseen.text.startswith(text)
    assert "learned" == criteria.completions[0].reason
    with pytest.raises(NotCertified, match="template"):
        answers([[{"role": "user", "content": "Tell me of rivers."}]])
    for lacking in ({"max_new_tokens": 400}, {"model": model}):
        with pytest.raises(ValueError, match="must be given for a certificate, got None"):
            AdaptiveStoppingCriteria(tokenizer, stopping, **lacking)
    short = AdaptiveStoppingCriteria(tokenizer, stopping, model=model, max_new_tokens=50)
    criteria = short
    with pytest.raises(NotCertified, match="the budget grants 50 tokens"):
        answers([_messages(unseen)])


def test_a_local_model_is_known_by_its_own_name(tmp_path: Path, local: Any) -> None:
    """A folder's name, a Hub's, a converted file's stem; where it lies does not count."""
    model, _ = local
    made = tmp_path / "small.Q4_1-1234-0123456789abcdef-transformers-5.0.0"
    for folder in (tmp_path / "mine", made):
        folder.mkdir()
    known = {
        str(tmp_path / "mine"): "mine",
        str(made): "small.Q4_1",
        "owner/model": "owner/model",
        "": "",
    }
    for name, expected in known.items():
        model.config.name_or_path = name
        assert expected == model_name(model)
    model.config.name_or_path = MODEL


@pytest.mark.parametrize("same", [True, False])
def test_transformers_records_under_its_own_weights(
    tmp_path: Path, unseen: Run, local: Any, same: bool
) -> None:
    """In shadow, before there is a certificate; and not what other weights say."""
    model, tokenizer = local
    known = fingerprint(*local) if same else "f" * 16
    entry = Catalogue(tmp_path).entry(MODEL, TEMPLATE, known)
    recorder = entry.recorder(
        "contains", lambda request, answer: unseen.gold, share=1, max_tokens=20
    )
    settings = entry.load(hooks=(recorder,))
    generate(model, tokenizer, _messages(unseen), settings, max_new_tokens=20)
    assert (int(same), {} if same else {"another model": 1}) == (
        recorder.recorded,
        dict(recorder.skipped),
    )
