"""Which requests and streams a certificate holds for, and what becomes of the others."""

from __future__ import annotations

import logging
import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stopping_core import AdaptiveStopping, Session, report, run
from stopping_core.budgets import FixedBudget, GeometricBudget
from stopping_core.completeness import Judge, all_of, any_of, default_check
from stopping_core.errors import NotCertified
from stopping_core.policies import MaxTokens, Never
from stopping_core.policies.learned import LossModel
from stopping_core.policies.learned.logistic import Logistic
from stopping_core.policies.learned.thinking import ThinkingEvidence
from stopping_core.templates import Template
from stopping_core.testing import ScriptedModel
from stopping_core.types import Step
from tests.calibration.certified import ASKED, FRAME, MESSAGE, made_certificate, made_scope


@pytest.fixture
def path(tmp_path: Path) -> Path:
    made_certificate().write(tmp_path / "certificate.json")
    return tmp_path / "certificate.json"


def test_a_request_of_the_kind_is_read(path: Path) -> None:
    """Question and context reach the policy as it was certified on them, framed or bare."""
    stopping = AdaptiveStopping.load(path)
    for prompt in (MESSAGE, FRAME[0] + MESSAGE + FRAME[1], ""):
        admitted = Session(stopping, replace(ASKED, prompt=prompt)).request
        assert ("Which one?", "It is Paris.") == (admitted.question, admitted.context)


@pytest.mark.parametrize(
    ("changes", "kind"),
    [
        ({"model": "small-2"}, "model"),
        ({"model": ""}, "model"),
        ({"question": "Which one?"}, "template"),
        ({"prompt": f"Be brief.\n\n{MESSAGE}"}, "template"),
        ({"prompt": f"Hi\n\nHello\n\n{MESSAGE}"}, "template"),
        ({"beside": ("image_url",)}, "template"),
        ({"chat": False}, "template"),
        ({"question": ""}, "template"),
    ],
)
def test_another_request_is_refused(path: Path, changes: dict[str, Any], kind: str) -> None:
    """Another model, another template, a system message, an earlier turn: unless it is trusted."""
    request = replace(ASKED, **changes)
    with pytest.raises(NotCertified, match=f"trust=\\['{kind}'\\]") as caught:
        Session(AdaptiveStopping.load(path), request)
    assert {kind} == set(caught.value.differences)
    assert str(caught.value) == str(pickle.loads(pickle.dumps(caught.value)))
    others = sorted({"model", "template"} - {kind})
    with pytest.raises(NotCertified):
        Session(AdaptiveStopping.load(path, trust=others), request)
    trusted = Session(AdaptiveStopping.load(path, trust=[kind]), request)
    assert request.model == trusted.request.model


@pytest.mark.parametrize(
    ("changes", "kind"),
    [
        ({"policy": MaxTokens(4)}, "policy"),
        ({"reasoning": MaxTokens(4)}, "policy"),
        ({"completeness": any_of(default_check())}, "completeness"),
        ({"checkpoint_every": 4}, "settings"),
    ],
)
def test_other_settings_are_refused(path: Path, changes: dict[str, Any], kind: str) -> None:
    """What was certified is a policy with its check and its checkpoints."""
    with pytest.raises(NotCertified) as caught:
        Session(AdaptiveStopping.load(path, **changes), ASKED)
    assert {kind} == set(caught.value.differences)
    Session(AdaptiveStopping.load(path, **changes, trust=(kind,)), ASKED)


def test_what_does_not_touch_the_cut_is_free(path: Path) -> None:
    """A judge after the answer, another budget, a policy that never stops."""
    judge = Judge(lambda request, text: True)
    stopping = AdaptiveStopping.load(path, completeness=all_of(judge, default_check()), attempts=1)
    Session(stopping, ASKED)
    Session(stopping.replace(policy=Never()), ASKED)
    with pytest.raises(NotCertified):  # alone it is asked after the answer, and nothing before
        Session(stopping.replace(completeness=judge), ASKED)


