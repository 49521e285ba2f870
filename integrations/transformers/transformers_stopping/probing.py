"""Probes of finished generations: what would the model have answered there?"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from transformers import DynamicCache, DynamicLayer, PreTrainedModel, PreTrainedTokenizerBase

from stopping_core.types import Probe
from transformers_stopping.batches import Batch, Row, check_whole_attention, decode, greedy, read
from transformers_stopping.detokenize import Detokenizer
from transformers_stopping.prompts import token_set

_MEMORY = 700_000_000  # bytes of keys and values at once, twice: of the runs and of the probes
_MOST = 128  # probes at once


def answer_here(
    model: Any,
    tokenizer: PreTrainedTokenizerBase,
    ids: Sequence[int],
    words: Sequence[int],
    cache: DynamicCache | None,
    *,
    max_tokens: int,
    one_line: bool,
) -> Probe:
    """Ask for the answer at the end of one text, greedily.

    Args:
        model: A decoder-only model.
        tokenizer: Its tokenizer.
        ids: Tokens of the text.
        words: Tokens that ask, not empty.
        cache: Keys and values of a text that begins as this one does; it is left as it is. None
            reads the text anew.
        max_tokens: The most tokens of the answer, >= 1.
        one_line: Whether the answer ends with its line, or at the end-of-sequence token only.
    """
    asked = [*ids, *words]
    with torch.no_grad():
        batch = _at_end(model, asked, cache, len(ids))
        row = Row(Detokenizer(tokenizer, asked), _ends(model), max_tokens, one_line)
        decode(batch, [row], greedy, top=0, start=time.perf_counter())
    return _probe(row, len(asked), one_line)


def _at_end(model: Any, asked: Sequence[int], cache: DynamicCache | None, length: int) -> Batch:
    """Read a text, its first tokens from a copy of the cache where that can be taken apart."""
    if cache is None or not all(type(layer) is DynamicLayer for layer in cache.layers):
        return read(model, [asked])
    known = min(cache.get_seq_length(), length)
    own = DynamicCache(config=model.config)
    for number, (keys, values, *_) in enumerate(cache):
        own.update(keys[:, :, :known], values[:, :, :known], number)
    mask = torch.ones(1, known, dtype=torch.long, device=model.device)
    batch = Batch(model, torch.empty(0), own, mask, mask.sum(dim=1, keepdim=True))
    batch.read(torch.tensor([asked[known:]], device=model.device))
    return batch


def _ends(model: Any) -> frozenset[int]:
    config = model.generation_config
    return token_set(None if config is None else config.eos_token_id)


class Prober:
    """Asks for the answer at many places of finished generations, greedily.

    The generations are read once, in one pass; the probes then start from these keys and values,
    many places in one batch, each seeing what comes before its place and nothing after it.

    Args:
        model: A decoder-only model, all of whose layers attend to the whole text.
        tokenizer: Its tokenizer.
        words: That ask for the answer, put after the text so far; not empty.
        max_tokens: The most tokens of an answer, >= 1.

    Attributes:
        room: The most tokens of a probe: the words that ask and the answer.

    Raises:
        ValueError: ``words`` are no token, ``max_tokens`` is below 1, or a layer of the model
            attends to a part of the text only.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        words: str,
        *,
        max_tokens: int = 20,
    ) -> None:
        if max_tokens < 1:
            raise ValueError(f"max_tokens must be >= 1, got {max_tokens}")
        check_whole_attention(model, "probed")
        ids = tokenizer(words, add_special_tokens=False)["input_ids"]
        self._words = [int(token) for token in ids]
        if not self._words:
            raise ValueError(f"words must hold at least one token, got {words!r}")
        self._model: Any = model
        self._tokenizer = tokenizer
        self._limit = max_tokens
        self.room = len(self._words) + max_tokens
        self._ends = _ends(model)
        layers = len(DynamicCache(config=model.config).layers)
        text = model.config.get_text_config(decoder=True)
        heads = getattr(text, "num_key_value_heads", None) or text.num_attention_heads
        width = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
        size = torch.empty(0, dtype=model.dtype).element_size()
        self._fits = _MEMORY // (2 * layers * heads * width * size)  # tokens

    def probe(
        self,
        prompts: Sequence[Sequence[int]],
        runs: Sequence[Sequence[int]],
        where: Sequence[Sequence[int]],
        *,
        one_line: bool,
    ) -> list[dict[int, Probe]]:
        """Probe generations.

        Args:
            prompts: Tokens of each prompt.
            runs: Tokens of what was generated after each.
            where: The places of each, tokens of the run before them.
            one_line: Whether an answer ends with its line, or at the end-of-sequence token only.

        Returns:
            The probes of each generation, by place.
        """
        probes: list[dict[int, Probe]] = [{} for _ in runs]
        texts = [[*prompt, *run] for prompt, run in zip(prompts, runs, strict=True)]
        with torch.inference_mode():
            for group in _grouped([len(text) for text in texts], self._fits):
                whole = read(self._model, [texts[row] for row in group])
                longest = whole.mask.shape[1]
                asked = sorted(
                    (longest - len(texts[row]) + len(prompts[row]) + at, line, at)
                    for line, row in enumerate(group)
                    for at in where[row]
                )  # by the length of what is before the place, padding included
                sizes = [place[0] + self.room for place in asked]
                for part in _grouped(sizes, self._fits, _MOST):
                    chunk = [asked[i] for i in part]
                    befores = [
                        texts[group[line]][: len(prompts[group[line]]) + at]
                        for _, line, at in chunk
                    ]
                    answers = self._ask(whole, [place[:2] for place in chunk], befores, one_line)
                    for (_, line, at), before, answer in zip(chunk, befores, answers, strict=True):
                        reread = len(before) + len(self._words)
                        probes[group[line]][at] = _probe(answer, reread, one_line)
        return [dict(sorted(one.items())) for one in probes]

    def _ask(
        self,
        whole: Batch,
        places: Sequence[tuple[int, int]],
        befores: Sequence[Sequence[int]],
        one_line: bool,
    ) -> list[Row]:
        """Answer at places of a batch that was read, each a length and a line of the batch."""
        reach = torch.tensor([length for length, _ in places], device=whole.mask.device)
        lines = torch.tensor([line for _, line in places], device=whole.mask.device)
        longest = int(reach.max())
        cache = DynamicCache(config=self._model.config)
        for layer, (keys, values, _) in enumerate(whole.cache):
            cache.update(keys[lines, :, :longest], values[lines, :, :longest], layer)
        mask = whole.mask[lines, :longest]
        mask = mask * (torch.arange(longest, device=mask.device) < reach[:, None])
        batch = Batch(self._model, whole.logits[lines], cache, mask, mask.sum(dim=1, keepdim=True))
        batch.read(torch.tensor([self._words] * len(places), device=mask.device))
        rows = [
            Row(
                Detokenizer(self._tokenizer, [*before, *self._words]),
                self._ends,
                self._limit,
                one_line,
            )
            for before in befores
        ]
        decode(batch, rows, greedy, top=0, start=time.perf_counter())
        return rows


def _probe(row: Row, reread: int, one_line: bool) -> Probe:
    text = "".join(row.tokens)
    if one_line:
        blank = len(text) - len(text.lstrip())
        text = text[:blank] + text[blank:].partition("\n")[0]
    return Probe(
        text=text,
        tokens=len(row.ids),
        reread=reread,
        logprobs=tuple(one.logprob for one in row.readings if one.logprob is not None),
        entropy=row.entropy,
    )


def _grouped(sizes: Sequence[int], room: int, most: int | None = None) -> Iterator[list[int]]:
    """Numbers of the sizes in order, in groups whose count times their largest fits the room."""
    group: list[int] = []
    largest = 0
    for number, size in enumerate(sizes):
        largest = max(largest, size)
        if group and (len(group) == most or (len(group) + 1) * largest > room):
            yield group
            group, largest = [], size
        group.append(number)
    if group:
        yield group
