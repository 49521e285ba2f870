"""Runs whose readings are written down."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from stopping_core.traces.run import Run


def column(values: Sequence[float] | None) -> NDArray[np.float32] | None:
    """A column of readings, or None."""
    return None if values is None else np.array(values, np.float32)


def run(
    tokens: Sequence[str],
    *,
    finish_reason: str = "stop",
    prompt_tokens: int | None = None,
    logprobs: Sequence[float] | None = None,
    top_logprobs: Sequence[Sequence[float]] | None = None,
    entropy: Sequence[float] | None = None,
    margin: Sequence[float] | None = None,
    end_probability: Sequence[float] | None = None,
) -> Run:
    """A run of these tokens, with these readings at them.

    A recording has entropies and top logprobs together, so entropies alone come with empty rows.
    """
    if entropy is not None and top_logprobs is None:
        top_logprobs = [(math.nan,)] * len(tokens)
    return Run(
        question_id="q",
        question="?",
        gold=("4",),
        tokens=tuple(tokens),
        finish_reason=finish_reason,
        prompt_tokens=prompt_tokens,
        logprobs=column(logprobs),
        top_logprobs=None if top_logprobs is None else np.array(top_logprobs, np.float32),
        entropy=column(entropy),
        margin=column(margin),
        end_probability=column(end_probability),
    )


def words(count: int) -> tuple[str, ...]:
    """Words without any end in them; a rule is asked after every 16th."""
    return (" word",) * count