def test_shadow_only_tells(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Nothing is cut there, so nothing is refused; off does not even look."""
    other = replace(ASKED, model="small-2")
    with caplog.at_level(logging.WARNING):
        session = Session(AdaptiveStopping.load(path, mode="shadow"), other)
    assert "the model is 'small-2', certified is 'small-1'" in caplog.text
    assert "Which one?" == session.request.question
    caplog.clear()
    assert other == Session(AdaptiveStopping.load(path, mode="off"), other).request
    assert "" == caplog.text


def test_nothing_is_sent_where_it_is_refused(path: Path) -> None:
    """The refusal comes before the first call; the certified policy cuts where it was tested."""
    model = ScriptedModel([" one"] * 40)
    with pytest.raises(NotCertified):
        run(Session(AdaptiveStopping.load(path), replace(ASKED, model="")), model.backend)
    assert [] == model.calls
    done = run(Session(AdaptiveStopping.load(path, 0.05), ASKED), model.backend)
    assert ("cut", "learned") == (done.finish_reason, done.reason)


def test_a_raw_prompt_is_read_whole(path: Path) -> None:
    """Where there is no chat the prompt is all there is."""
    raw = Template("mine", "Text: {context}\nQ: {question}\nA:", chat=False)
    made_certificate(scope=made_scope(template=raw, frame=None)).write(path)
    stopping = AdaptiveStopping.load(path)
    asked = replace(ASKED, prompt="Text: It is Paris.\nQ: Which one?\nA:", question="")
    assert "Which one?" == Session(stopping, asked).request.question
    with pytest.raises(NotCertified, match="template 'mine'"):
        Session(stopping, replace(asked, prompt="Which one?"))


@pytest.mark.parametrize(
    ("sampling", "message"),
    [
        ({}, "the temperature is unknown, certified is 0"),
        ({"temperature": 0.7}, "the temperature is 0.7, certified is 0"),
        ({"temperature": True}, "the temperature is True"),
        ({"temperature": "0"}, "the temperature is '0'"),
        ({"temperature": 0, "unheard_of": 1}, "unheard_of is set"),
        ({"temperature": 0, "stop": ["\n"]}, "stop is ['\\n']"),
        ({"temperature": 0.0, "repetition_penalty": 1.2}, "repetition_penalty is 1.2"),
        ({"temperature": 0, "logit_bias": {"5": 1}, "n": 2}, "logit_bias is {'5': 1}, n is 2"),
    ],
)
def test_another_way_to_sample_is_refused(
    path: Path, sampling: dict[str, Any], message: str
) -> None:
    """A temperature that is another or not known, stop words, penalties."""
    request = replace(ASKED, sampling=sampling)
    with pytest.raises(NotCertified) as caught:
        Session(AdaptiveStopping.load(path), request)
    assert {"sampling"} == set(caught.value.differences)
    assert message in caught.value.differences["sampling"]
    Session(AdaptiveStopping.load(path, trust=("sampling",)), request)


def test_settings_without_effect_are_free(path: Path) -> None:
    """Neutral values, and what a greedy call does not look at; a sampled one does."""
    neutral = {
        "temperature": np.float32(0),
        "top_p": 0.5,
        "stop": np.array([]),
        "presence_penalty": 0,
        "n": 1,
    }
    Session(AdaptiveStopping.load(path), replace(ASKED, sampling=neutral))
    made_certificate(scope=made_scope(temperature=0.7)).write(path)
    with pytest.raises(NotCertified, match=r"top_p is 0\.5"):
        Session(
            AdaptiveStopping.load(path), replace(ASKED, sampling={"temperature": 0.7, "top_p": 0.5})
        )
    plain = {"temperature": 0.7, "top_p": 1.0, "top_k": 0}
    Session(AdaptiveStopping.load(path), replace(ASKED, sampling=plain))


def test_other_weights_under_the_name_are_refused(path: Path) -> None:
    """A local model tells its weights and their quantisation; an endpoint only its name."""
    stopping = AdaptiveStopping.load(path)
    Session(stopping, replace(ASKED, model_fingerprint="0123456789abcdef"))
    with pytest.raises(NotCertified, match="weights, quantisation or engine of 'models/small-1'"):
        Session(stopping, replace(ASKED, model_fingerprint="f" * 16))


@pytest.mark.parametrize(
    ("changes", "asked", "message"),
    [
        ({"budget": FixedBudget(255)}, {}, "the budget grants 255 tokens in 3 calls"),
        ({"budget": GeometricBudget(64), "attempts": 2}, {}, "grants 128 tokens in 2 calls"),
        ({"budget": lambda request, ledger: None}, {}, "the budget grants 0 tokens"),
        ({"max_total_tokens": 255}, {}, "max_total_tokens is 255"),
        ({"max_seconds": 1.5}, {}, "max_seconds is 1.5"),
        ({}, {"max_tokens": 255}, "the request's max_tokens is 255"),
        ({}, {"max_output_tokens": 100}, "the budget grants 100 tokens"),
        ({}, {"prompt_tokens": 900, "context_window": 1000}, "the budget grants 100 tokens"),
    ],
)
def test_less_room_than_was_recorded_is_refused(
    path: Path, changes: dict[str, Any], asked: dict[str, Any], message: str
) -> None:
    """Answers that are cut by a limit are lost as well, and no test has counted them."""
    with pytest.raises(NotCertified) as caught:
        Session(AdaptiveStopping.load(path, **changes), replace(ASKED, **asked))
    assert {"budget"} == set(caught.value.differences)
    assert message in caught.value.differences["budget"]
    Session(AdaptiveStopping.load(path, trust=("budget",), **changes), replace(ASKED, **asked))


def test_a_budget_in_several_calls_needs_a_model_that_goes_on(path: Path) -> None:
    """Asked to go on in another turn, a model says something else than in one call."""
    stopping = AdaptiveStopping.load(path, budget=GeometricBudget(64))
    Session(stopping, ASKED, prefill=True)
    with pytest.raises(NotCertified, match="does not continue a prefix"):
        Session(stopping, ASKED, prefill=False)
    whole = AdaptiveStopping.load(path)
    Session(whole, ASKED, prefill=False)
    with pytest.raises(NotCertified, match="grants 64 tokens, of budget and up_front"):
        Session(whole, ASKED, prefill=False, hang_up_ends_bill=False)
    nothing_less = {"up_front": lambda request, ledger: None}
    for all_at_once in ({"attempts": 1}, {"up_front": FixedBudget(256)}, nothing_less):
        Session(whole.replace(**all_at_once), ASKED, prefill=False, hang_up_ends_bill=False)


def test_chunks_of_several_tokens_are_not_cut(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Where a chunk hides the places between its tokens the run goes on to its end."""
    stopping = AdaptiveStopping.load(path, 0.05)
    chunks = [Step(" one two three four five", tokens=5)] * 10
    done = run(Session(stopping, ASKED), ScriptedModel(chunks).backend)
    assert ("stop", "") == (done.finish_reason, done.reason)
    assert "".join(chunk.text for chunk in chunks) == done.text
    assert "a chunk held 5 tokens, certified is one token at a time" == done.uncertified
    assert "not certified: a chunk held 5 tokens" in report(done)["note"]
    assert 1 == caplog.text.count("does not cover this request")
    trusted = stopping.replace(trust=("stream",))
    assert "learned" == run(Session(trusted, ASKED), ScriptedModel(chunks).backend).reason


def test_a_policy_on_logprobs_is_not_asked_without_them(path: Path) -> None:
    """A token that came without its logprob: nothing is cut any more."""
    scope = made_scope(channel="reasoning", reasoning_tags=("<t>", "</t>"), every=1)
    width = len(ThinkingEvidence.names)
    even = Logistic((0.0,) * width, (1.0,) * width, (0.0,) * width, 0.0)
    made = made_certificate(scope=scope, model=LossModel("logprobs", "reasoning", even))
    step = Step(" word", channel="reasoning", logprob=-0.1)
    several = Step(" two words", channel="reasoning", logprob=-0.1)
    assert "a chunk held 2 words" in made.not_covered(several)
    assert "" == made.not_covered(step)
    assert "without the logprob" in made.not_covered(replace(step, logprob=None))
    raw = replace(step, logprob=None, channel="answer")
    assert "without the logprob" in made.not_covered(raw)  # tags stand in the text
    beside = replace(made, scope=replace(scope, reasoning_tags=None))
    assert "" == beside.not_covered(raw)
    assert "" == made.not_covered(replace(step, logprob=None, tokens=0))
    assert "" == made_certificate().not_covered(Step(" word"))


def test_the_message_is_found_in_a_whole_prompt(path: Path) -> None:
    """Where only the model's own prompt is known, what stood around the message shows it."""
    stopping = AdaptiveStopping.load(path)
    prompt = FRAME[0] + MESSAGE + FRAME[1]
    admitted = Session(stopping, replace(ASKED, prompt=prompt, question="")).request
    assert ("Which one?", "It is Paris.") == (admitted.question, admitted.context)
    with pytest.raises(NotCertified, match="template"):
        Session(stopping, replace(ASKED, prompt="<system>" + prompt, question=""))


def test_what_is_trusted_is_told(path: Path) -> None:
    """An answer to a request that was let pass says that nothing is promised of it."""
    stopping = AdaptiveStopping.load(path, 0.05, trust=("model",))
    script = [" one"] * 40
    known = run(Session(stopping, ASKED), ScriptedModel(script).backend)
    other = run(Session(stopping, replace(ASKED, model="other")), ScriptedModel(script).backend)
    assert ("learned", "learned") == (known.reason, other.reason)
    assert "" == known.uncertified
    assert "the model is 'other', certified is 'small-1'" == other.uncertified


@pytest.mark.parametrize(
    "steps",
    [
        [Step(" why", channel="reasoning"), *[Step(" so")] * 40],
        [Step(text) for text in ("<think>", " why", "</think>", "\n\n", *[" so"] * 40)],
    ],
    ids=["channel", "tags"],
)
def test_reasoning_that_was_not_recorded_is_not_covered(path: Path, steps: list[Step]) -> None:
    """A model that thinks first is not the one whose answers were cut: nothing is cut."""
    done = run(Session(AdaptiveStopping.load(path, 0.05), ASKED), ScriptedModel(steps).backend)
    assert (" so" * 40).strip() == done.text.strip()
    assert "the model reasons, and the recorded runs did not" == done.uncertified


def test_an_answer_that_is_sampled_anew_is_not_cut(path: Path) -> None:
    """What the session asks for again was not recorded: it comes whole."""
    script = [Step(" a")] * 8
    model = ScriptedModel([Step("```"), Step("\n"), Step("x")], script)
    done = run(Session(AdaptiveStopping.load(path, 0.05), ASKED), model.backend)
    assert [False, True] == [call.resample for call in model.calls]
    assert (" a" * 8).strip() == done.text.strip()
    assert "sampled anew" in done.uncertified


def test_what_is_longer_than_all_that_was_recorded_is_not_cut(path: Path) -> None:
    """A question or a context of a size that never occurred: the answer comes whole."""
    stopping, script = AdaptiveStopping.load(path, 0.05), [" one"] * 40
    long = f"Use this text to answer the question: {'It is Paris. ' * 9}\n\nQuestion: Which one?"
    asked = replace(ASKED, prompt=long, question=long)
    done = run(Session(stopping, asked), ScriptedModel(script).backend)
    assert ("stop", "the context has 27 words, certified are 0 to 5") == (
        done.finish_reason,
        done.uncertified,
    )
    trusted = stopping.replace(trust=("size",))
    assert "learned" == run(Session(trusted, asked), ScriptedModel(script).backend).reason
