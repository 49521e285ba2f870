"""Joining continuations: nothing lost, nothing said twice."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stopping_core import stitch
from stopping_core.stitch import Stitcher

words = st.lists(st.integers(0, 10**6).map("w{}".format), min_size=8, max_size=40, unique=True)


@given(words, st.data())
def test_an_overlap_of_different_words_is_kept_once(parts: list[str], data: st.DataObject) -> None:
    """A continuation that repeats the end of the prefix joins to one text, wherever it starts."""
    text = " ".join(parts)
    cut = data.draw(st.integers(13, len(text)))
    back = data.draw(st.integers(12, cut))
    assert stitch(text[:cut], text[cut - back :]) == text


@given(st.text(), st.text())
def test_a_join_starts_with_the_prefix_and_ends_with_the_continuation(a: str, b: str) -> None:
    """Whatever overlaps, the prefix stands and the rest follows it, after a blank at most."""
    joined = stitch(a, b)
    assert joined.startswith(a)
    rest = joined[len(a) :]
    assert b.endswith(rest) or (rest.startswith(" ") and rest[1:] == b)


@given(st.text(), st.text(), st.data())
def test_chunking_of_the_continuation_does_not_matter(a: str, b: str, data: st.DataObject) -> None:
    """Streaming gives what joining at once gives."""
    stitcher = Stitcher(a, minimum=2)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(b)), max_size=6)))
    pieces = [b[i:j] for i, j in zip([0, *cuts], [*cuts, len(b)], strict=True)]
    out = "".join(stitcher.feed(p) for p in pieces) + stitcher.finish()
    assert a + out == stitch(a, b, minimum=2)


def test_a_model_that_begins_again_is_recognised() -> None:
    """A continuation that repeats the whole prefix, longer than the window, adds only the rest."""
    prefix = " ".join(f"word{i}" for i in range(200))
    assert stitch(prefix, prefix + " and more") == prefix + " and more"


def test_short_overlaps_are_chance() -> None:
    """Laughing on is not repeating oneself."""
    assert stitch("ha ha ", "ha ha!") == "ha ha ha ha!"


@pytest.mark.parametrize(
    ("prefix", "continuation", "joined"),
    [
        ("one two three four", "five six.", "one two three four five six."),
        ("It is done.", "Then it went on.", "It is done. Then it went on."),
        ("Paris is t", "Paris is the capital.", "Paris is the capital."),
        ("the quick brown fox jumps", "quick brown fox", "the quick brown fox jumps"),
        ("a = [1, 2", ", 3]", "a = [1, 2, 3]"),
        ("def f():\n", "    return 1", "def f():\n    return 1"),
        ("\u6771\u4eac\u306f", "\u9996\u90fd", "\u6771\u4eac\u306f\u9996\u90fd"),
        ("", "Paris", "Paris"),
        ("Paris", "", "Paris"),
    ],
)
def test_how_models_go_on(prefix: str, continuation: str, joined: str) -> None:
    """With a new word, with their first words again, with half a repetition, inside a line."""
    assert stitch(prefix, continuation) == joined


def test_a_minimum_below_one_is_an_error() -> None:
    """An overlap of nothing means nothing."""
    with pytest.raises(ValueError, match="minimum must be >= 1, got 0"):
        Stitcher("a", minimum=0)
