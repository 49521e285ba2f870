"""One request over several calls: cut, check, continue, give up, and lose nothing on the way."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from stopping_core import (
    AdaptiveStopping,
    BudgetExhausted,
    Completion,
    Draft,
    Request,
    Session,
    Step,
    TransportFailed,
    Usage,
    Verdict,
    arun,
    run,
    stream,
)
from stopping_core.budgets import FixedBudget, GeometricBudget
from stopping_core.completeness import AnswerPresent, JsonText, all_of, default_check
from stopping_core.policies import Never, Threshold
from stopping_core.signals import Sentences
from stopping_core.testing import FakeClock, ScriptedModel, words

ONE_SENTENCE = Threshold(Sentences(), at_least=1, reason="sentence")


def go(
    model: ScriptedModel,
    *,
    request: Request | None = None,
    prefill: bool = True,
    **settings: Any,
) -> Completion:
    """Run one request on a scripted model with a fake clock."""
    clock = FakeClock()
    session = Session(AdaptiveStopping(**settings), request or Request(), prefill=prefill)
    return run(session, model.backend, clock=clock, sleep=clock.sleep)


def test_a_done_answer_is_cut_and_the_model_hung_up_on() -> None:
    """The cut costs the one token that shows the sentence has ended, and the rest is never made."""
    model = ScriptedModel(words("It is Paris. France is a country in Europe, and so on and on."))
    done = go(model, policy=ONE_SENTENCE)
    assert (done.text, done.finish_reason, done.reason) == ("It is Paris.", "cut", "sentence")
    assert done.complete
    assert model.generated == [4]
    assert model.closed == 1
    assert done.usage.generated == 4
    assert done.usage.avoided == 128 - 4


def test_a_chunk_that_runs_past_the_cut_is_trimmed() -> None:
    """One large chunk is cut inside, and billed whole."""
    done = go(ScriptedModel([Step("It is Paris. And then more.", tokens=8)]), policy=ONE_SENTENCE)
    assert done.text == "It is Paris."
    assert done.usage.generated == 8


def test_a_truncated_answer_is_continued_not_repeated() -> None:
    """The second call takes the prefix and only the rest of a larger budget."""
    text = "one two three four five six."
    model = ScriptedModel(words(text), words(" five six."))
    done = go(model, policy=Never(), budget=GeometricBudget(first=4))
    assert done.text == text
    assert done.complete
    assert [c.kind for c in model.calls] == ["first", "continue"]
    assert model.calls[1].prefix == model.calls[1].prefill == "one two three four"
    assert [a.budget for a in done.attempts] == [4, 8]
    assert model.calls[1].max_tokens == 4
    assert done.usage.generated == sum(model.generated)
    assert done.usage.retried == model.generated[1]


def test_what_an_asked_model_repeats_is_removed() -> None:
    """Where the model takes no prefill, its repetition of the last words is stitched away."""
    model = ScriptedModel(words("the quick brown fox jumps on"), words("brown fox jumps over it."))
    done = go(model, policy=Never(), budget=GeometricBudget(first=5), prefill=False)
    assert done.text == "the quick brown fox jumps over it."


def test_a_model_that_only_repeats_itself_has_not_gone_on() -> None:
    """A continuation with nothing new in it does not make a broken sentence whole."""
    text = "the quick brown fox jumps over it."
    model = ScriptedModel(words(text), words("the quick brown fox jumps"), words(text))
    done = go(model, policy=Never(), budget=GeometricBudget(first=5), prefill=False)
    assert [c.kind for c in model.calls] == ["first", "continue", "restart"]
    assert "only repeated itself" in str(done.attempts[1].verdict)
    assert (done.text, done.complete) == (text, True)


def test_a_model_with_nothing_to_add_was_done() -> None:
    """Where the limit fell on the end of the last sentence, silence is an answer."""
    model = ScriptedModel([*words("It is Paris."), " ..."], ["It is Paris."])
    done = go(model, policy=Never(), budget=GeometricBudget(first=3), prefill=False)
    assert (done.text, done.complete, len(done.attempts)) == ("It is Paris.", True, 2)


def test_a_refused_call_makes_no_count_an_estimate() -> None:
    """The provider counted all that was billed."""
    usage = Usage(prompt=5, generated=1, estimated=False)
    last = Step("Paris.", finish_reason="stop", usage=usage)
    done = go(ScriptedModel([ConnectionError("refused")], [last]), backoff=(0.0, 0.0))
    assert (done.usage.estimated, done.usage.generated) == (False, 1)


def test_a_loop_is_dropped_and_the_answer_reseeded() -> None:
    """The first copy stays, the others go, and the next call samples from there."""
    once = "The cat sat on the mat today."
    loop = " ".join([once] * 6)
    model = ScriptedModel(words(loop), words(" Then it left."))
    done = go(model)
    assert model.calls[1].kind == "reseed"
    assert model.calls[1].resample
    assert model.calls[1].prefix.strip() == once
    assert " ".join(done.text.split()) == f"{once} Then it left."
    assert model.generated[0] < len(words(loop))
    assert 0 < done.usage.discarded < model.generated[0]


def test_reasoning_that_ate_the_budget_is_closed() -> None:
    """The next call has the reasoning in its tags and is asked for the answer."""
    thinking = [Step(w, channel="reasoning") for w in words("let me think about it for long")]
    model = ScriptedModel(thinking, ["Paris", "."])
    done = go(model, budget=GeometricBudget(first=5))
    assert model.calls[1].kind == "close_reasoning"
    assert model.calls[1].prefill == "<think>let me think about it</think>\n\n"
    assert (done.text, done.reasoning) == ("Paris.", "let me think about it")
    assert done.attempts[0].reasoning == 5


def test_tags_in_the_text_are_reasoning() -> None:
    """A server without a reasoning parser is understood by the tags."""
    model = ScriptedModel(["<th", "ink>hm", " hm</thi", "nk>\n\nPar", "is."])
    done = go(model)
    assert (done.reasoning, done.text) == ("hm hm", "Paris.")


def test_an_ended_but_incomplete_answer_restarts_with_another_seed() -> None:
    """Going on after the model's own end gives nothing; the first text is booked as discarded."""
    model = ScriptedModel(["I do not know."], ["The answer is 4."])
    done = go(model, completeness=all_of(default_check(), AnswerPresent()))
    assert model.calls[1].kind == "restart"
    assert model.calls[1].resample
    assert done.text == "The answer is 4."
    assert done.usage.discarded == 1


