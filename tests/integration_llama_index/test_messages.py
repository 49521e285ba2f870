"""What providers and LlamaIndex say, and what the core makes of it."""

from __future__ import annotations

from enum import Enum, IntEnum
from types import SimpleNamespace
from typing import Any

import pytest
from llama_index.core.base.llms.types import (
    ChatMessage,
    ChatResponse,
    CompletionResponse,
    LLMMetadata,
    MessageRole,
    ToolCallBlock,
)

from llama_index.llms.stopping.messages import Reply, to_request
from llama_index.llms.stopping.provider import as_dict, finish_reason_of, usage_of
from llama_index.llms.stopping.reader import Reader
from stopping_core.types import Step, Usage
from tests.integration_llama_index.asking import adaptive, ask
from tests.support.sse_server import CountingServer, Script


class Word(Enum):
    """Google's newer clients have words."""

    LIMIT = "MAX_TOKENS"


class Number(IntEnum):
    """Its older ones have numbers."""

    FINISH_REASON_UNSPECIFIED = 0
    MAX_TOKENS = 2


def chunk(delta: str | None, raw: Any = None, text: str = "") -> CompletionResponse:
    return CompletionResponse(text=text, delta=delta, raw=raw)


def choice(**fields: Any) -> dict[str, Any]:
    return {"choices": [fields]}


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (None, None),
        ({}, None),
        ({"choices": []}, None),
        (choice(finish_reason=None), None),
        (choice(finish_reason="length"), "length"),
        (SimpleNamespace(choices=[SimpleNamespace(finish_reason="stop")]), "stop"),
        ({"stop_reason": "max_tokens"}, "max_tokens"),
        (SimpleNamespace(delta=SimpleNamespace(stop_reason="end_turn")), "end_turn"),
        ({"stopReason": "max_tokens"}, "max_tokens"),
        ({"done_reason": "length"}, "length"),
        ("a text", None),
        ({"candidates": [{"finishReason": "MAX_TOKENS"}]}, "MAX_TOKENS"),
        (
            SimpleNamespace(candidates=[SimpleNamespace(finish_reason=Number.MAX_TOKENS)]),
            "MAX_TOKENS",
        ),
        ({"finish_reason": Word.LIMIT}, "MAX_TOKENS"),
        ({"candidates": [{"finish_reason": Number.FINISH_REASON_UNSPECIFIED}]}, None),
        ({"incomplete_details": {"reason": "max_output_tokens"}}, "max_output_tokens"),
        (
            SimpleNamespace(
                response=SimpleNamespace(
                    incomplete_details=SimpleNamespace(reason="max_output_tokens")
                )
            ),
            "max_output_tokens",
        ),
        ({"incomplete_details": None}, None),
    ],
)
def test_the_providers_word_for_the_end_is_found(raw: Any, expected: str | None) -> None:
    """Under each name that is known, in objects and mappings; None where there is none."""
    assert expected == finish_reason_of(raw)


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (None, None),
        ({"usage": None}, None),
        ({"usage": {"prompt_tokens": 3, "completion_tokens": 5}}, (3, 5)),
        (SimpleNamespace(usage=SimpleNamespace(input_tokens=3, output_tokens=5)), (3, 5)),
        ({"prompt_eval_count": 3, "eval_count": 5}, (3, 5)),
        ({"usage_metadata": {"prompt_token_count": 3, "candidates_token_count": 5}}, (3, 5)),
        ({"usageMetadata": {"promptTokenCount": 3, "candidatesTokenCount": 5}}, (3, 5)),
        ({"response": {"usage": {"input_tokens": 3, "output_tokens": 5}}}, (3, 5)),
    ],
)
def test_the_providers_count_is_found(raw: Any, expected: tuple[int, int] | None) -> None:
    """Under each name that is known, and then it is no estimate."""
    usage = usage_of(raw)
    assert expected == (usage and (usage.prompt, usage.generated))
    assert usage is None or not usage.estimated


def test_a_chunk_of_several_tokens_becomes_several_steps() -> None:
    """The tokens that the provider names spell the delta: one step each, with its logprob."""
    with CountingServer(
        [Script(["Pa", "ris", "."], logprobs=[-0.1, -0.2, -0.3], per_chunk=3)], delay=0
    ) as server:
        llm = adaptive(server, inner={"logprobs": True, "top_logprobs": 2})
        last = ask(llm.llm, "stream_chat")[1]
    steps = [step for step in Reader().read(last) if step.text]
    assert ["Pa", "ris", "."] == [step.text for step in steps]
    assert [-0.1, -0.2, -0.3] == [step.logprob for step in steps]
    assert [(-0.1, -1.1), (-0.2, -1.2), (-0.3, -1.3)] == [step.top_logprobs for step in steps]


def test_the_older_form_of_logprobs_is_read_as_well() -> None:
    """Completion endpoints name their tokens in parallel lists."""
    named = {
        "tokens": ["Pa", "ris"],
        "token_logprobs": [None, -0.2],
        "top_logprobs": [None, {"ris": -0.2, "per": -2.0}],
    }
    steps = list(Reader().read(chunk("Paris", choice(logprobs=named))))
    assert [
        Step("Pa"),
        Step("ris", logprob=-0.2, top_logprobs=(-0.2, -2.0)),
    ] == steps


def test_tokens_that_do_not_spell_the_delta_are_only_counted() -> None:
    """Half a character, or a marked space: one step with the mean logprob."""
    content = [{"token": "\u2581Pa", "logprob": -0.2}, {"token": "ris", "logprob": -0.4}]
    (step,) = Reader().read(chunk(" Paris", choice(logprobs={"content": content})))
    assert (" Paris", 2) == (step.text, step.tokens)
    assert pytest.approx(-0.3) == step.logprob


