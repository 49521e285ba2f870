"""Beam search that ends as soon as no hypothesis under way can overtake the ones it returns.

``generate`` prepares everything as usual and runs transformers' own beam search, handed over by its
argument ``custom_generate``. The search then asks us when it is over, by a method of the model that
is not public, and lets us see scores and candidates; a test compares all that it returns.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from transformers import (
    MaxLengthCriteria,
    MaxTimeCriteria,
    PreTrainedTokenizerBase,
    StoppingCriteriaList,
)

from stopping_core import AdaptiveStopping, Completion, Request
from stopping_core.auditing import check_prober
from transformers_stopping.criteria import JudgedRow
from transformers_stopping.detokenize import Detokenizer
from transformers_stopping.hypotheses import Hypotheses
from transformers_stopping.prompts import token_set


def best_to_come(sums: torch.Tensor, tokens: int, most: int, penalty: float) -> torch.Tensor:
    """The best score with which hypotheses under way can still end.

    A score is the sum of the logprobs over the number of tokens to the power of the penalty, and a
    sum only falls. So above a penalty of 0 nothing is better than to fill all the room with certain
    tokens, and at 0 or below nothing is better than to end with the next one.

    Args:
        sums: Of the logprobs so far, nats, <= 0.
        tokens: How many each hypothesis holds.
        most: How many it may hold.
        penalty: The ``length_penalty`` of ``generate``.

    Returns:
        An upper bound, reached only where all tokens to come are certain.  # as ``sums``
    """
    return torch.div(sums, (most if penalty > 0 else tokens + 1) ** penalty)


@dataclass(frozen=True, slots=True)
class BeamSearchResult:
    """What the search for one prompt found, and what it took.

    Args:
        completions: Of the returned sequences, best first. The first is booked all tokens that were
            computed for the prompt, forward steps times beams; the others their own.
        scores: Of the completions, normalised by length.
        settled: Forward steps after which nothing could overtake the completions any more. None
            where none was left to do so: at ``max_length``, or by another criterion.
        steps: Forward steps of the whole batch. The first reads the prompts.
    """

    completions: tuple[Completion, ...]
    scores: tuple[float, ...]
    settled: int | None
    steps: int


class AdaptiveBeamSearch:
    """Beam search for ``model.generate(custom_generate=...)`` that ends when its best is certain.

    A hypothesis is finished when it ends by itself, or when the policy says that its answer is
    done; it then competes by its score. The search for a prompt is over as soon as as many are
    finished as are to be returned, and :func:`best_to_come` of all others is worse. That is exact:
    where the policy cuts nothing, as in the modes ``shadow`` and ``off``, ``generate`` returns what
    it does with ``early_stopping="never"``, only sooner, as that waits for ``num_beams`` finished
    hypotheses and compares with the worst of them. ``early_stopping`` is not looked at here.

    Each prompt of a batch is judged by itself, but all rows are computed until the last has ended.
    With ``num_return_sequences=n`` the n best are certain, which takes longer than one.

    As with ``AdaptiveStoppingCriteria`` nothing is continued, and budget, attempts and audits are
    not used. Each hypothesis has a session of its own, and where several go on from one, it is
    copied, in 1.5 ms: about once in two steps of a small model. Mode ``off`` needs no copies.

    A logits processor that makes a score positive, as biases, guidance and watermarks can, is
    refused when it does.

    Args:
        tokenizer: The model's tokenizer.
        stopping: When a hypothesis is done. Hooks are told of each prompt's best completion.
        requests: What is known about the requests: one for all prompts, or one for each. What they
            leave open of the prompt is filled in; what an encoder reads is not seen here.
        top_logprobs: How many of the largest logprobs the policy may read, >= 0. Readings are of
            the scores after the logits processors.
        clock: Seconds, monotonic.

    Attributes:
        results: Of the last run, one for each prompt.

    Raises:
        ValueError: A number is out of its interval, the policy probes, or there is a certificate:
            none holds for beams.
        TypeError: ``stopping`` is none.

    Examples:
        >>> search = AdaptiveBeamSearch(tokenizer, AdaptiveStopping())  # doctest: +SKIP
        >>> model.generate(**inputs, num_beams=4, custom_generate=search)  # doctest: +SKIP
        >>> search.results[0].completions[0].text  # doctest: +SKIP
        'Paris.'
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        stopping: AdaptiveStopping,
        *,
        requests: Request | Sequence[Request] | None = None,
        top_logprobs: int = 20,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if top_logprobs < 0:
            raise ValueError(f"top_logprobs must be >= 0, got {top_logprobs}")
        if not isinstance(stopping, AdaptiveStopping):
            raise TypeError(f"stopping must be an AdaptiveStopping, got {type(stopping).__name__}")
        if stopping.certificate is not None and stopping.mode != "off":
            raise ValueError("certificate must be None, as none holds for beams")
        check_prober(stopping, None)
        self.stopping = stopping
        self.results: tuple[BeamSearchResult, ...] = ()
        self._tokenizer = tokenizer
        self._top = top_logprobs
        self._clock = clock
        self._requests = requests

    def __call__(
        self,
        model: Any,  # its class does not show the mixin that has the methods for generation
        input_ids: torch.Tensor,
        *,
        logits_processor: Callable[..., torch.Tensor],
        stopping_criteria: StoppingCriteriaList,
        generation_config: Any,
        **model_kwargs: Any,
    ) -> Any:
        """Search; ``generate`` calls this with everything prepared.

        Raises:
            ValueError: No plain beam search, not a request for each prompt, or a positive score.
        """
        mode = generation_config.get_generation_mode().value
        if mode != "beam_search":
            raise ValueError(
                "custom_generate must be given to a plain beam search: num_beams >= 2, and neither "
                f"sampling nor groups nor constraints, got {mode}"
            )
        config = copy.copy(generation_config)
        config.early_stopping = "never"
        rows = self._rows(input_ids[:: config.num_beams], config)
        hypotheses = Hypotheses(
            rows,
            self._tokenizer,
            beams=config.num_beams,
            width=input_ids.shape[1],
            ends=config._eos_token_tensor,
            top=self._top,
            judges=self.stopping.mode != "off",
            clock=self._clock,
        )
        search = _Search(
            model, hypotheses, logits_processor, stopping_criteria, config.num_return_sequences
        )
        made = type(model)._beam_search(
            search,
            input_ids,
            logits_processor=search.process,
            stopping_criteria=search.judge,
            generation_config=config,
            **model_kwargs,
        )
        sequences = made if isinstance(made, torch.Tensor) else made.sequences
        self.results = tuple(
            BeamSearchResult(
                completions=(_billed(best, search.steps * config.num_beams), *others),
                scores=tuple(search.scores[prompt]),
                settled=search.settled.get(prompt),
                steps=search.steps,
            )
            for prompt, (best, *others) in enumerate(hypotheses.completions(sequences))
        )
        for row, result in zip(rows, self.results, strict=True):
            for hook in self.stopping.hooks:
                hook(row.request, result.completions[0])
        return made

    def _rows(self, prompts: torch.Tensor, config: Any) -> list[JudgedRow]:
        """Begin a hypothesis for each prompt."""
        given = Request() if self._requests is None else self._requests
        requests = [given] * len(prompts) if isinstance(given, Request) else given
        if len(requests) != len(prompts):
            raise ValueError(
                f"requests must be one for each of {len(prompts)} prompts, got {len(requests)}"
            )
        pad = token_set(config.pad_token_id)
        rows = []
        for request, ids in zip(requests, prompts.tolist(), strict=True):
            while len(ids) > 1 and ids[0] in pad:
                del ids[0]
            text = str(self._tokenizer.decode(ids, skip_special_tokens=True))
            count = request.prompt_tokens or len(ids)
            row = JudgedRow(
                self.stopping.replace(hooks=(), audit=0.0),
                replace(request, prompt=request.prompt or text, prompt_tokens=count or None),
                detokenizer=Detokenizer(self._tokenizer, ids),
                ends=dict.fromkeys(token_set(config.eos_token_id), 1),
                prompt_tokens=count,
                limit=None,
                now=self._clock(),
            )
            rows.append(row)
        return rows


