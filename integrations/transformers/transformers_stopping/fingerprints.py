"""What tells a local model from others of its name: its weights, as they are in memory."""

from __future__ import annotations

import hashlib
import json
from typing import Any, TypeAlias
from weakref import WeakKeyDictionary

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from transformers_stopping.prompts import token_set

_NO_MATTER = frozenset(
    {
        *("_name_or_path", "transformers_version", "dtype", "torch_dtype", "architectures"),
        *("pad_token_id", "use_cache"),
    }
)
"""Of a model's configuration."""

_Names: TypeAlias = WeakKeyDictionary[PreTrainedTokenizerBase, str]
_known: WeakKeyDictionary[PreTrainedModel, _Names] = WeakKeyDictionary()


def known_fingerprint(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> str:
    """Return the :func:`fingerprint`, read once for each model: it takes a second a gigabyte.

    Weights that are changed in place afterwards go unnoticed.
    """
    names = _known.setdefault(model, WeakKeyDictionary())
    if tokenizer not in names:
        names[tokenizer] = fingerprint(model, tokenizer)
    return names[tokenizer]


def fingerprint(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> str:
    """What tells this model from others: 16 hex digits of a SHA-256.

    Over the weights as they are in memory, with their type, the configuration, the tokens that end
    a text, the whole tokenizer and the chat template. Left out is what changes no answer: where
    they came from, which version saved them, what pads.
    """
    digest = hashlib.sha256(b"transformers")
    config = {name: one for name, one in model.config.to_dict().items() if name not in _NO_MATTER}
    generation = model.generation_config
    ends = sorted(token_set(None if generation is None else generation.eos_token_id))
    special = {**tokenizer.special_tokens_map, "pad_token": None}
    template = [str(tokenizer.chat_template), special]
    for part in (config, ends, _rules(tokenizer), template):
        digest.update(json.dumps(part, sort_keys=True, default=str).encode())
    for name, weights in sorted(model.state_dict().items()):
        digest.update(f"{name} {weights.dtype} {tuple(weights.shape)}".encode())
        digest.update(weights.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()[:16]


def _rules(tokenizer: PreTrainedTokenizerBase) -> Any:
    """All that decides how a tokenizer cuts a text: its vocabulary, normaliser, merges and so on.

    Padding and truncation are left out: they are of the last call, not of the tokenizer.
    """
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:  # written in Python: its rules are its class
        return [type(tokenizer).__name__, tokenizer.get_vocab()]
    rules = json.loads(backend.to_str())
    return {name: rule for name, rule in rules.items() if name not in ("padding", "truncation")}
