"""Requests whose stops are only noted: what a stop leaves beside what the model goes on to say."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest

from stopping_core import AdaptiveStopping, Completion, Request, Session, run, stream
from stopping_core.budgets import GeometricBudget
from stopping_core.completeness import AnswerPresent
from stopping_core.policies import MaxTokens, Never, Threshold
from stopping_core.signals import Sentences
from stopping_core.testing import FakeClock, ScriptedModel, words
from stopping_core.types import Probe, Step
from tests.core.test_session_probes import THOUGHTS, WORDS, Answers, AtLines

TEXT = "It is Paris. It lies on the Seine. Many live there."
ONE_SENTENCE = Threshold(Sentences(), at_least=1)


def session(draw: float = 0.0, *, prober: Answers | None = None, **changes: Any) -> Session:
    made = AdaptiveStopping(policy=ONE_SENTENCE, audit=0.25).replace(**changes)
    return Session(made, Request(), streaming=True, prober=prober, draw=lambda: draw)


def go(model: ScriptedModel, draw: float = 0.0, **changes: Any) -> Completion:
    return run(session(draw, **changes), model.backend)


def test_an_audited_request_runs_to_its_end_and_the_user_sees_none_of_it() -> None:
    """Its text, its reason and what was shown are those of a cut."""
    plain, audited = ScriptedModel(words(TEXT)), ScriptedModel(words(TEXT))
    watched = session()
    shown = "".join(emission.text for emission in stream(watched, audited.backend))
    cut, done = go(plain, draw=0.25), watched.completion
    assert ("It is Paris.", "It is Paris.", cut.text) == (shown, done.text, cut.text)
    assert (cut.reason, cut.finish_reason, cut.complete) == (
        done.reason,
        done.finish_reason,
        done.complete,
    )
    assert done.audit is not None
    assert ("It is Paris.", TEXT, "answer", "stop") == (
        done.audit.cut,
        done.audit.full,
        done.audit.channel,
        done.audit.finish_reason,
    )
    assert len("It is Paris.") == done.audit.checkpoint.offset
    assert (None, 0.25, 0.25) == (cut.audit, cut.audit_share, done.audit_share)


def test_what_an_audit_takes_is_booked() -> None:
    """All of the run is generated, and nothing is avoided."""
    done = go(ScriptedModel(words(TEXT)))
    assert len(words(TEXT)) == done.usage.generated
    assert (0, 0) == (done.usage.avoided, done.usage.unseen)
    assert go(ScriptedModel(words(TEXT)), draw=0.9).usage.avoided > 0


@pytest.mark.parametrize(("draw", "audited"), [(0.0, True), (0.2499, True), (0.25, False)])
def test_the_draw_decides(draw: float, audited: bool) -> None:
    """Once a request, below the share."""
    assert audited is (go(ScriptedModel(words(TEXT)), draw).audit is not None)


def test_a_run_without_a_stop_has_nothing_to_audit() -> None:
    """Neither has one whose stop is forced, which is made all the same."""
    assert go(ScriptedModel(words(TEXT)), policy=Never()).audit is None
    model = ScriptedModel(words(TEXT))
    done = go(model, policy=MaxTokens(4))
    assert (None, 1) == (done.audit, model.closed)


def test_a_run_that_breaks_behind_the_stop_is_no_audit() -> None:
    """The answer is there, as after a cut; what would have come is not known."""
    broken = ScriptedModel([*words("It is Paris. It lies"), ConnectionError("reset")])
    done = go(broken)
    assert ("It is Paris.", True, None) == (done.text, done.complete, done.audit)
    clock = FakeClock()
    slow = ScriptedModel(words(TEXT), clock=clock, seconds_per_token=1.0)
    late = run(session(max_seconds=6.0), slow.backend, clock=clock)
    assert ("It is Paris.", "sentences", None, 6) == (
        late.text,
        late.reason,
        late.audit,
        late.usage.generated,
    )


def test_the_cap_may_end_the_full_run() -> None:
    """The audit says so."""
    done = go(ScriptedModel(words(TEXT)), budget=GeometricBudget(first=7))
    assert done.audit is not None
    assert ("length", "It is Paris. It lies on the") == (
        done.audit.finish_reason,
        done.audit.full,
    )
    assert 1 == len(done.attempts)


def test_a_check_that_refuses_the_cut_is_asked_as_ever() -> None:
    """A stop that would not be made is not audited."""
    model = ScriptedModel(words("It is so. The answer is Paris. And more."))
    done = go(model, completeness=AnswerPresent())
    assert done.audit is not None
    assert "It is so. The answer is Paris." == done.audit.cut == done.text


def test_reasoning_that_would_be_ended_goes_on_to_its_own_answer() -> None:
    """The user gets the full run's; the early one is asked for beside it."""
    prober = Answers([Probe(" 4.", 2, 30), Probe(" 5.", 2, 36)])
    text = f"{THOUGHTS}.\nIt is 6.</think>\n\nIt is 6."
    done = run(
        session(
            prober=prober,
            policy=Never(),
            reasoning=AtLines("5"),
            probe=WORDS,
        ),
        ScriptedModel(words(text)).backend,
    )
    assert done.audit is not None
    assert ("The answer is 5.", "It is 6.", "reasoning") == (
        done.audit.cut,
        done.audit.full,
        done.audit.channel,
    )
    assert ("It is 6.", 1, 4) == (done.text, len(done.attempts), done.usage.probed)
    assert THOUGHTS.removeprefix("<think>") + ".\nIt is 6." == done.reasoning


