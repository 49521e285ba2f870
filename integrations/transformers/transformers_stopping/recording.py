"""Generates whole batches to their natural ends, and keeps all that a token's distribution says."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from transformers_stopping.batches import Choose, Row, decode, greedy, pick, read
from transformers_stopping.detokenize import Detokenizer
from transformers_stopping.prompts import token_set


@dataclass(frozen=True, slots=True, eq=False)
class Recording:
    """One generation. Arrays hold a value a token; the end-of-sequence token is left out.

    Readings are of the model's own distribution, before temperature and before any processor.

    Args:
        ids: The tokens.
        tokens: The text of each; joined they are the decoded text.
        finish_reason: ``"stop"`` where the model ended, ``"length"`` at the cap.
        logprobs: Of the tokens, nats.  # (n,)
        top_logprobs: Of the most likely tokens, nats, falling; None for k = 0.  # (n, k)
        entropy: Over the whole vocabulary, nats.  # (n,)
        margin: Probability of the best token minus that of the second.  # (n,)
        end_probability: Of all tokens that end a text, together; None where there is none.  # (n,)
        seconds: When each token was there, after the batch had begun.  # (n,)
    """

    ids: tuple[int, ...]
    tokens: tuple[str, ...]
    finish_reason: str
    logprobs: NDArray[np.float32]
    top_logprobs: NDArray[np.float32] | None
    entropy: NDArray[np.float32]
    margin: NDArray[np.float32]
    end_probability: NDArray[np.float32] | None
    seconds: NDArray[np.float32]

    def columns(self) -> dict[str, Any]:
        """Its values by the names that a run of ``stopping_core.traces`` has for them."""
        return {name: getattr(self, name) for name in self.__slots__ if name != "ids"}


class Recorder:
    """Runs batches of prompts through a model, greedily or sampled, without logits processors.

    A batch begins with one pass over its prompts, padded on the left; prompts that are equal are
    read once. Rows that have ended leave the batch, and their keys and values with them. A row's
    tokens do not depend on its neighbours, save that sums in another order differ in their last
    digits: near a tie another token may win. The same batch gives the same tokens again.

    Args:
        model: A decoder-only model in evaluation mode, on any device.
        tokenizer: Its tokenizer.
        max_tokens: The cap of each run, >= 1.
        top_logprobs: How many of the largest logprobs to keep, in [0, vocabulary].
        temperature: 0.0 for greedy runs; else what the scores are divided by.
        threads: That compute, in this whole process. None leaves them as they are.

    Attributes:
        threads: That compute.
        ends: The tokens that end a run. Where there is none, all runs go on to the cap.

    Raises:
        ValueError: An argument is outside its interval, or the model is no decoder-only model.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        *,
        max_tokens: int,
        top_logprobs: int = 20,
        temperature: float = 0.0,
        threads: int | None = None,
    ) -> None:
        if max_tokens < 1:
            raise ValueError(f"max_tokens must be >= 1, got {max_tokens}")
        size = model.config.get_text_config(decoder=True).vocab_size
        if not 0 <= top_logprobs <= size:
            raise ValueError(f"top_logprobs must be in [0, {size}], got {top_logprobs}")
        if not 0.0 <= temperature < float("inf"):
            raise ValueError(f"temperature must be >= 0, got {temperature}")
        if model.config.is_encoder_decoder:
            raise ValueError(f"model must be decoder-only, got {type(model).__name__}")
        if threads is not None:
            torch.set_num_threads(threads)
        self.threads = torch.get_num_threads()
        self._model: Any = model
        self._tokenizer = tokenizer
        self._max_tokens = max_tokens
        self._top = top_logprobs
        self._temperature = temperature
        config = model.generation_config
        self.ends = token_set(None if config is None else config.eos_token_id)

    def check(self, name: str, prompt: Sequence[int], probe: int = 0) -> None:
        """Refuse a prompt that leaves no room for a whole run and a probe at its end.

        Args:
            name: Of the question, for the error.
            prompt: Its tokens.
            probe: The most tokens of a probe: the words that ask and the answer.

        Raises:
            ValueError: Prompt, cap and probe go beyond the model's context.
        """
        text = self._model.config.get_text_config(decoder=True)
        window = getattr(text, "max_position_embeddings", None)
        if window is not None and len(prompt) + self._max_tokens + probe > window:
            parts = f"{len(prompt)} tokens of prompt and {self._max_tokens} of answer"
            if probe:
                parts = parts.replace(" and", ",") + f" and {probe} of a probe"
            raise ValueError(
                f"question {name!r}: {parts} go beyond the model's context of {window}"
            )

    @torch.inference_mode()
    def record(
        self,
        prompts: Sequence[Sequence[int]],
        seeds: Sequence[int],
        watch: Callable[[int], None] = lambda tokens: None,
    ) -> list[Recording]:
        """Generate one batch to the end.

        Args:
            prompts: Tokens of each prompt, none empty.
            seeds: A seed for each, which alone decides how it is sampled; unused where greedy.
            watch: Called with the number of new tokens, after every step.

        Returns:
            A recording each, in order.
        """
        start = time.perf_counter()
        rows = [
            Row(Detokenizer(self._tokenizer, prompt), self.ends, self._max_tokens)
            for prompt in prompts
        ]
        places = {
            tuple(prompt): place for place, prompt in enumerate(dict.fromkeys(map(tuple, prompts)))
        }
        batch = read(self._model, list(places))
        if len(places) < len(prompts):
            batch.select([places[tuple(prompt)] for prompt in prompts])
        decode(
            batch,
            rows,
            self._sampler(seeds) if self._temperature else greedy,
            top=self._top,
            start=start,
            watch=watch,
        )
        return [self._recording(row) for row in rows]

    def _sampler(self, seeds: Sequence[int]) -> Choose:
        """Draws each row's tokens with a generator of its own."""
        draws = [np.random.default_rng(seed) for seed in seeds]

        def choose(logits: torch.Tensor, rows: Sequence[int]) -> torch.Tensor:
            return pick(logits.double() / self._temperature, [draws[row].random() for row in rows])

        return choose

    def _recording(self, row: Row) -> Recording:
        def column(name: str) -> NDArray[np.float32]:
            return np.array([getattr(one, name) for one in row.readings], np.float32)

        best = [one.top_logprobs or () for one in row.readings]
        return Recording(
            ids=tuple(row.ids),
            tokens=tuple(row.tokens),
            finish_reason=row.finish_reason,
            logprobs=column("logprob"),
            top_logprobs=np.array(best, np.float32).reshape(-1, self._top) if self._top else None,
            entropy=column("entropy"),
            margin=column("margin"),
            end_probability=column("end_probability") if self.ends else None,
            seconds=np.array(row.seconds, np.float32),
        )
