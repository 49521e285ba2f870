"""Certificates: what a file has to be, which requests it holds for, how others are refused."""

from __future__ import annotations

import copy
import json
import logging
import math
import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stopping_core import AdaptiveStopping, Request, Session, report, run
from stopping_core.budgets import FixedBudget, GeometricBudget, LengthModel, QuantileBudget
from stopping_core.budgets.request_features import NAMES
from stopping_core.certificates import Certificate, CertifiedLevel, Origin, Scope
from stopping_core.completeness import Judge, all_of, any_of, default_check
from stopping_core.errors import NotCertified
from stopping_core.policies import MaxTokens, Never
from stopping_core.policies.learned import LearnedStopping, LossModel
from stopping_core.policies.learned.answer import AnswerEvidence
from stopping_core.policies.learned.logistic import Logistic
from stopping_core.policies.learned.thinking import ThinkingEvidence
from stopping_core.templates import Template, load_template
from stopping_core.testing import ScriptedModel
from stopping_core.types import Step, Verdict

PLAIN = load_template("plain")
MESSAGE = "Use this text to answer the question: It is Paris.\n\nQuestion: Which one?"
FRAME = ("<user>", "<assistant>")
ASKED = Request(
    prompt=MESSAGE, question=MESSAGE, model="models/small-1", sampling={"temperature": 0}
)


def _scope(**changes: Any) -> Scope:
    scope = Scope(
        "small-1", "0123456789abcdef", PLAIN, FRAME, "answer", None, 16, 2, 0.0, 256, (1, 9), (0, 5)
    )
    return replace(scope, **changes)


def _certificate(**changes: Any) -> Certificate:
    width = len(AnswerEvidence.names)
    even = Logistic((0.0,) * width, (1.0,) * width, (0.0,) * width, 0.0)
    model = LossModel("text", "answer", even)
    levels = (
        CertifiedLevel(0.01, -5.0, 500, 0, 0.009, 0.2),
        CertifiedLevel(0.05, -0.5, 500, 9, 0.04, 0.5),
    )
    fitted = Origin(("a" * 64,), ("b" * 16,), ("d" * 16,), 500, 0)
    certified = replace(fitted, families=("c" * 16,), passages=("e" * 16,))
    made = Certificate(levels, 0.95, model, _scope(), ("contains",), fitted, certified)
    return replace(made, **changes)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    _certificate().write(tmp_path / "certificate.json")
    return tmp_path / "certificate.json"


def test_a_file_gives_the_certificate_back(path: Path) -> None:
    """All of it, with and without what may be missing."""
    assert _certificate() == Certificate.load(path)
    bare = _certificate(scope=_scope(frame=None, reasoning_tags=("<t>", "</t>")))
    bare.write(path)
    assert bare == Certificate.load(path)


