"""What a stream says of its tokens, and how a run is made of it."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from stopping_core.cli.record.chunks import logprob, take
from stopping_core.cli.record.reply import Entry, Reply


def entry(spelling: bytes, logprob: float = -1.0, **others: float) -> Entry:
    top = ((spelling, logprob), *((name.encode(), value) for name, value in others.items()))
    return Entry(spelling, logprob, top)


def test_characters_in_pieces() -> None:
    """Tokens that hold parts of a character join to the text, which stands with the last part."""
    reply = Reply(0.0)
    smile = "😀".encode()
    reply.take("a😀", [entry(b"a"), entry(smile[:2]), entry(smile[2:])])
    reply.take("😀", [entry(smile[2:])])
    reply.take("ok", [])
    reply.take("", [entry(b"")])
    assert reply.tokens == ["a", "", "😀", "😀", "ok"]
    columns = reply.columns(2, told=True)
    assert np.isnan(columns["logprobs"]).tolist() == [False] * 4 + [True]


def test_readings_of_the_top() -> None:
    """Margin is exact from two, the end's probability known where it is among the top."""
    reply = Reply(0.0)
    ending = Entry(b"a", -0.5, ((b"a", -0.5), (b"", -1.0)))
    reply.take("ab", [ending, Entry(b"b", -0.1, ((b"b", -0.1),))])
    columns = reply.columns(2, told=True)
    assert columns["margin"][0] == pytest.approx(math.exp(-0.5) - math.exp(-1.0))
    assert columns["end_probability"][0] == pytest.approx(math.exp(-1.0))
    assert np.isnan([columns["margin"][1], columns["end_probability"][1]]).all()
    assert "entropy" not in columns


READINGS = ("logprobs", "top_logprobs", "margin", "end_probability")


def test_readings_without_a_value() -> None:
    """A column with no value for any token is not there; that of an empty run goes by the rest."""
    reply = Reply(0.0)
    reply.take("a", [Entry(b"a", -0.5, ())])
    columns = reply.columns(2, told=True)
    assert [name for name in READINGS if columns[name] is not None] == ["logprobs"]
    untold = Reply(0.0)
    untold.take("a", [])
    for empty, told, expected in (
        (untold, True, []),
        (Reply(0.0), True, list(READINGS)),
        (Reply(0.0), False, []),
    ):
        columns = empty.columns(2, told=told)
        assert [name for name in READINGS if columns[name] is not None] == expected


def completion(logprobs: dict[str, Any]) -> Reply:
    reply = Reply(0.0)
    take({"choices": [{"text": " a", "logprobs": logprobs}]}, reply)
    return reply


def test_completions_as_openai_tells_them() -> None:
    """Lists of tokens and logprobs are read as well, and end marks are seen as such."""
    told = {
        "tokens": [" a"],
        "token_logprobs": [-0.5],
        "top_logprobs": [{" a": -0.5, "<|im_end|>": -2.0}],
    }
    reply = completion(told)
    assert reply.entries == [Entry(b" a", -0.5, ((b" a", -0.5), (b"", -2.0)))]
    with pytest.raises(ValueError, match="token_logprobs must be as many as the tokens, 1"):
        completion(told | {"token_logprobs": [-0.5, -0.5]})


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (-0.5, -0.5),
        (0, 0.0),
        (1e-7, 0.0),
        (0.1, math.nan),
        (math.nan, math.nan),
        (math.inf, math.nan),
        (-math.inf, math.nan),
        (-(10**400), math.nan),
        (True, math.nan),
        ("-1", math.nan),
        (None, math.nan),
    ],
)
def test_what_is_a_logprob(value: Any, expected: float) -> None:
    """Only a finite number that is not above 0, save by rounding."""
    np.testing.assert_equal(logprob(value), expected)


@pytest.mark.parametrize(
    ("counted", "thinking", "honest"),
    [
        (1, False, False),
        (2, False, True),
        (3, False, True),
        (4, False, False),
        (7, True, True),
        (8, True, False),
    ],
)
def test_tokens_are_counted(counted: int, thinking: bool, honest: bool) -> None:
    """Two pieces are two tokens where the endpoint counts as many, its end and its tags besides."""
    reply = Reply(0.0, completion_tokens=counted)
    reply.take("one", [entry(b"one")], thinking=thinking)
    reply.take(" two", [entry(b" two")])
    if honest:
        reply.check()
        return
    with pytest.raises(ValueError, match=f"counts {counted} tokens, its stream shows 2"):
        reply.check()


def test_without_a_count() -> None:
    """Where the endpoint counts nothing, only tokens with a logprob each are known to be single."""
    reply = Reply(0.0)
    reply.check()
    reply.take("one two", [entry(b"one"), entry(b" two")])
    reply.check()
    reply.take(" three", [])
    with pytest.raises(ValueError, match="neither usage nor the logprob of every token"):
        reply.check()
