"""Completeness checks: what they say of whole and of unfinished answers."""

from __future__ import annotations

import functools
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stopping_core.completeness import (
    AnswerPresent,
    ClosedFences,
    ClosedJson,
    EndsSentence,
    FinishReason,
    JsonSchema,
    JsonText,
    Judge,
    Matches,
    NotEmpty,
    all_of,
    any_of,
    default_check,
    is_truncated,
)
from stopping_core.protocols import CompletenessCheck
from stopping_core.results import Draft, Verdict
from stopping_core.types import Request

CHECKS: list[CompletenessCheck] = [
    AnswerPresent(),
    AnswerPresent(r"Antwort: (\S*)"),
    ClosedFences(),
    ClosedJson(),
    EndsSentence(),
    FinishReason(),
    JsonSchema({"type": "object", "required": ["city"]}),
    JsonText(),
    JsonText(prefix_ok=True),
    Judge(lambda request, text: len(text) % 2 == 0),
    Matches(r"\w+"),
    NotEmpty(),
    all_of(ClosedFences(), NotEmpty()),
    any_of(EndsSentence(), AnswerPresent()),
    default_check(),
]


def ask(check: CompletenessCheck, text: str, finish_reason: str | None = "stop") -> Verdict:
    return check(Request(), Draft(text, finish_reason=finish_reason))


@pytest.mark.parametrize("check", CHECKS)
@given(
    text=st.text() | st.text(alphabet='{}[]":,`~$\\ \n1-.|answerboxd\ud800', max_size=80),
    finish_reason=st.one_of(st.none(), st.text(max_size=8)),
)
def test_every_text_gets_a_verdict(
    check: CompletenessCheck, text: str, finish_reason: str | None
) -> None:
    """No text raises, lone surrogates included, and what is incomplete has a reason."""
    verdict = ask(check, text, finish_reason)
    assert verdict.complete or verdict.reason


@pytest.mark.parametrize("check", CHECKS)
def test_deep_nesting_gets_a_verdict(check: CompletenessCheck) -> None:
    """Ten thousand brackets, closed or not, are judged and not a crash."""
    for text in ("[" * 10_000, "[" * 10_000 + "]" * 10_000, '{"a":' * 10_000 + "1" + "}" * 10_000):
        verdict = ask(check, text)
        assert verdict.complete or verdict.reason


@pytest.mark.parametrize(
    "word",
    ["length", "MAX_TOKENS", "max_tokens", "max_output_tokens", "incomplete", "model_length",
     "FinishReason.MAX_TOKENS", "FINISH_REASON_MAX_TOKENS", "model_context_window_exceeded"],
)  # fmt: skip
def test_limits_mean_truncated(word: str) -> None:
    """Each provider's own word for a token limit is known, and quoted."""
    assert is_truncated(word)
    verdict = ask(FinishReason(), "So", word)
    assert verdict == Verdict(False, f"the model ran out of tokens (finish reason {word!r})")


@pytest.mark.parametrize(
    ("word", "complete"),
    [("stop", True), ("cut", True), ("end_turn", True), ("tool_calls", True), ("something", True),
     ("content_filter", False), ("SAFETY", False), ("error", False), (None, False)],
)  # fmt: skip
def test_other_ends_are_not_truncated(word: str | None, complete: bool) -> None:
    """A filter, an error and a broken stream are incomplete, but no sign of a small budget."""
    assert not is_truncated(word)
    assert ask(FinishReason(), "So", word).complete == complete


@pytest.mark.parametrize(
    "text",
    [
        "Paris is the capital.",
        'He said: "Yes!"',
        "It is (as shown [1]) **true.**",
        "It is so.[2][3]",
        "Hope that helps! 😊👍🏽",
        "Wait…",
        "巴黎是首都。",
        "本当ですか？」",
        "هل هذا صحيح؟",
        "यह सच है।",
        "ปารีสเป็นเมืองหลวง",
        "Run:\n```sh\nls\n```",
        "So:\n$$\nx = 1\n$$",
        "- apples\n- pears",
        "1. Mix.\n2. Bake for 20 minutes",
        "| a | b |\n|---|---|\n| 1 | 2 |",
        '{"city": "Paris"}',
    ],
)
def test_whole_texts_end_a_sentence(text: str) -> None:
    """Sentences in several scripts and closed structures are complete ends."""
    assert ask(EndsSentence(), text) == Verdict(True)


