"""Who asks, for which tenant and use case: told once for all requests inside a block."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from types import MappingProxyType

_NONE: Mapping[str, str] = MappingProxyType({})
_labels: ContextVar[Mapping[str, str]] = ContextVar("stopping_labels", default=_NONE)


@contextmanager
def labelled(**labels: str) -> Iterator[None]:
    """Put labels on every request that is begun inside the block, whatever the framework.

    A session adds them to ``Request.metadata``, where the request itself does not say otherwise.
    Blocks nest, the inner one wins. They follow async tasks, and threads that copy the context, as
    those of LangChain and LlamaIndex do.

    Args:
        labels: ``user``, ``tenant`` and ``use_case`` are what settings are tuned for; others are
            kept as well.

    Raises:
        TypeError: A label is no text.

    Examples:
        >>> with labelled(tenant="acme"), labelled(user="ann"):
        ...     dict(current_labels())
        {'tenant': 'acme', 'user': 'ann'}
    """
    for name, value in labels.items():
        if not isinstance(value, str):
            raise TypeError(f"{name} must be a text, got {value!r}")
    token = _labels.set({**_labels.get(), **labels})
    try:
        yield
    finally:
        _labels.reset(token)


def current_labels() -> Mapping[str, str]:
    """The labels of the blocks that we are in."""
    return _labels.get()
