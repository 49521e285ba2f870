"""A local model as the core's backend: pulled token by token, continued from its own cache."""

from __future__ import annotations

import copy
from collections.abc import Generator, Iterator, Mapping
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

from stopping_core import Call, Probe, Step, Usage
from stopping_core.sampling import sampling_of
from transformers_stopping.detokenize import Detokenizer
from transformers_stopping.loop import Loop, Token
from transformers_stopping.probing import answer_here
from transformers_stopping.prompts import Prompt, RenderedPrompt, token_set

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


class TransformersBackend:
    """Makes the calls of one request with ``model.generate``.

    Each call is a generator of steps, one a token. Nothing runs between two steps and there are no
    threads: a caller who stops reading, or closes the generator, stops the model at that token.
    Sampling settings, logits processors and stopping criteria are those of ``generate``.

    A continuation of what this backend itself generated goes on from the exact tokens and the keys
    and values in memory, so that a greedy answer equals the uninterrupted one token for token. What
    the model had generated beyond the prefix comes first, as a step without tokens: it is billed
    already. Any other prefix is tokenised anew and read by the model from the start.

    Every step carries the count of tokens so far as its usage, exact wherever the stream is cut;
    the prompt's part counts the tokens that the model really read in this call.

    Not supported: encoder-decoder models, beams, assisted generation, several sequences a call.

    Args:
        model: A decoder-only model, on any device.
        tokenizer: Its tokenizer.
        prompt: A text as it is, or messages for the chat template.
        top_logprobs: How many of the largest logprobs each step reports, >= 0.
        seed: For calls that the session wants sampled anew; each attempt derives its own from it.
        generate_kwargs: As for ``model.generate``: ``max_new_tokens``, ``do_sample``,
            ``generation_config`` and so on. A call's own limit on tokens goes before theirs. A
            ``max_length`` is taken less the prompt; the lesser of it and ``max_new_tokens`` holds.

    Attributes:
        sampling: Settings of the sampler, as the session's request names them.

    Raises:
        ValueError: The prompt is empty or neither a text nor messages, or leaves no room below
            ``max_length``; an argument is one that this class sets itself; or what is asked for is
            not supported.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        prompt: Prompt,
        *,
        top_logprobs: int = 20,
        seed: int = 0,
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
        self._model_kwargs: dict[str, Any] = self.config.update(**generate_kwargs)
        for name in ("num_beams", "num_return_sequences"):
            if (getattr(self.config, name) or 1) != 1:
                raise ValueError(f"{name} must be 1, got {getattr(self.config, name)}")
        self.prompt = RenderedPrompt(tokenizer, prompt)
        if by_caller and self.config.max_length is not None:
            self._limit_length(self.config.max_length)
        self.sampling = sampling_of_config(self.config, model, self._model_kwargs)
        self._criteria = list(self._model_kwargs.pop("stopping_criteria", None) or ())
        if self.config.stop_strings:
            self._criteria.append(StopStringCriteria(tokenizer, self.config.stop_strings))
            self.config.stop_strings = None
        self._model: Any = model  # its class does not show the mixin that has ``generate``
        self._tokenizer = tokenizer
        self._top = top_logprobs
        self._seed = seed
        self._run = _Run(tokenizer, self.prompt.ids)
        self._eos = token_set(self.config.eos_token_id)

    @property
    def token_ids(self) -> tuple[int, ...]:
        """What was generated for the answer as it stands, an end token included."""
        return tuple(self._run.ids[self._run.start :])

    def __call__(self, call: Call) -> Generator[Step, None, None]:
        """Make one call. A backend makes one call at a time."""
        run = self._run
        ahead = _ahead(run.text, call) if call.kind == "continue" else None
        if ahead is not None:
            run.reopen(self._eos)
        elif call.words:
            run = self._run = self._closed(call)
        else:
            run = self._run = _Run(self._tokenizer, self.prompt.encode(call.prefill), call.prefill)
        if ahead:
            yield Step(ahead, tokens=0)
        try:
            yield from self._steps(run, call)
        except GeneratorExit:  # closed between two passes
            raise
        except BaseException:
            run.cache = None  # a forward pass that broke off leaves it half written
            raise

    def probe(self, written: str, words: str, /, *, max_tokens: int, one_line: bool) -> Probe:
        """Ask what the model would answer now: a :class:`~stopping_core.protocols.Prober`.

        Greedily, whatever the settings of the sampler. The call that is under way goes on as if
        nothing had been asked.

        Raises:
            ValueError: ``words`` are no token.
        """
        asking = self.prompt.tokens_of(words)
        if not asking:
            raise ValueError(f"words must hold at least one token, got {words!r}")
        run = self._run
        ids = run.up_to(written)
        return answer_here(
            self._model,
            self._tokenizer,
            self.prompt.encode(written) if ids is None else ids,
            asking,
            None if ids is None else run.cache,
            max_tokens=max_tokens,
            one_line=one_line,
        )

    def _closed(self, call: Call) -> _Run:
        """Begin the answer behind reasoning of our own, whose tokens are kept as they are."""
        run = self._run
        ids = run.up_to(call.prefill.removesuffix(call.words))
        if ids is None:
            return _Run(self._tokenizer, self.prompt.encode(call.prefill), call.prefill)
        closed = _Run(self._tokenizer, [*ids, *self.prompt.tokens_of(call.words)], call.prefill)
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

    def _steps(self, run: _Run, call: Call) -> Iterator[Step]:
        known = run.cached()
        read = len(run.ids) - known
        sampler = None
        if call.resample:
            sampler = torch.Generator(self._model.device).manual_seed(self._seed + call.attempt)
        loop = Loop(self._eos, self._top, sampler)
        for generated, token in enumerate(self._generate(loop, run, call), start=1):
            run.cache = loop.cache
            text = run.add(token)
            reading = token.confidence
            yield Step(
                text,
                logprob=reading.logprob,
                top_logprobs=reading.top_logprobs,
                entropy=reading.entropy,
                margin=reading.margin,
                end_probability=reading.end_probability,
                finish_reason=token.finish_reason,
                usage=Usage(prompt=read, generated=generated, estimated=False),
                raw=token.id,
            )

    def _generate(self, loop: Loop, run: _Run, call: Call) -> Iterator[Token]:
        config = copy.deepcopy(self.config)
        if call.max_tokens is not None:
            config.max_new_tokens, config.max_length = call.max_tokens, None
        if config.min_new_tokens or run.ended:
            rest = (config.min_new_tokens or 0) - (len(run.ids) - run.start)
            least = max(rest, int(run.ended))
            config.min_new_tokens = min(least, config.max_new_tokens or least)
        if call.resample and not config.do_sample:
            config.do_sample, config.temperature = True, _RESAMPLE_TEMPERATURE
        if run.cache is not None:
            config.cache_implementation = None  # it has been made
        ids = torch.tensor([run.ids], device=self._model.device)  # (1, length)
        tokens: Iterator[Token] = self._model.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            generation_config=config,
            past_key_values=run.cache,
            stopping_criteria=StoppingCriteriaList(self._criteria),
            custom_generate=loop.decode,
            **self._model_kwargs,
        )
        return tokens


class _Run:
    """The tokens of an answer, their text, and the keys and values that belong to them.

    Args:
        tokenizer: For the text.
        ids: The prompt, with what there is of the message.
        begun: That as text.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, ids: list[int], begun: str = "") -> None:
        self.ids = list(ids)
        self._begun = begun
        self.start = len(ids)
        self.cache: DynamicCache | None = None
        self.ended = False
        self._detokenizer = Detokenizer(tokenizer, ids)
        self._pieces: list[str] = []

    @property
    def text(self) -> str:
        """What was given out."""
        return "".join(self._pieces)

    def up_to(self, written: str) -> list[int] | None:
        """The prompt and the fewest tokens that hold so much of the message; None where it differs.

        The session gives reasoning back without the white space before its tag.
        """
        text = self._begun + self.text
        blank = len(text) - len(text.lstrip())
        if not text[blank:].startswith(written.lstrip()):
            return None
        missing = blank + len(written.lstrip()) - len(self._begun)
        if missing < 0:
            return None
        for count, piece in enumerate(self._pieces):
            if missing <= 0:
                return self.ids[: self.start + count]
            missing -= len(piece)
        return list(self.ids)

    def add(self, token: Token) -> str:
        """Append a token; return the text that is now certain."""
        self.ids.append(token.id)
        piece = self._detokenizer.push(token.id)
        if token.finish_reason == "stop":
            piece += self._detokenizer.finish()
        self._pieces.append(piece)
        return piece

    def reopen(self, eos: frozenset[int]) -> None:
        """Make ready to go on, over the end token where the model had set one."""
        self.ended = len(self.ids) > self.start and self.ids[-1] in eos
        if self.ended:
            self.ids.pop()

    def cached(self) -> int:
        """How many of the tokens the cache holds; drops those that go beyond the last but one."""
        if self.cache is None:
            return 0
        surplus = self.cache.get_seq_length() - (len(self.ids) - 1)
        if surplus > 0:
            try:
                if not self.cache.is_croppable:
                    raise RuntimeError("recurrent states cannot be taken back")
                self.cache.crop(-surplus)
            except RuntimeError:  # nor can a sliding window that is full: read it all again
                self.cache = None
                return 0
        return len(self.ids) - 1


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