@pytest.mark.parametrize(
    "text",
    ["", "  \n", "Paris is the capital of", "Paris and", "Here they are:", "First, ", "See e.g.",
     "巴黎是", "本当です、", "- apples\n- pears and", "- apples\n-", "1. Mix.\n2.", "- a list of,",
     "Run:\n```sh\nls", "So: $$ x.", '{"city": "Par', '"', "## 2.3."],
)  # fmt: skip
def test_broken_texts_do_not(text: str) -> None:
    """Texts that break off, dangle or announce more are incomplete, with a reason."""
    verdict = ask(EndsSentence(), text)
    assert not verdict.complete
    assert verdict.reason


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("a\n\n```py\nx", "code fence opened on line 3 is not closed"),
        ("```\na\n```\n~~~~\n~~~\n```", "code fence opened on line 4 is not closed"),
        ("````md\n```\n", "code fence opened on line 1 is not closed"),
        ("1. Run\n   ```\n   ls", "code fence opened on line 2 is not closed"),
        ("- ```\n  ls", "code fence opened on line 1 is not closed"),
        ("So\n$$\nx", "formula ($$) opened on line 2 is not closed"),
        ("a $$x$$ b $$y", "formula ($$) opened on line 1 is not closed"),
    ],
)
def test_open_fences_are_named(text: str, reason: str) -> None:
    """The reason says what is open and since which line."""
    assert ask(ClosedFences(), text) == Verdict(False, reason)


@pytest.mark.parametrize(
    "text",
    ["", "no code", "```\nx\n```", "~~~\n```\n~~~", "````\n```\n````", "`$$` is the pid",
     "```sh\necho $$\n```", r"it costs \$$5", "$$x$$", "use ```x``` here", "> ```\n> x\n> ```"],
)  # fmt: skip
def test_closed_fences_are_complete(text: str) -> None:
    """Closed fences, fences in fences, inline code and dollars in code are nothing open."""
    assert ask(ClosedFences(), text) == Verdict(True)


def test_matches_asks_for_the_whole_text() -> None:
    """A pattern has to match everything but the white space around it."""
    assert ask(Matches(r"\d+"), " 42\n") == Verdict(True)
    assert ask(Matches(r"\d+"), "42 or so") == Verdict(False, r"the answer does not match '\\d+'")


@pytest.mark.parametrize("kind", [Matches, AnswerPresent])
def test_patterns_are_validated(kind: type[Matches]) -> None:
    """A pattern that does not compile is the caller's mistake."""
    with pytest.raises(ValueError, match=r"pattern must be a regular expression, got '\('"):
        kind("(")
    for_bytes: Any = re.compile(b"x")
    with pytest.raises(ValueError, match="pattern must be a regular expression for text"):
        kind(for_bytes)


@pytest.mark.parametrize(
    "text",
    ["The answer is 42.", "the final answer is: -3", "**Answer:** Paris", "Answer: **Paris**",
     r"so \boxed{\frac{1}{2}}", "5 + 5 = 10\n#### 10", "#### $1,234.50", "Final Answer\uff1a Paris",
     "The answer is unknown."],
)  # fmt: skip
def test_stated_answers_are_present(text: str) -> None:
    """The usual ways to state a final answer are known."""
    assert ask(AnswerPresent(), text) == Verdict(True)


@pytest.mark.parametrize(
    "text",
    ["", "Paris", "The answer is", "The answer is: ", "**Answer:**", r"\boxed{}",
     r"\boxed{\frac{1}", "#### Step one", "To answer this, think.", "The answer is **"],
)  # fmt: skip
def test_announced_answers_are_not(text: str) -> None:
    """An answer that is announced and not given is absent."""
    assert ask(AnswerPresent(), text) == Verdict(False, "no final answer is stated")


def test_answer_pattern_needs_a_group_with_something_in_it() -> None:
    """With a pattern of one's own the first group has to be filled, anywhere in the text."""
    check = AnswerPresent(r"Antwort: *(\S*)")
    assert ask(check, "Antwort: \nAntwort: Paris").complete
    assert not ask(check, "Antwort: ").complete


