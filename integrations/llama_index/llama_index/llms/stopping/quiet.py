"""The inner LLM as it is called here: without the callbacks, events and spans of its own.

One request is one entry in a trace, and its tokens are counted once: at the adaptive LLM. The inner
one would tell of every call again, and of a stream that is cut as a failure, a ``GeneratorExit``.
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable
from functools import cache
from types import FunctionType
from typing import Any, TypeVar

from llama_index.core.llms import callbacks
from llama_index.core.llms.llm import LLM
from llama_index_instrumentation import dispatcher

logger = logging.getLogger(__name__)

L = TypeVar("L", bound=LLM)

METHODS = tuple(
    f"{prefix}{method}"
    for method in ("chat", "complete")
    for prefix in ("", "stream_", "a", "astream_")
)
"""The eight ways to ask an LLM."""

_STATE = (
    "__dict__",
    "__pydantic_extra__",
    "__pydantic_fields_set__",
    "__pydantic_private__",
)


def quiet(llm: L) -> L:
    """Look at an LLM in a way in which its eight methods tell nobody that they are called.

    Taken off are LlamaIndex's span and its callback decorator, wherever they stand outermost: what
    lies below, retries for example, stays, and so does the rate limiter that the decorator heeds.
    Where another decorator stands around them, or the class cannot be derived from, the method is
    left as it is.

    Args:
        llm: The LLM. It is not changed.

    Returns:
        The same LLM in a class of the same name, with all its state in common with the one given.
    """
    derived = _quiet_class(type(llm))
    if derived is None:
        return llm
    view = object.__new__(derived)
    for name in _STATE:
        object.__setattr__(view, name, getattr(llm, name))
    return view  # type: ignore[return-value]  # derived from the class of llm


@cache
def _quiet_class(kind: type[LLM]) -> type[LLM] | None:
    """Derive a class with quiet methods; None where there is nothing to take off.

    A method may call that of a base class, which tells as well. So each class that has such methods
    is followed by one of its own in the order in which methods are looked up.
    """
    found = {
        base: methods
        for base in kind.__mro__
        if (methods := {name: m for name in METHODS if (m := _beneath(vars(base).get(name)))})
    }
    if not found:
        return None
    try:
        quiet_bases = [_derive(base, (base,), methods) for base, methods in found.items()]
        if kind in found:
            return _derive(kind, tuple(quiet_bases), {})
        return _derive(kind, (kind, *quiet_bases), {})
    except Exception as error:  # a metaclass may refuse for any reason
        logger.warning("%s will report its calls beside ours: %r", kind.__name__, error)
        return None


def _derive(
    kind: type[LLM], bases: tuple[type, ...], methods: dict[str, Callable[..., Any]]
) -> type[LLM]:
    """Make a class that passes for another, with some methods changed."""
    names: dict[str, Any] = {"__module__": kind.__module__, "__qualname__": kind.__qualname__}
    if hasattr(kind, "__del__"):
        names["__del__"] = lambda self: None  # what it shares with others is not its own to close
    metaclass: Any = type(kind)
    made: type[LLM] = metaclass(kind.__name__, bases, {**names, "__doc__": kind.__doc__})
    for name, method in methods.items():
        setattr(made, name, method)  # afterwards, or they would be given spans again
    return made


def _beneath(method: Any) -> Callable[..., Any] | None:
    """What a method does beneath its span and callback; None where it has neither."""
    if method is None or getattr(method, "__isabstractmethod__", False):
        return None
    below = method.__wrapped__ if _is_span(method) else method
    if (function := _decorated(below)) is not None:
        return _limited(function)
    return None if below is method else below


def _is_span(method: Any) -> bool:
    decorator = getattr(method, "_self_wrapper", None)  # as wrapt keeps it
    return _is_from(getattr(decorator, "__code__", None), dispatcher)


def _decorated(method: Any) -> Callable[..., Any] | None:
    """The function that LlamaIndex's callback decorator was put around; None if it was not."""
    if not isinstance(method, FunctionType) or not _is_from(method.__code__, callbacks):
        return None
    function = inspect.getclosurevars(method).nonlocals.get("f")
    return function if callable(function) else None


def _is_from(code: Any, module: Any) -> bool:
    return code is not None and getattr(code, "co_filename", None) == module.__file__


def _limited(function: Callable[..., Any]) -> Callable[..., Any]:
    """What is left of the callback decorator: it waits for the LLM's rate limiter."""
    if inspect.iscoroutinefunction(function):

        async def awaited(self: LLM, *args: Any, **kwargs: Any) -> Any:
            if self.rate_limiter is not None:
                await self.rate_limiter.async_acquire()
            return await function(self, *args, **kwargs)

        return awaited

    def called(self: LLM, *args: Any, **kwargs: Any) -> Any:
        if self.rate_limiter is not None:
            self.rate_limiter.acquire()
        return function(self, *args, **kwargs)

    return called