def _places(value: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The ways to all members of all objects."""
    if isinstance(value, dict):
        inner = [place for key in value for place in _places(value[key], (*at, key))]
        return [(*at, key) for key in value] + inner
    if isinstance(value, list) and value and isinstance(value[0], dict):
        return _places(value[0], (*at, 0))
    return []


def test_every_key_is_needed_known_and_of_its_type(path: Path) -> None:
    """A member that is missing, or of another type, or one too many: the error names it."""
    content = json.loads(path.read_text("utf-8"))
    places = _places(content)
    assert len(places) > 40
    for *way, key in places:
        for what in ("missing", "wrong", "unknown"):
            spoilt = copy.deepcopy(content)
            inner = spoilt
            for step in way:
                inner = inner[step]
            named = str(key)
            if what == "missing":
                del inner[key]
            elif what == "wrong":
                inner[key] = {"no": ["such"]}
            else:
                named = "surplus"
                inner[named] = 1
            path.write_text(json.dumps(spoilt), "utf-8")
            with pytest.raises(ValueError, match=path.name) as caught:
                Certificate.load(path)
            assert named in str(caught.value) or "model.scorer" in str(caught.value), (way, key)


@pytest.mark.parametrize(
    ("way", "value", "message"),
    [
        (("levels", 0, "threshold"), -4.0, "digest"),
        (("levels", 0, "bound"), 0.02, "levels[0].bound must be in [0, 0.01]"),
        (("levels", 0, "lost"), 501, "levels[0].lost must be in [0, 500]"),
        (("levels", 1, "risk"), 0.01, "levels[1].bound"),
        (("levels",), [], "levels must rise in risk"),
        (("levels", 0, "threshold"), 0.0, "levels must not fall in threshold"),
        (("levels", 1, "lost"), 21, "levels[1].bound must be at least what was lost, 21 of 500"),
        (("confidence",), 1.5, "confidence must be in [0, 1]"),
        (("confidence",), 1, "confidence must be in (0, 1)"),
        (("scope", "channel"), "reasoning", "scope.channel must be the model's, 'answer'"),
        (("fitted", "families"), ["c" * 16], "certified.families must not have been fitted on"),
        (("version",), 2, "version must be 1"),
        (("version",), True, "version must be 1"),
        (("scope", "every"), 0, "scope.every must be a whole number >= 1"),
        (("scope", "template", "user"), "no place", "scope.template.user must hold {question}"),
        (("scope", "completeness"), "none", "scope.completeness must be 'default'"),
        (("fitted", "passages"), ["e" * 16], "certified.passages must not have been fitted on"),
        (("fitted", "seed"), "0", "fitted.seed"),
        (("fitted", "traces"), ["a"], "fitted.traces[0] must be 64 hex digits, got 'a'"),
        (("fitted", "families"), [], "fitted.families must hold one hash or more"),
        (("certified", "passages"), ["e" * 16] * 2, "certified.passages must hold one hash"),
        (("scope", "temperature"), -1, "scope.temperature must be in [0, inf]"),
        (("scope", "max_tokens"), 0, "scope.max_tokens must be a whole number >= 1"),
        (("scope", "context_words"), [5, 1], "scope.context_words must rise, got [5, 1]"),
        (("scope", "question_words"), [1], "scope.question_words must hold two numbers, got [1]"),
    ],
)
def test_tampering_is_told(path: Path, way: tuple[Any, ...], value: Any, message: str) -> None:
    """A value that cannot be is named; one that could be is noticed by the digest."""
    content = json.loads(path.read_text("utf-8"))
    inner = content
    for step in way[:-1]:
        inner = inner[step]
    inner[way[-1]] = value
    path.write_text(json.dumps(content), "utf-8")
    with pytest.raises(ValueError, match=path.name) as caught:
        Certificate.load(path)
    assert message in str(caught.value)


def test_no_part_of_a_file_is_a_certificate(path: Path) -> None:
    """Truncated anywhere, followed by more, empty, or no text at all."""
    whole = path.read_bytes()
    parts = [whole[:at] for at in range(0, len(whole.rstrip()), 97)]
    for content in (*parts, whole + b"{}", b"[1]", b"\xff\xfe", b"[" * 100_000, b'{"kind": NaN}'):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=path.name):
            Certificate.load(path)


@pytest.mark.parametrize(("risk", "threshold"), [(0.01, -5.0), (0.03, -5.0), (0.05, -0.5)])
def test_the_largest_level_that_is_allowed(path: Path, risk: float, threshold: float) -> None:
    """The policy of the most that may be lost, and never of more."""
    stopping = AdaptiveStopping.load(path, risk)
    assert isinstance(stopping.policy, LearnedStopping)
    assert threshold == stopping.policy.threshold
    assert isinstance(stopping.reasoning, Never)


def test_no_level_is_small_enough(path: Path) -> None:
    """The error says which levels there are."""
    with pytest.raises(ValueError, match=r"risk must be .* one of 0\.01, 0\.05, got 0\.005"):
        AdaptiveStopping.load(path, 0.005)


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


def test_the_reasoning_has_a_channel_of_its_own(path: Path) -> None:
    """A policy that was certified on the reasoning ends the reasoning, and leaves the answer."""
    scope = _scope(channel="reasoning", reasoning_tags=("<t>", "</t>"), every=1)
    width = len(ThinkingEvidence.names)
    even = Logistic((0.0,) * width, (1.0,) * width, (0.0,) * width, 0.0)
    _certificate(scope=scope, model=LossModel("text", "reasoning", even)).write(path)
    stopping = AdaptiveStopping.load(path)
    assert isinstance(stopping.reasoning, LearnedStopping)
    assert isinstance(stopping.policy, Never)
    assert (("<t>", "</t>"), 1) == (stopping.reasoning_tags, stopping.checkpoint_every)
    Session(stopping.replace(completeness=lambda request, draft: Verdict(True)), ASKED)
    with pytest.raises(NotCertified, match="reasoning_tags"):
        Session(stopping.replace(reasoning_tags=("<a>", "</a>")), ASKED)


def test_a_raw_prompt_is_read_whole(path: Path) -> None:
    """Where there is no chat the prompt is all there is."""
    raw = Template("mine", "Text: {context}\nQ: {question}\nA:", chat=False)
    _certificate(scope=_scope(template=raw, frame=None)).write(path)
    stopping = AdaptiveStopping.load(path)
    asked = replace(ASKED, prompt="Text: It is Paris.\nQ: Which one?\nA:", question="")
    assert "Which one?" == Session(stopping, asked).request.question
    with pytest.raises(NotCertified, match="template 'mine'"):
        Session(stopping, replace(asked, prompt="Which one?"))


def test_trust_is_for_known_kinds() -> None:
    """A word that means nothing is refused where it is said."""
    with pytest.raises(ValueError, match="trust must hold some of"):
        AdaptiveStopping(trust=("everything",))  # type: ignore[arg-type]  # wrong on purpose


def test_it_is_pickled_and_copied_with_its_certificate(path: Path) -> None:
    """Frameworks copy settings: the copy is as certified as the original."""
    stopping = AdaptiveStopping.load(path)
    for twin in (copy.deepcopy(stopping), pickle.loads(pickle.dumps(stopping)), stopping.replace()):
        assert ASKED.model == Session(twin, ASKED).request.model


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
    _certificate(scope=_scope(temperature=0.7)).write(path)
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
    for all_at_once in ({"attempts": 1}, {"up_front": FixedBudget(256)}):
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
    assert 1 == caplog.text.count("does not cover this stream")
    trusted = stopping.replace(trust=("stream",))
    assert "learned" == run(Session(trusted, ASKED), ScriptedModel(chunks).backend).reason


def test_a_policy_on_logprobs_is_not_asked_without_them(path: Path) -> None:
    """A token that came without its logprob: nothing is cut any more."""
    scope = _scope(channel="reasoning", reasoning_tags=("<t>", "</t>"), every=1)
    width = len(ThinkingEvidence.names)
    even = Logistic((0.0,) * width, (1.0,) * width, (0.0,) * width, 0.0)
    made = _certificate(scope=scope, model=LossModel("logprobs", "reasoning", even))
    step = Step(" word", channel="reasoning", logprob=-0.1)
    several = Step(" two words", channel="reasoning", logprob=-0.1)
    assert "a chunk held 2 words" in made.not_covered(several)
    assert "" == made.not_covered(step)
    assert "without the logprob" in made.not_covered(replace(step, logprob=None))
    assert "" == made.not_covered(replace(step, logprob=None, channel="answer"))
    assert "" == made.not_covered(replace(step, logprob=None, tokens=0))
    assert "" == _certificate().not_covered(Step(" word"))


def test_the_message_is_found_in_a_whole_prompt(path: Path) -> None:
    """Where only the model's own prompt is known, what stood around the message shows it."""
    stopping = AdaptiveStopping.load(path)
    prompt = FRAME[0] + MESSAGE + FRAME[1]
    admitted = Session(stopping, replace(ASKED, prompt=prompt, question="")).request
    assert ("Which one?", "It is Paris.") == (admitted.question, admitted.context)
    with pytest.raises(NotCertified, match="template"):
        Session(stopping, replace(ASKED, prompt="<system>" + prompt, question=""))


def _lengths(*tokens: int, runs: int = 100) -> LengthModel:
    """Quantiles that are the same for every request."""
    width, logs = len(NAMES), tuple(map(math.log, tokens))
    levels = tuple((place + 1) / (len(tokens) + 1) for place in range(len(tokens)))
    rows = ((0.0,) * width,) * len(tokens)
    zeros = (0.0,) * len(tokens)
    return LengthModel(levels, (0.0,) * width, (1.0,) * width, rows, logs, 256, zeros, runs)


def test_a_profile_chooses_a_level_and_plans_the_grants(path: Path) -> None:
    """Its risk chooses among what was proven; grants begin small where a hang-up is billed on."""
    needed = _lengths(20, 40, 80)
    levels = tuple(replace(one, needed=needed) for one in _certificate().levels)
    _certificate(levels=levels, natural=_lengths(200, 250, 256)).write(path)
    chat = AdaptiveStopping.load(path, profile="realtime_chat")
    batch = AdaptiveStopping.load(path, profile="batch")
    assert isinstance(chat.policy, LearnedStopping)
    assert isinstance(batch.policy, LearnedStopping)
    assert (-0.5, -5.0) == (chat.policy.threshold, batch.policy.threshold)
    assert (2, 3) == (chat.attempts, batch.attempts)
    with pytest.raises(ValueError, match=r"'high_stakes' asks for .* 0\.005, certified are 0\.01"):
        AdaptiveStopping.load(path, profile="high_stakes")
    for wrong in ("0.05", 7, 0, True):
        with pytest.raises(ValueError, match=r"risk must be in \(0, 1\), got "):
            AdaptiveStopping.load(path, wrong)  # type: ignore[arg-type]  # wrong on purpose
    with pytest.raises(ValueError, match=r"profile must be one of .*'balanced'.*, got 'fast'"):
        AdaptiveStopping.load(path, profile="fast")
    assert isinstance(chat.up_front, QuantileBudget)
    assert (64.0, 2) == (chat.up_front.call_cost, chat.up_front.attempts)
    short = replace(ASKED, prompt_tokens=10)
    granted = [
        Session(stopping, short, hang_up_ends_bill=ends).next_call(0.0).max_tokens
        for stopping, ends in ((batch, True), (batch, False), (chat, False))
    ]
    assert 256 == granted[0]
    assert granted[1] is not None
    assert granted[2] is not None
    assert granted[1] <= granted[2] < 256
    assert AdaptiveStopping.load(path, profile="batch", attempts=5).up_front != batch.up_front


def test_lengths_come_back_as_they_were(path: Path) -> None:
    """Those of each level and the natural ones, to the bit; what is damaged names its place."""
    levels = tuple(replace(one, needed=_lengths(20, 41)) for one in _certificate().levels)
    made = _certificate(levels=levels, natural=_lengths(200, 255))
    made.write(path)
    assert made == Certificate.load(path)
    content = json.loads(path.read_text("utf-8"))
    content["levels"][1]["needed"]["cap"] = 0
    path.write_text(json.dumps(content), "utf-8")
    with pytest.raises(ValueError, match=r"levels\[1\]\.needed\.cap must be a whole number >= 1"):
        Certificate.load(path)


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
