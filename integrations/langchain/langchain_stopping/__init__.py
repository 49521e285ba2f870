"""Adaptive early stopping for LangChain: a chat model around another one, and a callback."""

from langchain_stopping.chat_model import AdaptiveChatModel
from langchain_stopping.handler import AdaptiveStopHandler

__all__ = ["AdaptiveChatModel", "AdaptiveStopHandler"]
