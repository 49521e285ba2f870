"""The inner LLM as it is called here: without the callbacks, events and spans of its own.

One request is one entry in a trace, and its tokens are counted once: at the adaptive LLM. The inner
one would tell of every call again, and of a stream that is cut as a failure, a ``GeneratorExit``.
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable
from functools import lru_cache
from types import FunctionType
from typing import Any

from llama_index.core.llms import callbacks
from llama_index.core.llms.llm import LLM
from llama_index_instrumentation import dispatcher
from pydantic import BaseModel

logger = logging.getLogger(__name__)

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


def quiet(llm: LLM) -> LLM:
    """Look at an LLM in a way in which its eight methods tell nobody that they are called.

    Taken off are LlamaIndex's span and its callback decorator, wherever they stand outermost: what
    lies below, retries for example, stays, and so does the rate limiter that the decorator heeds.
    Where another decorator stands around them the method is left as it is, and so is the whole LLM
    where its class cannot be derived from, has ``__slots__``, or validates assignments (pydantic
    then gives the instance a new dictionary, and the view would keep the old one).

    Args:
        llm: The LLM. It is not changed.

    Returns:
        The same LLM in a class of the same name, with all its state in common with the one given.
    """
    kind = type(llm)
    raw = _Raw(vars(base).get(name) for base in kind.__mro__ for name in METHODS)
    derived = _quiet_class(kind, raw)
    if derived is None:
        return llm
    view = object.__new__(derived)
    for name in _STATE:
        object.__setattr__(view, name, getattr(llm, name))
    return view


class _Raw(tuple[Any, ...]):
    """Methods as their classes hold them. A decorated one may equal what it is put around."""

    __slots__ = ()

    def __hash__(self) -> int:
        return hash(tuple(map(id, self)))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Raw) and [*map(id, self)] == [*map(id, other)]


@lru_cache(maxsize=64)  # which keeps a class from being collected, so not every one for ever
def _quiet_class(kind: type[LLM], raw: _Raw) -> type[LLM] | None:
    """Derive a class with quiet methods; None where there is nothing to take off, or it cannot be.

    A method may call that of a base class, which tells as well. So each class that has such methods
    is followed by one of its own in the order in which methods are looked up.

    Args:
        kind: The class.
        raw: The methods of it and its bases: where one was patched, the class is derived anew.
    """
    found = {
        base: methods
        for base in kind.__mro__
        if (methods := {name: m for name in METHODS if (m := _beneath(vars(base).get(name)))})
    }
    if not found:
        return None
    if kind.model_config.get("validate_assignment") or any(map(_has_slots, kind.__mro__)):
        logger.warning("%s will report its calls beside ours", kind.__name__)
        return None
    try:
        quiet_bases = [_derive(base, (base,), methods) for base, methods in found.items()]
        if kind in found:
            return _derive(kind, tuple(quiet_bases), {})
        return _derive(kind, (kind, *quiet_bases), {})
    except Exception as error:  # a metaclass may refuse for any reason
        logger.warning("%s will report its calls beside ours: %r", kind.__name__, error)
        return None


def _has_slots(base: type) -> bool:
    return bool(vars(base).get("__slots__")) and base is not BaseModel


def _derive(
    kind: type[LLM], bases: tuple[type, ...], methods: dict[str, Callable[..., Any]]
) -> type[LLM]:
    """Make a class that passes for another, with some methods changed.

    Its bases are not told of it: one that registers its subclasses would hand out ours.
    """
    names = {name: getattr(kind, name) for name in ("__module__", "__qualname__", "__doc__")}
    if hasattr(kind, "__del__"):
        names["__del__"] = lambda self: None  # what it shares with others is not its own to close
    silent = classmethod(lambda cls, **kwargs: None)
    hooks = {"__init_subclass__": silent, "__pydantic_init_subclass__": silent}
    first = type("Unannounced", (), hooks)  # one for each, to stand before its own bases only
    metaclass: Any = type(kind)
    made: type[LLM] = metaclass(kind.__name__, (first, *bases), {**names, **methods})
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
    return _is_from(getattr(method, "_self_wrapper", None), dispatcher)  # as wrapt keeps it


def _decorated(method: Any) -> Callable[..., Any] | None:
    """The function that LlamaIndex's callback decorator was put around; None if it was not."""
    if not isinstance(method, FunctionType) or not _is_from(method, callbacks):
        return None
    function = inspect.getclosurevars(method).nonlocals.get("f")
    return function if callable(function) else None


def _is_from(function: Any, module: Any) -> bool:
    return getattr(function, "__globals__", None) is vars(module)


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
