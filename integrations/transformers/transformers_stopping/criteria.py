"""A stopping criterion for ``model.generate``: each row stops when its answer is done."""

from __future__ import annotations

import copy
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
from transformers import (
    GenerationConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    StoppingCriteria,
)

from stopping_core import AdaptiveStopping, Completion, Ledger, Request, Session, Step, Usage
from stopping_core.auditing import check_prober
from transformers_stopping.calls import sampling_of_config
from transformers_stopping.confidence import UNKNOWN, Confidence, confidence
from transformers_stopping.detokenize import Detokenizer
from transformers_stopping.fingerprints import known_fingerprint
from transformers_stopping.loading import model_name
from transformers_stopping.prompts import token_set


class AdaptiveStoppingCriteria(StoppingCriteria):
    """Stops each row of a batch by itself, as soon as its answer is done.

    Works with greedy decoding, sampling, assisted decoding and beams, with padding on the left,
    and for one ``generate`` after another. ``generate`` returns sequences that hold the token at
    which a row was stopped, and padding after it; :attr:`completions` has the trimmed texts.

    It can only stop. An answer that is not complete is marked as such and not continued, and of
    the budget, the attempts and the waits in ``stopping`` nothing is used: ``generate`` has its own
    limits, and :func:`transformers_stopping.generate` the whole loop.

    With beams a row is a hypothesis, and the rows are sorted anew at each step. A hypothesis that
    is stopped counts as finished and competes with the others by its score. The completions then
    are those of the last step's candidates, and hooks are told about every hypothesis that ended;
    read the texts from what ``generate`` returns, or use ``AdaptiveBeamSearch``.

    Readings of confidence need ``return_dict_in_generate=True, output_scores=True``, and are those
    of the scores after the logits processors. Without, or with beams, there are none.

    A run is over when all rows have ended, when :attr:`completions` were read, or when a shorter or
    another prompt comes; else call :meth:`reset` between two runs.

    Args:
        tokenizer: The model's tokenizer.
        stopping: When to stop. In the modes ``shadow`` and ``off`` no row is ever stopped.
        prompt_length: Width of the prompt, padding included, tokens. None infers it from the first
            call, which holds one token more; assisted decoding needs it said. A prompt that is
            given as ``inputs_embeds`` is not seen here, and its length not known.
        requests: What is known about the requests: one for all rows, or one for each prompt. What
            they leave open of prompt, model and sampling is filled in.
        max_new_tokens: As given to ``generate``, where an estimate is wanted of what a stop saved.
        eos_token_id: Tokens that end a row. None takes those of ``generation_config``, or else the
            tokenizer's.
        generation_config: As ``generate`` goes by. None takes ``model``'s own: a model may have
            more ends, and another token to pad with, than its tokenizer knows.
        model: The model, for a ``stopping`` with a certificate: requests are held against it by
            name, weights and sampling. Keywords given to ``generate`` beside its configuration are
            not seen here.
        top_logprobs: How many of the largest logprobs the policy may read, >= 0.
        clock: Seconds, monotonic.

    Raises:
        ValueError: A number is out of its interval, a certificate lacks what it is held against, or
            a policy probes.
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        stopping: AdaptiveStopping,
        prompt_length: int | None = None,
        *,
        requests: Request | Sequence[Request] | None = None,
        max_new_tokens: int | None = None,
        eos_token_id: int | Sequence[int] | None = None,
        generation_config: GenerationConfig | None = None,
        model: PreTrainedModel | None = None,
        top_logprobs: int = 20,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        for name, value, least in (
            ("prompt_length", prompt_length, 1),
            ("max_new_tokens", max_new_tokens, 1),
            ("top_logprobs", top_logprobs, 0),
        ):
            if value is not None and value < least:
                raise ValueError(f"{name} must be >= {least}, got {value}")
        for needed, given in (("model", model), ("max_new_tokens", max_new_tokens)):
            if stopping.certificate is not None and stopping.mode != "off" and given is None:
                raise ValueError(f"{needed} must be given for a certificate, got None")
        check_prober(stopping, None)
        self.stopping = stopping
        self._tokenizer = tokenizer
        self._given_length = prompt_length
        self._requests = requests
        self._limit = max_new_tokens
        self._top = top_logprobs
        self._clock = clock
        generation_config = generation_config or getattr(model, "generation_config", None)
        self._known = Request()
        if model is not None and stopping.certificate is not None:
            self._known = Request(
                model=model_name(model),
                model_fingerprint=known_fingerprint(model, tokenizer),
                sampling=sampling_of_config(
                    generation_config or model.generation_config, model, {}
                ),
            )
        eos_of_model = getattr(generation_config, "eos_token_id", None)
        pad_of_model = getattr(generation_config, "pad_token_id", None)
        eos = next(
            (token_set(e) for e in (eos_token_id, eos_of_model) if e is not None),
            token_set(tokenizer.eos_token_id),
        )
        own = token_set(tokenizer.pad_token_id)
        pad = own or token_set(pad_of_model)
        ends = dict.fromkeys(own | token_set(pad_of_model), 0)
        self._ends = {**ends, **dict.fromkeys(eos, 1)}  # tokens each one counts
        self._eos = torch.tensor(sorted(eos), dtype=torch.long)
        self._pad = pad
        self._rows: list[JudgedRow] = []
        self._over = True
        self.reset()

    def reset(self, prompt_length: int | None = None) -> None:
        """End the run; the next call begins another.

        Args:
            prompt_length: Of the next run, tokens. None leaves it as it was set.
        """
        self._end_run()
        self._given_length = prompt_length or self._given_length
        self._seen = torch.empty(0, 0, dtype=torch.long)  # (rows, length)

    @property
    def completions(self) -> tuple[Completion, ...]:
        """What came of each row; read it after ``generate``, for reading ends the run."""
        self._end_run()
        return tuple(row.completion for row in self._rows)

    def __call__(
        self,
        input_ids: torch.Tensor,
        scores: tuple[torch.Tensor, ...] | torch.Tensor | None = None,
        **kwargs: Any,
    ) -> torch.Tensor:
        """Take the newest token of each row.

        Args:
            input_ids: Prompts and answers so far.  # (rows, length)
            scores: One tensor a generated token, or None.  # each (rows, vocabulary)
            kwargs: Not used.

        Returns:
            Whether each row has ended.  # (rows,), bool
        """
        now = self._clock()
        if self._is_new_run(input_ids):
            self._begin(input_ids, now)
        seen = self._seen.shape[1]
        if not torch.equal(input_ids[:, :seen], self._seen):
            moved = (input_ids[:, :seen] != self._seen).any(dim=1)
            for index in moved.nonzero().flatten().tolist():
                row = self._rows[index] = self._row(input_ids, index)
                for token in input_ids[index, self._width : seen].tolist():
                    row.take(token, UNKNOWN, now)
        readings = self._readings(input_ids, scores)
        for step, column in enumerate(input_ids[:, seen:].T.tolist()):
            for index, token in enumerate(column):
                self._rows[index].take(token, readings[index] if step == 0 else UNKNOWN, now)
        self._seen = input_ids.clone()
        done = [row.done for row in self._rows]
        self._over = all(done)
        return torch.tensor(done, dtype=torch.bool, device=input_ids.device)

    def _is_new_run(self, input_ids: torch.Tensor) -> bool:
        rows, length = self._seen.shape
        return (
            self._over
            or input_ids.shape[0] != rows
            or input_ids.shape[1] <= length
            or input_ids.device != self._seen.device
            or (self._width == 0 and input_ids.shape[1] != length + 1)
            or not torch.equal(input_ids[:, : self._width], self._seen[:, : self._width])
        )

    def _begin(self, input_ids: torch.Tensor, now: float) -> None:
        self._end_run()
        length = input_ids.shape[1]
        self._width = (self._given_length or length - 1) if length > 1 else 0  # 0: inputs_embeds
        if self._width >= length:
            raise ValueError(f"prompt_length must be in (0, {length}), got {self._width}")
        self._start = now
        self._over = False
        self._seen = input_ids[:, : self._width].clone()
        self._rows = [self._row(input_ids, index) for index in range(input_ids.shape[0])]

    def _end_run(self) -> None:
        if not self._over:
            now = self._clock()
            for row in self._rows:
                row.end("length", now)
        self._over = True

    def _row(self, input_ids: torch.Tensor, index: int) -> JudgedRow:
        """Begin a row anew, at the end of its prompt."""
        prompt = input_ids[index, : self._width].tolist()
        while len(prompt) > 1 and prompt[0] in self._pad:
            del prompt[0]
        given = self._requests
        if isinstance(given, Request):
            request = given
        elif given is not None:
            rows = input_ids.shape[0]
            if not given or rows % len(given):
                raise ValueError(f"requests must be one for each of {rows} rows, got {len(given)}")
            request = given[index * len(given) // rows]
        else:
            request = Request()
        # A certificate knows the prompt by what stands around it, special tokens too.
        bare = self.stopping.certificate is None
        request = replace(
            request,
            prompt=request.prompt or str(self._tokenizer.decode(prompt, skip_special_tokens=bare)),
            prompt_tokens=request.prompt_tokens or len(prompt) or None,
            model=request.model or self._known.model,
            model_fingerprint=request.model_fingerprint or self._known.model_fingerprint,
            sampling=request.sampling or self._known.sampling,
        )
        return JudgedRow(
            self.stopping,
            request,
            detokenizer=Detokenizer(self._tokenizer, prompt),
            ends=self._ends,
            prompt_tokens=len(prompt),
            limit=self._limit,
            now=self._start,
        )

    def _readings(
        self, input_ids: torch.Tensor, scores: tuple[torch.Tensor, ...] | torch.Tensor | None
    ) -> list[Confidence]:
        """The confidence in each row's newest token, where the scores are those of the rows."""
        rows, length = input_ids.shape
        newest = scores if isinstance(scores, torch.Tensor) else scores[-1] if scores else None
        single = length == self._seen.shape[1] + 1
        if newest is None or not single or newest.ndim != 2 or newest.shape[0] != rows:
            return [UNKNOWN] * rows
        tokens = input_ids[:, -1].to(newest.device)
        return confidence(newest, tokens, self._top, self._eos)


