"""Batches of sequences under way: read together, decoded together, left one by one."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import torch
from torch.nn.functional import pad
from transformers import DynamicCache, DynamicLayer

from transformers_stopping.confidence import Confidence, confidence
from transformers_stopping.detokenize import Detokenizer

Choose: TypeAlias = Callable[[torch.Tensor, Sequence[int]], torch.Tensor]
"""Picks the next tokens, given the scores and the numbers of the rows that are left."""


@dataclass(slots=True)
class Row:
    """A generation under way.

    Args:
        detokenizer: For its text.
        ends: Tokens that end it.
        limit: The most tokens it may have, >= 1.
        one_line: Whether a line's end ends it too, once there is more than white space.

    Attributes:
        entropy: Of the distribution over its first token, an ending one included; nats.
    """

    detokenizer: Detokenizer
    ends: frozenset[int]
    limit: int
    one_line: bool = False
    ids: list[int] = field(default_factory=list)
    tokens: list[str] = field(default_factory=list)
    readings: list[Confidence] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    finish_reason: str = ""
    entropy: float | None = None

    def take(self, token: int, reading: Confidence, now: float) -> bool:
        """Take the next token; return whether it goes on. A token that ends it is left out."""
        if not self.ids:
            self.entropy = reading.entropy
        if token in self.ends:
            self._finish("stop")
            return False
        self.ids.append(token)
        self.tokens.append(self.detokenizer.push(token))
        self.readings.append(reading)
        self.seconds.append(now)
        if self.one_line and "\n" in self.tokens[-1] and "\n" in "".join(self.tokens).lstrip():
            self._finish("stop")
        elif len(self.ids) >= self.limit:
            self._finish("length")
        return not self.finish_reason

    def _finish(self, reason: str) -> None:
        self.finish_reason = reason
        if self.tokens:
            self.tokens[-1] += self.detokenizer.finish()


@dataclass(slots=True)
class Batch:
    """Where a batch is: what the model has read, and its scores of what comes next.

    Args:
        model: A decoder-only model.
        logits: Scores of each row's next token.  # (rows, vocabulary)
        cache: Keys and values of what was read.
        mask: 1 where the cache holds a token of the row, 0 for padding.  # (rows, read)
        position: Of the next token in its own row.  # (rows, 1)
    """

    model: Any
    logits: torch.Tensor
    cache: DynamicCache
    mask: torch.Tensor
    position: torch.Tensor

    def select(self, places: Sequence[int]) -> None:
        """Keep these rows, in this order; a row may be taken several times."""
        chosen = torch.tensor(places, device=self.mask.device)
        self.cache.batch_select_indices(chosen)
        self.logits, self.mask = self.logits[chosen], self.mask[chosen]
        self.position = self.position[chosen]

    def copy(self, places: Sequence[int], columns: slice = slice(None)) -> Batch:
        """Copy rows, in this order; a row may be taken several times.

        Args:
            places: Of the rows.
            columns: Of the cache; the scores only belong to them where the last is among them.
        """
        chosen = torch.tensor(places, device=self.mask.device)
        cache = DynamicCache(config=self.model.config)
        for layer, (keys, values, *_) in enumerate(self.cache):
            rows = chosen.to(keys.device)
            cache.update(keys[rows, :, columns], values[rows, :, columns], layer)
        mask = self.mask[chosen, columns]
        return Batch(self.model, self.logits[chosen], cache, mask, mask.sum(dim=1, keepdim=True))

    def start(self, place: int, length: int) -> Batch:
        """Copy the first tokens of a row, without their padding; more are to be read.

        Args:
            place: Of the row.
            length: Tokens, in [1, those of the row].
        """
        begin = self.mask.shape[1] - int(self.position[place])
        return self.copy([place], slice(begin, begin + length))

    def read(self, tokens: torch.Tensor) -> None:
        """Read more tokens in every row, as many in each.

        Args:
            tokens: None of them padding.  # (rows, count)
        """
        count = tokens.shape[1]
        ahead = torch.arange(count, device=tokens.device)
        self.mask = torch.cat([self.mask, self.mask.new_ones(tokens.shape)], dim=1)
        self.logits = _scores(
            self.model,
            input_ids=tokens,
            attention_mask=self.mask,
            position_ids=self.position + ahead,
            past_key_values=self.cache,
        )
        self.position = self.position + count


def read(model: Any, prompts: Sequence[Sequence[int]]) -> Batch:
    """Read prompts in one pass, padded on the left."""
    longest = max(map(len, prompts))
    ids = torch.zeros(len(prompts), longest, dtype=torch.long)
    mask = torch.zeros_like(ids)
    for row, prompt in enumerate(prompts):
        ids[row, longest - len(prompt) :] = torch.tensor(prompt)
        mask[row, longest - len(prompt) :] = 1
    ids, mask = ids.to(model.device), mask.to(model.device)
    cache = DynamicCache(config=model.config)
    logits = _scores(
        model,
        input_ids=ids,
        attention_mask=mask,
        position_ids=(mask.cumsum(dim=1) - 1).clamp(min=0),
        past_key_values=cache,
    )
    return Batch(model, logits, cache, mask, mask.sum(dim=1, keepdim=True))


def joined(batches: Sequence[Batch]) -> Batch:
    """Put batches of one model together, padded on the left; the first is used up."""
    first, *others = batches
    if not others:
        return first
    sizes = [int(batch.position.max()) for batch in batches]
    width = max(sizes)
    cache = DynamicCache(config=first.model.config)
    for layer, parts in enumerate(zip(*(batch.cache for batch in batches), strict=True)):
        keys, values = (
            torch.cat(
                [
                    pad(part[kind][:, :, -size:], (0, 0, width - size, 0))
                    for part, size in zip(parts, sizes, strict=True)
                ]
            )
            for kind in (0, 1)
        )
        cache.update(keys, values, layer)
    masks = [
        pad(batch.mask[:, -size:], (width - size, 0))
        for batch, size in zip(batches, sizes, strict=True)
    ]
    return Batch(
        first.model,
        torch.cat([batch.logits for batch in batches]),
        cache,
        torch.cat(masks),
        torch.cat([batch.position for batch in batches]),
    )


def decode(
    batch: Batch,
    rows: Sequence[Row],
    choose: Choose,
    *,
    top: int,
    start: float,
    watch: Callable[[int], None] = lambda tokens: None,
) -> None:
    """Decode all rows to their ends; those that have ended leave the batch.

    Args:
        batch: Ready for the first token; used up.
        rows: One a row of the batch, filled in.
        choose: Picks the tokens.
        top: How many of the largest logprobs to read.
        start: When the time began, by ``time.perf_counter``.
        watch: Called with the number of tokens after every step.
    """
    ends = torch.tensor(sorted(rows[0].ends), dtype=torch.long, device=batch.logits.device)
    alive = list(range(len(rows)))
    while True:
        tokens = choose(batch.logits, alive)  # (alive,)
        readings = confidence(batch.logits, tokens, top, ends)
        now = time.perf_counter() - start
        places = [
            place
            for place, (row, token) in enumerate(zip(alive, tokens.tolist(), strict=True))
            if rows[row].take(token, readings[place], now)
        ]
        watch(len(alive))
        if not places:
            return
        if len(places) < len(alive):
            batch.select(places)
            tokens = tokens[places]
            alive = [alive[place] for place in places]
        batch.read(tokens[:, None])


def greedy(logits: torch.Tensor, rows: Sequence[int]) -> torch.Tensor:
    """Pick the most likely token of each row."""
    return logits.argmax(dim=-1)


def pick(scores: torch.Tensor, points: Sequence[float]) -> torch.Tensor:
    """Pick a token of each row by where a point falls in the probabilities, laid end to end.

    Args:
        scores: -inf where a token is ruled out.  # (rows, vocabulary)
        points: In [0, 1), one a row.

    Returns:
        The tokens; never one that is ruled out.  # (rows,)

    Raises:
        ValueError: The scores of a row are no distribution.
    """
    exact = scores.cpu() if scores.device.type == "mps" else scores  # which has no doubles
    ladder = torch.softmax(exact.double(), dim=-1).cumsum(dim=-1)  # (rows, vocabulary)
    top = ladder[:, -1:]
    if top.isnan().any():
        row = int(top[:, 0].isnan().nonzero()[0, 0])
        raise ValueError(
            "scores must hold a finite one in each row, and neither NaN nor inf, "
            f"got {_summary(exact[row])} in row {row}"
        )
    heights = torch.tensor(points, dtype=ladder.dtype, device=ladder.device)[:, None]
    below = torch.minimum(heights * top, top.nextafter(torch.zeros_like(top)))  # if rounded up
    found = torch.searchsorted(ladder, below, right=True)[:, 0]
    return found.to(scores.device)


def _summary(scores: torch.Tensor) -> str:
    """Say what is wrong with scores that give no distribution."""
    if scores.isnan().any():
        return f"{int(scores.isnan().sum())} times NaN"
    return "inf" if scores.isposinf().any() else "-inf for every token"


def check_whole_attention(model: Any, purpose: str) -> None:
    """Refuse a model of whose keys and values a part cannot be taken.

    Args:
        model: A decoder-only model.
        purpose: For the error.

    Raises:
        ValueError: A layer attends to a part of the text only.
    """
    layers = DynamicCache(config=model.config).layers
    if not all(type(layer) is DynamicLayer for layer in layers):
        raise ValueError(
            f"model must attend to the whole text in every layer to be {purpose}, "
            f"{type(model).__name__} does not"
        )


def _scores(model: Any, **inputs: Any) -> torch.Tensor:
    """Read, and return the scores of the token after the last."""
    last = {"logits_to_keep": 1} if model._supports_logits_to_keep() else {}
    logits: torch.Tensor = model(**inputs, use_cache=True, **last).logits  # (rows, 1, vocabulary)
    return logits[:, -1].to(inputs["input_ids"].device, torch.float32)
