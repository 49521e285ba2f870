"""Adaptive early stopping for transformers."""

from transformers_stopping.backend import TransformersBackend
from transformers_stopping.beams import AdaptiveBeamSearch, BeamSearchResult
from transformers_stopping.criteria import AdaptiveStoppingCriteria
from transformers_stopping.generation import generate, stream
from transformers_stopping.loading import load

__all__ = [
    "AdaptiveBeamSearch",
    "AdaptiveStoppingCriteria",
    "BeamSearchResult",
    "TransformersBackend",
    "generate",
    "load",
    "stream",
]
