"""The calls of one request: what all have in common, and what each of them goes on with."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import Any

import torch
from transformers import (
    DynamicCache,
    GenerationConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    StoppingCriteriaList,
    StopStringCriteria,
)

from stopping_core import Call, Probe
from stopping_core.sampling import sampling_of
from transformers_stopping.probing import answer_here
from transformers_stopping.prompts import Prompt, RenderedPrompt, token_set
from transformers_stopping.runs import Run

_OWN = frozenset(
    {
        "assistant_model",
        "attention_mask",
        "custom_generate",
        "input_ids",
        "inputs",
        "inputs_embeds",
        "output_scores",
        "past_key_values",
        "return_dict_in_generate",
        "streamer",
        "tokenizer",
    }
)
_NO_SETTINGS = frozenset(
    {
        *("bos_token_id", "pad_token_id", "decoder_start_token_id", "transformers_version"),
        *("do_sample", "max_length", "use_cache", "cache_implementation", "cache_config"),
        *("return_dict_in_generate", "output_scores", "output_logits", "output_attentions"),
        *("output_hidden_states", "compile_config", "disable_compile", "_from_model_config"),
    }
)
"""Of a generation configuration: what decides nothing over the tokens, or is asked about apart."""
_RESAMPLE_TEMPERATURE = 0.7
_ONLY_SAMPLED = (
    *("temperature", "top_k", "top_p", "min_p", "top_h", "typical_p"),
    *("epsilon_cutoff", "eta_cutoff"),
)
"""Settings that decide nothing where the most likely token is taken."""


class Calls:
    """What all calls of a request have in common, and how each of them begins.

    Args:
        model: As of :class:`~transformers_stopping.TransformersBackend`, and so are the others.
        tokenizer: Its tokenizer.
        prompt: What it is asked.
        top_logprobs: How many of the largest logprobs each step reports, >= 0.
        generate_kwargs: For ``model.generate``.

    Attributes:
        config: As ``generate`` goes by; a ``max_length`` of the caller's is taken less the prompt.
        more: Keywords for ``generate`` beside it.
        sampling: Settings of the sampler, as a request names them.
        ends: Tokens that end a text.
        top: As ``top_logprobs``.

    Raises:
        ValueError: As of :class:`~transformers_stopping.TransformersBackend`.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        prompt: Prompt,
        *,
        top_logprobs: int = 20,
        **generate_kwargs: Any,
    ) -> None:
        if top_logprobs < 0:
            raise ValueError(f"top_logprobs must be >= 0, got {top_logprobs}")
        if model.config.is_encoder_decoder:
            raise ValueError(f"model must be decoder-only, got {type(model).__name__}")
        if taken := sorted(_OWN & generate_kwargs.keys()):
            raise ValueError(f"generate_kwargs must leave out {taken}: the backend sets them")
        given = generate_kwargs.pop("generation_config", None)
        by_caller = given is not None or "max_length" in generate_kwargs
        self.config = copy.deepcopy(given if given is not None else model.generation_config)
        self.more: dict[str, Any] = self.config.update(**generate_kwargs)
        for name in ("num_beams", "num_return_sequences"):
            if (getattr(self.config, name) or 1) != 1:
                raise ValueError(f"{name} must be 1, got {getattr(self.config, name)}")
        self.prompt = RenderedPrompt(tokenizer, prompt)
        if by_caller and self.config.max_length is not None:
            self._limit_length(self.config.max_length)
        self.sampling = sampling_of_config(self.config, model, self.more)
        self._criteria = list(self.more.pop("stopping_criteria", None) or ())
        if self.config.stop_strings:
            self._criteria.append(StopStringCriteria(tokenizer, self.config.stop_strings))
            self.config.stop_strings = None
        self.model: Any = model  # its class does not show the mixin that has ``generate``
        self.tokenizer = tokenizer
        self.top = top_logprobs
        self.ends = token_set(self.config.eos_token_id)

    def first(self) -> Run:
        """Begin a message."""
        return Run(self.tokenizer, self.prompt.ids)

    def turn(self, run: Run, call: Call) -> tuple[Run, str]:
        """Say what a call goes on with.

        Args:
            run: What was generated before; it may itself go on.
            call: As a session makes it.

        Returns:
            The run that is to be generated on, and what of its text comes first, billed already.
        """
        ahead = _ahead(run.text, call) if call.kind == "continue" else None
        if ahead is not None:
            run.reopen(self.ends)
            return run, ahead
        if call.words:
            return self._closed(run, call), ""
        return Run(self.tokenizer, self.prompt.encode(call.prefill), call.prefill), ""

    def prepare(self, run: Run, call: Call, decode: Callable[..., Any]) -> Any:
        """Let ``generate`` prepare a call and hand it to a decoding method.

        Args:
            run: What it goes on with.
            call: As a session makes it.
            decode: As of ``custom_generate``.

        Returns:
            What the decoding method does.
        """
        config = copy.deepcopy(self.config)
        if call.max_tokens is not None:
            config.max_new_tokens, config.max_length = call.max_tokens, None
        if config.min_new_tokens or run.ended:
            rest = (config.min_new_tokens or 0) - (len(run.ids) - run.start)
            least = max(rest, int(run.ended))
            config.min_new_tokens = min(least, config.max_new_tokens or least)
        if call.resample and not config.do_sample:
            config.do_sample, config.temperature = True, _RESAMPLE_TEMPERATURE
        if call.greedy and config.do_sample:
            config.update(do_sample=False, **dict.fromkeys(_ONLY_SAMPLED))
        if run.cache is not None:
            config.cache_implementation = None  # it has been made
        ids = torch.tensor([run.ids], device=self.model.device)  # (1, length)
        return self.model.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            generation_config=config,
            past_key_values=run.cache,
            stopping_criteria=StoppingCriteriaList(self._criteria),
            custom_generate=decode,
            **self.more,
        )

    def ask(
        self,
        run: Run,
        cache: DynamicCache | None,
        written: str,
        words: str,
        *,
        max_tokens: int,
        one_line: bool,
    ) -> Probe:
        """Ask what the model would answer now, greedily, whatever the settings of the sampler.

        Args:
            run: What is being generated.
            cache: Keys and values of its first tokens; it is left as it is.
            written: So much of the message.
            words: That ask.
            max_tokens: The most tokens of the answer, >= 1.
            one_line: Whether the answer ends with its line.

        Raises:
            ValueError: ``words`` are no token.
        """
        asking = self.prompt.tokens_of(words)
        if not asking:
            raise ValueError(f"words must hold at least one token, got {words!r}")
        ids = run.up_to(written)
        return answer_here(
            self.model,
            self.tokenizer,
            self.prompt.encode(written) if ids is None else ids,
            asking,
            None if ids is None else cache,
            max_tokens=max_tokens,
            one_line=one_line,
        )

    def _closed(self, run: Run, call: Call) -> Run:
        """Begin the answer behind reasoning of our own, whose tokens are kept as they are."""
        ids = run.up_to(call.prefill.removesuffix(call.words))
        if ids is None:
            return Run(self.tokenizer, self.prompt.encode(call.prefill), call.prefill)
        closed = Run(self.tokenizer, [*ids, *self.prompt.tokens_of(call.words)], call.prefill)
        closed.cache = run.cache
        return closed

    def _limit_length(self, length: int) -> None:
        room = length - len(self.prompt.ids)
        if room < 1:
            raise ValueError(
                f"max_length must be > {len(self.prompt.ids)}, the prompt's tokens, got {length}"
            )
        self.config.max_new_tokens = min(room, self.config.max_new_tokens or room)
        self.config.max_length = None