@pytest.mark.parametrize(("size", "tokens"), [(1, 1), (16, 1), (17, 5), (64, 16)])
def test_a_chunk_that_names_no_tokens_is_estimated(size: int, tokens: int) -> None:
    """One token where it is short; where it is long, it must hold several."""
    thinking = chunk("")
    thinking.additional_kwargs["thinking_delta"] = "x" * size
    (step,) = Reader().read(chunk("x" * size))
    (thought,) = Reader().read(thinking)
    assert (tokens, tokens) == (step.tokens, thought.tokens)


def test_a_count_that_comes_with_an_end_without_a_reason_stands() -> None:
    """The Responses API ends a whole answer with its usage and no reason."""
    reader = Reader()
    end = {"response": {"usage": {"input_tokens": 3, "output_tokens": 5}}}
    list(reader.read(chunk("Paris", end)))
    assert [Usage(prompt=3, generated=5, estimated=False)] == [s.usage for s in reader.end()]


def test_a_delta_that_is_missing_is_what_the_text_grew_by() -> None:
    """Not every integration fills in the delta."""
    reader = Reader()
    texts = ["Par", "Paris", "Paris"]
    steps = [step for text in texts for step in reader.read(chunk(None, text=text))]
    assert ["Par", "is"] == [step.text for step in steps]


def test_a_count_before_the_end_is_not_what_was_billed() -> None:
    """Anthropic counts the prompt at the start and the output at the end."""
    reader = Reader()
    begin = {"usage": {"input_tokens": 30, "output_tokens": 1}}
    end = {"delta": {"stop_reason": "end_turn"}, "usage": {"input_tokens": 0, "output_tokens": 9}}
    first = list(reader.read(chunk("Paris", begin)))
    last = list(reader.read(chunk("", end)))
    assert [None] == [step.usage for step in first]
    assert [Usage(prompt=30, generated=9, estimated=False)] == [step.usage for step in last]


def test_a_text_that_is_written_anew_is_told_once_more() -> None:
    """Without deltas nobody else can tell what became of it."""
    reader = Reader()
    texts = ["See", "See this", "Look", "Look here."]
    steps = [step for text in texts for step in reader.read(chunk(None, text=text))]
    assert ["See", " this"] == [step.text for step in steps]
    assert ["Look here.", ""] == [step.text for step in reader.end()]


def test_a_prefill_that_a_whole_answer_repeats_is_removed() -> None:
    """A completion model's answer may begin with its prompt's last words."""
    steps = Reader().read_whole(chunk(None, text="Paris is big."), "Paris")
    assert [" is big."] == [step.text for step in steps]


@pytest.mark.parametrize(
    ("budget", "raw", "expected"),
    [
        (None, None, ["stop"]),
        (3, None, ["stop"]),
        (2, None, ["length"]),
        (2, choice(finish_reason=None), []),
        (2, {"done_reason": "stop"}, []),
    ],
)
def test_an_end_without_a_reason_is_judged_by_the_budget(
    budget: int | None, raw: Any, expected: list[str]
) -> None:
    """But a protocol that always gives one has broken off where it does not."""
    reader = Reader(budget)
    for piece in ("one", " two"):
        list(reader.read(chunk(piece, raw)))
    assert expected == [step.finish_reason for step in reader.end()]


def test_a_request_knows_the_last_question() -> None:
    """The last user message is the question; the context window counts once the prompt does."""
    asked = [
        ChatMessage(role=MessageRole.SYSTEM, content="Be brief."),
        ChatMessage(content="Why?"),
        ChatMessage(role=MessageRole.ASSISTANT, content="So."),
        ChatMessage(content="How?"),
        ChatMessage(role=MessageRole.ASSISTANT, content="Like"),
    ]
    metadata = LLMMetadata(context_window=100, num_output=5)
    request = to_request(asked, metadata=metadata)
    assert ("How?", None, None) == (
        request.question,
        request.prompt_tokens,
        request.context_window,
    )
    assert "Be brief.\n\nWhy?\n\nSo.\n\nHow?\n\nLike" == request.prompt
    counted = to_request("Why?", metadata=metadata, tokenizer=SimpleNamespace(encode=list))
    assert ("Why?", 4, 100) == (counted.question, counted.prompt_tokens, counted.context_window)
    named = to_request("Why?", metadata=metadata, tokenizer="a/name")
    assert (None, None) == (named.prompt_tokens, named.context_window)


@pytest.mark.parametrize(("size", "window"), [(99, 100), (100, None), (101, None)])
def test_a_window_that_seems_full_is_no_limit(size: int, window: int | None) -> None:
    """The declared window may be a default, and another tokenizer's count: the server knows."""
    request = to_request(
        "x" * size,
        metadata=LLMMetadata(context_window=100),
        tokenizer=SimpleNamespace(encode=list),
    )
    assert (size, window) == (request.prompt_tokens, request.context_window)


def test_what_stands_beside_the_text_is_kept() -> None:
    """A tool call that nobody offered tools for, and a raw of any kind, go through."""
    call = ToolCallBlock(tool_name="look", tool_kwargs={}, tool_call_id="1")
    inner = ChatResponse(message=ChatMessage(role=MessageRole.ASSISTANT, blocks=[call]), raw=3)
    response = Reply([call], "Paris").chat(inner)
    assert ("Paris", call, 3) == (
        response.message.content,
        response.message.blocks[-1],
        response.raw,
    )
    assert {"response": 3} == as_dict(3)