def test_a_cut_that_would_leave_it_incomplete_is_not_made() -> None:
    """The check is asked before the hang-up, so a policy that is too eager costs no second call."""
    model = ScriptedModel(words("```python\nx = 1. \n```"))
    done = go(model, policy=Threshold(Sentences(), at_least=0))
    assert done.complete
    assert done.text == "```python\nx = 1. \n```"
    assert len(model.calls) == 1


def test_a_slow_check_is_asked_after_the_cut_and_may_send_it_on() -> None:
    """A judge does not hold the stream up; its objection continues the answer."""
    asked: list[str] = []

    class Judge:
        slow = True

        def __call__(self, request: Request, draft: Draft) -> Verdict:
            asked.append(draft.text)
            return Verdict(len(asked) > 1, "too short")

    model = ScriptedModel(words("One. Two three."), words(" Two. Three."))
    done = go(model, policy=ONE_SENTENCE, completeness=Judge())
    assert asked == ["One.", "One. Two."]
    assert model.calls[1].kind == "continue"
    assert done.complete


def test_running_out_returns_the_best_there_is() -> None:
    """By default an incomplete answer comes back, and says so."""
    model = ScriptedModel(words("a b c d"), words(" c d e f g"))
    done = go(model, policy=Never(), budget=GeometricBudget(first=2), attempts=2)
    assert done.text == "a b c d"
    assert not done.complete
    assert "length" in done.verdict.reason


def test_running_out_raises_where_asked_to() -> None:
    """The error carries the completion."""
    model = ScriptedModel(words("a b c d"))
    with pytest.raises(BudgetExhausted, match="after 1 attempts") as caught:
        go(model, policy=Never(), budget=FixedBudget(2), on_exhausted="raise")
    assert caught.value.completion.text == "a b"


def test_giving_up_after_a_restart_returns_the_earlier_text() -> None:
    """A restart that ends in nothing does not lose what there was."""
    model = ScriptedModel(["No idea."], [""])
    done = go(model, completeness=AnswerPresent(), attempts=2)
    assert done.text == "No idea."
    assert not done.complete


