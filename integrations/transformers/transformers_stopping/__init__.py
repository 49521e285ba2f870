"""Adaptive early stopping for transformers."""

from transformers_stopping.backend import TransformersBackend
from transformers_stopping.beams import AdaptiveBeamSearch, BeamSearchResult
from transformers_stopping.criteria import AdaptiveStoppingCriteria
from transformers_stopping.generation import generate, stream
from transformers_stopping.loading import load
from transformers_stopping.voting import vote

__all__ = [
    "AdaptiveBeamSearch",
    "AdaptiveStoppingCriteria",
    "BeamSearchResult",
    "TransformersBackend",
    "generate",
    "load",
    "stream",
    "vote",
]
