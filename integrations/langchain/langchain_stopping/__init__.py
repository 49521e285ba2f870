"""Adaptive early stopping for LangChain: a chat model around another one, a callback, middleware.

``AdaptiveStopMiddleware`` needs the package ``langchain`` and is imported when it is asked for.
Without that package ``import *`` leaves it out.
"""

from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from langchain_stopping.chat_model import AdaptiveChatModel
from langchain_stopping.context import adaptive_stopping
from langchain_stopping.handler import AdaptiveStopHandler
from stopping_core import MissingPackage

if TYPE_CHECKING:
    from langchain_stopping.middleware import AdaptiveStopMiddleware

__all__ = ["AdaptiveChatModel", "AdaptiveStopHandler", "adaptive_stopping"]
if find_spec("langchain") is not None:
    __all__ += ["AdaptiveStopMiddleware"]


def __getattr__(name: str) -> Any:
    if name != "AdaptiveStopMiddleware":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        from langchain_stopping.middleware import AdaptiveStopMiddleware
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] not in ("langchain", "langgraph"):
            raise
        raise MissingPackage("langchain", "agents", "langchain-stopping") from error
    return AdaptiveStopMiddleware