def sampling_of_config(
    config: GenerationConfig, model: PreTrainedModel, more: Mapping[str, Any]
) -> dict[str, Any]:
    """Name the settings of the sampler; without sampling the temperature is 0.

    Args:
        config: As ``generate`` goes by.
        model: What ends its text is no setting of a call.
        more: Keywords beside those of the configuration: processors, criteria.
    """
    changed = {
        name: value for name, value in config.to_diff_dict().items() if name not in _NO_SETTINGS
    }
    if token_set(config.eos_token_id) == token_set(model.generation_config.eos_token_id):
        changed.pop("eos_token_id", None)
    named = sampling_of({}, changed, {name: one for name, one in more.items() if one})
    named["temperature"] = (config.temperature or 1.0) if config.do_sample else 0.0
    return named


def _ahead(text: str, call: Call) -> str | None:
    """What follows the call's prefill in the text, or None where the text begins differently.

    The session gives reasoning back in its tags, and may space it otherwise than the model did.
    """
    head, prefix = call.prefill.removesuffix(call.prefix).rstrip(), call.prefix
    if head:
        opening, text = text.lstrip()[: len(head)], text.lstrip()[len(head) :].lstrip()
        if opening != head:
            return None
        prefix = prefix.lstrip()
    return text[len(prefix) :] if text.startswith(prefix) else None
