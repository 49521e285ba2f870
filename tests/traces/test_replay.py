"""A recorded run is cut where production would have cut it, and every token is booked."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from stopping_core import AdaptiveStopping, Call
from stopping_core.answer import Answer
from stopping_core.completeness import EndsSentence
from stopping_core.policies import (
    Deadline,
    LoopGuard,
    MaxTokens,
    Never,
    Patience,
    Policy,
    Threshold,
)
from stopping_core.results import Draft, Verdict
from stopping_core.signals import AnswerPattern, Lines, MeanLogprob, Paragraphs, Sentences
from stopping_core.traces.evidence import MissingEvidence
from stopping_core.traces.replay import replay
from stopping_core.types import Boundary, Checkpoint, Need, Probe, Request, Usage
from tests.traces.made_runs import Curious, make_run, plain_runs, thinking_runs

TEXT = ["It ", "is ", "Paris", ". ", "It ", "lies ", "on ", "the ", "Seine", "."]
THOUGHT = ["<think>", "2 + 3", " = 5", ".\n", "Then ", "20", ".\n", "</think>", "\n", "It is 20."]


@pytest.mark.parametrize(
    "policy",
    [
        Threshold(Sentences(), at_least=2),
        Threshold(Lines(), at_least=1) | LoopGuard(),
        Threshold(AnswerPattern(), at_least=1) | Threshold(Paragraphs(), at_least=1),
        Threshold(MeanLogprob(3), at_most=-0.5, at=Boundary.SENTENCE | Boundary.LINE),
        Patience(Threshold(Sentences(), at_least=1), 3),
        MaxTokens(30),
    ],
    ids=repr,
)
def test_the_text_is_what_production_leaves(policy: Policy) -> None:
    """Whatever the run is like, with its check and its tags."""
    stopping = AdaptiveStopping(policy=policy, reasoning=Never(), completeness=EndsSentence())
    for run in plain_runs() + thinking_runs():
        live = Answer(
            stopping,
            run.request(),
            {"answer": lambda decision: True, "reasoning": lambda decision: True},
            prefill=True,
        )
        live.begin(Call("first", attempt=1, max_tokens=None))
        came = 0
        for step in run.steps():
            came += 1
            if live.feed(step, 0.0).stop:
                break
        live.drain(0.0)
        outcome = replay(run, policy)
        assert (live.text, live.decision.reason) == (outcome.text, outcome.reason)
        assert came == outcome.tokens


def test_a_sentence_end_shows_with_the_next_token_which_is_booked() -> None:
    """Four tokens of text, five that had come."""
    run = make_run(TEXT, 0, prompt_tokens=70)
    outcome = replay(run, Threshold(Sentences(), at_least=1))
    assert "It is Paris." == outcome.text
    assert outcome.checkpoint is not None
    assert (4, 5) == (outcome.checkpoint.tokens, outcome.tokens)
    assert Usage(prompt=70, generated=5, estimated=False) == outcome.usage


def test_a_policy_that_does_not_stop_gives_the_full_run() -> None:
    """Text, tokens and bill."""
    outcome = replay(make_run(TEXT, 0), Never())
    assert ("".join(TEXT), 10, "", False) == (
        outcome.text,
        outcome.tokens,
        outcome.reason,
        outcome.stopped,
    )
    assert 10 == outcome.usage.generated


def test_the_full_answer_is_without_the_thoughts() -> None:
    """On either channel."""
    run = make_run(THOUGHT, 0)
    assert (
        "It is 20." == replay(run, Never()).text == replay(run, Never(), channel="reasoning").text
    )
    assert "".join(THOUGHT) == replay(run, Never(), tags=None).text


def test_tokens_of_thoughts_are_booked_before_those_of_the_answer() -> None:
    """The first token of the answer is the tenth of the run."""
    outcome = replay(make_run(THOUGHT, 0), MaxTokens(2))
    assert outcome.checkpoint is not None
    assert (2, 10) == (outcome.checkpoint.tokens, outcome.tokens)


def test_thinking_that_is_ended_is_answered_by_the_probe_of_that_place() -> None:
    """It is generated, with the four words that led to it, and what it read is read again."""
    probes = {6: Probe(" 20", tokens=2, reread=50), 7: Probe(" 21", tokens=3, reread=60)}
    run = make_run(THOUGHT, 0, probes=probes, prompt_tokens=40)
    outcome = replay(run, MaxTokens(6), channel="reasoning")
    assert (" 20", 6) == (outcome.text, outcome.tokens)
    assert Usage(prompt=40, generated=6 + 4 + 2, reread=50, estimated=False) == outcome.usage


def test_a_probe_after_the_white_space_will_do() -> None:
    """A line ends before its newline and shows with it: the recorder may have asked after it."""
    probe = Probe("20", tokens=2, reread=50)
    tokens = ["<think>", "5.", "\n", "And", "</think>", "5"]
    run = make_run(tokens, 0, probes={3: probe}, prompt_tokens=41)
    outcome = replay(run, Curious(Boundary.LINE, 1), channel="reasoning")
    assert ("20", 1) == (outcome.text, outcome.probes)
    assert Usage(41, 3 + 6, 50, probed=2, estimated=False) == outcome.usage


def test_a_probe_that_was_bought_is_not_paid_for_twice() -> None:
    """The answer is there already; the words that close the thinking are not."""
    probes = {k: Probe("20", 2, reread=40 + k + 5) for k in range(8)}
    run = make_run(THOUGHT, 0, probes=probes, prompt_tokens=40)
    outcome = replay(run, Curious(Boundary.LINE, 2), channel="reasoning")
    assert (2, 2 * 2, 49 + 52) == (outcome.probes, outcome.usage.probed, outcome.usage.reread)
    assert outcome.tokens + 5 == outcome.usage.generated


def test_nobody_is_asked_once_the_thinking_is_over() -> None:
    """The closing tag has come: there is nothing left to end."""
    run = make_run(THOUGHT, 0)
    assert replay(run, MaxTokens(7), channel="reasoning").stopped
    assert not replay(run, MaxTokens(8), channel="reasoning").stopped


def test_a_check_is_told_what_a_session_tells_it() -> None:
    """The text up to there, the thoughts, and that it is a cut."""
    seen: list[Draft] = []

    def refuse(request: Request, draft: Draft, /) -> Verdict:
        seen.append(draft)
        return Verdict(False, "no")

    stop = Threshold(Sentences(), at_least=1)
    run = make_run(["<think>", "Hm.", "</think>", "It ", "is. ", "Yes. ", "So"], 0)
    outcome = replay(run, stop | MaxTokens(3), check=refuse)
    assert [("It is.", "Hm.", "cut")] == [(d.text, d.reasoning, d.finish_reason) for d in seen]
    assert (True, "max tokens") == (outcome.forced, outcome.reason)


def test_a_loop_is_cut_where_it_shows() -> None:
    """What the policy would drop is kept: a recording does not know what would have followed."""
    run = make_run(["I do not know. "] * 20, 0)
    outcome = replay(run, LoopGuard())
    assert run.text.startswith(outcome.text)
    assert outcome.text.count("I do not know.") >= 3


@pytest.mark.parametrize(
    ("policy", "lack", "message"),
    [
        (Threshold(MeanLogprob(), at_most=-1), "logprobs", "needs logprobs, and run 2 of question"),
        (Deadline(3.0), "seconds", r"Deadline\(3.0\) needs seconds, .*with the time of each token"),
    ],
)
def test_what_was_not_recorded_is_not_guessed(policy: Policy, lack: str, message: str) -> None:
    """The error names the rule, what it needs, the run and what to do."""
    run = make_run(TEXT, 0, sample=2, **{lack: None})
    with pytest.raises(MissingEvidence, match=message):
        replay(run, policy)
    assert not replay(run, Never()).stopped


class Reader(Curious):
    """Reads more of a probe than its text."""

    def __init__(self, need: Need) -> None:
        super().__init__(Boundary.LINE, 1)
        self.need = need

    def needs(self) -> frozenset[Need]:
        return super().needs() | {self.need}


@pytest.mark.parametrize(
    ("need", "probe", "message"),
    [
        (
            "logprobs",
            Probe("20", 1, 50, (), 0.1),
            r"probes with logprobs, and run 0 of question 'q0' holds none.* a source that gives",
        ),
        (
            "top_logprobs",
            Probe("20", 1, 50, (-0.1,)),
            r"probes with entropy, and run 0 of question 'q0' holds none.* from a local model",
        ),
    ],
)
def test_what_the_probes_do_not_hold_is_not_guessed(need: Need, probe: Probe, message: str) -> None:
    """A rule that reads it is refused, alone or in another; one that reads texts is not."""
    whole, blank = Probe("20", 1, 50, (-0.1,), math.nan), Probe("", 0, 50)
    runs = [
        make_run(THOUGHT, 0, probes={4: one, 7: blank}, logprobs=None, top_logprobs=None)
        for one in (probe, whole)
    ]
    for policy in (Reader(need), Never() | Patience(Reader(need), 2)):
        with pytest.raises(MissingEvidence, match=message):
            replay(runs[0], policy, channel="reasoning")
        replay(runs[1], policy, channel="reasoning")
    assert replay(runs[0], Curious(Boundary.LINE, 1), channel="reasoning").stopped


def test_a_need_of_the_run_is_none_of_its_probes() -> None:
    """A signal reads the stream; the probes beside it may be without logprobs."""
    probes = {k: Probe("20", 1, 50) for k in range(10)}
    run = make_run(THOUGHT, 0, probes=probes)
    signal = Threshold(MeanLogprob(3), at_most=-9)
    assert replay(run, Curious(Boundary.LINE, 1) | signal, channel="reasoning").stopped
    with pytest.raises(MissingEvidence, match="needs logprobs, and run 0"):
        replay(replace(run, logprobs=None), Curious(Boundary.LINE, 1) | signal)


def test_what_no_run_holds_is_refused() -> None:
    """Rules over many samples are not for one run."""

    class Votes(Never):
        def needs(self) -> frozenset[Need]:
            return frozenset({"samples"})

    with pytest.raises(MissingEvidence, match="several runs of one question"):
        replay(make_run(TEXT, 0), Votes())


def test_a_place_without_a_probe_is_named() -> None:
    """For a rule that asks, and for one that ends the thinking."""
    run = make_run(THOUGHT, 7, probes={6: Probe("20", 2, 50)})
    for policy in (Curious(Boundary.LINE, 1), MaxTokens(4)):
        with pytest.raises(MissingEvidence, match=r"run 0 of question 'q7' after 4 tokens"):
            replay(run, policy, channel="reasoning")


def test_time_is_that_of_the_last_token() -> None:
    """As a stream would have it."""
    run = make_run(TEXT, 0)
    assert run.seconds is not None
    outcome = replay(run, MaxTokens(3))
    assert outcome.checkpoint == Checkpoint(11, 3, float(run.seconds[2]), Boundary.NONE)
