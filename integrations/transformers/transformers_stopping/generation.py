"""The whole cut, check and continue loop over a local model."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import replace
from typing import Any

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from stopping_core import AdaptiveStopping, Completion, Emission, Request, Session
from stopping_core import run as run_session
from stopping_core import stream as stream_session
from stopping_core.auditing import wants_steps
from transformers_stopping.backend import TransformersBackend
from transformers_stopping.calls import Calls
from transformers_stopping.fingerprints import known_fingerprint
from transformers_stopping.loading import model_name
from transformers_stopping.prompts import Prompt


def generate(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompt: Prompt,
    stopping: AdaptiveStopping,
    *,
    request: Request | None = None,
    **kwargs: Any,
) -> Completion:
    """Generate one answer: stop it when it is done, check it, continue it when it is not.

    Args:
        model: A decoder-only model.
        tokenizer: Its tokenizer.
        prompt: A text as it is, or messages for the chat template.
        stopping: What to do. Its budget says how many tokens each call may have; in the modes that
            leave the call alone, ``generate``'s own settings do.
        request: What is known about the request; what it leaves open is filled in here.
        kwargs: As for :class:`TransformersBackend`: its own, and those of ``model.generate``.
            ``max_new_tokens`` is a hard limit over all calls, and so is ``max_length`` less the
            prompt, save what the request says itself.

    Returns:
        The answer, why it stopped, and what it took.

    Raises:
        ValueError: As :class:`TransformersBackend`.
        BudgetExhausted: No complete answer, and ``on_exhausted="raise"``.

    Examples:
        >>> model, tokenizer = load()  # doctest: +SKIP
        >>> messages = [{"role": "user", "content": "What is the capital of France?"}]
        >>> generate(model, tokenizer, messages, AdaptiveStopping()).text  # doctest: +SKIP
        'The capital of France is Paris.'
    """
    backend = TransformersBackend(model, tokenizer, prompt, **kwargs)
    known = known_request(request, backend.calls, stopping)
    return run_session(Session(stopping, known, prober=backend.probe), backend)


def stream(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompt: Prompt,
    stopping: AdaptiveStopping,
    *,
    request: Request | None = None,
    **kwargs: Any,
) -> Generator[Emission, None, Completion]:
    """Generate as :func:`generate` does, and yield text as soon as it is settled.

    Text that was yielded is never taken back: an incomplete answer is only ever continued.
    Arguments and errors as in :func:`generate`; the completion is the generator's value.
    """
    backend = TransformersBackend(model, tokenizer, prompt, **kwargs)
    known = known_request(request, backend.calls, stopping)
    session = Session(stopping, known, streaming=True, prober=backend.probe)
    return stream_session(session, backend)


def known_request(request: Request | None, calls: Calls, stopping: AdaptiveStopping) -> Request:
    """Fill in what the request leaves open and the model or the prompt can tell.

    The weights are only read where a certificate is held against them, or a hook records runs.
    """
    tells = stopping.certificate is not None or any(map(wants_steps, stopping.hooks))
    request = request if request is not None else Request()
    window = getattr(calls.model.config.get_text_config(), "max_position_embeddings", None)
    return replace(
        request,
        prompt=request.prompt or calls.prompt.text,
        question=request.question or calls.prompt.question,
        prompt_tokens=request.prompt_tokens or len(calls.prompt.ids),
        max_tokens=request.max_tokens or calls.config.max_new_tokens,
        context_window=request.context_window or window,
        model=request.model or model_name(calls.model),
        model_fingerprint=request.model_fingerprint
        or (known_fingerprint(calls.model, calls.tokenizer) if tells else ""),
        sampling=request.sampling or calls.sampling,
        chat=calls.prompt.chat,
    )
