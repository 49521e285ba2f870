"""The synthetic testbed's tokenizer: a small closed vocabulary of digits, words and signs."""

from __future__ import annotations

import re

from reasoning_gym.arithmetic.leg_counting import ANIMALS
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from benchmarks.testbed.solutions import CLOSE, OPEN, PHRASES

PATTERN = r"</?think>|\n\n|\n| ?[A-Za-z]+| ?[0-9]| ?[^\sA-Za-z0-9]| "
"""A token is a word, a digit or a sign, each with the space before it, or a line's end."""

PAD, END, UNKNOWN = "<pad>", "<eos>", "<unk>"
_WORDS = (
    "What is How many legs do these have in total from left to right first what added then taken "
    "away the same other end largest smallest by its parts small number one after most"
)
_MARKS = "0123456789+-*=.,:?"


def vocabulary() -> list[str]:
    """Every token, the special ones first."""
    texts = [re.sub(r"{\w+}", "", phrase) for phrase in PHRASES]
    words = set(re.findall("[A-Za-z]+", " ".join([*texts, *ANIMALS, _WORDS])))
    words |= {f"{animal.split()[-1]}s" for animal in ANIMALS}
    spaced = {f"{space}{word}" for space in ("", " ") for word in (*words, *_MARKS)}
    tokens = spaced | {OPEN, CLOSE, "\n", "\n\n", " "}
    return [PAD, END, UNKNOWN, *sorted(tokens)]


def make_tokenizer() -> PreTrainedTokenizerFast:
    """A tokenizer that gives back exactly the texts of the testbed.

    ``<think>`` and ``</think>`` are tokens like others: they stay in decoded text. A word that the
    testbed does not use becomes the unknown token.
    """
    ids = {token: number for number, token in enumerate(vocabulary())}
    tokenizer = Tokenizer(models.WordLevel(ids, unk_token=UNKNOWN))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(PATTERN), behavior="isolated")
    tokenizer.decoder = decoders.Fuse()
    return PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]  # transformers gives no types
        tokenizer_object=tokenizer,
        pad_token=PAD,
        eos_token=END,
        unk_token=UNKNOWN,
        padding_side="left",
        clean_up_tokenization_spaces=False,
        model_max_length=1024,
    )
