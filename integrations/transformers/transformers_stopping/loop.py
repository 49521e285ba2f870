"""The decoding loop, as a generator: a token is computed only when it is asked for.

``generate`` prepares everything as usual (logits processors, sampling settings, stopping
criteria, the cache) and then calls a decoding method of our own through its argument
``custom_generate``. That method is a generator, so that a caller who stops reading stops the
model, without threads: no token is computed beyond the last one read, and errors come out where
the caller is.

The loop mirrors the single-sequence case of transformers' own sampling loop, and uses two of its
methods that are not public; a test compares its tokens with theirs.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Any, NamedTuple

import torch
from transformers import (
    DynamicCache,
    GenerationConfig,
    MaxLengthCriteria,
    MaxTimeCriteria,
    StoppingCriteriaList,
)

from stopping_core import Step, Usage
from transformers_stopping.confidence import Confidence, confidence


class Token(NamedTuple):
    """One generated token.

    Args:
        id: Its number in the vocabulary.
        confidence: Of the model's own distribution, before logits processors and temperature.
        finish_reason: ``"stop"`` or ``"length"`` on the last token, else None.
    """

    id: int
    confidence: Confidence
    finish_reason: str | None

    def step(self, text: str, usage: Usage) -> Step:
        """The token as a session takes it.

        Args:
            text: What is certain with it.
            usage: Of the call so far.
        """
        return Step(
            text,
            **self.confidence._asdict(),
            finish_reason=self.finish_reason,
            usage=usage,
            raw=self.id,
        )


class Ending:
    """Says whether a call is over, and why.

    Args:
        criteria: As ``generate`` has prepared them.
        eos: Tokens that end the text.
    """

    def __init__(self, criteria: StoppingCriteriaList, eos: frozenset[int]) -> None:
        self._criteria, self._eos = criteria, eos
        self._limits = [c for c in criteria if isinstance(c, MaxLengthCriteria | MaxTimeCriteria)]

    def reason(self, input_ids: torch.Tensor) -> str | None:
        """``"stop"`` or ``"length"`` where the newest token is the last, else None.

        Args:
            input_ids: The text so far.  # (1, length)
        """
        if not bool(self._criteria(input_ids, None).all()):
            return None
        by_limit = any(bool(limit(input_ids, None).all()) for limit in self._limits)
        return "length" if by_limit and int(input_ids[0, -1]) not in self._eos else "stop"


class Loop:
    """One call of ``generate``, pulled token by token; pass :meth:`decode` as ``custom_generate``.

    Args:
        eos: Tokens that end the text.
        top_logprobs: How many of the largest logprobs to report, >= 0.
        sampler: Source of randomness where the call samples. None takes torch's global one.

    Attributes:
        cache: The keys and values of all tokens but the last one, once the first token is there.
            None where the model keeps none, or one that cannot grow in another call.
    """

    def __init__(
        self, eos: frozenset[int], top_logprobs: int, sampler: torch.Generator | None = None
    ) -> None:
        self.cache: DynamicCache | None = None
        self._eos = eos
        self._ends = torch.tensor(sorted(eos), dtype=torch.long)
        self._top = top_logprobs
        self._sampler = sampler

    def decode(
        self,
        model: Any,  # its class does not show the mixin that has the methods for generation
        input_ids: torch.Tensor,
        *,
        logits_processor: Callable[..., torch.Tensor],
        stopping_criteria: StoppingCriteriaList,
        generation_config: GenerationConfig,
        **model_kwargs: Any,
    ) -> Generator[Token, None, None]:
        """Yield the tokens that follow ``input_ids``, a row of shape (1, length)."""
        ending, reason = Ending(stopping_criteria, self._eos), None
        first = True
        while reason is None:
            # Gradients are a setting of the thread: never leave them off while the caller runs.
            with torch.no_grad():
                if first:
                    outputs = model._prefill(input_ids, generation_config, model_kwargs)
                else:
                    inputs = model.prepare_inputs_for_generation(
                        input_ids,
                        next_sequence_length=1 if model_kwargs["use_cache"] else None,
                        **model_kwargs,
                    )
                    outputs = model(**inputs, return_dict=True)
                first = False
                model_kwargs = model._update_model_kwargs_for_generation(outputs, model_kwargs)
                cache = model_kwargs.get("past_key_values")
                self.cache = cache if isinstance(cache, DynamicCache) else None
                logits = outputs.logits[:, -1].to(  # (1, vocabulary)
                    copy=True, dtype=torch.float32, device=input_ids.device
                )
                del outputs  # a long prompt's logits are large
                token = self._choose(logits_processor(input_ids, logits), generation_config)
                input_ids = torch.cat([input_ids, token[:, None]], dim=-1)
                reason = ending.reason(input_ids)
                reading = confidence(logits, token, self._top, self._ends)[0]
            yield Token(int(token), reading, reason)

    def _choose(self, scores: torch.Tensor, config: GenerationConfig) -> torch.Tensor:
        """Pick the next token.

        Args:
            scores: As the logits processors left them.  # (1, vocabulary)
            config: Says whether to sample.

        Returns:
            The token.  # (1,)
        """
        if not config.do_sample:
            return torch.argmax(scores, dim=-1)
        probabilities = torch.softmax(scores, dim=-1)
        return torch.multinomial(probabilities, 1, generator=self._sampler).squeeze(1)
