"""Sessions whose policies ask what the model would answer now."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from stopping_core import AdaptiveStopping, Completion, Emission, Request, Session, run, stream
from stopping_core.policies import Never, Policy
from stopping_core.testing import ScriptedModel, words
from stopping_core.types import CONTINUE, PROBE, Boundary, Checkpoint, Decision, Need, Probe

WORDS = "</think>\n\nThe answer is"
THOUGHTS = "<think>It is 4.\nIt is 5.\nAnd now for long"


@dataclass
class AtLines(Policy):
    """Asks at the end of every line, and stops where the answer holds a word."""

    wanted: str
    seen: list[str] = field(default_factory=list)

    def decide(self, checkpoint: Checkpoint) -> Decision:
        return PROBE if Boundary.LINE in checkpoint.boundary else CONTINUE

    def weigh(self, checkpoint: Checkpoint, probe: Probe) -> Decision:
        return Decision(True, "asked") if self.wanted in probe.text else CONTINUE

    def needs(self) -> frozenset[Need]:
        return frozenset({"probes"})


@dataclass
class Answers:
    """Answers in turn, and keeps what was asked."""

    given: list[Probe]
    asked: list[tuple[str, str, int, bool]] = field(default_factory=list)

    def __call__(self, written: str, words: str, /, *, max_tokens: int, one_line: bool) -> Probe:
        self.asked.append((written, words, max_tokens, one_line))
        return self.given[len(self.asked) - 1]


def settings(**changes: Any) -> AdaptiveStopping:
    made = AdaptiveStopping(policy=Never(), reasoning=AtLines("5"), probe=WORDS, probe_tokens=9)
    return made.replace(**changes)


def go(model: ScriptedModel, prober: Answers | None, **changes: Any) -> Completion:
    session = Session(settings(**changes), Request(), prober=prober)
    return run(session, model.backend)


def test_the_answer_of_the_probe_that_ends_the_reasoning_is_the_answer() -> None:
    """It is not asked for again, and its tokens are booked as probes."""
    prober = Answers([Probe(" 4.", 2, 30), Probe(" 5.", 2, 36)])
    model = ScriptedModel(words(THOUGHTS))
    done = go(model, prober)
    assert "The answer is 5." == done.text
    assert "It is 4.\nIt is 5.\n" == done.reasoning
    assert [("first", "cut", "asked")] == [
        (a.kind, a.finish_reason, a.reason) for a in done.attempts
    ]
    assert (4, 66, True) == (done.usage.probed, done.usage.reread, done.complete)
    assert [
        ("<think>It is 4.\n", WORDS, 9, False),
        ("<think>It is 4.\nIt is 5.\n", WORDS, 9, False),
    ] == prober.asked


def test_an_answer_that_the_limit_cut_is_asked_for_anew() -> None:
    """With the reasoning as it stands, and the words behind it."""
    prober = Answers([Probe(" 5 and what follows", 9, 30)])
    model = ScriptedModel(words(THOUGHTS), [" 5."])
    done = go(model, prober)
    call = model.calls[1]
    assert ("close_reasoning", "The answer is", WORDS) == (call.kind, call.prefix, call.words)
    assert f"<think>It is 4.\n{WORDS}" == call.prefill
    assert ("The answer is 5.", "It is 4.\n", True) == (done.text, done.reasoning, done.complete)


def test_the_words_before_the_answer_are_shown_too() -> None:
    """Text that is put in belongs to the answer, streamed or not."""
    for given, scripts in (
        (Probe(" 5.", 2, 9), []),
        (Probe(" 5 and on", 9, 9), [words(" 5. Yes.")]),
    ):
        model = ScriptedModel(words(THOUGHTS), *scripts)
        session = Session(settings(), Request(), streaming=True, prober=Answers([given]))
        shown: list[Emission] = list(stream(session, model.backend))
        assert session.completion.text == "".join(emission.text for emission in shown)
        assert session.completion.text.startswith("The answer is 5.")


def test_reasoning_that_is_ended_without_words_is_closed_by_its_tag() -> None:
    """As it was; words that do not close it are for probes of the answer only."""
    for probe in ("", "So it is"):
        model = ScriptedModel(words(THOUGHTS), ["It is 4."])
        done = go(model, None, reasoning=_FirstLine(), probe=probe)
        assert "<think>It is 4.\n</think>\n\n" == model.calls[1].prefill
        assert ("It is 4.", "") == (done.text, model.calls[1].prefix)


class _FirstLine(Policy):
    def decide(self, checkpoint: Checkpoint) -> Decision:
        return Decision(Boundary.LINE in checkpoint.boundary, "line")


def test_an_answer_is_probed_in_its_own_words() -> None:
    """Behind the reasoning, up to the checkpoint, and for one line; the probe is thrown away."""
    prober = Answers([Probe(" 5.", 1, 9)])
    model = ScriptedModel(words("<think>Hm.</think>\n\nIt is 5.\nAnd more of it."))
    done = go(model, prober, policy=AtLines("5"), reasoning=Never(), probe="\nIn short:")
    assert [("<think>Hm.</think>\n\nIt is 5.", "\nIn short:", 9, True)] == prober.asked
    assert ("It is 5.", 1) == (done.text, done.usage.probed)


def test_shadow_says_where_the_reasoning_would_have_ended() -> None:
    """It asks, for else it could not say, and leaves the text alone."""
    prober = Answers([Probe(" 4.", 2, 30), Probe(" 5.", 2, 36)])
    text = f"{THOUGHTS}.\nIt is 6.</think>\n\nIt is 6."
    done = go(ScriptedModel(words(text)), prober, mode="shadow")
    assert (text, 4) == (done.text, done.usage.probed)
    assert done.would_stop is not None
    assert len("It is 4.\nIt is 5.") == done.would_stop.offset


def test_probes_count_against_the_limit_on_the_bill() -> None:
    """Six tokens of two probes leave nothing for a second call."""
    prober = Answers([Probe(" 4.", 3, 9), Probe(" 5 and so on", 9, 9)])
    done = go(ScriptedModel(words(THOUGHTS)), prober, max_total_tokens=18)
    assert (12, 1) == (done.usage.probed, len(done.attempts))
    assert not done.complete


def test_the_start_of_a_tag_is_no_thought() -> None:
    """What was held back when the reasoning was ended is dropped."""
    model = ScriptedModel(["<think>", "It is 4.\n<", "b"], [" 4."])
    done = go(model, None, reasoning=_FirstLine())
    assert "It is 4.\n" == done.reasoning
    assert f"<think>It is 4.\n{WORDS}" == model.calls[1].prefill


def test_a_model_that_does_not_go_on_from_words_is_not_given_any() -> None:
    """It answers in its own, and may think again."""
    for said, text in (
        ("It is 5.", "It is 5."),
        ("<think>hm</think>The answer is 5.", "The answer is 5."),
    ):
        model = ScriptedModel(words(THOUGHTS), words(said))
        session = Session(settings(reasoning=_FirstLine()), Request(), prefill=False)
        done = run(session, model.backend)
        assert (text, "") == (done.text, model.calls[1].prefix)


def test_why_the_reasoning_was_ended_is_told() -> None:
    """Also where a second call gave the answer."""
    done = go(ScriptedModel(words(THOUGHTS), [" 5."]), None, reasoning=_FirstLine())
    assert "line" == done.reason


def test_probes_are_held_to_the_limit_while_they_are_made() -> None:
    """Tokens of a call and of its probes together."""
    lines = "<think>" + "It is 4.\n" * 20
    prober = Answers([Probe(" 4.", 5, 9)] * 20)
    done = go(ScriptedModel(words(lines)), prober, max_total_tokens=30)
    assert done.usage.generated + done.usage.probed <= 40
    assert not done.complete