def test_shadow_audits_every_stop() -> None:
    """In the answer by its text, in the reasoning where it can be asked for."""
    done = go(ScriptedModel(words(f"<think>Hm.</think>\n\n{TEXT}")), mode="shadow")
    assert done.audit is not None
    assert ("It is Paris.", TEXT, 1.0) == (done.audit.cut, done.audit.full, done.audit_share)
    assert f"<think>Hm.</think>\n\n{TEXT}" == done.text
    prober = Answers([Probe(" 5.", 2, 30)])
    thinking = ScriptedModel(words(f"{THOUGHTS}.</think>\n\nIt is 6."))
    thought = run(
        session(prober=prober, mode="shadow", policy=Never(), reasoning=AtLines("5"), probe=WORDS),
        thinking.backend,
    )
    assert thought.audit is not None
    assert ("The answer is 5.", "It is 6.") == (thought.audit.cut, thought.audit.full)
    off = go(ScriptedModel(words(TEXT)), mode="off")
    assert (None, 0.0) == (off.audit, off.audit_share)


def test_tokens_of_one_chunk_are_shared_between_cut_and_rest() -> None:
    """Nothing of the full text is lost, however it was chunked."""
    for chunks in ([TEXT], [TEXT[:20], TEXT[20:]], list(TEXT)):
        done = go(ScriptedModel([Step(chunk) for chunk in chunks]))
        assert done.audit is not None
        assert ("It is Paris.", TEXT) == (done.audit.cut, done.audit.full)


@pytest.mark.parametrize("share", [1.0, -0.1, "much", float("nan")])
def test_a_share_is_one(share: object) -> None:
    """All stops are audited in shadow mode."""
    with pytest.raises(ValueError, match=r"audit must be in \[0, 1\)"):
        AdaptiveStopping(audit=share)  # type: ignore[arg-type]  # wrong on purpose


def thinking(*answers: Probe, **changes: Any) -> dict[str, Any]:
    """Settings that end the reasoning at "5", and what is asked."""
    made = {"policy": Never(), "reasoning": AtLines("5"), "probe": WORDS, "probe_tokens": 9}
    return {"prober": Answers(list(answers)), **made, **changes}


