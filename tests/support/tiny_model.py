"""Tiny models with a token a byte: one that rambles, and one that says a given text."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
)

END = 1
"""The end-of-sequence token; 0 pads, and the bytes follow."""


def byte_tokenizer(chat_template: str | None = None) -> PreTrainedTokenizerBase:
    """A tokenizer of one token a byte."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: at for at, token in enumerate(["<pad>", "<eos>", *letters])}
    made = Tokenizer(models.BPE(vocabulary, []))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    made.decoder = decoders.ByteLevel()
    wrap: Any = PreTrainedTokenizerFast
    tokenizer: PreTrainedTokenizerBase = wrap(
        tokenizer_object=made,
        eos_token="<eos>",
        pad_token="<pad>",
        padding_side="left",
        chat_template=chat_template,
    )
    return tokenizer


def rambling_model(tokenizer: PreTrainedTokenizerBase, seed: int = 7) -> LlamaForCausalLM:
    """Two layers with large random weights: what it says varies, and with the seed too."""
    torch.manual_seed(seed)
    return _model(tokenizer, hidden_size=32, num_hidden_layers=2, initializer_range=0.6)


def saying_model(tokenizer: PreTrainedTokenizerBase, *texts: str) -> LlamaForCausalLM:
    """A model that goes on from each character of the texts to the next one, and then ends.

    What follows a character depends on it alone, so that no character may be in two places.
    """
    follows: dict[int, int] = {}
    for text in texts:
        ids = [*tokenizer(text, add_special_tokens=False)["input_ids"], END]
        assert not follows.keys() & set(ids[:-1])
        follows |= dict(pairwise(ids))
    size = len(tokenizer)
    width = size + -size % 4  # a dimension a token, and the heads divide it
    model = _model(tokenizer, hidden_size=width, num_hidden_layers=1)
    with torch.no_grad():
        for weights in model.parameters():
            weights.zero_()
        model.model.embed_tokens.weight.copy_(torch.eye(size, width))
        model.model.norm.weight.fill_(1.0)
        for before, after in follows.items():
            model.lm_head.weight[after, before] = 1.0
    return model


def _model(tokenizer: PreTrainedTokenizerBase, **shape: Any) -> LlamaForCausalLM:
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        intermediate_size=64,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=8,
        max_position_embeddings=512,
        pad_token_id=0,
        bos_token_id=None,
        eos_token_id=END,
        **shape,
    )
    model = LlamaForCausalLM(config)
    model.train(False)
    return model
