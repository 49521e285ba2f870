"""What a session does when something goes wrong beside the answer, and where the limits bind."""

from __future__ import annotations

import pickle
from collections.abc import Generator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stopping_core import (
    AdaptiveStopping,
    BudgetExhausted,
    Call,
    Completion,
    Draft,
    Request,
    Session,
    Step,
    TransportFailed,
    Usage,
    Verdict,
    astream,
    is_transient,
    run,
    stream,
)
from stopping_core.budgets import CostCeiling, FixedBudget, GeometricBudget
from stopping_core.completeness import AnswerPresent, ClosedFences, all_of, default_check
from stopping_core.policies import LoopGuard, MaxTokens, MinTokens, Never, Threshold
from stopping_core.signals import Sentences
from stopping_core.testing import FakeClock, ScriptedModel, chunkings, words

ONE_SENTENCE = Threshold(Sentences(), at_least=1, reason="sentence")
RESET = ConnectionError("reset")


def go(model: ScriptedModel, request: Request | None = None, **settings: Any) -> Completion:
    """Run one request on a scripted model with a fake clock."""
    clock = FakeClock()
    session = Session(AdaptiveStopping(**settings), request or Request())
    return run(session, model.backend, clock=clock, sleep=clock.sleep)


def test_an_error_after_the_models_end_changes_nothing() -> None:
    """The peer often closes badly after the last chunk; the answer is there."""

    def backend(call: Call) -> Generator[Step, None, None]:
        yield Step("Paris.", finish_reason="stop")
        raise RESET

    done = run(Session(AdaptiveStopping(), Request()), backend)
    assert (done.text, done.complete, len(done.attempts)) == ("Paris.", True, 1)


def test_an_error_while_hanging_up_changes_nothing() -> None:
    """A cut that could not say goodbye is a cut."""

    def backend(call: Call) -> Generator[Step, None, None]:
        try:
            for word in words("It is Paris. And more."):
                yield Step(word)
        finally:
            raise RESET

    done = run(Session(AdaptiveStopping(policy=ONE_SENTENCE), Request()), backend)
    assert (done.text, done.reason, len(done.attempts)) == ("It is Paris.", "sentence", 1)


@pytest.mark.parametrize("error", [AttributeError("bug"), TimeoutError("judge")])
def test_an_error_of_the_users_check_is_the_users(error: Exception) -> None:
    """It goes up as it is, and is not taken for one of the transport."""

    def check(request: Request, draft: Draft) -> Verdict:
        raise error

    model = ScriptedModel(["Paris."])
    with pytest.raises(type(error)):
        go(model, completeness=check)
    assert len(model.calls) == 1


@pytest.mark.parametrize("wrong", [AnswerPresent, 3])
def test_a_class_is_no_check(wrong: Any) -> None:
    """Forgotten brackets are seen at once."""
    with pytest.raises(TypeError, match="completeness must be callable and no class"):
        AdaptiveStopping(completeness=wrong)
    with pytest.raises(TypeError, match="hooks must be a tuple of functions, got "):
        AdaptiveStopping(hooks=wrong)


def test_a_ceiling_of_cost_holds_over_restarts() -> None:
    """What a restart throws away was paid for."""
    budget = CostCeiling(0.0001, 0.0, 1.0, GeometricBudget(first=60))
    model = ScriptedModel(["no"] * 50, ["no"] * 50, ["no"] * 50)
    done = go(model, completeness=AnswerPresent(), budget=budget, request=Request(prompt_tokens=0))
    assert done.usage.generated <= 100


def test_a_ceiling_of_cost_holds_over_broken_connections() -> None:
    """So do the prompts that are read again."""
    budget = CostCeiling(0.00025, 1.0, 1.0, FixedBudget(120))
    script: list[str | Exception] = ["a", RESET]
    model = ScriptedModel(*[script] * 5)
    with pytest.raises(TransportFailed) as caught:
        go(model, request=Request(prompt_tokens=100), budget=budget, attempts=5)
    usage = caught.value.completion.usage
    assert usage.prompt + usage.reread + usage.generated <= 250