class _Search:
    """The model as its own beam search sees it: all of it, but for the rule that ends a search."""

    def __init__(
        self,
        model: Any,
        hypotheses: Hypotheses,
        processor: Callable[..., torch.Tensor],
        criteria: StoppingCriteriaList,
        returned: int,
    ) -> None:
        self.steps = 0
        self.settled: dict[int, int] = {}  # steps, of each prompt that is
        self.scores: list[list[float]] = []  # of the best that are finished, for each prompt
        self._model = model
        self._hypotheses = hypotheses
        self._processor = processor
        self._criteria = criteria
        limits = (c for c in criteria if isinstance(c, MaxLengthCriteria | MaxTimeCriteria))
        self._limits = StoppingCriteriaList(limits)
        self._returned = returned

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)

    def __call__(self, **inputs: Any) -> Any:
        return self._model(**inputs)

    def process(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Process the scores of the next tokens, and keep them to read the confidence from.

        Raises:
            ValueError: One is positive: a sum could rise.
        """
        logprobs = self._processor(input_ids, scores)  # (prompts * beams, vocabulary)
        if (logprobs > 0).any():
            raise ValueError(
                "scores must be <= 0 after the logits processors, as else any hypothesis could "
                f"overtake the others, got {float(logprobs.max())}"
            )
        self.steps += 1
        self._hypotheses.score(input_ids, logprobs)
        return logprobs

    def judge(
        self, input_ids: torch.Tensor, scores: tuple[torch.Tensor, ...] | None
    ) -> torch.Tensor:
        """Say which candidates for the next step have ended, by themselves or by the policy."""
        ended = self._criteria(input_ids, scores)  # (candidates,)
        limited = self._limits(input_ids, scores).tolist()
        over = self._hypotheses.judge(input_ids, ended.tolist(), limited, self.settled)
        self._over = torch.tensor(over, device=ended.device)
        return self._over

    def _check_early_stop_heuristic(
        self,
        is_early_stop_heuristic_unsatisfied: torch.Tensor,
        running_beam_scores: torch.Tensor,
        beam_scores: torch.Tensor,
        is_sent_finished: torch.Tensor,
        cur_len: int,
        max_length: int,
        decoder_prompt_len: int,
        length_penalty: float,
        **_: Any,
    ) -> torch.Tensor:
        """Say which prompts can still be answered better; transformers asks after each step."""
        tokens, most = cur_len - decoder_prompt_len, max_length - decoder_prompt_len
        hope = best_to_come(running_beam_scores[:, 0], tokens, most, length_penalty)  # (prompts,)
        finished = is_sent_finished[:, : self._returned].all(dim=1)
        certain = finished & (hope < beam_scores[:, self._returned - 1])
        left = ~self._over.view(len(certain), -1).all(dim=1)
        for prompt in (certain & left).nonzero().flatten().tolist():
            self.settled.setdefault(prompt, self.steps)
        self.scores = beam_scores[:, : self._returned].tolist()
        return is_early_stop_heuristic_unsatisfied & ~certain[:, None]


def _billed(completion: Completion, computed: int) -> Completion:
    """Book all tokens that were computed; most of them were not returned."""
    (attempt,) = completion.attempts
    lost = computed - attempt.generated
    return replace(
        completion,
        usage=replace(completion.usage, generated=computed, discarded=lost),
        attempts=(replace(attempt, generated=computed, discarded=lost),),
    )
