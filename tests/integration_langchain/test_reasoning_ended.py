"""What is asked of a provider once the reasoning is ended."""

from __future__ import annotations

from typing import Any

import pytest

from langchain_stopping import AdaptiveChatModel
from stopping_core import AdaptiveStopping
from stopping_core.budgets import GeometricBudget
from tests.integration_langchain.setting import openai
from tests.support.sse_server import CountingServer, Script

SHORT = AdaptiveStopping(budget=GeometricBudget(first=4), backoff=(0.0, 0.0))
THINKS = Script(["<think>", " this", " then", " that", " and", " more"])
ANSWERS = Script(["Paris", "."])


@pytest.mark.parametrize(
    ("settings", "asked"),
    [
        ({"temperature": 0.8}, [0.8, 0.0]),
        ({}, [None, None]),
        ({"temperature": 0.8, "extra_body": {"temperature": 1.5}}, [1.5, 0.0]),
    ],
)
def test_the_answer_is_asked_for_greedily(settings: dict[str, Any], asked: list[Any]) -> None:
    """At temperature 0 where there was another; a model that was told of none is told of none."""
    with CountingServer([THINKS, ANSWERS], delay=0) as server:
        answer = AdaptiveChatModel(inner=openai(server, **settings), stopping=SHORT).invoke(
            "Which city?"
        )
        assert asked == [one.get("temperature") for one in server.requests]
    assert "Paris." == answer.content
    kinds = [one["kind"] for one in answer.response_metadata["stopping"]["attempts"]]
    assert ["first", "close_reasoning"] == kinds