def test_a_forced_stop_is_not_complete() -> None:
    """Neither a limit on tokens nor one on seconds makes an answer complete."""
    with pytest.raises(BudgetExhausted) as caught:
        go(ScriptedModel(words("It is the capital of")), policy=MaxTokens(4), on_exhausted="raise")
    assert caught.value.completion.text == "It is the capital"
    clock = FakeClock()
    model = ScriptedModel(words("It is the capital"), clock=clock, seconds_per_token=1.0)
    done = run(Session(AdaptiveStopping(max_seconds=3), Request()), model.backend, clock=clock)
    assert (done.text, done.complete, done.reason) == ("It is the", False, "deadline")


def test_time_that_passes_after_the_end_is_no_cut() -> None:
    """A call that ended by itself is judged by how it ended."""
    session = Session(AdaptiveStopping(max_seconds=3), Request())
    session.next_call(0.0)
    session.feed(Step("Paris.", finish_reason="stop"), 0.0)
    session.end(5.0)
    assert (session.completion.finish_reason, session.completion.complete) == ("stop", True)


def test_a_judge_does_not_switch_off_the_quick_checks() -> None:
    """Before a cut the quick ones are asked, after the stream all of them."""

    class Judge:
        slow = True

        def __call__(self, request: Request, draft: Draft) -> Verdict:
            return Verdict(True)

    model = ScriptedModel(words("```python\nx = 1. \n```"))
    eager = Threshold(Sentences(), at_least=0)
    done = go(model, policy=eager, completeness=all_of(ClosedFences(), Judge()))
    assert done.text == "```python\nx = 1. \n```"
    assert len(model.calls) == 1


def test_what_is_left_of_a_fixed_budget_can_be_used() -> None:
    """It was too small for nothing yet; once it is, there is no further call."""
    model = ScriptedModel(["I do not know."], ["The answer is 4."])
    done = go(model, completeness=AnswerPresent(), budget=FixedBudget(64))
    assert done.text == "The answer is 4."
    assert [a.budget for a in done.attempts] == [64, 64]
    short = ScriptedModel(words("a b c d"))
    assert not go(short, policy=Never(), budget=FixedBudget(2)).complete


def test_a_connection_lost_in_thought_is_not_told_to_stop_thinking() -> None:
    """Nothing was too long; the call is made again."""
    model = ScriptedModel([Step("hm", channel="reasoning"), RESET], ["Paris."])
    done = go(model)
    assert (model.calls[1].kind, model.calls[1].prefill, done.text) == ("restart", "", "Paris.")


@pytest.mark.parametrize("error", [ValueError("temperature is not supported"), RESET])
def test_a_later_call_that_fails_loses_no_answer(error: Exception) -> None:
    """What the model had said to its end is returned, marked incomplete, as plain calls would."""
    model = ScriptedModel(['{"a": 1'], ['{"', error], [error])
    done = go(model)
    assert (done.text, done.complete, done.finish_reason) == ('{"a": 1', False, "stop")
    assert done.attempts[-1].error
    with pytest.raises(TransportFailed):
        go(ScriptedModel(['{"a": 1'], [error], [error]), on_exhausted="raise")


def test_where_nothing_came_the_providers_error_goes_up() -> None:
    """A fallback on the provider's own exceptions has to see them."""
    with pytest.raises(ConnectionError, match="reset"):
        go(ScriptedModel([RESET], [RESET], [RESET]))


def test_a_model_without_prefill_is_not_told_its_thoughts() -> None:
    """They are none of its answer; only where there is no answer they stand in for it."""
    thoughts = [Step(w, channel="reasoning") for w in words("let me see")]
    model = ScriptedModel([*thoughts, "Par"], ["Paris."])
    session = Session(
        AdaptiveStopping(policy=Never(), budget=GeometricBudget(first=4)),
        Request(),
        prefill=False,
    )
    model.scripts[0].append("is")
    assert run(session, model.backend).text == "Paris."
    assert model.calls[1].prefill == "Par"