@pytest.mark.parametrize(
    ("reply", "verdict"),
    [
        (True, Verdict(True)),
        (False, Verdict(False, "the judge says that it is incomplete")),
        (0.5, Verdict(True)),
        (Verdict(False, "no river"), Verdict(False, "no river")),
        ("**Yes**, it is.", Verdict(True)),
        ("complete", Verdict(True)),
        ("No: a river\nis missing", Verdict(False, "the judge says: No: a river is missing")),
        ("incomplete", Verdict(False, "the judge says: incomplete")),
        ("Hm", Verdict(True, "judge failed: cannot read the reply 'Hm'")),
        (7, Verdict(True, "judge failed: a probability must be in [0, 1], got 7")),
        (None, Verdict(True, "judge failed: a probability must be in [0, 1], got None")),
    ],
)
def test_judges_may_reply_as_they_like(reply: Any, verdict: Verdict) -> None:
    """Bools, probabilities, words and verdicts are understood; what is not loses no answer."""
    assert ask(Judge(lambda request, text: reply), "The Rhine.") == verdict


def test_judge_that_raises_loses_no_answer() -> None:
    """A judge that fails leaves the answer complete and says so."""

    def fail(request: Request, text: str) -> bool:
        raise TimeoutError("no reply")

    verdict = ask(Judge(fail), "The Rhine.")
    assert verdict == Verdict(True, "judge failed: TimeoutError: no reply")


def test_judge_is_validated() -> None:
    """A threshold is a probability, and a judge can be called."""
    with pytest.raises(ValueError, match=r"threshold must be in \[0, 1\], got nan"):
        Judge(lambda request, text: True, threshold=float("nan"))
    nothing: Any = None
    with pytest.raises(ValueError, match=r"ask must be callable, got None"):
        Judge(nothing)


def test_judge_has_to_be_a_plain_function() -> None:
    """A coroutine function, or an object with one, would never be awaited, so it is refused."""

    async def reply(request: Request, text: str) -> bool:
        return True

    class Model:
        async def __call__(self, request: Request, text: str) -> bool:
            return True

    unawaited: list[Any] = [reply, functools.partial(reply), Model(), Model().__call__]
    for ask_later in unawaited:
        with pytest.raises(TypeError, match="ask must be a plain function, got the coroutine"):
            Judge(ask_later)


def test_slow_parts_come_last_and_only_where_needed() -> None:
    """A judge makes the whole slow, and is not asked where a cheap check has settled it."""
    asked: list[str] = []

    def judge(request: Request, text: str) -> bool:
        asked.append(text)
        return True

    every, some = all_of(Judge(judge), NotEmpty()), any_of(Judge(judge), NotEmpty())
    assert getattr(every, "slow", None) is True
    assert getattr(some, "slow", None) is True
    assert getattr(default_check(), "slow", None) is False
    assert not ask(every, "").complete
    assert ask(some, "text").complete
    assert asked == []
    assert ask(every, "text").complete
    assert asked == ["text"]


def test_reasons_are_joined_once() -> None:
    """The whole names all that is missing, once, or else what the passing parts have to say."""
    check = all_of(NotEmpty(), FinishReason(), EndsSentence())
    reason = "the answer is empty; no finish reason: the stream broke off"
    assert ask(check, "", None) == Verdict(False, reason)
    assert ask(any_of(NotEmpty(), EndsSentence()), "") == Verdict(False, "the answer is empty")
    said = Verdict(True, "judge failed: cannot read the reply 'Hm'")
    assert ask(all_of(NotEmpty(), Judge(lambda request, text: "Hm")), "x") == said


@pytest.mark.parametrize("join", [all_of, any_of])
def test_composition_is_validated(join: Any) -> None:
    """No check at all, or one that cannot be called, is the caller's mistake."""
    with pytest.raises(ValueError, match="checks must be one or more, got none"):
        join()
    with pytest.raises(ValueError, match="checks must be callable, got 'x'"):
        join("x")


@pytest.mark.parametrize(
    ("text", "finish_reason", "complete"),
    [
        ("Paris", "stop", True),
        ("Paris is the capital of", "stop", True),
        ("Paris", "length", False),
        ("Paris", None, False),
        ("", "stop", False),
        ("", "tool_calls", True),
        ("```\nls", "cut", False),
        ('{"city": "Paris"', "stop", False),
        ('{"city": "Paris"}', "cut", True),
    ],
)
def test_default_finds_only_what_is_certain(text: str, finish_reason: str, complete: bool) -> None:
    """By default only what is certainly unfinished is incomplete."""
    assert ask(default_check(), text, finish_reason).complete == complete
