"""Adaptive early stopping for LlamaIndex: cut an answer where it is done, check it, continue it."""

from llama_index.llms.stopping.function_calling import AdaptiveFunctionCallingLLM, adaptive_llm
from llama_index.llms.stopping.llm import AdaptiveLLM

__all__ = ["AdaptiveFunctionCallingLLM", "AdaptiveLLM", "adaptive_llm"]