def test_a_tag_in_a_continuation_is_text() -> None:
    """Only at the very beginning of an answer does a tag open the reasoning."""
    model = ScriptedModel(words("put it in the tag now"), ["<think>", " and close it."])
    done = go(model, policy=Never(), budget=GeometricBudget(first=5))
    assert done.text == "put it in the tag<think> and close it."
    assert done.reasoning == ""


@pytest.mark.parametrize(
    "policy",
    [
        LoopGuard() & MinTokens(8),
        LoopGuard(min_repeats=2),
    ],
)
def test_a_loop_is_a_loop_whatever_the_rule_is_called(policy: Any) -> None:
    """Its copies are dropped, one is kept, and the answer goes on from it."""
    once = "The cat sat on the old mat today and slept."
    model = ScriptedModel(words(" ".join([once] * 6)), words(" Then it left."))
    done = go(model, policy=policy)
    assert done.text == f"{once} Then it left."


def test_the_backoff_does_not_outlast_the_limit() -> None:
    """No wait is begun that would end too late, and no call made after the limit."""
    clock = FakeClock()
    model = ScriptedModel(*([[RESET]] * 9), clock=clock)
    stopping = AdaptiveStopping(attempts=9, max_seconds=1.0, backoff=(8.0, 8.0))
    with pytest.raises(ConnectionError):
        run(Session(stopping, Request()), model.backend, clock=clock, sleep=clock.sleep)
    assert clock.now < 1.0


def test_a_provider_that_ignores_the_limit_is_stopped() -> None:
    """The total is watched with every step."""
    usage = go(
        ScriptedModel([Step(" a", tokens=4)] * 5), policy=Never(), max_total_tokens=9, attempts=1
    ).usage
    assert usage.generated <= 12


class Status(Exception):
    """An HTTP error that holds its response, as requests' and httpx's do."""

    def __init__(self, status: int) -> None:
        self.response = type("Response", (), {"status_code": status})()


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (Status(503), True),
        (Status(429), True),
        (Status(400), False),
        (TimeoutError(), True),
        (BrokenPipeError(), True),
        (
            type("ServerDisconnectedError", (type("ClientConnectionError", (OSError,), {}),), {})(),
            True,
        ),
        (ValueError(), False),
        (OSError("disk full"), False),
    ],
)
def test_what_may_pass(error: Exception, expected: bool) -> None:
    """Told by kind, by status, by the names that client libraries use."""
    assert is_transient(error) is expected


def test_a_consumer_that_goes_away_leaves_a_line_in_the_ledger() -> None:
    """What was generated until then was billed."""
    session = Session(AdaptiveStopping(), Request())
    emissions = stream(session, ScriptedModel(words("a b c d")).backend)
    next(emissions)
    emissions.close()
    assert session.completion.usage.generated == 1
    assert session.completion.attempts[0].error == "abandoned: GeneratorExit"


async def test_an_async_consumer_that_goes_away_does_too() -> None:
    """Likewise, and the model is hung up on."""
    model = ScriptedModel(words("a b c d"))
    session = Session(AdaptiveStopping(), Request())
    emissions = astream(session, model.abackend)
    await anext(emissions)
    await emissions.aclose()
    assert session.completion.usage.generated == 1
    assert model.closed == 1


def test_a_hook_that_fails_does_not_lose_the_answer(caplog: pytest.LogCaptureFixture) -> None:
    """It is logged, and the other hooks are told."""
    told: list[str] = []

    def broken(request: Request, completion: Completion) -> None:
        raise RuntimeError("no disk")

    done = go(ScriptedModel(["Paris."]), hooks=(broken, lambda r, c: told.append(c.text)))
    assert (done.text, told) == ("Paris.", ["Paris."])
    assert "a hook failed" in caplog.text


