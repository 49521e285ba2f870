"""The whole loop on a scripted tiny model: cut when done, continued when not, within its limits."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from stopping_core import AdaptiveStopping, BudgetExhausted, Request, Verdict
from stopping_core.budgets import GeometricBudget
from transformers_stopping import generate, stream

JSON = '{"city": "Paris", "in": ["France", "Europe"]}'
CODE = "```python\ndef add(a, b):\n    return a + b\n```"
PROMPT = "Tell me"


def test_a_finished_answer_is_cut(model: Any, tokenizer: Any, script: Any, count: Any) -> None:
    """At most a token or two are computed beyond what the user gets, and the ledger is exact."""
    counter, threads = count(model), threading.active_count()
    saying = script(len(PROMPT), JSON + "\nAnd here is a long explanation of it.")
    made = generate(model, tokenizer, PROMPT, AdaptiveStopping(), logits_processor=saying)
    assert (JSON, True, "cut", "json") == (
        made.text,
        made.complete,
        made.finish_reason,
        made.reason,
    )
    assert len(counter.read) == made.usage.generated <= len(JSON) + 2
    assert (len(PROMPT), False) == (made.usage.prompt, made.usage.estimated)
    assert threads == threading.active_count()


@pytest.mark.parametrize(
    "said", [(JSON, "json"), (CODE, "code"), ("It is a city in France.", "text")]
)
@pytest.mark.parametrize("first", [1, 7, 20])
def test_a_truncated_answer_comes_back_complete(
    model: Any, tokenizer: Any, script: Any, count: Any, *, said: tuple[str, Any], first: int
) -> None:
    """Whatever the first budget, the answer is the whole one, and no token is computed twice."""
    text, expects = said
    counter = count(model)
    stopping = AdaptiveStopping(budget=GeometricBudget(first=first), attempts=9)
    made = generate(
        model,
        tokenizer,
        PROMPT,
        stopping,
        request=Request(expects=expects),
        logits_processor=script(len(PROMPT), text),
    )
    assert (text, True) == (made.text, made.complete)
    assert {"continue"} >= {attempt.kind for attempt in made.attempts[1:]}
    assert len(made.attempts) > 1
    assert len(counter.read) == made.usage.generated <= len(text) + 1
    assert len(made.attempts) - 1 == made.usage.reread


def test_an_answer_after_reasoning_is_continued_from_memory(
    model: Any, tokenizer: Any, script: Any, count: Any
) -> None:
    """The reasoning given back in its tags is what the model wrote, so nothing is read anew."""
    counter = count(model)
    said = "<think>Let me see.</think>\n\nIt is a city in France."
    made = generate(
        model,
        tokenizer,
        PROMPT,
        AdaptiveStopping(budget=GeometricBudget(first=35), attempts=3),
        logits_processor=script(len(PROMPT), said),
    )
    assert ("It is a city in France.", "Let me see.") == (made.text.strip(), made.reasoning)
    assert ["first", "continue"] == [attempt.kind for attempt in made.attempts]
    assert (1, len(said)) == (made.usage.reread, made.usage.generated - 1)
    assert len(counter.read) == made.usage.generated


def test_what_a_slow_check_finds_wanting_goes_on_from_the_same_tokens(
    model: Any, tokenizer: Any, script: Any, count: Any
) -> None:
    """A cut that a judge rejects costs no token twice: what was trimmed comes back first."""

    class Judge:
        slow = True

        def __call__(self, request: Any, draft: Any) -> Verdict:
            return Verdict("Three" in draft.text, "too short")

    counter = count(model)
    said = '{"a": 1}\nThen Two. And Three.'
    made = generate(
        model,
        tokenizer,
        PROMPT,
        AdaptiveStopping(completeness=Judge(), attempts=8),
        logits_processor=script(len(PROMPT), said),
    )
    assert ["first", "continue"] == [attempt.kind for attempt in made.attempts[:2]]
    assert (said, True) == (made.text, made.complete)
    assert len(said) + 1 == len(counter.read) == made.usage.generated


def test_a_stream_gives_the_text_as_it_settles(model: Any, tokenizer: Any, script: Any) -> None:
    """Its pieces add up to the completion's text, and closing it early leaves nothing behind."""
    said = "One is here. Two is there. Three."
    kwargs = {"logits_processor": script(len(PROMPT), said)}
    stopping = AdaptiveStopping(budget=GeometricBudget(first=16), attempts=5)
    emissions = list(stream(model, tokenizer, PROMPT, stopping, **kwargs))
    assert len(emissions) > 3
    assert said == "".join(emission.text for emission in emissions)
    running = stream(model, tokenizer, PROMPT, stopping, **kwargs)
    next(running)
    running.close()


def test_max_new_tokens_limits_all_calls_together(model: Any, tokenizer: Any, script: Any) -> None:
    """The caller's own limit is never exceeded, however often an answer is continued."""
    stopping = AdaptiveStopping(budget=GeometricBudget(first=5), attempts=9, on_exhausted="raise")
    saying = script(len(PROMPT), "a b c d e f g h i j k l m n o p q r s t u v w x y z")
    with pytest.raises(BudgetExhausted) as raised:
        generate(model, tokenizer, PROMPT, stopping, max_new_tokens=23, logits_processor=saying)
    assert 23 == raised.value.completion.usage.generated


def test_max_length_limits_all_calls_together(model: Any, tokenizer: Any, script: Any) -> None:
    """It counts the prompt too, as in ``generate``, and is never exceeded either."""
    stopping = AdaptiveStopping(budget=GeometricBudget(first=5), attempts=9)
    saying = script(len(PROMPT), "a b c d e f g h i j k l m n o p q r s t u v w x y z")
    limit = len(PROMPT) + 23
    made = generate(model, tokenizer, PROMPT, stopping, max_length=limit, logits_processor=saying)
    assert (23, False) == (made.usage.generated, made.complete)


def test_shadow_leaves_the_text_alone(model: Any, tokenizer: Any, script: Any) -> None:
    """The whole text comes back, with the place where it would have been cut."""
    said = JSON + "\nmore"
    made = generate(
        model,
        tokenizer,
        PROMPT,
        AdaptiveStopping(mode="shadow"),
        max_new_tokens=80,
        logits_processor=script(len(PROMPT), said),
    )
    assert said == made.text
    assert made.would_stop is not None
    assert len(JSON) == made.would_stop.offset


def test_a_loop_is_dropped_and_sampled_anew(model: Any, tokenizer: Any, script: Any) -> None:
    """Reseeding goes on from what stands before the loop, with sampled tokens."""
    said = "We begin here. " + "and again and again " * 30
    made = generate(
        model,
        tokenizer,
        PROMPT,
        AdaptiveStopping(budget=GeometricBudget(first=400), attempts=2),
        logits_processor=script(len(PROMPT), said),
    )
    assert ["first", "reseed"] == [attempt.kind for attempt in made.attempts]
    assert made.attempts[0].generated < 400
    assert made.attempts[0].discarded > 0


def test_an_empty_prompt_is_refused(model: Any, tokenizer: Any) -> None:
    """There is nothing to generate from."""
    with pytest.raises(ValueError, match="prompt must not be empty"):
        generate(model, tokenizer, "", AdaptiveStopping())
    with pytest.raises(ValueError, match="prompt must not be empty"):
        generate(model, tokenizer, [], AdaptiveStopping())
