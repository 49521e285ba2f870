"""Reasoning in tags is told from the answer, however the stream is cut."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stopping_core import Step
from stopping_core.channels import ChannelSplitter


def split(pieces: list[str]) -> tuple[str, str, int]:
    """The reasoning, the answer, and the tokens of a stream of one token a piece."""
    splitter = ChannelSplitter(("<think>", "</think>"))
    steps = [s for piece in pieces for s in splitter.feed(Step(piece))] + list(splitter.flush())
    texts = {
        channel: "".join(s.text for s in steps if s.channel == channel)
        for channel in ("reasoning", "answer")
    }
    return texts["reasoning"], texts["answer"], sum(s.tokens for s in steps)


@pytest.mark.parametrize(
    ("text", "reasoning", "answer"),
    [
        ("<think>hm</think>\n\nParis.", "hm", "Paris."),
        (" \n<think>hm", "hm", ""),
        ("<think>a < b </thin", "a < b </thin", ""),
        ("<think></think>x<think>y</think>", "", "x<think>y</think>"),
        ("Paris <think>hm</think>", "", "Paris <think>hm</think>"),
        ("<thin ice", "", "<thin ice"),
        ("  ", "", "  "),
        ("", "", ""),
    ],
)
@given(data=st.data())
def test_split(text: str, reasoning: str, answer: str, data: st.DataObject) -> None:
    """Tags are dropped, text is neither lost nor moved, and every token is counted."""
    cuts = sorted(set(data.draw(st.lists(st.integers(0, len(text)), max_size=8))))
    pieces = [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    assert split(pieces) == (reasoning, answer, len(pieces))


def test_a_channel_that_the_provider_names_is_kept() -> None:
    """Nothing is looked for in reasoning that is already told apart."""
    step = Step("<think>", channel="reasoning")
    assert list(ChannelSplitter(("<think>", "</think>")).feed(step)) == [step]


def test_tags_must_not_be_empty() -> None:
    """An empty tag would stand everywhere."""
    with pytest.raises(ValueError, match="tags must be two non-empty strings"):
        ChannelSplitter(("<think>", ""))