def test_a_dropped_connection_is_continued_after_a_wait() -> None:
    """What came stands; the next call has what was left of the budget."""
    clock = FakeClock()
    model = ScriptedModel(["Par", ConnectionError("reset")], ["is."])
    done = run(
        Session(AdaptiveStopping(), Request()), model.backend, clock=clock, sleep=clock.sleep
    )
    assert done.text == "Paris."
    assert model.calls[1].prefix == "Par"
    assert [a.budget for a in done.attempts] == [128, 128]
    assert model.calls[1].max_tokens == 127
    assert len(clock.slept) == 1
    assert clock.slept[0] <= 8
    assert done.attempts[0].error == "ConnectionError: reset"


def test_a_connection_that_stays_broken_raises_with_the_partial() -> None:
    """Attempts bound the transport errors too."""
    model = ScriptedModel(
        ["Par", ConnectionError("a")], [ConnectionError("b")], [TimeoutError("c")]
    )
    with pytest.raises(TransportFailed, match="call 3 failed for good") as caught:
        go(model)
    assert caught.value.completion.text == "Par"
    assert isinstance(caught.value.__cause__, TimeoutError)


def test_an_error_that_will_not_pass_goes_up_at_once() -> None:
    """A refused request is the caller's business; with a partial text it is wrapped to carry it."""
    with pytest.raises(ValueError, match="bad key"):
        go(ScriptedModel([ValueError("bad key")]))
    with pytest.raises(TransportFailed) as caught:
        go(ScriptedModel(["Par", ValueError("bad")]))
    assert caught.value.completion.text == "Par"


def test_total_tokens_bound_all_calls() -> None:
    """No call is granted more than what is left of the total."""
    model = ScriptedModel(words("a b c d e f"), words(" e f g h i j k"))
    done = go(model, policy=Never(), budget=GeometricBudget(first=4), max_total_tokens=6)
    assert model.calls[1].max_tokens == 2
    assert sum(model.generated) == 6
    assert not done.complete


def test_total_seconds_end_the_stream() -> None:
    """The time limit is looked at with every step, and there is no retry after it."""
    clock = FakeClock()
    model = ScriptedModel(words("a b c d e f"), clock=clock, seconds_per_token=1.0)
    session = Session(AdaptiveStopping(policy=Never(), max_seconds=3), Request())
    done = run(session, model.backend, clock=clock, sleep=clock.sleep)
    assert (done.reason, done.finish_reason) == ("deadline", "cut")
    assert model.generated == [3]
    assert len(done.attempts) == 1


def test_the_callers_max_tokens_is_a_hard_limit() -> None:
    """Growth stops at it."""
    model = ScriptedModel(words("a b c d e f g h"), words(" e f g h"))
    done = go(model, policy=Never(), budget=GeometricBudget(first=4), request=Request(max_tokens=5))
    assert [a.budget for a in done.attempts] == [4, 5]
    assert done.text == "a b c d e"


def test_a_full_context_is_an_error_with_an_empty_completion() -> None:
    """No call is made where no token can be granted."""
    model = ScriptedModel()
    with pytest.raises(BudgetExhausted, match="context window"):
        go(model, request=Request(prompt_tokens=100, context_window=100))
    assert model.calls == []


def test_shadow_decides_and_changes_nothing() -> None:
    """The whole text comes, the budget is the caller's own, and the would-be cut is on record."""
    text = "It is Paris. France is a country."
    model = ScriptedModel(words(text))
    done = go(model, policy=ONE_SENTENCE, mode="shadow")
    assert done.text == text
    assert model.calls[0].max_tokens is None
    assert done.would_stop is not None
    assert done.would_stop.offset == len("It is Paris.")
    assert (done.finish_reason, done.reason) == ("stop", "")


def test_off_does_nothing() -> None:
    """Not even a check."""
    done = go(ScriptedModel(["half a sent"]), mode="off", policy=ONE_SENTENCE)
    assert done.text == "half a sent"
    assert done.complete
    assert done.would_stop is None


