"""A local model as the core's backend: pulled token by token, continued from its own cache."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from typing import Any

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from stopping_core import Call, Probe, Step, Usage
from transformers_stopping.calls import Calls
from transformers_stopping.loop import Loop, Token
from transformers_stopping.prompts import Prompt
from transformers_stopping.runs import Run


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
        calls: What all calls have in common.
        prompt: As the model reads it.
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
        self.calls = Calls(model, tokenizer, prompt, top_logprobs=top_logprobs, **generate_kwargs)
        self.prompt, self.sampling = self.calls.prompt, self.calls.sampling
        self._seed = seed
        self._run = self.calls.first()

    @property
    def token_ids(self) -> tuple[int, ...]:
        """What was generated for the answer as it stands, an end token included."""
        return tuple(self._run.ids[self._run.start :])

    def __call__(self, call: Call) -> Generator[Step, None, None]:
        """Make one call. A backend makes one call at a time."""
        run, ahead = self.calls.turn(self._run, call)
        self._run = run
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
        run = self._run
        return self.calls.ask(
            run, run.cache, written, words, max_tokens=max_tokens, one_line=one_line
        )

    def _steps(self, run: Run, call: Call) -> Iterator[Step]:
        known = run.cached()
        read = len(run.ids) - known
        sampler = None
        if call.resample:
            device = self.calls.model.device
            sampler = torch.Generator(device).manual_seed(self._seed + call.attempt)
        loop = Loop(self.calls.ends, self.calls.top, sampler)
        tokens: Iterator[Token] = self.calls.prepare(run, call, loop.decode)
        for generated, token in enumerate(tokens, start=1):
            run.cache = loop.cache
            usage = Usage(prompt=read, generated=generated, estimated=False)
            yield token.step(run.add(token), usage)
