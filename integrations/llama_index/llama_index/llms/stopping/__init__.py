"""Adaptive early stopping for LlamaIndex: cut an answer where it is done, check it, continue it."""

from llama_index.llms.stopping.evaluator import CompletenessEvaluator
from llama_index.llms.stopping.events import GenerationStopEvent
from llama_index.llms.stopping.function_calling import AdaptiveFunctionCallingLLM, adaptive_llm
from llama_index.llms.stopping.llm import AdaptiveLLM
from llama_index.llms.stopping.rounds import judge_round
from llama_index.llms.stopping.voting import avote, vote

__all__ = [
    "AdaptiveFunctionCallingLLM",
    "AdaptiveLLM",
    "CompletenessEvaluator",
    "GenerationStopEvent",
    "adaptive_llm",
    "avote",
    "judge_round",
    "vote",
]