class JudgedRow:
    """One row's session: a single call, which only the policy or ``generate`` ends."""

    def __init__(
        self,
        stopping: AdaptiveStopping,
        request: Request,
        *,
        detokenizer: Detokenizer,
        ends: dict[int, int],
        prompt_tokens: int,
        limit: int | None,
        now: float,
    ) -> None:
        def budget(request: Request, ledger: Ledger) -> int:
            return limit if limit is not None else sys.maxsize

        self.done = False
        self._limited = limit is not None
        self._session = Session(stopping.replace(attempts=1, budget=budget), request)
        self._most = self._session.next_call(now).max_tokens
        self._hooks = stopping.hooks
        self._detokenizer = detokenizer
        self._ends = ends
        self._prompt_tokens = prompt_tokens
        self._tokens = 0

    def take(self, token: int, reading: Confidence, now: float) -> None:
        """Take the next token, unless the row has ended."""
        if self.done:
            return
        counts = self._ends.get(token)
        if counts is not None:
            self._tokens += counts
            self.end("stop", now, counts)
            return
        self._tokens += 1
        step = Step(
            self._detokenizer.push(token),
            logprob=reading.logprob,
            top_logprobs=reading.top_logprobs,
            entropy=reading.entropy,
            margin=reading.margin,
            end_probability=reading.end_probability,
            usage=self._usage(),
            raw=token,
        )
        if self._session.feed(step, now).stop:
            self._close(now)
        elif self._most is not None and self._tokens >= self._most:
            self.end("length", now)

    def end(self, reason: str, now: float, tokens: int = 0) -> None:
        """Take the end of the row, for another reason than the policy's."""
        if not self.done:
            rest = self._detokenizer.finish() if reason == "stop" else ""
            step = Step(rest, tokens=tokens, finish_reason=reason, usage=self._usage())
            self._session.feed(step, now)
            self._close(now)

    @property
    def completion(self) -> Completion:
        """What came of the row. Without a known limit nothing can be said of what was saved."""
        made = self._session.completion
        if self._limited:
            return made
        attempts = tuple(replace(a, budget=None, avoided=0) for a in made.attempts)
        return replace(made, attempts=attempts, usage=replace(made.usage, avoided=0))

    @property
    def request(self) -> Request:
        """What the row was asked."""
        return self._session.request

    def fork(self, *shared: object) -> JudgedRow:
        """Copy the row as it is, but for the settings, the request and what else is shared."""
        kept = (self._session.stopping, self._session.request, *shared)
        return copy.deepcopy(self, {id(one): one for one in kept})

    def _close(self, now: float) -> None:
        self._session.end(now)
        self.done = True
        for hook in self._hooks:
            hook(self._session.request, self.completion)

    def _usage(self) -> Usage:
        return Usage(prompt=self._prompt_tokens, generated=self._tokens, estimated=False)
