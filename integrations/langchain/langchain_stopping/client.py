"""What is known of an inner model's client: its provider, its time-out, whether it hides usage."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from langchain_core.language_models import BaseChatModel

from stopping_core.providers import Provider, find_provider

_CLIENTS = ("root_client", "root_async_client")
BASE_URLS = ("openai_api_base", "base_url", "api_base", "endpoint")
_TIMEOUTS = ("request_timeout", "default_request_timeout", "timeout")


def provider_of(inner: BaseChatModel) -> Provider:
    """Find the row of the provider table by the model's classes and the address it calls."""
    return find_provider([base.__name__ for base in type(inner).__mro__], _base_url(inner))


def _base_url(inner: BaseChatModel) -> str | None:
    """Where the model sends its calls: as its client resolved it, the environment included."""
    clients = [getattr(inner, name, None) for name in _CLIENTS]
    found = [getattr(client, "base_url", None) for client in clients]
    found += [getattr(inner, name, None) for name in BASE_URLS]
    return next((str(url) for url in found if url), None)


def read_timeout(
    inner: BaseChatModel, kwargs: Mapping[str, Any], keyword: str, seconds: float
) -> Any:
    """Return the time-out to call with: at most ``seconds`` between two reads.

    The caller's own, of the call or of the model, stays where it is tighter. One that tells
    connecting from reading (a pair, an ``httpx.Timeout``) keeps all but its time for a read.
    """
    own: Any = kwargs.get(keyword)
    for name in _TIMEOUTS:
        own = getattr(inner, name, None) if own is None else own
    if isinstance(own, tuple):
        return (own[0], _tighter(own[1], seconds), *own[2:])
    if not hasattr(own, "read"):
        return _tighter(own, seconds)
    own = copy.copy(own)
    own.read = _tighter(own.read, seconds)
    return own


def _tighter(own: Any, seconds: float) -> float:
    return min(own, seconds) if isinstance(own, int | float) else seconds


@dataclass(slots=True)
class UsageQuestion:
    """Remembers which model's server has refused to be asked for usage: it need not be asked again.

    Old servers answer 400 or 422 to keywords that they do not know.
    """

    refused_by: BaseChatModel | None = None

    def is_asked(self, inner: BaseChatModel, kwargs: Mapping[str, Any]) -> bool:
        """Whether a call has to ask for it."""
        return self.refused_by is not inner and hides_usage(inner, kwargs)


def is_refusal(error: Exception) -> bool:
    """Whether a server did not take the request as it was."""
    return getattr(error, "status_code", None) in (400, 422)


def hides_usage(inner: BaseChatModel, kwargs: Mapping[str, Any]) -> bool:
    """Whether the inner model would stream no usage, only because nobody has asked it to.

    So does a ChatOpenAI with a ``base_url``; called without streaming it reports its usage.
    """
    setting = getattr(inner, "stream_usage", None)
    refused = setting is False and "stream_usage" in inner.model_fields_set
    if "stream_usage" not in type(inner).model_fields or setting or refused:
        return False
    own: Mapping[str, Any] = getattr(inner, "model_kwargs", None) or {}
    if any({"stream_usage", "stream_options"} & set(given) for given in (kwargs, own)):
        return False
    # OpenAI's Responses protocol always reports it, and does not know the keyword.
    responses = getattr(inner, "_use_responses_api", None)
    return responses is None or not responses({**kwargs, **own})
