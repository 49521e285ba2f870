"""Tokens become text one by one, never half a character, whatever the tokenizer."""

from __future__ import annotations

import time
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, normalizers
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

from transformers_stopping.detokenize import Detokenizer

TEXTS = [
    "plain words, and more of them. " * 5,
    "na\u00efve \u65e5\u672c\u8a9e \U0001f600\U0001f468\u200d\U0001f469\u200d\U0001f467 end",
    "\U0001f600" * 40,
    "  leading and trailing  ",
    "",
]


@pytest.fixture(scope="module")
def fallback() -> PreTrainedTokenizerBase:
    """A tokenizer in the manner of SentencePiece: words with a mark, bytes for what it lacks."""
    vocabulary = {"<unk>": 0, "</s>": 1}
    for byte in range(256):
        vocabulary[f"<0x{byte:02X}>"] = len(vocabulary)
    for letter in "\u2581abcdefghijklmnopqrstuvwxyz.,":
        vocabulary[letter] = len(vocabulary)
    made = Tokenizer(models.BPE(vocabulary, [], byte_fallback=True, unk_token="<unk>"))
    made.normalizer = normalizers.Sequence(
        [normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")]
    )
    made.decoder = decoders.Sequence(
        [
            decoders.Replace("\u2581", " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(" ", 1, 0),
        ]
    )
    wrap: Any = PreTrainedTokenizerFast
    return cast(
        PreTrainedTokenizerBase,
        wrap(tokenizer_object=made, eos_token="</s>", unk_token="<unk>"),
    )


def pieces(tokenizer: PreTrainedTokenizerBase, ids: list[int]) -> list[str]:
    detokenizer = Detokenizer(tokenizer)
    return [*(detokenizer.push(token) for token in ids), detokenizer.finish()]


@pytest.mark.parametrize("text", TEXTS)
def test_bytes_give_the_whole_text_in_whole_characters(
    tokenizer: PreTrainedTokenizerBase, text: str
) -> None:
    """What is pushed byte by byte comes out as the text, and no piece is a broken character."""
    found = pieces(tokenizer, tokenizer(text)["input_ids"])
    assert text == "".join(found)
    assert not any("\ufffd" in piece for piece in found)


@pytest.mark.parametrize("text", TEXTS)
def test_byte_fallback_gives_the_whole_text(fallback: PreTrainedTokenizerBase, text: str) -> None:
    """A decoder that rereads runs of bytes, and drops the first space, gives the text as well."""
    ids = fallback(text)["input_ids"]
    found = pieces(fallback, ids)
    assert fallback.decode(ids, skip_special_tokens=True) == "".join(found)
    assert not any("\ufffd" in piece for piece in found)


def test_the_context_keeps_the_space_of_the_first_word(fallback: PreTrainedTokenizerBase) -> None:
    """A continuation begins with its space, which the decoder drops at the start of a text."""
    prompt, word = fallback("one")["input_ids"], fallback("two")["input_ids"]
    detokenizer = Detokenizer(fallback, prompt)
    assert " two" == "".join(detokenizer.push(token) for token in word)


@settings(max_examples=200, deadline=None)
@given(data=st.binary(max_size=60))
def test_no_bytes_are_lost_or_taken_back(tokenizer: PreTrainedTokenizerBase, data: bytes) -> None:
    """Any bytes at all read as the tokenizer reads them whole, up to broken characters."""
    vocabulary = tokenizer.get_vocab()
    ids = [vocabulary[_byte_letters()[byte]] for byte in data]
    whole = str(tokenizer.decode(ids, clean_up_tokenization_spaces=False))
    assert whole.replace("\ufffd", "") == "".join(pieces(tokenizer, ids)).replace("\ufffd", "")


def test_time_is_linear(tokenizer: PreTrainedTokenizerBase) -> None:
    """Ten times the tokens take about ten times as long, even if no character is ever whole."""
    broken = [tokenizer.get_vocab()[_byte_letters()[0x80]]] * 4000
    for ids in (broken, tokenizer("many words " * 400)["input_ids"]):
        pieces(tokenizer, ids[:400])
        short, long = _seconds(tokenizer, ids[:400]), _seconds(tokenizer, ids[:4000])
        assert long < 30 * short


def _seconds(tokenizer: PreTrainedTokenizerBase, ids: list[int]) -> float:
    began = time.perf_counter()
    pieces(tokenizer, ids)
    return time.perf_counter() - began


def _byte_letters() -> list[str]:
    """The letter that a byte-level tokenizer writes for each byte."""
    kept = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in kept]
    letters = {byte: chr(byte) for byte in kept}
    letters |= {byte: chr(256 + i) for i, byte in enumerate(others)}
    return [letters[byte] for byte in range(256)]