def test_an_early_answer_that_the_limit_cut_is_asked_for_at_length() -> None:
    """As a call of its own would answer; where that has no end either, the audit fails."""
    text = f"{THOUGHTS}.\nIt is 6.</think>\n\nIt is 6."
    first, whole = Probe(" 5 and what follo", 9, 30), Probe(" 5 and what follows.", 12, 30)
    setting = thinking(first, whole)
    done = run(session(**setting), ScriptedModel(words(text)).backend)
    assert done.audit is not None
    assert "The answer is 5 and what follows." == done.audit.cut
    assert [9, 144] == [asked[2] for asked in setting["prober"].asked]
    endless = thinking(first, Probe(" 5 and so on", 144, 30))
    failed = run(session(**endless), ScriptedModel(words(THOUGHTS), [" 5."]).backend)
    assert (None, True, "The answer is 5.") == (failed.audit, failed.audit_failed, failed.text)


def test_the_full_answer_of_reasoning_is_the_one_that_came_in_the_end() -> None:
    """Where the thoughts fill the first grant, and the answer needs a second call."""
    setting = thinking(Probe(" 5.", 2, 30), budget=GeometricBudget(first=12))
    model = ScriptedModel(words(THOUGHTS + " and for longer and longer"), [" 6."])
    done = run(session(**setting), model.backend)
    assert done.audit is not None
    assert ("The answer is 5.", "The answer is 6.") == (done.audit.cut, done.audit.full)
    assert "The answer is 6." == done.text


def test_a_call_that_begins_anew_is_asked_anew() -> None:
    """What was noted of the thoughts before goes with them."""
    broken: list[str | Exception] = [*words("<think>It is 5.\nAnd"), ConnectionError("reset")]
    again = words("<think>It is 5, yes.\nSo.</think>\n\nIt is 6.")
    setting = thinking(Probe(" 5.", 2, 30), Probe(" 5, yes.", 3, 30), backoff=(0.0, 0.0))
    done = run(session(**setting), ScriptedModel(broken, again).backend)
    assert done.audit is not None
    assert ("The answer is 5, yes.", "It is 6.") == (done.audit.cut, done.audit.full)


def test_thoughts_behind_an_audited_answer_are_not_shown() -> None:
    """On the provider's channel neither."""
    model = ScriptedModel(
        [*words("It is Paris. It"), Step("SECRET", channel="reasoning"), " lies."]
    )
    watched = session()
    shown = list(stream(watched, model.backend))
    assert "SECRET" not in "".join(emission.reasoning for emission in shown)
    assert "" == watched.completion.reasoning
    assert watched.completion.audit is not None


def test_a_deadline_in_audited_reasoning_gives_the_early_answer() -> None:
    """It is known; the audit has failed."""
    clock = FakeClock()
    slow = ScriptedModel(words(THOUGHTS + " and on"), clock=clock, seconds_per_token=1.0)
    live = session(**thinking(Probe(" 4.", 2, 9), Probe(" 5.", 2, 9), max_seconds=9.0))
    shown = "".join(emission.text for emission in stream(live, slow.backend, clock=clock))
    done = live.completion
    assert ("The answer is 5.", "The answer is 5.") == (shown, done.text)
    assert (None, True, "deadline") == (done.audit, done.audit_failed, done.reason)


def test_what_cannot_be_audited_says_so() -> None:
    """Ends of reasoning without anybody to ask; forced ones need no audit."""
    bare = AdaptiveStopping(
        policy=Never(), reasoning=Threshold(Sentences(), at_least=1), audit=0.25
    )
    done = Session(bare, Request(), draw=lambda: 0.0).completion
    assert (0.0, None) == (done.audit_share, done.audit)
    assert 0.25 == Session(bare.replace(reasoning=Never()), Request()).completion.audit_share


def test_an_audited_call_is_granted_all_at_once() -> None:
    """Where grants begin small, what a cut leaves would not be the full run."""
    stopping = AdaptiveStopping(policy=ONE_SENTENCE, audit=0.25, up_front=GeometricBudget(first=7))
    for draw, expected in ((0.0, TEXT), (0.5, None)):
        live = Session(stopping, Request(), hang_up_ends_bill=False, draw=partial(float, draw))
        done = run(live, ScriptedModel(words(TEXT)).backend)
        assert expected == (None if done.audit is None else done.audit.full)