def test_shown_text_is_never_taken_back() -> None:
    """A streamed answer is only ever continued: what was emitted is the beginning of the answer."""
    model = ScriptedModel(["I do not know."], [" The answer is 4."])
    session = Session(
        AdaptiveStopping(completeness=all_of(default_check(), AnswerPresent())),
        Request(),
        streaming=True,
    )
    emitted = "".join(e.text for e in stream(session, model.backend))
    assert emitted == session.completion.text == "I do not know. The answer is 4."
    assert model.calls[1].kind == "continue"


def test_the_provider_counts_where_it_does() -> None:
    """The last chunk's usage goes before our own count."""
    usage = Usage(prompt=50, generated=9, estimated=False)
    model = ScriptedModel([Step("Paris."), Step("", 0, finish_reason="stop", usage=usage)])
    done = go(model)
    assert (done.usage.prompt, done.usage.generated, done.usage.estimated) == (50, 9, False)


def test_the_first_calls_usage_bounds_the_next_ones() -> None:
    """Once the provider has said how long the prompt is, growth stops where the context ends."""
    usage = Usage(prompt=95, generated=2, estimated=False)
    first = [Step("a"), Step(" b"), Step("", 0, finish_reason="length", usage=usage)]
    model = ScriptedModel(first, words(" c d e f"))
    done = go(
        model,
        policy=Never(),
        budget=GeometricBudget(first=2, growth=10),
        request=Request(context_window=100),
    )
    assert [a.budget for a in done.attempts] == [2, 5]
    assert done.text == "a b c d e"


def test_re_read_tokens_are_booked() -> None:
    """A second call reads the prompt and the prefix again."""
    model = ScriptedModel(words("a b c d e f"), words(" e f."))
    done = go(
        model,
        policy=Never(),
        budget=GeometricBudget(first=4),
        request=Request(prompt_tokens=100),
    )
    assert done.usage.prompt == 100
    assert done.usage.reread == 104


def test_an_empty_stream_is_an_incomplete_answer() -> None:
    """Nothing came, three times: no exception, an empty incomplete completion."""
    done = go(ScriptedModel([], [], []))
    assert (done.text, done.complete) == ("", False)
    assert len(done.attempts) == 3


def test_json_is_cut_when_it_closes() -> None:
    """The chatter after a JSON answer is never made."""
    model = ScriptedModel(words('{"city": "Paris"} I hope that this helps you!'))
    done = go(model, completeness=JsonText())
    assert (done.text, done.reason) == ('{"city": "Paris"}', "json")
    assert model.generated[0] == 2


async def test_the_async_twin_does_the_same() -> None:
    """Cut, continuation, back-off: the same completion."""
    texts = words("one two three four five six."), words(" five six.")
    settings: dict[str, Any] = {"policy": Never(), "budget": GeometricBudget(first=4)}
    expected = go(ScriptedModel(*texts), **settings)
    clock = FakeClock()
    model = ScriptedModel(*texts)
    session = Session(AdaptiveStopping(**settings), Request())
    done = await arun(session, model.abackend, clock=clock, sleep=clock.asleep)
    assert replace(expected, request_id=done.request_id) == done
    broken = ScriptedModel(["Par", ConnectionError("reset")], ["is."])
    session = Session(AdaptiveStopping(), Request())
    done = await arun(session, broken.abackend, clock=clock, sleep=clock.asleep)
    assert done.text == "Paris."
    assert [wait > 0 for wait in clock.slept] == [False, True]


async def test_the_async_twin_hangs_up() -> None:
    """A cut closes the async stream."""
    model = ScriptedModel(words("It is Paris. France is a country."))
    session = Session(AdaptiveStopping(policy=ONE_SENTENCE), Request())
    done = await arun(session, model.abackend)
    assert done.text == "It is Paris."
    assert model.closed == 1


def test_closing_the_stream_hangs_up() -> None:
    """A consumer that goes away takes the model's stream with it."""
    model = ScriptedModel(words("a b c d"))
    emissions = stream(Session(AdaptiveStopping(), Request()), model.backend)
    next(emissions)
    emissions.close()
    assert model.closed == 1


def test_hooks_are_told() -> None:
    """Once a request, with what came of it."""
    told: list[tuple[Request, Completion]] = []
    request = Request(question="capital?")
    done = go(ScriptedModel(["Paris."]), request=request, hooks=(lambda r, c: told.append((r, c)),))
    assert told == [(request, done)]
