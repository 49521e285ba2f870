"""Signals: each turns the stream so far into one number."""

from __future__ import annotations

from stopping_core.signals.confidence import Margin, MeanLogprob, TopKEntropy
from stopping_core.signals.novelty import Novelty
from stopping_core.signals.repetition import Loop, Repetition, find_loop
from stopping_core.signals.structure import (
    AnswerPattern,
    FencesClosed,
    JsonClosed,
    Lines,
    ListsClosed,
    Paragraphs,
    Sentences,
)

__all__ = [
    "AnswerPattern",
    "FencesClosed",
    "JsonClosed",
    "Lines",
    "ListsClosed",
    "Loop",
    "Margin",
    "MeanLogprob",
    "Novelty",
    "Paragraphs",
    "Repetition",
    "Sentences",
    "TopKEntropy",
    "find_loop",
]
