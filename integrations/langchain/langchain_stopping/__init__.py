"""Adaptive early stopping for LangChain: a chat model around another one, a callback, middleware.

``AdaptiveStopMiddleware`` needs the package ``langchain`` and ``rounds_node`` needs ``langgraph``,
which comes with it; they are imported when they are asked for. Without these packages ``import *``
leaves them out.
"""

from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from langchain_stopping.chat_model import AdaptiveChatModel
from langchain_stopping.context import adaptive_stopping
from langchain_stopping.handler import AdaptiveStopHandler
from stopping_core import MissingPackage

if TYPE_CHECKING:
    from langchain_stopping.middleware import AdaptiveStopMiddleware
    from langchain_stopping.rounds import rounds_node
    from langchain_stopping.voting import AdaptiveVote

__all__ = ["AdaptiveChatModel", "AdaptiveStopHandler", "adaptive_stopping"]
if find_spec("langchain") is not None:
    __all__ += ["AdaptiveStopMiddleware"]
if find_spec("numpy") is not None:
    __all__ += ["AdaptiveVote"]
    if find_spec("langgraph") is not None:
        __all__ += ["rounds_node"]

_MODULES = {
    "AdaptiveStopMiddleware": "middleware",
    "AdaptiveVote": "voting",
    "rounds_node": "rounds",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        if missing == "numpy":
            raise MissingPackage("numpy", "traces") from error
        if missing not in ("langchain", "langgraph"):
            raise
        raise MissingPackage(missing, "agents", "langchain-stopping") from error