def test_a_session_runs_once() -> None:
    """A second run would mix two answers."""
    session = Session(AdaptiveStopping(), Request())
    run(session, ScriptedModel(["Paris."]).backend)
    with pytest.raises(RuntimeError, match="done"):
        run(session, ScriptedModel(["Rome."]).backend)


def test_errors_can_be_sent_to_another_process() -> None:
    """The work they carry goes with them."""
    with pytest.raises(TransportFailed) as caught:
        go(ScriptedModel(["Par", ValueError("bad")]))
    twin = pickle.loads(pickle.dumps(caught.value))
    assert (str(twin), twin.completion) == (str(caught.value), caught.value.completion)


def test_shadow_claims_no_cut_that_would_be_vetoed() -> None:
    """Its check is asked as in active mode."""
    model = ScriptedModel(words("```python\nx = 1. \n``` Done. More."))
    done = go(model, policy=Threshold(Sentences(), at_least=0), mode="shadow")
    assert done.would_stop is not None
    assert done.would_stop.offset >= len("```python\nx = 1. \n```")


def test_broken_input_is_text() -> None:
    """A huge chunk, lone surrogates, NaN logprobs: decided on, never raised on."""
    huge = "word " * 200_000
    assert go(ScriptedModel([Step(huge, tokens=1)]), policy=Never()).text == huge
    odd = Step(
        "\ud800 It is. And",
        logprob=float("nan"),
        top_logprobs=(float("nan"),),
        entropy=float("nan"),
    )
    assert go(ScriptedModel([odd]), policy=ONE_SENTENCE).text == "\ud800 It is."


@given(
    st.lists(
        st.sampled_from(
            ["<think>", "</think>", "One.", " Two", "\n", " 3.5", "! ", "```", "{", "}"]
        )
    )
)
def test_the_chunking_does_not_matter_to_a_session(parts: list[str]) -> None:
    """The same text, reasoning, reason and verdict, with tags and all."""
    text = "".join(parts)
    outcomes = set()
    for steps in chunkings(text, seed=len(text)):
        usage = Usage(generated=len(text), estimated=False)
        script = [*steps, Step("", 0, finish_reason="stop", usage=usage)]
        policy = (Threshold(Sentences(), at_least=2) & MinTokens(4)) | MaxTokens(17)
        done = go(ScriptedModel(script), policy=policy, attempts=1, budget=FixedBudget(10_000))
        outcomes.add((done.text, done.reasoning, done.reason, done.verdict))
    assert len(outcomes) == 1


@given(st.text(alphabet="ab .\n!", max_size=60), st.lists(st.integers(1, 20), max_size=4))
def test_continuing_loses_and_repeats_nothing(text: str, budgets: list[int]) -> None:
    """However often an answer is broken off, its parts make up the whole, streamed or not."""
    total, grants = 0, []
    for size in budgets:
        total += size
        grants.append(total)
    grants.append(10_000)

    def backend(call: Call) -> Generator[Step, None, None]:
        rest = text[len(call.prefix) :]
        for n, character in enumerate(rest):
            if n == call.max_tokens:
                yield Step("", 0, finish_reason="length")
                return
            yield Step(character)
        yield Step("", 0, finish_reason="stop")

    for streaming in (False, True):
        stopping = AdaptiveStopping(
            policy=Never(),
            completeness=lambda r, d: Verdict(d.finish_reason == "stop", "broke off"),
            budget=lambda r, ledger: grants[len(ledger)],
            attempts=len(grants),
        )
        session = Session(stopping, Request(), streaming=streaming)
        shown = "".join(emission.text for emission in stream(session, backend))
        assert session.completion.text == text
        if streaming:
            assert shown == text


def test_the_default_check_knows_a_forced_stop() -> None:
    """The reason says what stopped it."""
    done = go(ScriptedModel(words("a b c")), policy=MaxTokens(2), completeness=default_check())
    assert done.verdict == Verdict(False, "it was stopped before its end (max tokens)")
